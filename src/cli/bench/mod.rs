//! `howdah bench`: what Howdah promises of itself, measured. Each subcommand prints its numbers beside the promise and
//! fails where one is missed.

mod anomaly;
mod cost;
mod learner;
mod operator;
mod optimizers;
pub mod process;
mod simulated;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Whole sessions on simulated servers: how good the best configuration is after how many trials.
    Optimizers(optimizers::Optimizers),
    /// The anomaly detector on labelled faults, beside what it must be better than, and its speed.
    ///
    /// What it does in a cluster is measured there: how soon injected faults are found and named by `make e2e-faults`, that
    /// an hour of benign load raises no alarm by `make e2e-benign`.
    Anomaly(anomaly::Anomaly),
    /// Cost models on labelled logs and on a replayed one, beside what they must be better than, and their speed.
    Cost(cost::Cost),
    /// A step of the learner: its time and memory.
    Learner,
    /// The reconcile loop in a cluster: idle reconciles per second, writes and memory.
    Operator(operator::Operator),
}

/// Measures and prints.
///
/// # Errors
/// When something can't be measured.
pub fn run(bench: Bench) -> Result<ExitCode> {
    let kept = match bench {
        Bench::Optimizers(optimizers) => optimizers::run(&optimizers)?,
        Bench::Anomaly(anomaly) => anomaly::run(&anomaly)?,
        Bench::Cost(cost) => cost::run(&cost)?,
        Bench::Learner => learner::run()?,
        Bench::Operator(operator) => super::block_on(operator::run(operator))??,
    };
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How this binary was built, so that a time can be judged.
fn build() -> &'static str {
    const OPTIMISED: &str = concat!("opt-level ", env!("HOWDAH_OPT_LEVEL"));
    const CHECKED: &str = concat!("opt-level ", env!("HOWDAH_OPT_LEVEL"), " with debug assertions");
    if cfg!(debug_assertions) { CHECKED } else { OPTIMISED }
}

/// What is printed beside a number.
fn verdict(kept: bool) -> &'static str {
    if kept { "kept" } else { "MISSED" }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
