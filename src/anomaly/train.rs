//! Learning what is normal, from rows that are mostly so: the earlier rows are fitted, the later ones set the scale of
//! residuals and the threshold. Of these, the earlier half says how the threshold does on the later one.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::alarm;
use super::faults;
use super::matrix::Matrix;
use super::model::{Model, ModelType};
use super::pipeline::Pipeline;
use super::rows::{Roles, Rows, rates};
use super::threshold::{Method, Threshold};
use crate::learn::dense::Dense;
use crate::learn::torch::{autoencoder, pca};

/// Share of the fitted rows, the latest, on which early stopping looks.
const VALIDATED: f64 = 0.15;
/// Share of the fitted rows, the worst reconstructed, that is left out of the second fit.
const TRIMMED: f64 = 0.01;
/// Variance that the principal components explain.
const EXPLAINED: f64 = 0.9;
/// Rows without which nothing can be learned, whatever their step.
pub const FEWEST_ROWS: usize = 120;
/// One row of so many may be missing from the history that is asked for.
const MISSED: i64 = 50;
pub(super) const DAY_MS: f64 = 24.0 * 3_600_000.0;

/// What is trained, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What reconstructs.
    pub model_type: ModelType,
    /// Of the autoencoder: seed, widths, epochs, patience.
    pub autoencoder: autoencoder::Settings,
    /// Alarms in a week of normal operation that are bearable.
    pub false_alarms_per_week: f64,
    /// When an alarm is raised.
    pub alarm: alarm::Settings,
    /// Times that are not normal: Unix milliseconds, both ends included.
    pub exclude: Vec<(i64, i64)>,
    /// Time that the rows must cover.
    pub min_history_ms: i64,
    /// Whether levels are compared with their recent past; off only to show what that is worth.
    pub relative: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model_type: ModelType::Autoencoder,
            autoencoder: autoencoder::Settings { seed: 7, hidden: 64, bottleneck: 12, epochs: 200, patience: 10 },
            false_alarms_per_week: 2.0,
            alarm: alarm::Settings::default(),
            exclude: Vec::new(),
            min_history_ms: 0,
            relative: true,
        }
    }
}

/// How a training went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows that were fitted or held out.
    pub rows_used: usize,
    /// Rows in excluded times.
    pub rows_excluded: usize,
    /// Rows that miss too many metrics, or came before there was a recent past.
    pub rows_skipped: usize,
    /// Fitted rows that the second fit left out.
    pub rows_trimmed: usize,
    /// First and last row, Unix milliseconds.
    pub from: i64,
    /// Last row.
    pub to: i64,
    /// Metrics that became features.
    pub metrics_used: Vec<String>,
    /// Metrics that never moved, or are settings: they are watched for change.
    pub metrics_constant: Vec<String>,
    /// Metrics that were missing too often.
    pub metrics_dropped: Vec<String>,
    /// Passes over the rows, of both fits.
    pub epochs: u32,
    /// What the model that is used does on the held-out rows.
    pub outcome: Outcome,
    /// What principal components do on the same rows, whatever the model is.
    pub pca: Outcome,
    /// Days of the rows that the backtest ran over, the later ones of those held out.
    pub backtest_days: f64,
}

/// A model on held-out rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Mean squared residual per feature.
    pub loss: f64,
    /// Where the threshold comes from: all held-out rows.
    pub threshold: Threshold,
    /// Alarms in the later held-out rows, with scale and threshold from the earlier ones alone: a threshold judged on the
    /// rows that set it keeps to any budget.
    pub alarms: usize,
}

