//! `howdah anomaly`: what an AnomalyDetector does, without Kubernetes, and its training's Job.

pub mod detector;
pub mod fetch;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// The subcommands of `howdah anomaly`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reads rows from Prometheus into a CSV file.
    Fetch(fetch::Fetch),
    /// Trains a detector's model, as its Job does.
    Train(detector::Train),
}

/// Runs a subcommand to its end.
///
/// # Errors
/// What went wrong, in a sentence.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Fetch(arguments) => super::block_on(fetch::run(arguments))?.map(|()| ExitCode::SUCCESS),
        Command::Train(arguments) => super::block_on(detector::run(arguments)),
    }
}
