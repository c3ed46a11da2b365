//! `howdah cost`: a model of what queries cost, from and to files.

mod check;
mod evaluate;
mod input;
mod model_dir;
mod object;
mod predict;
mod serve;
mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// What is done with a model.
#[derive(Debug, Subcommand)]
pub enum Cost {
    /// Learns from query logs what statements cost, and reports how well.
    Train(Box<train::Train>),
    /// Trains the model of a QueryCostModel, as its Job executes it.
    TrainObject(object::TrainObject),
    /// Says what statements will cost, one JSON line each.
    Predict(predict::Predict),
    /// Judges a model by a log with costs.
    Evaluate(Box<evaluate::Evaluate>),
    /// Ends with code 3 when a statement of a file is in the top class.
    Check(check::Check),
    /// Answers over REST and gRPC.
    Serve(Box<serve::Serve>),
}

/// Runs the subcommand.
///
/// # Errors
/// What went wrong, in a sentence.
pub fn run(cost: Cost) -> Result<ExitCode> {
    match cost {
        Cost::Train(train) => train::run(&train)?,
        Cost::TrainObject(train) => return super::block_on(object::run(train))?,
        Cost::Predict(predict) => predict::run(&predict)?,
        Cost::Evaluate(evaluate) => evaluate::run(&evaluate)?,
        Cost::Check(check) => return check::run(&check),
        Cost::Serve(serve) => super::block_on(serve::run(*serve))??,
    }
    Ok(ExitCode::SUCCESS)
}