/// Why nothing could be learned.
#[derive(Debug, Error, PartialEq)]
pub enum TrainError {
    /// Too few rows, or too short a time.
    #[error("there are {rows} rows over {} of usable history; {needed_rows} rows over {} are needed: wait {} longer", duration(*have_ms), duration(*needed_ms), duration(*missing_ms))]
    TooLittleHistory {
        /// Usable rows.
        rows: usize,
        /// Rows that are needed.
        needed_rows: usize,
        /// Time that they cover.
        have_ms: i64,
        /// Time that they must cover.
        needed_ms: i64,
        /// What is missing.
        missing_ms: i64,
    },
    /// Nothing moves.
    #[error(
        "none of the {constant} metrics ever changed ({dropped} more were missing): there is nothing to learn; check that the queries select a running database"
    )]
    Constant {
        /// Metrics that never moved.
        constant: usize,
        /// Metrics that were missing too often.
        dropped: usize,
    },
    /// Everything was missing.
    #[error("all {0} metrics were missing in most rows: check the queries and their labels")]
    Missing(usize),
    /// The budget is no number of alarms.
    #[error("a budget of {0} false alarms a week is none: it must be positive")]
    Budget(String),
}

/// Minutes, hours or days in words.
fn duration(ms: i64) -> String {
    let minutes = (ms as f64 / 60_000.0).ceil();
    match minutes {
        _ if minutes < 120.0 => format!("{minutes:.0} minutes"),
        _ if minutes < 48.0 * 60.0 => format!("{:.1} hours", minutes / 60.0),
        _ => format!("{:.1} days", minutes / 1440.0),
    }
}

/// Trains on rows that are mostly normal. `progress` hears of each epoch and its loss on rows apart from those that the
/// epoch saw; the passes of the second fit go on counting from the first's.
///
/// # Errors
/// There is too little history, or nothing in it moves.
pub fn train(
    matrix: &Matrix,
    options: &Options,
    progress: &mut dyn FnMut(u32, f64),
) -> Result<(Model, Summary), TrainError> {
    let budget = options.false_alarms_per_week;
    if !(budget.is_finite() && budget > 0.0) {
        return Err(TrainError::Budget(budget.to_string()));
    }
    let normal = matrix.without(&options.exclude);
    let rates = rates(&normal);
    let roles = Roles::of(&normal, &rates)?;
    let pipeline = Pipeline {
        step_ms: normal.step_ms(),
        kinds: normal.columns().iter().map(|column| column.kind).collect(),
        used: roles.used.clone(),
        relative: options.relative,
        season: None,
    };
    let rows = Rows::of(&normal, pipeline, &rates);
    check_history(&normal, &rows, options)?;

    let scales = rows.scales();
    let scaled = rows.scaled(&scales);
    let fitted = Fitted { rows: &rows, scaled: &scaled };
    let components = {
        let kept = fitted.trim(&fitted.components(&fitted.fit_rows()));
        fitted.components(&kept)
    };
    let (network, epochs) = match options.model_type {
        ModelType::Pca => (components.clone(), 0),
        ModelType::Autoencoder => {
            let first = fitted.autoencoder(&fitted.fit_rows(), options, 0, progress);
            let kept = fitted.trim(&first.network);
            let second = fitted.autoencoder(&kept, options, first.epochs, progress);
            (second.network, first.epochs + second.epochs)
        }
    };
    let base = |network: Dense, model_type| Model {
        model_type,
        metrics: normal.columns().iter().map(|column| (column.name.clone(), column.kind)).collect(),
        pipeline: rows.pipeline.clone(),
        scales: scales.clone(),
        network,
        variances: vec![1.0; rows.pipeline.width()],
        threshold: Threshold { score: 1.0, method: Method::EmpiricalQuantile, tail_points: 0, scores: 0 },
        constants: roles.constants.clone(),
        alarm: options.alarm.clone(),
        signatures: faults::shipped(),
        summary: Summary::default(),
    };
    let (mut model, outcome) = fitted.calibrate(base(network, options.model_type), &normal, budget);
    let pca = match options.model_type {
        ModelType::Pca => outcome.clone(),
        ModelType::Autoencoder => fitted.calibrate(base(components, ModelType::Pca), &normal, budget).1,
    };
    let named = |indices: &[usize]| indices.iter().map(|index| normal.columns()[*index].name.clone()).collect();
    let summary = Summary {
        rows_used: rows.index.len(),
        rows_excluded: matrix.rows() - normal.rows(),
        rows_skipped: normal.rows() - rows.index.len(),
        rows_trimmed: rows.fit - fitted.kept(),
        from: normal.times().iter().copied().min().unwrap_or_default(),
        to: normal.times().iter().copied().max().unwrap_or_default(),
        metrics_used: named(&roles.used),
        metrics_constant: named(&roles.constants.iter().map(|constant| constant.index).collect::<Vec<_>>()),
        metrics_dropped: named(&roles.dropped),
        epochs,
        outcome,
        pca,
        backtest_days: (rows.index.len() - fitted.tested()) as f64 * normal.step_ms() as f64 / DAY_MS,
    };
    model.summary = summary.clone();
    Ok((model, summary))
}

