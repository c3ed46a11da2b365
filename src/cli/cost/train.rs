//! `howdah cost train`: from a log to a model and a report.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::input::{Input, TargetArgument, bar, target};
use super::model_dir;
use crate::cost::evaluation::report::Report;
use crate::cost::splits::Split;
use crate::cost::sqltext::Mode;
use crate::cost::train::{Candidate, Options, Progress, train};

/// Learns from query logs what statements cost, and reports how well.
#[derive(Debug, Args)]
pub struct Train {
    #[command(flatten)]
    input: Input,
    /// What is predicted: `NAME=COLUMN:BOUND,BOUND…`. Bounds are costs (30, 5ms, 2h, 1Mi) or quantiles (q0.9). In a
    /// PostgreSQL log the column is duration, cpu or spill.
    #[arg(long = "target", required = true, num_args = 1.., value_name = "NAME=COLUMN:BOUNDS", value_parser = target)]
    targets: Vec<TargetArgument>,
    /// Which features a text has: two views of its lexemes, or the paper's bag of words.
    #[arg(long, value_enum, default_value = "lexed")]
    mode: ModeArgument,
    /// How the rows that judge the model are found; without it by time where the log has times, else at random.
    #[arg(long, value_enum)]
    split: Option<SplitArgument>,
    /// Percent of the rows that judge the model.
    #[arg(long, default_value_t = 20.0, value_name = "PERCENT")]
    test_percent: f64,
    /// Report that split only.
    #[arg(long)]
    one_split: bool,
    /// Columns at the most.
    #[arg(long, default_value_t = 20_000)]
    max_features: usize,
    /// Longest n-gram of words.
    #[arg(long, default_value_t = 3)]
    ngrams: usize,
    /// Folds of the cross-validation.
    #[arg(long, default_value_t = 3)]
    folds: usize,
    /// Depths of the trees to choose from.
    #[arg(long, value_delimiter = ',', default_value = "6,10")]
    max_depth: Vec<u32>,
    /// Learning rates to choose from.
    #[arg(long, value_delimiter = ',', default_value = "0.1,0.3")]
    eta: Vec<f64>,
    /// Numbers of rounds to choose from.
    #[arg(long, value_delimiter = ',', default_value = "200")]
    rounds: Vec<u32>,
    /// Seed of everything random: the same log and seed give the same model.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Threads.
    #[arg(long)]
    threads: Option<usize>,
    /// The directory of the model.
    #[arg(long, value_name = "MODEL_DIR")]
    output: PathBuf,
    /// Write the evaluation as JSON.
    #[arg(long, value_name = "REPORT.json")]
    report: Option<PathBuf>,
    /// Write the evaluation as a page for people.
    #[arg(long, value_name = "REPORT.html")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArgument {
    Lexed,
    Paper,
}

/// How rows are parted.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitArgument {
    /// The newest rows judge.
    Time,
    /// Rows drawn at random judge.
    Random,
    /// Whole fingerprints judge.
    Template,
}

impl Train {
    fn options(&self) -> Result<Options> {
        ensure!(
            self.test_percent > 0.0 && self.test_percent < 100.0,
            "--test-percent must lie between 0 and 100, but is {}",
            self.test_percent
        );
        ensure!(self.folds >= 2, "--folds must be at least 2, but is {}", self.folds);
        ensure!(self.max_features >= 1, "--max-features must be at least 1");
        let mut grid = Vec::new();
        for max_depth in &self.max_depth {
            for eta in &self.eta {
                for rounds in &self.rounds {
                    ensure!(
                        *eta > 0.0 && *eta <= 1.0 && (1..=16).contains(max_depth) && *rounds > 0,
                        "the grid's depth {max_depth}, eta {eta}, rounds {rounds} is out of range: depth 1-16, eta above 0 and at most 1, rounds above 0"
                    );
                    grid.push(Candidate { max_depth: *max_depth, eta: *eta, rounds: *rounds });
                }
            }
        }
        let split = match self.split {
            Some(SplitArgument::Time) => Split::Time,
            Some(SplitArgument::Random) => Split::Random,
            Some(SplitArgument::Template) => Split::Template,
            None if self.input.timed() => Split::Time,
            None => Split::Random,
        };
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
        Ok(Options {
            mode: match self.mode {
                ModeArgument::Lexed => Mode::Lexed,
                ModeArgument::Paper => Mode::Paper,
            },
            ngrams: self.ngrams,
            max_features: self.max_features,
            split,
            test_percent: self.test_percent,
            beside: if self.one_split { Vec::new() } else { Split::ALL.to_vec() },
            folds: self.folds,
            grid,
            seed: self.seed,
            threads,
            ..Options::default()
        })
    }
}

/// Trains, writes the model and the report.
///
/// # Errors
/// What went wrong, in a sentence. Nothing is written then.
pub fn run(arguments: &Train) -> Result<()> {
    let options = arguments.options()?;
    model_dir::check(&arguments.output)?;
    let targets: Vec<(String, String)> =
        arguments.targets.iter().map(|target| (target.spec.name.clone(), target.column.clone())).collect();
    let mut names: Vec<&String> = targets.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    ensure!(names.windows(2).all(|pair| pair[0] != pair[1]), "two targets have the same name");
    let log = arguments.input.open(&targets)?;
    let specs: Vec<_> = arguments.targets.iter().map(|target| target.spec.clone()).collect();
    let (bar, tell) = bar(&log);
    let trained = train(&log, &specs, &options, &mut |progress| match progress {
        Progress::Reading(rows) => tell(rows),
        Progress::Counting => bar.set_message("counting features"),
        Progress::Fitting { what, done, of } => bar.set_message(format!("{what} ({}/{of})", done + 1)),
    });
    bar.finish_and_clear();
    let trained = trained?;
    let report = Report::of(&trained);
    model_dir::write(&arguments.output, &trained.model)?;
    if let Some(path) = &arguments.report {
        let text = serde_json::to_vec_pretty(&report).context("the report can't be written")?;
        std::fs::write(path, text).with_context(|| format!("{} can't be written", path.display()))?;
    }
    if let Some(path) = &arguments.html {
        let page = crate::cost::evaluation::html::page(&report);
        std::fs::write(path, page).with_context(|| format!("{} can't be written", path.display()))?;
    }
    let rejected: u64 = report.log.rejected.values().sum();
    println!(
        "{} statements of {} fingerprints, {rejected} rows rejected{}",
        report.log.statements,
        report.log.fingerprints,
        reasons(&report)
    );
    println!("\n{}", report.table());
    println!("model {}: {}", trained.model.version, arguments.output.display());
    Ok(())
}

fn reasons(report: &Report) -> String {
    if report.log.rejected.is_empty() {
        return String::new();
    }
    let reasons: Vec<String> = report.log.rejected.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let sample = report.log.samples.first().map_or_else(String::new, |sample| format!("; e.g. {sample}"));
    format!(" ({}{sample})", reasons.join(", "))
}
