//! Learning what is normal, from rows that are mostly so: the earlier rows are fitted, the later ones set the scale of
//! residuals and the threshold. Of these, the earlier half says how the threshold does on the later one.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::alarm::{self, Alarm, Transition};
use super::faults;
use super::matrix::Matrix;
use super::model::{Model, ModelType};
use super::pipeline::Pipeline;
use super::rows::{Roles, Rows, rates};
use super::scale::median;
use super::score::{self, Scorer};
use super::threshold::{self, Method, Threshold};
use crate::learn::dense::Dense;
use crate::learn::torch::{autoencoder, pca};

/// Share of the fitted rows, the latest, on which early stopping looks.
const VALIDATED: f64 = 0.15;
/// Share of the fitted rows, the worst reconstructed, that is left out of the second fit.
const TRIMMED: f64 = 0.01;
/// Share of the held-out rows, the earliest, that sets the threshold of the backtest, which runs over the rest.
const CALIBRATED: f64 = 0.5;
/// A held-out row is as unusual as one can be from this share of the highest score on; those that are no further apart than
/// so many rows are one episode.
const SATURATED: f64 = 0.75;
const EPISODE_ROWS: usize = 20;
/// Median of the square of a standard normal variable.
const MEDIAN_OF_SQUARE: f64 = 0.4549;
/// Share of the held-out rows that may be left out for it: more of them are how the database is.
const UNTOLD: f64 = 0.1;
/// Variance that the principal components explain.
const EXPLAINED: f64 = 0.9;
/// Rows without which nothing can be learned, whatever their step.
pub const FEWEST_ROWS: usize = 120;
/// One row of so many may be missing from the history that is asked for.
const MISSED: i64 = 50;
const DAY_MS: f64 = 24.0 * 3_600_000.0;

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
struct Fitted<'a> {
    rows: &'a Rows,
    scaled: &'a [Vec<f32>],
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

    /// The first row that the backtest runs over.
    fn tested(&self) -> usize {
        self.rows.fit + ((self.rows.index.len() - self.rows.fit) as f64 * CALIBRATED) as usize
    }

    /// The model with variances and threshold from the held-out rows, and what it does on them.
    fn calibrate(&self, model: Model, matrix: &Matrix, budget: f64) -> (Model, Outcome) {
        let judged = self.calibrated(model.clone(), matrix, budget, self.rows.fit..self.tested());
        let alarms = backtest(&judged, matrix, self.rows.index[self.tested()..].iter().copied());
        let model = self.calibrated(model, matrix, budget, self.rows.fit..self.rows.index.len());
        let loss = model.variances.iter().sum::<f64>() / model.variances.len() as f64;
        let threshold = model.threshold.clone();
        (model, Outcome { loss, threshold, alarms })
    }

    /// The model with variances and threshold from these rows, but for those that are as unusual as a row can be: a fault of
    /// which nobody told would be the measure of all that follow. What comes more often than the budget has alarms, every
    /// night say, is no such fault, and counts; so does whatever there is in less than a day, which may come every day.
    fn calibrated(&self, model: Model, matrix: &Matrix, budget: f64, held: Range<usize>) -> Model {
        let all: Vec<usize> = held.collect();
        // By the median, which what is to be found does not move.
        let robust = |squares: Vec<f64>| median(squares).map(|middle| middle / MEDIAN_OF_SQUARE);
        let mut model = self.with_variances(model, &all, robust);
        let score = |row: usize| score::combine(&score::parts(&model, &self.scaled[row], &self.rows.deviations[row]));
        let (usual, unusual): (Vec<usize>, Vec<usize>) =
            all.iter().partition(|row| score(**row) < SATURATED * score::highest());
        let episodes = 1 + unusual.windows(2).filter(|pair| pair[1] - pair[0] > EPISODE_ROWS).count();
        let days = all.len() as f64 * matrix.step_ms() as f64 / DAY_MS;
        let few = days >= 1.0
            && episodes as f64 <= (budget * days / 7.0).ceil()
            && unusual.len() as f64 <= UNTOLD * all.len() as f64;
        let held = if few { usual } else { all };
        model = self.with_variances(model, &held, mean);
        let runs = self.levels(&model, matrix, &held);
        // Fewer held-out rows than an alarm looks at can't be: there are at least 18.
        if let Some(threshold) = threshold::calibrate(&runs, matrix.step_ms(), budget, score::highest()) {
            model.threshold = threshold;
        }
        model.threshold.score = model.threshold.score.max(f64::MIN_POSITIVE);
        model
    }

    /// The model with the usual sizes of its residuals in these rows, each from the squares of one feature. Of a value that
    /// is missing nothing is known, least of all that it is reconstructed without an error.
    fn with_variances(&self, mut model: Model, held: &[usize], usual: fn(Vec<f64>) -> Option<f64>) -> Model {
        let mut squares = vec![Vec::with_capacity(held.len()); model.variances.len()];
        for row in held {
            let deviations = &self.rows.deviations[*row];
            let residuals = score::residuals(&model, &self.scaled[*row], deviations);
            let present = squares.iter_mut().zip(residuals).zip(deviations).filter(|(_, value)| !value.is_nan());
            present.for_each(|((squares, square), _)| squares.push(square));
        }
        // A metric without a value in all these rows is taken for one that is as hard to reconstruct as it varies.
        model.variances = squares.into_iter().map(|squares| usual(squares).unwrap_or(1.0)).collect();
        model
    }

    /// The level at which an alarm would be raised after each held-out row, run after run: of the last n smoothed
    /// scores the k-th largest.
    fn levels(&self, model: &Model, matrix: &Matrix, held: &[usize]) -> Vec<Vec<f64>> {
        let group_of = |row: usize| matrix.groups()[self.rows.index[row]];
        let mut groups: Vec<u32> = held.iter().map(|row| group_of(*row)).collect();
        groups.sort_unstable();
        groups.dedup();
        let alarm = &model.alarm;
        let run = |group: &u32| {
            let mut smoothed = None;
            let mut scores = Vec::new();
            for row in held.iter().copied().filter(|row| group_of(*row) == *group) {
                let parts = score::parts(model, &self.scaled[row], &self.rows.deviations[row]);
                smoothed = Some(score::smooth(smoothed, score::combine(&parts)));
                scores.extend(smoothed);
            }
            let level = |window: &[f64]| {
                let mut sorted = window.to_vec();
                sorted.sort_by(|a, b| b.total_cmp(a));
                sorted[alarm.at_least.min(sorted.len()) - 1]
            };
            scores.windows(alarm.of.min(scores.len()).max(1)).map(level).collect()
        };
        groups.iter().map(run).collect()
    }
}

fn mean(values: Vec<f64>) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Alarms that the model would have raised over these rows of the matrix, pushed one after another as in operation.
fn backtest(model: &Model, matrix: &Matrix, rows: impl Iterator<Item = usize>) -> usize {
    let mut rows: Vec<usize> = rows.collect();
    rows.sort_unstable();
    let mut scorer = Scorer::new(Arc::new(model.clone()));
    let mut alarm = Alarm::new(model.alarm.clone());
    let mut alarms = 0;
    let mut group = None;
    for row in rows {
        if group.is_some_and(|group| group != matrix.groups()[row]) {
            scorer.restart();
            alarm = Alarm::new(model.alarm.clone());
        }
        group = Some(matrix.groups()[row]);
        let scored = scorer.push(matrix.times()[row], &matrix.row(row));
        let raised = alarm.push(scored.time, scored.score);
        alarms += usize::from(matches!(raised, Some(Transition::Raised { .. })));
    }
    alarms
}
