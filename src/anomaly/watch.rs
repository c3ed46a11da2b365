//! The change watch: a metric that never moved while the model learned is no feature, but that it moves is evidence.

use serde::{Deserialize, Serialize};

use super::matrix::Kind;

/// Two values of a constant are the same within this share: an average of labels wavers in its last digits.
const SAME: f64 = 1e-9;

/// A metric that was constant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constant {
    /// Position of the metric in a row.
    pub index: usize,
    /// Its value (a rate per second, of a counter).
    pub value: f64,
}

/// A constant that moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Departure {
    /// The metric.
    pub metric: String,
    /// How its values are to be read.
    pub kind: Kind,
    /// Before.
    pub was: f64,
    /// From now on.
    pub now: f64,
    /// Unix milliseconds.
    pub time: i64,
}

/// The constants with the values that they have by now.
#[derive(Clone, Debug)]
pub struct Watch {
    metrics: Vec<(String, Kind)>,
    constants: Vec<Constant>,
}

impl Watch {
    /// Watches `constants` of rows of `metrics`.
    pub fn new(metrics: Vec<(String, Kind)>, constants: Vec<Constant>) -> Self {
        Self { metrics, constants }
    }

    /// What moved with this row, of which counters are rates. Each move is told once; what is missing did not move.
    pub fn push(&mut self, time: i64, row: &[f64]) -> Vec<Departure> {
        let mut moved = Vec::new();
        for constant in &mut self.constants {
            let now = row[constant.index];
            if now.is_nan() || is_same(now, constant.value) {
                continue;
            }
            let was = std::mem::replace(&mut constant.value, now);
            let (metric, kind) = self.metrics[constant.index].clone();
            moved.push(Departure { metric, kind, was, now, time });
        }
        moved
    }
}

/// Whether two values of a constant are the same.
pub fn is_same(a: f64, b: f64) -> bool {
    (a - b).abs() <= SAME * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_setting_is_told_once_and_a_missing_one_never() {
        let constants = vec![Constant { index: 1, value: 128e6 }];
        let metrics = vec![("commits".to_owned(), Kind::Counter), ("shared_buffers".to_owned(), Kind::Config)];
        let mut watch = Watch::new(metrics, constants);
        assert_eq!(watch.push(1, &[0.0, 128e6 + 1e-3]), []);
        assert_eq!(watch.push(2, &[5.0, f64::NAN]), []);
        let [departure] = &watch.push(3, &[5.0, 16e6])[..] else { panic!("one departure") };
        assert_eq!((departure.metric.as_str(), departure.was, departure.now), ("shared_buffers", 128e6, 16e6));
        assert_eq!(watch.push(4, &[5.0, 16e6]), []);
        assert_eq!(watch.push(5, &[5.0, 128e6]).len(), 1);
    }
}
