//! The change watch: a metric that never moved while the model learned is no feature, but that it moves is evidence.

use serde::{Deserialize, Serialize};

use super::matrix::Kind;
use super::scale::CLIP;

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
    current: Vec<f64>,
}

impl Watch {
    /// Watches `constants` of rows of `metrics`.
    pub fn new(metrics: Vec<(String, Kind)>, constants: Vec<Constant>) -> Self {
        let current = constants.iter().map(|constant| constant.value).collect();
        Self { metrics, constants, current }
    }

    /// The watched metrics, in the order of [`Watch::deviations`].
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.constants.iter().map(|constant| &self.metrics[constant.index].0)
    }

    /// What moved with this row, of which counters are rates. Of a setting every change is told; of anything else that it
    /// left its constant, but not how it wavers from then on, nor that it comes back. What is missing did not move.
    pub fn push(&mut self, time: i64, row: &[f64]) -> Vec<Departure> {
        let mut moved = Vec::new();
        for (constant, current) in self.constants.iter().zip(&mut self.current) {
            let now = row[constant.index];
            if now.is_nan() || is_same(now, *current) {
                continue;
            }
            let was = std::mem::replace(current, now);
            let (metric, kind) = self.metrics[constant.index].clone();
            if kind == Kind::Config || is_same(was, constant.value) {
                moved.push(Departure { metric, kind, was, now, time });
            }
        }
        moved
    }

    /// Where each constant is: 0 while it is what it was in the training, as far as a deviation goes otherwise. There is no
    /// usual size that a move of it could be measured in.
    pub fn deviations(&self) -> impl Iterator<Item = f64> {
        self.constants.iter().zip(&self.current).map(|(constant, current)| {
            if is_same(*current, constant.value) { 0.0 } else { CLIP.copysign(current - constant.value) }
        })
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
        let mut watch = watch();
        assert_eq!(watch.push(1, &[0.0, 128e6 + 1e-3]), []);
        assert_eq!(watch.push(2, &[0.0, f64::NAN]), []);
        let [departure] = &watch.push(3, &[0.0, 16e6])[..] else { panic!("one departure") };
        assert_eq!((departure.metric.as_str(), departure.was, departure.now), ("shared_buffers", 128e6, 16e6));
        assert_eq!(watch.push(4, &[0.0, 16e6]), []);
        assert_eq!(watch.push(5, &[0.0, 128e6]).len(), 1);
    }

    #[test]
    fn a_gauge_that_left_its_constant_is_told_until_it_is_back() {
        let mut watch = watch();
        let told: Vec<usize> =
            [0.0, 3.0, 7.0, 5.0, 0.0, 0.0, 2.0].map(|waiting| watch.push(1, &[waiting, 128e6]).len()).into();
        assert_eq!(told, [0, 1, 0, 0, 0, 0, 1]);
        watch.push(2, &[f64::NAN, 16e6]);
        assert_eq!(watch.deviations().collect::<Vec<_>>(), [CLIP, -CLIP]);
        watch.push(3, &[0.0, 128e6]);
        assert_eq!(watch.deviations().collect::<Vec<_>>(), [0.0, 0.0]);
    }

    fn watch() -> Watch {
        let constants = vec![Constant { index: 0, value: 0.0 }, Constant { index: 1, value: 128e6 }];
        let metrics = vec![("waiting".to_owned(), Kind::Gauge), ("shared_buffers".to_owned(), Kind::Config)];
        Watch::new(metrics, constants)
    }
}
