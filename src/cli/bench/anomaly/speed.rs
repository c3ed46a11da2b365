//! The time of a row, of a training, and of a hundred detectors.

use std::sync::Arc;

use anyhow::Result;

use super::super::process::cpu_seconds;
use super::super::{build, verdict};
use crate::anomaly::matrix::{Column, Kind, Matrix};
use crate::anomaly::score::Scorer;
use crate::anomaly::train::{Options, train};
use crate::learn::rng::Random;

const ROWS: usize = 20_000;
const METRICS: usize = 100;
const STEP_MS: i64 = 15_000;
/// Rows that are scored for the mean.
const SCORED: usize = 2_000;
const MOST_MS: f64 = 1.0;
const MOST_SECONDS: f64 = 60.0;
/// Share of a core that a hundred detectors may take, and how often each scores.
const DETECTORS: f64 = 100.0;
const SHARE: f64 = 0.25;

/// Prints the times; whether the promises are kept.
pub fn run() -> Result<bool> {
    println!("\nSpeed, {}: {ROWS} rows of {METRICS} metrics.", build());
    let matrix = synthetic()?;
    let began = std::time::Instant::now();
    let (model, summary) = train(&matrix, &Options::default(), &mut |_, _| ())?;
    let training = began.elapsed().as_secs_f64();
    println!(
        "Training ({} epochs, both fits, principal components and backtest included): {training:.1} s; at most {MOST_SECONDS:.0} s: {}",
        summary.epochs,
        verdict(training <= MOST_SECONDS)
    );
    let mut scorer = Scorer::new(Arc::new(model));
    let own = std::process::id();
    let rows: Vec<Vec<f64>> = (0..SCORED).map(|row| matrix.row(row)).collect();
    let before = cpu_seconds(own)?;
    for (row, values) in rows.iter().enumerate() {
        scorer.push(matrix.times()[row], values);
    }
    let row_ms = (cpu_seconds(own)? - before) * 1000.0 / SCORED as f64;
    println!("Scoring a row: {row_ms:.3} ms of one core; at most {MOST_MS:.0} ms: {}", verdict(row_ms <= MOST_MS));
    let share = DETECTORS * row_ms / STEP_MS as f64;
    println!(
        "Scoring of a hundred detectors every 15 s: {:.1} % of a core; at most {:.0} %: {} (with all that a look takes: cargo bench --profile dev --bench detectors)",
        share * 100.0,
        SHARE * 100.0,
        verdict(share <= SHARE)
    );
    Ok(training <= MOST_SECONDS && row_ms <= MOST_MS && share <= SHARE)
}

/// Metrics that follow a daily load and noise of their own.
fn synthetic() -> Result<Matrix> {
    let mut random = Random::new(1, 0);
    let mut columns: Vec<Column> = (0..METRICS)
        .map(|index| Column { name: format!("metric_{index}"), kind: Kind::Gauge, values: Vec::with_capacity(ROWS) })
        .collect();
    for row in 0..ROWS {
        let day = std::f64::consts::TAU * row as f64 * STEP_MS as f64 / 86_400_000.0;
        let loads = [1.5 + day.sin() + 0.1 * random.normal(), 1.0 + 0.1 * random.normal(), 2.0 + 0.2 * random.normal()];
        for (index, column) in columns.iter_mut().enumerate() {
            column.values.push(100.0 * loads[index % 3].max(0.0) + 5.0 * random.normal());
        }
    }
    let times = (0..ROWS as i64).map(|row| row * STEP_MS).collect();
    Ok(Matrix::new(STEP_MS, times, vec![0; ROWS], columns)?)
}
