//! `howdah bench cost`: how good a cost model is on labelled logs and on a replayed one, beside the majority, the look-up and
//! the paper's method; how long its training takes, and how fast it answers.

mod logs;
mod replayed;
mod speed;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::{build, verdict};
use crate::cost::evaluation::Method;
use crate::cost::evaluation::report::{Report, SplitReport};

/// What is measured.
#[derive(Debug, Args)]
pub struct Cost {
    /// The folder of the labelled logs.
    #[arg(long, default_value = "../shared/data/query-cost", value_name = "FOLDER")]
    data: PathBuf,
    /// Parts that are measured.
    #[arg(long, value_enum, num_args = 1.., default_values = ["logs", "replay", "speed"])]
    parts: Vec<Part>,
    /// Rows of the replayed log.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Seed of the trainings and of the replayed log.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Requests per second over HTTP.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Seconds of requests over HTTP.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Accuracies on labelled logs.
    Logs,
    /// Accuracy, time and memory on a replayed log.
    Replay,
    /// Time of an answer, in the process and over HTTP, and memory of the server.
    Speed,
}

/// Prints the tables; whether the promises are kept.
///
/// # Errors
/// When something can't be measured.
pub fn run(options: &Cost) -> Result<bool> {
    println!("query cost models, {}, seed {}", build(), options.seed);
    let mut kept = true;
    for part in &options.parts {
        kept &= match part {
            Part::Logs => logs::run(options)?,
            Part::Replay => replayed::run(options)?,
            Part::Speed => speed::run(options)?,
        };
    }
    Ok(kept)
}

/// Accuracy of a method, the mean over the targets.
fn accuracy(split: &SplitReport, method: Method) -> f64 {
    let figures = split.targets.values().filter_map(|target| target.methods.get(&method));
    let all: Vec<f64> = figures.map(|figures| figures.accuracy).collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// Ours is not below the look-up or the paper's method on any split.
fn beats_the_baselines(report: &Report) -> bool {
    let mut kept = true;
    for split in &report.splits {
        let ours = accuracy(split, Method::Ours);
        for other in [Method::Lookup, Method::Paper] {
            let theirs = accuracy(split, other);
            let holds = ours >= theirs;
            kept &= holds;
            if !holds {
                println!(
                    "  {} split: ours {ours:.3} is below {}'s {theirs:.3}: MISSED",
                    split.split.word(),
                    other.word()
                );
            }
        }
    }
    println!("  ours is at least as good as look-up and paper on every split: {}", verdict(kept));
    kept
}

/// Prints a promise; whether it is kept.
fn promise(what: &str, value: f64, least: f64) -> bool {
    println!("  {what}: {value:.3}, promised at least {least:.3}: {}", verdict(value >= least));
    value >= least
}
