//! What a trained model is told by rows that it was not fitted to: how large its residuals usually are, where its threshold
//! lies, and how many alarms it would have raised.

use std::ops::Range;
use std::sync::Arc;

use super::alarm::{Alarm, Transition};
use super::matrix::Matrix;
use super::model::Model;
use super::scale::median;
use super::score::{self, Scorer};
use super::threshold;
use super::train::{DAY_MS, Fitted, Outcome};

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

impl Fitted<'_> {
    /// The first row that the backtest runs over.
    pub fn tested(&self) -> usize {
        self.rows.fit + ((self.rows.index.len() - self.rows.fit) as f64 * CALIBRATED) as usize
    }

    /// The model with variances and threshold from the held-out rows, and what it does on them.
    pub fn calibrate(&self, model: Model, matrix: &Matrix, budget: f64) -> (Model, Outcome) {
        let judged = self.calibrated(model.clone(), matrix, budget, self.rows.fit..self.tested());
        let alarms = backtest(&judged, matrix, self.rows.index[self.tested()..].iter().copied());
        let model = self.calibrated(model, matrix, budget, self.rows.fit..self.rows.index.len());
        let loss = model.variances.iter().sum::<f64>() / model.variances.len() as f64;
        let threshold = model.threshold.clone();
        (model, Outcome { loss, threshold, alarms })
    }

    /// The model with variances and threshold from these rows.
    fn calibrated(&self, model: Model, matrix: &Matrix, budget: f64, held: Range<usize>) -> Model {
        let days = held.len() as f64 * matrix.step_ms() as f64 / DAY_MS;
        // Whatever there is in less than a day may come every day.
        let held =
            if days < 1.0 { held.collect() } else { self.without_untold(&model, held.collect(), budget * days / 7.0) };
        let mut model = self.with_variances(model, &held, mean);
        let runs = self.levels(&model, matrix, &held);
        // Fewer held-out rows than an alarm looks at can't be: there are at least 18.
        if let Some(threshold) = threshold::calibrate(&runs, matrix.step_ms(), budget, score::highest()) {
            model.threshold = threshold;
        }
        model.threshold.score = model.threshold.score.max(f64::MIN_POSITIVE);
        model
    }

    /// These rows but for those that are as unusual as a row can be: a fault of which nobody told would be the measure of all
    /// that follow. What comes more often than the budget has alarms, every night say, is no such fault, and stays.
    fn without_untold(&self, model: &Model, held: Vec<usize>, budget: f64) -> Vec<usize> {
        // By the median, which what is to be found does not move.
        let robust = |squares: Vec<f64>| median(squares).map(|middle| middle / MEDIAN_OF_SQUARE);
        let model = self.with_variances(model.clone(), &held, robust);
        let score = |row: usize| score::combine(&score::parts(&model, &self.scaled[row], &self.rows.deviations[row]));
        let (usual, unusual): (Vec<usize>, Vec<usize>) =
            held.iter().partition(|row| score(**row) < SATURATED * score::highest());
        let episodes = 1 + unusual.windows(2).filter(|pair| pair[1] - pair[0] > EPISODE_ROWS).count();
        let few = episodes as f64 <= budget.ceil() && unusual.len() as f64 <= UNTOLD * held.len() as f64;
        if few { usual } else { held }
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
