//! Aligned samples: a row per step, a column per metric. Rows belong to groups (separate runs); nothing that is
//! computed from earlier rows ever looks across the border of a group.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A pair of rows of a counter that lie further apart than this many steps has no rate: what happened between is unknown.
const WIDEST_STEPS: f64 = 2.5;

/// How the values of a metric are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Only grows, but for resets; what counts is its rate.
    Counter,
    /// A level of any size.
    Gauge,
    /// A level between 0 and 1.
    Ratio,
    /// A setting or the like: watched for change, never a feature.
    Config,
}

/// A metric over all rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Unique in the matrix.
    pub name: String,
    /// How to read the values.
    pub kind: Kind,
    /// One per row, NaN where missing; of a counter as it was read, not its rate.
    pub values: Vec<f64>,
}

/// Rows in the order of their groups and, within a group, of strictly increasing time.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    step_ms: i64,
    times: Vec<i64>,
    groups: Vec<u32>,
    columns: Vec<Column>,
    repeated: usize,
}

/// What can't be a matrix.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MatrixError {
    /// No column.
    #[error("there is no metric: name at least one numeric column or feature")]
    NoColumn,
    /// A name twice.
    #[error("metric {0:?} is there twice: give each a name of its own")]
    Twice(String),
    /// Lengths differ.
    #[error("metric {name:?} has {found} values for {rows} rows: give one per row, NaN where it is missing")]
    Length {
        /// Its name.
        name: String,
        /// Its values.
        found: usize,
        /// The rows.
        rows: usize,
    },
    /// No step.
    #[error("a step of {0} ms is none: it must be positive")]
    Step(i64),
}

impl Matrix {
    /// A matrix of rows in any order: they are sorted by time within their group. Of rows with the same time in a group
    /// the first counts. `times` are Unix milliseconds, infinite values are missing ones.
    ///
    /// # Errors
    /// Lengths differ, a name is there twice, or there is no column or no step.
    pub fn new(step_ms: i64, times: Vec<i64>, groups: Vec<u32>, columns: Vec<Column>) -> Result<Self, MatrixError> {
        if step_ms <= 0 {
            return Err(MatrixError::Step(step_ms));
        }
        if columns.is_empty() {
            return Err(MatrixError::NoColumn);
        }
        let rows = times.len();
        if groups.len() != rows {
            return Err(MatrixError::Length { name: "group".into(), found: groups.len(), rows });
        }
        let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(MatrixError::Twice(pair[0].to_owned()));
        }
        for Column { name, values, .. } in &columns {
            if values.len() != rows {
                return Err(MatrixError::Length { name: name.clone(), found: values.len(), rows });
            }
        }
        let mut order: Vec<usize> = (0..rows).collect();
        // Stable: of equal times the first stays the first.
        order.sort_by_key(|row| (groups[*row], times[*row]));
        order.dedup_by_key(|row| (groups[*row], times[*row]));
        let pick = |values: &[f64]| {
            order.iter().map(|row| Some(values[*row]).filter(|value| value.is_finite()).unwrap_or(f64::NAN)).collect()
        };
        let columns =
            columns.into_iter().map(|column| Column { values: pick(&column.values), ..column }).collect::<Vec<_>>();
        Ok(Self {
            step_ms,
            repeated: rows - order.len(),
            times: order.iter().map(|row| times[*row]).collect(),
            groups: order.iter().map(|row| groups[*row]).collect(),
            columns,
        })
    }

    /// The usual distance of two rows in milliseconds.
    pub fn step_ms(&self) -> i64 {
        self.step_ms
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// Time of each row in Unix milliseconds.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// Group of each row.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// The metrics.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Rows that were left out because their group already had one of the same time.
    pub fn repeated(&self) -> usize {
        self.repeated
    }

    /// The values of a row, one per column.
    pub fn row(&self, row: usize) -> Vec<f64> {
        self.columns.iter().map(|column| column.values[row]).collect()
    }

    /// The same without rows in any of the ranges (Unix milliseconds, both ends included). What lies before and after a
    /// range become groups of their own: a fault's end is no start of a baseline.
    pub fn without(&self, ranges: &[(i64, i64)]) -> Self {
        let excluded = |time: i64| ranges.iter().any(|(from, to)| (*from..=*to).contains(&time));
        let (mut kept, mut groups, mut group, mut cut) = (Vec::new(), Vec::new(), 0, false);
        for row in 0..self.rows() {
            if excluded(self.times[row]) {
                cut = true;
                continue;
            }
            let other = kept.last().is_some_and(|last: &usize| self.groups[*last] != self.groups[row]);
            if other || (cut && !kept.is_empty()) {
                group += 1;
            }
            cut = false;
            kept.push(row);
            groups.push(group);
        }
        self.select(&kept, groups)
    }

    fn select(&self, rows: &[usize], groups: Vec<u32>) -> Self {
        let columns = self
            .columns
            .iter()
            .map(|column| Column { values: rows.iter().map(|row| column.values[*row]).collect(), ..column.clone() });
        Self {
            step_ms: self.step_ms,
            repeated: self.repeated,
            times: rows.iter().map(|row| self.times[*row]).collect(),
            groups,
            columns: columns.collect(),
        }
    }
}

/// Counters to rates per second, row after row.
#[derive(Clone, Debug)]
pub struct Rates {
    kinds: Vec<Kind>,
    step_ms: i64,
    last: Option<(i64, Vec<f64>)>,
}

impl Rates {
    /// For rows of metrics of these kinds.
    pub fn new(kinds: Vec<Kind>, step_ms: i64) -> Self {
        Self { kinds, step_ms, last: None }
    }

    /// The next row of the same group, at a later time than the one before. A counter that has no row before, fell (a
    /// reset), or comes after a gap has no rate: it is missing, never a spike.
    pub fn push(&mut self, time: i64, mut row: Vec<f64>) -> Vec<f64> {
        let raw = row.clone();
        for (index, value) in row.iter_mut().enumerate().filter(|(index, _)| self.kinds[*index] == Kind::Counter) {
            let rate = self.last.as_ref().and_then(|(before, last)| {
                let gap = (time - before) as f64;
                let near = gap > 0.0 && gap <= WIDEST_STEPS * self.step_ms as f64;
                (near && *value >= last[index]).then(|| (*value - last[index]) / (gap / 1000.0))
            });
            *value = rate.unwrap_or(f64::NAN);
        }
        self.last = Some((time, raw));
        row
    }

    /// Forgets the row before: the next one begins a group.
    pub fn restart(&mut self) {
        self.last = None;
    }
}
