//! The labelled faults of DBPA: runs of rows before, in and after a fault.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::anomaly::matrix::{Column, Kind, Matrix};
use crate::cli::anomaly::table;

/// Columns that are no metrics.
const LABELS: usize = 4;
/// Distance of two rows.
pub const STEP_MS: i64 = 5_000;

/// Where in a run a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No fault.
    Normal,
    /// In the fault.
    Fault,
    /// After it.
    After,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Unix milliseconds.
    pub time: i64,
    /// Where in the run.
    pub phase: Phase,
    /// One per metric.
    pub values: Vec<f64>,
}

/// A fault's rows with those around it.
#[derive(Clone, Debug)]
pub struct Run {
    /// The fault.
    pub cause: &'static str,
    /// In the order of time.
    pub rows: Vec<Row>,
}

/// Reads a file: the names of its metrics, and its runs. The first row of each run is an average since the machine
/// started, and is left out.
pub fn read(directory: &Path, cause: &'static str) -> Result<(Vec<String>, Vec<Run>)> {
    let path = directory.join(format!("{cause}.csv.gz"));
    let mut reader = table::open(&path).map(csv::Reader::from_reader).with_context(|| path.display().to_string())?;
    let names: Vec<String> = reader.headers()?.iter().skip(LABELS).map(str::to_owned).collect();
    let mut runs: Vec<Run> = Vec::new();
    let mut last = None;
    for record in reader.records() {
        let record = record?;
        ensure!(record.len() == names.len() + LABELS, "{}: a row has {} cells", path.display(), record.len());
        let incident = record[0].to_owned();
        if last.as_ref() != Some(&incident) {
            runs.push(Run { cause, rows: Vec::new() });
            last = Some(incident);
        }
        let phase = match &record[2] {
            "warmup" => continue,
            "pre" | "normal" => Phase::Normal,
            "anomaly" => Phase::Fault,
            _ => Phase::After,
        };
        let time = table::parse_time(&record[3]).with_context(|| format!("{}: {:?}", path.display(), &record[3]))?;
        let values = record.iter().skip(LABELS).map(|cell| cell.parse().unwrap_or(f64::NAN)).collect();
        if let Some(run) = runs.last_mut() {
            run.rows.push(Row { time, phase, values });
        }
    }
    Ok((names, runs))
}

/// The rows of runs without a fault as a matrix; each run is a group.
pub fn matrix(names: &[String], runs: &[Run]) -> Result<Matrix> {
    let rows: Vec<(u32, &Row)> = runs
        .iter()
        .enumerate()
        .flat_map(|(group, run)| run.rows.iter().map(move |row| (group as u32, row)))
        .filter(|(_, row)| row.phase == Phase::Normal)
        .collect();
    let column = |(index, name): (usize, &String)| Column {
        name: name.clone(),
        kind: Kind::Gauge,
        values: rows.iter().map(|(_, row)| row.values[index]).collect(),
    };
    let columns = names.iter().enumerate().map(column).collect();
    let times = rows.iter().map(|(_, row)| row.time).collect();
    Ok(Matrix::new(STEP_MS, times, rows.iter().map(|(group, _)| *group).collect(), columns)?)
}
