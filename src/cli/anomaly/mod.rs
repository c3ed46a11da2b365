//! `howdah anomaly`: a detector without Kubernetes, from and to files, and what needs a detector of the cluster.

mod detector;
mod either;
mod explain;
mod fetch;
mod incident;
mod score;
pub(super) mod table;
mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use crate::anomaly::model::Model;

/// What a detector does.
#[derive(Debug, Subcommand)]
pub enum Anomaly {
    /// Learns what is normal: from files, or from a detector's Prometheus as its Job does.
    Train(Box<either::Train>),
    /// Scores the rows of files.
    Score(score::Score),
    /// Draws an incident: of files, or of a detector.
    Explain(Box<either::Explain>),
    /// Reads a detector's rows from Prometheus into a file.
    Fetch(fetch::Fetch),
}

/// Runs the subcommand.
///
/// # Errors
/// What went wrong, in a sentence.
pub fn run(anomaly: Anomaly) -> Result<ExitCode> {
    match anomaly {
        Anomaly::Train(train) => match *train {
            either::Train::Files(train) => train::run(&train)?,
            either::Train::Detector(train) => return super::block_on(detector::run(train)),
        },
        Anomaly::Score(score) => score::run(&score)?,
        Anomaly::Explain(explain) => match *explain {
            either::Explain::Files(explain) => explain::run(&explain)?,
            either::Explain::Detector { detector, incident, out } => {
                super::block_on(incident::run(detector, incident.as_deref(), &out))??;
            }
        },
        Anomaly::Fetch(fetch) => super::block_on(fetch::run(fetch))??,
    }
    Ok(ExitCode::SUCCESS)
}

/// The files and their columns.
#[derive(Clone, Debug, Args)]
struct Input {
    /// CSV files, also gzipped ones: rows of numeric columns. Each file is a run of its own.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<PathBuf>,
    /// The time column: Unix seconds (or smaller parts of them), RFC 3339, or date and time in UTC. Without it, a column named
    /// time or timestamp; without that, rows lie 15 seconds apart.
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// A column that tells separate runs apart: no baseline crosses their border.
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// Columns that are left out.
    #[arg(long, num_args = 1.., value_name = "COLUMN")]
    ignore: Vec<String>,
}

impl Input {
    fn columns(&self) -> table::Columns {
        table::Columns { time: self.time.clone(), group: self.group.clone(), ignore: self.ignore.clone() }
    }

    /// The rows that a model knows.
    fn read_for(&self, model: &Model) -> Result<table::Table> {
        let table = table::read(&self.input, &self.columns(), Some(&model.metrics))?;
        let (step, learnt) = (table.matrix.step_ms(), model.pipeline.step_ms);
        // Rates of counters and the recent past are of so many rows.
        ensure!(
            !table.timed || (step < 2 * learnt && learnt < 2 * step),
            "the rows are {} s apart, and the model learnt from rows that are {} s apart: give rows of its step",
            step as f64 / 1000.0,
            learnt as f64 / 1000.0
        );
        Ok(table)
    }
}

fn load(path: &Path) -> Result<Model> {
    let bytes = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    Model::load(&bytes).with_context(|| path.display().to_string())
}
