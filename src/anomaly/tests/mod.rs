//! The numbers of the anomaly room, from rows to incidents, on a simulated database.

mod artefact;
mod pipeline;
mod scoring;
mod training;
mod watching;

use super::matrix::{Column, Kind, Matrix};
use super::train::Options;
use crate::learn::rng::Random;

const STEP_MS: i64 = 15_000;
/// 2 March 2026, a Monday, 00:00 UTC.
const BEGIN: i64 = 1_772_409_600_000;

/// A database under a load that swings over the day: counters, gauges, a ratio, a setting, a metric that never moves
/// and one that is missing.
struct Simulated {
    random: Random,
    counters: [f64; 3],
    row: i64,
}

/// What is wrong with the database.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// A dropped index.
    SequentialScans,
    /// A lock.
    Waiting,
}

const NAMES: [(&str, Kind); 9] = [
    ("xact_commit", Kind::Counter),
    ("seq_tup_read", Kind::Counter),
    ("idx_scan", Kind::Counter),
    ("sessions_active", Kind::Gauge),
    ("sessions_waiting_for_lock", Kind::Gauge),
    ("node_cpu_user", Kind::Ratio),
    ("shared_buffers", Kind::Config),
    ("deadlocks", Kind::Gauge),
    ("replication_lag", Kind::Gauge),
];

impl Simulated {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed, 0), counters: [0.0; 3], row: 0 }
    }

    fn next(&mut self, fault: Fault) -> (i64, Vec<f64>) {
        let time = BEGIN + self.row * STEP_MS;
        self.row += 1;
        let hour = (time - BEGIN) as f64 / 3_600_000.0;
        let mut noise = |size: f64| 1.0 + size * self.random.normal();
        let load = 300.0 * (1.0 + 0.5 * (std::f64::consts::TAU * hour / 24.0).sin()) * noise(0.03);
        let (commits, sequential, indexed, waiting, cpu) = match fault {
            Fault::None => (load, 4.0 * load, 9.0 * load, 0.0, load / 1500.0),
            Fault::SequentialScans => (load / 3.0, 900.0 * load, load, 0.0, 0.95),
            Fault::Waiting => (load / 50.0, load / 20.0, load / 10.0, 12.0, 0.02),
        };
        let seconds = STEP_MS as f64 / 1000.0;
        for (counter, rate) in self.counters.iter_mut().zip([commits, sequential, indexed]) {
            *counter += (rate * noise(0.03) * seconds).max(0.0).round();
        }
        let active = (load / 30.0 * noise(0.1) + waiting).round();
        let lock = waiting + f64::from(u8::from(noise(1.0) > 2.8));
        let cpu = (cpu * noise(0.05)).clamp(0.0, 1.0);
        let [commits, sequential, indexed] = self.counters;
        (time, vec![commits, sequential, indexed, active, lock, cpu, 128e6, 0.0, f64::NAN])
    }

    fn rows(&mut self, count: usize, fault: Fault) -> Vec<(i64, Vec<f64>)> {
        (0..count).map(|_| self.next(fault)).collect()
    }
}

fn names() -> Vec<(String, Kind)> {
    NAMES.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
}

fn matrix(rows: &[(i64, Vec<f64>)]) -> Matrix {
    let column = |(index, (name, kind)): (usize, &(&str, Kind))| Column {
        name: (*name).to_owned(),
        kind: *kind,
        values: rows.iter().map(|(_, row)| row[index]).collect(),
    };
    let columns = NAMES.iter().enumerate().map(column).collect();
    Matrix::new(STEP_MS, rows.iter().map(|row| row.0).collect(), vec![0; rows.len()], columns).unwrap()
}

/// A training that takes a moment.
fn quick() -> Options {
    let mut options = Options::default();
    options.autoencoder.hidden = 16;
    options.autoencoder.bottleneck = 4;
    options.autoencoder.epochs = 15;
    options.autoencoder.patience = 4;
    options
}
