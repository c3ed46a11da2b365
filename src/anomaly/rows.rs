//! The rows that a training learns from, and what becomes of each metric.

use super::matrix::{Kind, Matrix, Rates};
use super::pipeline::{Pipeline, WARM_UP};
use super::scale::{Scale, compress, median};
use super::season::Season;
use super::train::{FEWEST_ROWS, TrainError};
use super::watch::{Constant, is_same};

/// Share of the rows, the earliest, that is fitted; the rest is held out.
const FITTED: f64 = 0.7;
/// Of so many parts of the history the last one says what is still there.
const NEWEST: usize = 10;

/// Whether a metric is missing in most rows, or in most of the newest: what is gone by now would be missing in every row to
/// come.
pub fn is_missing(values: &[f64]) -> bool {
    let mostly = |values: &[f64]| 2 * values.iter().filter(|value| value.is_nan()).count() > values.len();
    mostly(values) || mostly(&values[values.len() - values.len() / NEWEST..])
}

/// All metrics of all rows, counters as rates.
pub(super) fn rates(matrix: &Matrix) -> Vec<Vec<f64>> {
    let mut rates = Rates::new(matrix.columns().iter().map(|column| column.kind).collect(), matrix.step_ms());
    let row = |row: usize| {
        if row > 0 && matrix.groups()[row] != matrix.groups()[row - 1] {
            rates.restart();
        }
        rates.push(matrix.times()[row], matrix.row(row))
    };
    (0..matrix.rows()).map(row).collect()
}

/// What becomes of each metric, by position.
pub(super) struct Roles {
    pub used: Vec<usize>,
    pub constants: Vec<Constant>,
    pub dropped: Vec<usize>,
}

impl Roles {
    pub fn of(matrix: &Matrix, rates: &[Vec<f64>]) -> Result<Self, TrainError> {
        let mut roles = Self { used: Vec::new(), constants: Vec::new(), dropped: Vec::new() };
        for (index, column) in matrix.columns().iter().enumerate() {
            let values: Vec<f64> = rates.iter().map(|row| row[index]).collect();
            let fits = column.kind == Kind::Config || !is_missing(&values);
            let present: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
            let Some(last) = present.last().filter(|_| fits) else {
                roles.dropped.push(index);
                continue;
            };
            if column.kind == Kind::Config || present.iter().all(|value| is_same(*value, *last)) {
                roles.constants.push(Constant { index, value: *last });
            } else {
                roles.used.push(index);
            }
        }
        match (roles.used.len(), roles.constants.len()) {
            (0, 0) => Err(TrainError::Missing(matrix.columns().len())),
            (0, constant) if matrix.rows() >= FEWEST_ROWS => {
                Err(TrainError::Constant { constant, dropped: roles.dropped.len() })
            }
            _ => Ok(roles),
        }
    }
}

/// The rows that can be judged, in the order of time.
pub(super) struct Rows {
    pub pipeline: Pipeline,
    /// Position of each in the matrix.
    pub index: Vec<usize>,
    /// Features of each.
    pub deviations: Vec<Vec<f64>>,
    /// Levels of each.
    pub levels: Vec<Vec<f64>>,
    /// How many of them, the earliest, are fitted.
    pub fit: usize,
}

impl Rows {
    pub fn of(matrix: &Matrix, mut pipeline: Pipeline, rates: &[Vec<f64>]) -> Self {
        if pipeline.relative {
            // Only rows that will be fitted say what is usual.
            let mut order: Vec<usize> = (0..matrix.rows()).collect();
            order.sort_by_key(|row| matrix.times()[*row]);
            order.truncate((order.len() as f64 * FITTED) as usize);
            let level = |row: &usize| {
                let of = |used| compress(pipeline.kind(used), rates[*row][pipeline.used[used]]);
                (0..pipeline.used.len()).map(of).collect()
            };
            let levels: Vec<Vec<f64>> = order.iter().map(level).collect();
            let times: Vec<i64> = order.iter().map(|row| matrix.times()[*row]).collect();
            pipeline.season = Season::learn(&times, &levels);
        }
        let mut stream = pipeline.stream();
        let mut found = Vec::new();
        for row in 0..matrix.rows() {
            if row > 0 && matrix.groups()[row] != matrix.groups()[row - 1] {
                stream.restart();
            }
            let time = matrix.times()[row];
            let (pushed, _) = stream.push(time, matrix.row(row));
            if !pushed.is_complete() {
                continue;
            }
            stream.accept(time, pushed.levels.clone());
            if !pipeline.relative || pushed.baseline_rows >= WARM_UP {
                found.push((row, pushed));
            }
        }
        found.sort_by_key(|(row, _)| matrix.times()[*row]);
        let fit = (found.len() as f64 * FITTED) as usize;
        let mut rows = Self { pipeline, index: Vec::new(), deviations: Vec::new(), levels: Vec::new(), fit };
        for (row, pushed) in found {
            rows.index.push(row);
            rows.deviations.push(pushed.deviations);
            rows.levels.push(pushed.levels);
        }
        rows
    }

    pub fn scales(&self) -> Vec<Scale> {
        let used = self.pipeline.used.len();
        let present = |rows: &[Vec<f64>], index: usize| -> Vec<f64> {
            rows[..self.fit].iter().map(|row| row[index]).filter(|value| !value.is_nan()).collect()
        };
        let scale = |feature: usize| {
            let usual = median(present(&self.levels, feature % used)).unwrap_or(0.0);
            Scale::fit(self.pipeline.kind(feature % used), present(&self.deviations, feature), usual)
        };
        (0..self.pipeline.width()).map(scale).collect()
    }

    pub fn scaled(&self, scales: &[Scale]) -> Vec<Vec<f32>> {
        let row = |row: &Vec<f64>| row.iter().zip(scales).map(|(value, scale)| scale.apply(*value) as f32).collect();
        self.deviations.iter().map(row).collect()
    }
}
