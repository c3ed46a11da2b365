//! `kubectl howdah`: follow a tuning, read its result, approve its recommendation.

use std::process::ExitCode;

use clap::Parser;
use howdah::cli::plugin;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match plugin::run(plugin::Plugin::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kubectl-howdah: {error:#}");
            ExitCode::FAILURE
        }
    }
}
