//! The command line: one file for each subcommand.

pub mod anomaly;
pub mod bench;
pub mod benchmark;
mod cluster;
pub mod cost;
pub mod crds;
pub mod decide;
mod job_progress;
pub mod operator;
pub mod plugin;
pub mod probe;
pub mod reference;
mod termination;
pub mod tune;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::learn::torch::pages;

/// An autopilot for PostgreSQL on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "howdah", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the operator in a cluster.
    Operator(operator::Arguments),
    /// Tunes a PostgreSQL server without Kubernetes.
    Tune(Box<tune::Tune>),
    /// Measures a server once, as the benchmark's Job does.
    Benchmark(benchmark::Args),
    /// Learns what is normal for a database from files, and says what is not.
    #[command(subcommand)]
    Anomaly(anomaly::Anomaly),
    /// Learns from query logs what statements cost, and says so before they run.
    #[command(subcommand)]
    Cost(cost::Cost),
    /// Measures Howdah itself: its optimizers, its learner, its operator.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Writes the CustomResourceDefinitions, or the permissions that the operator needs.
    Crds(crds::Arguments),
    /// Prints the reference of kinds and reasons in Markdown.
    Reference,
    /// Replays a recorded decision.
    Decide(decide::Arguments),
    /// Asks an HTTP endpoint of the operator.
    Probe(probe::Probe),
}

impl Cli {
    /// Runs the subcommand to its end.
    ///
    /// # Errors
    /// What went wrong, in a sentence.
    pub fn run(self) -> Result<ExitCode> {
        let done = |()| ExitCode::SUCCESS;
        match self.command {
            Command::Operator(arguments) => block_on(operator::run(arguments))?.map(done),
            Command::Tune(arguments) => block_on(tune::run(*arguments))?,
            Command::Benchmark(arguments) => block_on(benchmark::run(arguments)),
            Command::Anomaly(anomaly) => anomaly::run(anomaly),
            Command::Cost(cost) => cost::run(cost),
            Command::Bench(bench) => bench::run(bench),
            Command::Crds(arguments) => crds::run(&arguments).map(done),
            Command::Reference => {
                print!("{}", reference::text());
                Ok(ExitCode::SUCCESS)
            }
            Command::Decide(arguments) => decide::run(&arguments).map(done),
            Command::Probe(arguments) => block_on(probe::run(arguments))?.map(done),
        }
    }
}

/// Of the TLS providers that the dependencies bring, one must be chosen for the process; a second call finds it chosen.
fn choose_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A process that stays gives back what only loading libtorch needed.
fn give_back_pages() {
    match pages::give_back() {
        Ok(bytes) => tracing::debug!(bytes, "pages that only loading libtorch needed were given back"),
        Err(error) => tracing::warn!(%error, "pages that only loading libtorch needed stay in memory"),
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    Ok(runtime.context("the async runtime could not be started")?.block_on(work))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
