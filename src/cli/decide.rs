//! `howdah decide`: replays a recorded decision.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::anomaly::Anomaly;
use crate::control::room::Room;
use crate::cost::QueryCost;
use crate::instance::InstanceRoom;
use crate::tuning::Tuning;

/// What to replay.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The kind whose decision it is.
    kind: RecordedKind,
    /// File with the facts, as logged for objects with the annotation `howdah.dev/record-facts: "true"`.
    facts: PathBuf,
}

/// Kinds whose decisions can be replayed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RecordedKind {
    /// A PostgresInstance.
    #[value(name = "PostgresInstance")]
    PostgresInstance,
    /// A PostgresTuning.
    #[value(name = "PostgresTuning")]
    PostgresTuning,
    /// An AnomalyDetector.
    #[value(name = "AnomalyDetector")]
    AnomalyDetector,
    /// A QueryCostModel.
    #[value(name = "QueryCostModel")]
    QueryCostModel,
}

/// Prints the decision as JSON.
///
/// # Errors
/// When the file can't be read, or does not hold the facts of the kind.
pub fn run(Arguments { kind, facts }: &Arguments) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(facts).with_context(|| format!("{} can't be read", facts.display()))?;
    let decision = match kind {
        RecordedKind::PostgresInstance => replay::<InstanceRoom>(&text),
        RecordedKind::PostgresTuning => replay::<Tuning>(&text),
        RecordedKind::AnomalyDetector => replay::<Anomaly>(&text),
        RecordedKind::QueryCostModel => replay::<QueryCost>(&text),
    };
    println!("{}", decision.with_context(|| format!("{} holds no facts of this kind", facts.display()))?);
    Ok(())
}

fn replay<R: Room>(facts: &str) -> serde_json::Result<String>
where
    R::Decision: Serialize,
{
    let facts = serde_json::from_str(facts)?;
    serde_json::to_string_pretty(&R::decide(&facts))
}
