//! Row after row: how unusual it is, and which metrics make it so.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alarm::CLEAR_BELOW;
use super::faults::CACHE_READS;
use super::matrix::Kind;
use super::model::Model;
use super::pipeline::{Row, Stream, WARM_UP};
use super::watch::{Departure, Watch};

/// Weight of the newest row in the smoothed score.
const SMOOTHING: f64 = 0.5;
/// A feature's squared residual counts as at most this many times its usual size.
const MOST: f64 = 36.0;
/// A residual of less than this, in units of the metric's usual size, is nothing: a feature that the model reconstructs
/// all but exactly would else turn rounding into alarms.
const LEAST_VARIANCE: f64 = 0.1;
/// Features of the second part of the score, as a share of all: what moves a fifth of them must not drown in the mean,
/// and what moves two or three, as somebody's login does, is not yet an anomaly.
const TOP_SHARE: f64 = 0.2;
const TOP_LEAST: usize = 3;
/// The metrics that tell when the server was started, and whether it answers.
const START_TIME: &str = "postmaster_start_time";
const SERVER_UP: &str = "server_up";
/// A server that was started anew fills its cache for so long, in milliseconds.
const COLD_MS: i64 = 600_000;
/// A move of a ratio by a fifth counts as much as another metric's by a factor of e.
const MOVE_OF_RATIO: f64 = 5.0;
/// A metric has departed from its usual value from this deviation on, and is back below the second.
const ONSET: f64 = 3.0;
const OFFSET: f64 = 1.5;

/// Direction in which a metric moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Above what was expected.
    Up,
    /// Below.
    Down,
}

/// A metric's part in a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The metric.
    pub metric: String,
    /// How its values are to be read; a counter's are rates per second.
    pub kind: Kind,
    /// Its value.
    pub now: f64,
    /// What it usually is; none where nothing is known yet.
    pub expected: Option<f64>,
    /// Where it moved.
    pub direction: Direction,
    /// Its share in what moved, between 0 and 1: how unusual by how far, so that of many metrics that are all beyond
    /// doubt the one that moved farthest comes first.
    pub share: f64,
    /// Since when it has departed from its usual value, Unix milliseconds; none while it has not.
    pub onset: Option<i64>,
}

/// Why a row was not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SkipReason {
    /// More than a fifth of its metrics are missing.
    DataIncomplete,
    /// There is not enough recent past to compare with.
    WarmUp,
    /// Its time is not later than that of the row before: a clock went backwards, or the row came twice.
    NotLater,
}

/// What is said of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Unix milliseconds.
    pub time: i64,
    /// How unusual; 1 is the threshold. None when the row was not judged.
    pub score: Option<f64>,
    /// Why not.
    pub skipped: Option<SkipReason>,
    /// All metrics with a value, by descending share.
    pub contributions: Vec<Contribution>,
    /// Deviation of each metric in units of its usual size, in the order of [`Scorer::names`]; NaN where missing.
    pub deviations: Vec<f64>,
    /// Watched constants that moved with this row.
    pub departures: Vec<Departure>,
}

/// A model at work on rows that follow each other. Its state comes from the rows alone: whoever pushes the rows of the
/// last [`Scorer::memory_ms`] before a moment (and, in an incident, before its begin) is where it would have been.
#[derive(Clone, Debug)]
pub struct Scorer {
    model: Arc<Model>,
    stream: Stream,
    watch: Watch,
    smoothed: Option<f64>,
    last: Option<i64>,
    onsets: Vec<Option<i64>>,
    /// Until this time what a cold cache reads is no wonder. Unix milliseconds.
    cold_until: i64,
    /// Rows before this enter the recent past whatever their score, as they do in a training. Unix milliseconds.
    learns_until: i64,
}

impl Scorer {
    /// Begins with nothing known of the past.
    pub fn new(model: Arc<Model>) -> Self {
        let stream = model.pipeline.stream();
        let watch = Watch::new(model.metrics.clone(), model.constants.clone());
        let onsets = vec![None; model.pipeline.used.len()];
        let (cold_until, learns_until) = (i64::MIN, i64::MIN);
        Self { stream, watch, smoothed: None, last: None, onsets, cold_until, learns_until, model }
    }

