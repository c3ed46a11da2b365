//! Brings raw features (rates, ratios, byte counts over many orders of magnitude) to comparable scale.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A normalised feature lies within ± this.
const CLIP: f64 = 5.0;

/// Prior of a feature's logarithm: raw values from 0 to 1e9 lie within the clip before anything was seen.
const PRIOR_MEAN: f64 = 10.0;
const PRIOR_VARIANCE: f64 = 4.0;

/// Weight of the prior, in rows. With it a feature that never varied keeps an offset from zero instead of becoming
/// zero: databases that differ stay different, from the first row on.
const PRIOR_ROWS: f64 = 2.0;

/// Features that can't be normalised.
#[derive(Debug, Error, PartialEq)]
pub enum FeatureError {
    /// Another number of features than before.
    #[error(
        "{found} features were given where {expected} are expected: all states of a session come from one feature list"
    )]
    Width {
        /// Features of the rows before.
        expected: usize,
        /// Features of this row.
        found: usize,
    },
    /// A feature is infinite or not a number.
    #[error("feature {index} is {value}: leave a feature that can't be computed at 0")]
    NotFinite {
        /// Its position.
        index: usize,
        /// Its value.
        value: f64,
    },
}

/// Mean and variance of `sign(x)·ln(1+|x|)` per feature (Welford 1962), frozen after a warm-up, so that a state
/// means the same for the rest of the session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normaliser {
    rows: u32,
    warm_up: u32,
    #[serde(with = "bits")]
    mean: Vec<f64>,
    /// Sum of squared deviations from the mean.
    #[serde(with = "bits")]
    deviation: Vec<f64>,
}

/// Numbers as their bits: JSON's decimal numbers do not read back exactly, and a resumed session must.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(numbers: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(|number| number.to_bits()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Ok(Vec::<u64>::deserialize(deserializer)?.into_iter().map(f64::from_bits).collect())
    }
}

impl Normaliser {
    /// For rows of `width` features, frozen after `warm_up` of them.
    pub fn new(width: usize, warm_up: u32) -> Self {
        Self { rows: 0, warm_up, mean: vec![0.0; width], deviation: vec![0.0; width] }
    }

    /// Number of features in a row.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Takes a row of raw features into mean and variance, unless the warm-up is over.
    pub fn observe(&mut self, raw: &[f64]) -> Result<(), FeatureError> {
        self.check(raw)?;
        if self.rows >= self.warm_up {
            return Ok(());
        }
        self.rows += 1;
        for (index, value) in raw.iter().enumerate() {
            let delta = signed_log(*value) - self.mean[index];
            self.mean[index] += delta / f64::from(self.rows);
            self.deviation[index] += delta * (signed_log(*value) - self.mean[index]);
        }
        Ok(())
    }

    /// A row of raw features in units of standard deviations, within ±5.
    pub fn normalise(&self, raw: &[f64]) -> Result<Vec<f64>, FeatureError> {
        self.check(raw)?;
        let rows = f64::from(self.rows);
        let normalised = raw.iter().enumerate().map(|(index, value)| {
            let mean = (self.mean[index] * rows + PRIOR_MEAN * PRIOR_ROWS) / (rows + PRIOR_ROWS);
            let variance = (PRIOR_VARIANCE * PRIOR_ROWS + self.deviation[index]) / (rows + PRIOR_ROWS);
            ((signed_log(*value) - mean) / variance.sqrt()).clamp(-CLIP, CLIP)
        });
        Ok(normalised.collect())
    }

    fn check(&self, raw: &[f64]) -> Result<(), FeatureError> {
        if raw.len() != self.width() {
            return Err(FeatureError::Width { expected: self.width(), found: raw.len() });
        }
        match raw.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(FeatureError::NotFinite { index, value: raw[index] }),
            None => Ok(()),
        }
    }
}

/// `ln(1+|x|)` with the sign of x: finite for every finite x.
fn signed_log(value: f64) -> f64 {
    value.abs().ln_1p().copysign(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A hit ratio, reads per transaction, WAL bytes per transaction, cores.
    const SMALL: [f64; 4] = [0.71, 40.0, 9_000.0, 2.0];
    const LARGE: [f64; 4] = [0.99, 0.2, 700.0, 32.0];

    fn after(rows: usize, row: &[f64]) -> Vec<f64> {
        let mut normaliser = Normaliser::new(row.len(), 10);
        for _ in 0..rows {
            normaliser.observe(row).unwrap();
        }
        normaliser.normalise(row).unwrap()
    }

    #[test]
    fn different_databases_have_different_states_whatever_was_seen() {
        for rows in [0, 1, 2, 10, 50] {
            let (small, large) = (after(rows, &SMALL), after(rows, &LARGE));
            for index in 0..SMALL.len() {
                assert!(
                    (small[index] - large[index]).abs() > 1e-3,
                    "feature {index} after {rows} rows: {small:?} {large:?}"
                );
            }
        }
    }

    #[test]
    fn a_varying_feature_comes_to_unit_scale() {
        let mut normaliser = Normaliser::new(1, 100);
        let rows: Vec<f64> = (0..100).map(|i| (10.0 + f64::from(i % 10)).exp()).collect();
        for row in &rows {
            normaliser.observe(&[*row]).unwrap();
        }
        let scaled: Vec<f64> = rows.iter().map(|row| normaliser.normalise(&[*row]).unwrap()[0]).collect();
        let mean = scaled.iter().sum::<f64>() / 100.0;
        let variance = scaled.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 100.0;
        assert!(mean.abs() < 0.3 && (variance - 1.0).abs() < 0.1, "mean {mean}, variance {variance}");
    }

    #[test]
    fn it_reads_back_exactly() {
        let mut normaliser = Normaliser::new(3, 10);
        for row in 1..10 {
            normaliser.observe(&[f64::from(row).sqrt(), 1e7 / f64::from(row), 0.1]).unwrap();
        }
        let text = serde_json::to_string(&normaliser).unwrap();
        assert_eq!(serde_json::from_str::<Normaliser>(&text).unwrap(), normaliser);
    }

    #[test]
    fn it_is_frozen_after_the_warm_up() {
        let mut normaliser = Normaliser::new(1, 2);
        normaliser.observe(&[1.0]).unwrap();
        normaliser.observe(&[100.0]).unwrap();
        let before = normaliser.clone();
        normaliser.observe(&[1e9]).unwrap();
        assert_eq!(normaliser, before);
    }

    #[test]
    fn what_is_no_number_is_refused_by_its_position() {
        let mut normaliser = Normaliser::new(2, 10);
        assert_eq!(normaliser.observe(&[1.0]), Err(FeatureError::Width { expected: 2, found: 1 }));
        let refused = normaliser.observe(&[0.0, f64::INFINITY]);
        assert_eq!(refused, Err(FeatureError::NotFinite { index: 1, value: f64::INFINITY }));
        assert!(normaliser.normalise(&[f64::NAN, 0.0]).is_err());
    }

    proptest! {
        #[test]
        fn no_finite_input_gives_nan(rows in prop::collection::vec(prop::collection::vec(-f64::MAX..f64::MAX, 3), 1..20)) {
            let mut normaliser = Normaliser::new(3, 10);
            for row in &rows {
                normaliser.observe(row).unwrap();
                for value in normaliser.normalise(row).unwrap() {
                    prop_assert!(value.is_finite() && value.abs() <= CLIP);
                }
            }
        }
    }
}
