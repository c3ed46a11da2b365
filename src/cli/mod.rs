//! The command line: one file for each subcommand.

pub mod crds;
pub mod decide;
pub mod operator;

use anyhow::Context;
use clap::{Parser, Subcommand};

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
    /// Writes the CustomResourceDefinitions, or the permissions that the operator needs.
    Crds(crds::Arguments),
    /// Replays a recorded decision.
    Decide(decide::Arguments),
}

impl Cli {
    /// Runs the subcommand to its end.
    ///
    /// # Errors
    /// What went wrong, in a sentence.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Operator(arguments) => block_on(operator::run(arguments)),
            Command::Crds(arguments) => crds::run(&arguments),
            Command::Decide(arguments) => decide::run(&arguments),
        }
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the async runtime could not be started")?.block_on(work)
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