    /// Takes every row before a time for the past that later ones are compared with. Without it a history that begins with
    /// something unusual (a database that is being filled) would be the measure of all that follows, for ever.
    #[must_use]
    pub fn learning_until(self, time: i64) -> Self {
        Self { learns_until: time, ..self }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The metrics in the order of deviations: those that are scored, then those that were constant.
    pub fn names(&self) -> Vec<String> {
        let used = self.model.pipeline.used.iter().map(|index| &self.model.metrics[*index].0);
        used.chain(self.watch.names()).cloned().collect()
    }

    /// How far back the rows reach that a score depends on.
    pub fn memory_ms(&self) -> i64 {
        2 * self.model.pipeline.window_rows() as i64 * self.model.pipeline.step_ms
    }

    /// Begins another run: nothing of the past counts for it.
    pub fn restart(&mut self) {
        *self = Self::new(self.model.clone()).learning_until(self.learns_until);
    }

    /// Judges the next row: one value per metric of the model as it was read (a counter's count), NaN where missing.
    /// A row that would keep an alarm standing does not enter the recent past that the next ones are compared with: a fault
    /// that wavers about the threshold must not become what it is measured against.
    pub fn push(&mut self, time: i64, raw: &[f64]) -> Scored {
        let mut scored = Scored {
            time,
            score: None,
            skipped: None,
            contributions: Vec::new(),
            deviations: Vec::new(),
            departures: Vec::new(),
        };
        if self.last.is_some_and(|last| time <= last) {
            scored.skipped = Some(SkipReason::NotLater);
            return scored;
        }
        self.last = Some(time);
        let raw: Vec<f64> = raw.iter().map(|value| if value.is_finite() { *value } else { f64::NAN }).collect();
        let (mut row, rates) = self.stream.push(time, raw);
        scored.departures = self.watch.push(time, &rates);
        if is_plain_restart(&scored.departures) {
            self.cold_until = time + COLD_MS;
        }
        if row.begins_anew {
            // As with the first rows of all: who knows what they are.
            let span = self.model.pipeline.window_rows() as i64 * self.model.pipeline.step_ms;
            self.learns_until = self.learns_until.max(time + span);
        }
        if !row.is_complete() {
            scored.skipped = Some(SkipReason::DataIncomplete);
            return scored;
        }
        if self.model.pipeline.relative && row.baseline_rows < WARM_UP {
            scored.skipped = Some(SkipReason::WarmUp);
            self.stream.accept(time, row.levels);
            return scored;
        }
        if time < self.cold_until {
            self.pass_over_cold_reads(&mut row.deviations);
        }
        let scaled = scale(&self.model, &row.deviations);
        let parts = parts(&self.model, &scaled, &row.deviations);
        let score = combine(&parts) / self.model.threshold.score;
        let smoothed = smooth(self.smoothed, score);
        self.smoothed = Some(smoothed);
        scored.score = Some(smoothed);
        scored.deviations = self.deviations(&scaled, &row);
        self.mark_onsets(time, &scored.deviations);
        scored.contributions = self.contributions(&row, &parts, &scored.deviations);
        if score < CLEAR_BELOW || time < self.learns_until {
            self.stream.accept(time, row.levels);
        }
        scored
    }

    /// What the cache lacks after a restart is read from the disk: that is told as a change, and is no anomaly by itself. The
    /// model takes these metrics for missing, so that it reconstructs no others from them.
    fn pass_over_cold_reads(&self, deviations: &mut [f64]) {
        let used = &self.model.pipeline.used;
        for (feature, deviation) in deviations.iter_mut().enumerate() {
            if CACHE_READS.contains(&self.model.metrics[used[feature % used.len()]].0.as_str()) {
                *deviation = f64::NAN;
            }
        }
    }

    /// The deviation of each metric: of its views, the one that moved less, so that neither drift nor the hour of the week
    /// alone counts as a move.
    fn deviations(&self, scaled: &[f32], row: &Row) -> Vec<f64> {
        let used = self.model.pipeline.used.len();
        let of = |metric: usize| {
            if row.values[metric].is_nan() {
                return f64::NAN;
            }
            // An hour that nobody has seen yet says nothing of the metric.
            let known = |feature: &usize| !row.deviations[*feature].is_nan();
            let views = (metric..scaled.len()).step_by(used).filter(known).map(|feature| f64::from(scaled[feature]));
            views.min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(f64::NAN)
        };
        (0..used).map(of).chain(self.watch.deviations()).collect()
    }

    fn mark_onsets(&mut self, time: i64, deviations: &[f64]) {
        for (onset, deviation) in self.onsets.iter_mut().zip(deviations) {
            if deviation.abs() >= ONSET {
                onset.get_or_insert(time);
            } else if deviation.abs() < OFFSET {
                *onset = None;
            }
        }
    }

    fn contributions(&self, row: &Row, parts: &[f64], deviations: &[f64]) -> Vec<Contribution> {
        let pipeline = &self.model.pipeline;
        let used = pipeline.used.len();
        let weights: Vec<f64> = parts
            .iter()
            .zip(&row.deviations)
            .enumerate()
            .map(|(feature, (part, deviation))| {
                let unit = if pipeline.kind(feature % used) == Kind::Ratio { MOVE_OF_RATIO } else { 1.0 };
                if deviation.is_nan() { 0.0 } else { part * deviation.abs() * unit }
            })
            .collect();
        let total: f64 = weights.iter().sum();
        let of = |metric: usize| {
            let part: f64 = weights.iter().skip(metric).step_by(used).sum();
            let (now, expected) = (row.values[metric], row.expected_value(pipeline, metric));
            let down = expected.map_or(deviations[metric] < 0.0, |expected| now < expected);
            Contribution {
                metric: self.model.metrics[pipeline.used[metric]].0.clone(),
                kind: pipeline.kind(metric),
                now,
                expected,
                direction: if down { Direction::Down } else { Direction::Up },
                share: if total > 0.0 { part / total } else { 0.0 },
                onset: self.onsets[metric],
            }
        };
        let mut all: Vec<Contribution> = (0..used).filter(|metric| !row.values[*metric].is_nan()).map(of).collect();
        all.sort_by(|a, b| b.share.total_cmp(&a.share));
        all
    }
}

/// The server was started anew, and no setting is another one than before.
fn is_plain_restart(departures: &[Departure]) -> bool {
    let mut moved = departures.iter().filter(|moved| moved.kind == Kind::Config && moved.metric != SERVER_UP);
    moved.next().is_some_and(|first| first.metric == START_TIME) && moved.next().is_none()
}

/// Deviations in units of their usual size, as the network takes them: 0 for a missing one.
pub(super) fn scale(model: &Model, deviations: &[f64]) -> Vec<f32> {
    model.scales.iter().zip(deviations).map(|(scale, deviation)| scale.apply(*deviation) as f32).collect()
}

/// Each feature's squared residual in units of its usual size; 0 for a missing one.
pub(super) fn parts(model: &Model, scaled: &[f32], deviations: &[f64]) -> Vec<f64> {
    let residuals = residuals(model, scaled, deviations);
    residuals
        .iter()
        .zip(&model.variances)
        .map(|(square, usual)| (square / usual.max(LEAST_VARIANCE)).min(MOST))
        .collect()
}

/// Each feature's squared residual; 0 for a missing one.
pub(super) fn residuals(model: &Model, scaled: &[f32], deviations: &[f64]) -> Vec<f64> {
    let made = model.network.forward(scaled);
    let square = |((made, given), deviation): ((f32, &f32), &f64)| {
        if deviation.is_nan() { 0.0 } else { f64::from(made - given).powi(2) }
    };
    made.into_iter().zip(scaled).zip(deviations).map(square).collect()
}

/// One number: the root of mean plus mean of the largest.
pub(super) fn combine(parts: &[f64]) -> f64 {
    let count = parts.len().max(1) as f64;
    let top = ((parts.len() as f64 * TOP_SHARE) as usize).max(TOP_LEAST).min(parts.len());
    let mut sorted = parts.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let largest = sorted.iter().take(top).sum::<f64>() / top.max(1) as f64;
    (parts.iter().sum::<f64>() / count + largest).sqrt()
}

/// The highest number that [`combine`] gives.
pub(super) fn highest() -> f64 {
    (2.0 * MOST).sqrt()
}

/// Exponentially weighted moving average.
pub(super) fn smooth(before: Option<f64>, score: f64) -> f64 {
    before.map_or(score, |before| before + SMOOTHING * (score - before))
}