impl Default for Summary {
    fn default() -> Self {
        let threshold = Threshold { score: 1.0, method: Method::EmpiricalQuantile, tail_points: 0, scores: 0 };
        let outcome = Outcome { loss: 0.0, threshold, alarms: 0 };
        Self {
            rows_used: 0,
            rows_excluded: 0,
            rows_skipped: 0,
            rows_trimmed: 0,
            from: 0,
            to: 0,
            metrics_used: Vec::new(),
            metrics_constant: Vec::new(),
            metrics_dropped: Vec::new(),
            epochs: 0,
            pca: outcome.clone(),
            outcome,
            backtest_days: 0.0,
        }
    }
}

fn check_history(matrix: &Matrix, rows: &Rows, options: &Options) -> Result<(), TrainError> {
    let (have, step) = (rows.index.len(), matrix.step_ms());
    let have_ms = have as i64 * step;
    let needed_ms = options.min_history_ms.max(FEWEST_ROWS as i64 * step);
    // Who asks for a day of history has it, though an exporter was restarted within it and its newest rows are on their way.
    if have >= FEWEST_ROWS && have_ms >= options.min_history_ms - options.min_history_ms / MISSED {
        return Ok(());
    }
    let needed_rows = (needed_ms / step) as usize;
    Err(TrainError::TooLittleHistory { rows: have, needed_rows, have_ms, needed_ms, missing_ms: needed_ms - have_ms })
}

/// The rows as the network sees them.
pub(super) struct Fitted<'a> {
    pub rows: &'a Rows,
    pub scaled: &'a [Vec<f32>],
}

impl Fitted<'_> {
    fn fit_rows(&self) -> Vec<usize> {
        (0..self.rows.fit).collect()
    }

    /// Fitted rows that the second fit takes.
    fn kept(&self) -> usize {
        self.rows.fit - (self.rows.fit as f64 * TRIMMED) as usize
    }

    fn flat(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter().flat_map(|row| &self.scaled[*row]).copied().collect()
    }

    fn components(&self, rows: &[usize]) -> Dense {
        pca::fit(&self.flat(rows), self.rows.pipeline.width(), EXPLAINED)
    }

    fn autoencoder(
        &self,
        kept: &[usize],
        options: &Options,
        before: u32,
        progress: &mut dyn FnMut(u32, f64),
    ) -> autoencoder::Fitted {
        let split = kept.len() - (kept.len() as f64 * VALIDATED) as usize;
        let (rows, validation) = (self.flat(&kept[..split]), self.flat(&kept[split..]));
        let mut tell = |epoch: u32, loss: f64| progress(before + epoch, loss);
        autoencoder::fit(&rows, &validation, self.rows.pipeline.width(), &options.autoencoder, &mut tell)
    }

    /// The fitted rows without the worst reconstructed ones.
    fn trim(&self, network: &Dense) -> Vec<usize> {
        let error = |row: &usize| -> f32 {
            let scaled = &self.scaled[*row];
            network.forward(scaled).iter().zip(scaled).map(|(made, given)| (made - given).powi(2)).sum()
        };
        let mut worst: Vec<(usize, f32)> = self.fit_rows().iter().map(|row| (*row, error(row))).collect();
        worst.sort_by(|a, b| a.1.total_cmp(&b.1));
        worst.truncate(self.kept());
        let mut kept: Vec<usize> = worst.into_iter().map(|(row, _)| row).collect();
        kept.sort_unstable();
        kept
    }
}
