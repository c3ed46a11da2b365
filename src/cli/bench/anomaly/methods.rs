//! What is compared: each gives a row a score of which 1 is its threshold.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::data::{Run, matrix};
use super::forest::Forest;
use crate::anomaly::alarm::Settings;
use crate::anomaly::matrix::Matrix;
use crate::anomaly::model::{Model, ModelType};
use crate::anomaly::pipeline::Stream;
use crate::anomaly::scale::CLIP;
use crate::anomaly::score::{Scored, Scorer};
use crate::anomaly::threshold;
use crate::anomaly::train::{Options, train};
use crate::learn::rng::Random;

/// A method by its name in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Autoencoder on deviations from the recent past.
    Autoencoder,
    /// Principal components on the same.
    Pca,
    /// Principal components on levels.
    PcaOnLevels,
    /// Isolation forest on levels.
    Forest,
    /// The largest deviation from the training's median.
    LargestZ,
    /// Fixed limits, as they are found in alert rules.
    StaticAlerts,
    /// A number.
    Random,
}

/// Every method, ours first.
pub const ALL: [Method; 7] = [
    Method::Autoencoder,
    Method::Pca,
    Method::PcaOnLevels,
    Method::Forest,
    Method::LargestZ,
    Method::StaticAlerts,
    Method::Random,
];

/// Metrics and limits of the static alerts, in the manner of the rules that exporters are shipped with; the direction
/// is that of the alert.
const LIMITS: [(&str, f64, bool); 6] = [
    ("total_cpu_usage_idl", 10.0, false),
    ("total_cpu_usage_wai", 10.0, true),
    ("load_avg_1m", 32.0, true),
    ("procs_blk", 10.0, true),
    ("mysql5_conn_pctCon", 80.0, true),
    ("mysql5_locks_Locks", 10.0, true),
];

/// A method at work.
pub enum Detector {
    /// Ours.
    Model(Box<Scorer>),
    /// A score of a row's scaled levels.
    Levels { model: Box<Model>, stream: Stream, score: Box<LevelScore>, threshold: f64 },
    /// Limits by position.
    Limits(Vec<(usize, f64, bool)>),
    /// A number.
    Random { random: Random, threshold: f64 },
}

type LevelScore = dyn Fn(&[f32]) -> f64;

/// Trains a method on the rows of runs that are normal.
pub fn detector(method: Method, names: &[String], runs: &[Run], seed: u64, alarm: &Settings) -> Result<Detector> {
    let rows = matrix(names, runs)?;
    let model = |model_type, relative| -> Result<Model> {
        let mut options = Options { model_type, relative, alarm: alarm.clone(), ..Options::default() };
        options.autoencoder.seed = seed;
        Ok(train(&rows, &options, &mut |_, _| ()).context("training")?.0)
    };
    let ours = |model: Model| Detector::Model(Box::new(Scorer::new(Arc::new(model))));
    Ok(match method {
        Method::Autoencoder => ours(model(ModelType::Autoencoder, true)?),
        Method::Pca => ours(model(ModelType::Pca, true)?),
        Method::PcaOnLevels => ours(model(ModelType::Pca, false)?),
        Method::Forest => {
            let model = model(ModelType::Pca, false)?;
            let forest = Forest::grow(&scaled(&model, &rows)[..rows.rows() * 7 / 10], seed);
            levels(model, &rows, Box::new(move |row| forest.score(row)), 1.0, alarm)?
        }
        Method::LargestZ => {
            let largest = |row: &[f32]| row.iter().fold(0.0, |most, z| f64::from(z.abs()).max(most));
            levels(model(ModelType::Pca, false)?, &rows, Box::new(largest), CLIP, alarm)?
        }
        Method::StaticAlerts => Detector::Limits(
            LIMITS
                .iter()
                .filter_map(|(name, limit, above)| Some((names.iter().position(|n| n == name)?, *limit, *above)))
                .collect(),
        ),
        Method::Random => {
            let mut random = Random::new(seed, 9);
            let scores: Vec<f64> = (0..rows.rows() * 3 / 10).map(|_| random.uniform()).collect();
            Detector::Random { random, threshold: calibrated(&scores, 1.0, alarm)? }
        }
    })
}

fn levels(model: Model, rows: &Matrix, score: Box<LevelScore>, ceiling: f64, alarm: &Settings) -> Result<Detector> {
    let held: Vec<f64> = scaled(&model, rows)[rows.rows() * 7 / 10..].iter().map(|row| score(row)).collect();
    let threshold = calibrated(&held, ceiling, alarm)?;
    Ok(Detector::Levels { stream: model.pipeline.stream(), model: Box::new(model), score, threshold })
}

/// The threshold that ours gets: of the k-th largest of the last n scores, from the same budget.
fn calibrated(held: &[f64], ceiling: f64, alarm: &Settings) -> Result<f64> {
    let level = |window: &[f64]| {
        let mut sorted = window.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted[alarm.at_least - 1]
    };
    let run: Vec<f64> = held.windows(alarm.of).map(level).collect();
    let budget = Options::default().false_alarms_per_week;
    Ok(threshold::calibrate(&[run], super::data::STEP_MS, budget, ceiling).context("too few rows to calibrate")?.score)
}

fn scaled(model: &Model, rows: &Matrix) -> Vec<Vec<f32>> {
    let mut stream = model.pipeline.stream();
    let row = |row: usize| scale(model, &stream.push(rows.times()[row], rows.row(row)).0.deviations);
    (0..rows.rows()).map(row).collect()
}

fn scale(model: &Model, deviations: &[f64]) -> Vec<f32> {
    model.scales.iter().zip(deviations).map(|(scale, deviation)| scale.apply(*deviation) as f32).collect()
}

impl Detector {
    /// Begins another run.
    pub fn restart(&mut self) {
        match self {
            Self::Model(scorer) => scorer.restart(),
            Self::Levels { stream, .. } => stream.restart(),
            Self::Limits(_) | Self::Random { .. } => {}
        }
    }

    /// Score of the next row, and for ours what else is known of it.
    pub fn push(&mut self, time: i64, row: &[f64]) -> (Option<f64>, Option<Scored>) {
        match self {
            Self::Model(scorer) => {
                let scored = scorer.push(time, row);
                (scored.score, Some(scored))
            }
            Self::Levels { model, stream, score, threshold } => {
                let levels = stream.push(time, row.to_vec()).0.deviations;
                (Some(score(&scale(model, &levels)) / *threshold), None)
            }
            Self::Limits(limits) => {
                let exceeds = |(index, limit, above): &(usize, f64, bool)| {
                    let value = row[*index].max(1e-3);
                    if *above { value / limit } else { limit / value }
                };
                (Some(limits.iter().map(exceeds).fold(0.0, f64::max)), None)
            }
            Self::Random { random, threshold } => (Some(random.uniform() / *threshold), None),
        }
    }
}
