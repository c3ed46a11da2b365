//! From samples to deviations: rates, logarithms, and the views of each metric that drift does not move: its distance
//! from its recent median, and from what is usual at this hour.

use serde::{Deserialize, Serialize};

use super::matrix::{Kind, Rates};
use super::scale::{compress, restore};
use super::season::Season;
use super::window::Window;

/// The recent past.
const RECENT_MS: i64 = 45 * 60_000;
/// Rows of the recent past, whatever the step.
const RECENT_ROWS: std::ops::RangeInclusive<i64> = 24..=720;
/// Rows without which there is no recent past to compare with.
pub const WARM_UP: usize = 3;
/// Variance of a median relative to that of a mean of as many normal numbers: π/2.
const MEDIAN_VARIANCE: f64 = std::f64::consts::FRAC_PI_2;
/// A row that misses more than this share of its metrics is not judged.
pub const MOST_MISSING: f64 = 0.2;

/// How rows become features. Features come view by view: all used metrics in the first, then in the second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Usual distance of two rows.
    pub step_ms: i64,
    /// Kind of every metric of a row.
    pub kinds: Vec<Kind>,
    /// The metrics that become features, as positions in a row.
    pub used: Vec<usize>,
    /// Whether levels are compared with the recent past. Off only to show what that is worth.
    pub relative: bool,
    /// What is usual at this hour, once there is enough history; by position in `used`.
    pub season: Option<Season>,
}

/// A row on its way to the model.
#[derive(Clone, Debug)]
pub struct Row {
    /// Value of each used metric (a rate, of a counter), NaN where missing.
    pub values: Vec<f64>,
    /// The same, compressed.
    pub levels: Vec<f64>,
    /// What each used metric is compared with, compressed; NaN where there is nothing yet.
    pub expected: Vec<f64>,
    /// The features: deviations, NaN where missing.
    pub deviations: Vec<f64>,
    /// Share of used metrics that are missing.
    pub missing: f64,
    /// Rows of the recent past.
    pub baseline_rows: usize,
    /// After a long pause the recent past begins with this row.
    pub begins_anew: bool,
}

/// The pipeline at work on rows that follow each other.
#[derive(Clone, Debug)]
pub struct Stream {
    pipeline: Pipeline,
    rates: Rates,
    window: Window,
    /// The newest row that could be judged: rows without values leave the past where it is.
    last: Option<i64>,
    /// The newest row of the window.
    accepted: Option<i64>,
}

impl Pipeline {
    /// Rows of the recent past.
    pub fn window_rows(&self) -> usize {
        (RECENT_MS / self.step_ms).clamp(*RECENT_ROWS.start(), *RECENT_ROWS.end()) as usize
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.used.len() * (1 + usize::from(self.season.is_some()))
    }

    /// Kind of a used metric.
    pub fn kind(&self, used: usize) -> Kind {
        self.kinds[self.used[used]]
    }

    /// How far each used metric usually moves between the middle of a window that ended at `accepted` and `time`, compressed.
    /// None for a past that is still recent. What an anomaly is measured against is kept for as long as it lasts, and
    /// meanwhile a day goes by: what would have moved anyway must not keep it from ending.
    fn moved(&self, accepted: i64, time: i64) -> Option<Vec<f64>> {
        let span = self.window_rows() as i64 * self.step_ms;
        let season = self.season.as_ref().filter(|_| time - accepted > span)?;
        let usual = |used: usize| Some(season.usual(used, time)? - season.usual(used, accepted - span / 2)?);
        Some((0..self.used.len()).map(|used| usual(used).unwrap_or_default()).collect())
    }

    /// Begins a group.
    pub fn stream(&self) -> Stream {
        Stream {
            rates: Rates::new(self.kinds.clone(), self.step_ms),
            window: Window::new(self.used.len(), self.window_rows()),
            last: None,
            accepted: None,
            pipeline: self.clone(),
        }
    }
}

impl Stream {
    /// The next row, later than the one before: all its metrics as they were read. Returned beside all metrics with
    /// counters as rates.
    pub fn push(&mut self, time: i64, raw: Vec<f64>) -> (Row, Vec<f64>) {
        let pipeline = &self.pipeline;
        let all = self.rates.push(time, raw);
        let values: Vec<f64> = pipeline.used.iter().map(|index| all[*index]).collect();
        let levels: Vec<f64> = values.iter().enumerate().map(|(used, v)| compress(pipeline.kind(used), *v)).collect();
        let missing = values.iter().filter(|value| value.is_nan()).count() as f64 / values.len().max(1) as f64;
        // After a pause of twice the window the past is no longer recent. Rows that are not taken in, since something is
        // wrong, are no pause: a long anomaly is measured against what was before it.
        let span = pipeline.window_rows() as i64 * pipeline.step_ms;
        let begins_anew = missing <= MOST_MISSING && self.last.replace(time).is_some_and(|last| time - last > 2 * span);
        if begins_anew {
            self.window.clear();
        }
        let moved = self.accepted.and_then(|accepted| pipeline.moved(accepted, time));
        let median = |used: usize| {
            let (median, rows) = self.window.median(used)?;
            Some((median + moved.as_ref().map_or(0.0, |moved| moved[used]), rows))
        };
        let medians: Vec<Option<(f64, usize)>> = (0..levels.len()).map(median).collect();
        let expected = medians.iter().map(|median| median.map_or(f64::NAN, |(median, _)| median)).collect();
        let recent = levels.iter().zip(&medians).map(|(level, median)| match median {
            _ if !pipeline.relative => *level,
            // The median of few rows is itself uncertain: what it adds to the deviation's variance is taken out.
            Some((median, rows)) => (level - median) / (1.0 + MEDIAN_VARIANCE / *rows as f64).sqrt(),
            None => f64::NAN,
        });
        let mut deviations: Vec<f64> = recent.collect();
        if let Some(season) = &pipeline.season {
            let usual = |used: usize| season.usual(used, time).unwrap_or(f64::NAN);
            deviations.extend(levels.iter().enumerate().map(|(used, level)| level - usual(used)));
        }
        let baseline_rows = self.window.rows();
        (Row { values, levels, expected, deviations, missing, baseline_rows, begins_anew }, all)
    }

    /// Takes the levels of the row at `time` into the recent past, which it brings to where it would be by now.
    pub fn accept(&mut self, time: i64, levels: Vec<f64>) {
        if let Some(by) = self.accepted.replace(time).and_then(|accepted| self.pipeline.moved(accepted, time)) {
            self.window.shift(&by);
        }
        self.window.push(levels);
    }

    /// Begins another group.
    pub fn restart(&mut self) {
        self.rates.restart();
        self.window.clear();
        (self.last, self.accepted) = (None, None);
    }
}

impl Row {
    /// What a used metric is compared with, in its own unit; none where there is nothing yet.
    pub fn expected_value(&self, pipeline: &Pipeline, used: usize) -> Option<f64> {
        Some(restore(pipeline.kind(used), self.expected[used])).filter(|value| value.is_finite())
    }

    /// Whether it can be judged, as far as its metrics go.
    pub fn is_complete(&self) -> bool {
        self.missing <= MOST_MISSING
    }
}
