//! Brings deviations to units of their usual size, so that a metric that hardly ever moves does not drown the others.

use serde::{Deserialize, Serialize};

use super::matrix::Kind;

/// A scaled deviation lies within ± this.
pub const CLIP: f64 = 10.0;
/// The scale is at least this share of the standard deviation: a metric that is still but for bursts has no
/// interquartile range.
const OF_DEVIATION: f64 = 0.1;
/// The scale is at least this relative change of the level.
const RELATIVE: f64 = 0.02;
/// The scale is at least this much, in units of the metric (its logarithm near zero is linear), and of a ratio.
const UNIT: f64 = 0.02;
const UNIT_OF_RATIO: f64 = 0.005;

/// Centre and size of a feature's deviations on normal rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Median.
    pub centre: f64,
    /// Size that counts as one; positive.
    pub size: f64,
}

impl Scale {
    /// From the deviations of normal rows and the metric's usual value, both as [`compress`] gives them.
    pub fn fit(kind: Kind, deviations: Vec<f64>, usual: f64) -> Self {
        let count = deviations.len().max(1) as f64;
        let mean = deviations.iter().sum::<f64>() / count;
        let deviation = (deviations.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        let mut sorted = deviations;
        sorted.sort_by(f64::total_cmp);
        let range = quantile(&sorted, 0.75).unwrap_or(0.0) - quantile(&sorted, 0.25).unwrap_or(0.0);
        let floor = match kind {
            Kind::Ratio => UNIT_OF_RATIO.max(RELATIVE * usual.abs()),
            // In logarithms a relative change is a difference; near zero, where they are linear, it vanishes.
            _ => UNIT.max(RELATIVE * (1.0 - (-usual.abs()).exp())),
        };
        let size = (range / 1.349).max(OF_DEVIATION * deviation).max(floor);
        Self { centre: quantile(&sorted, 0.5).unwrap_or(0.0), size }
    }

    /// A deviation in units of its usual size, within ±10; 0, nothing unusual, for a missing one.
    pub fn apply(&self, deviation: f64) -> f64 {
        if deviation.is_nan() { 0.0 } else { ((deviation - self.centre) / self.size).clamp(-CLIP, CLIP) }
    }
}

/// The scale on which levels are compared: `sign(x)·ln(1+|x|)`, but ratios as they are.
pub fn compress(kind: Kind, value: f64) -> f64 {
    if kind == Kind::Ratio { value } else { value.abs().ln_1p().copysign(value) }
}

/// The value that [`compress`] brought to `compressed`.
pub fn restore(kind: Kind, compressed: f64) -> f64 {
    if kind == Kind::Ratio { compressed } else { compressed.abs().exp_m1().copysign(compressed) }
}

/// Median of values without NaN; none when there are none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// The quantile of ascending values, between two of them in proportion.
pub fn quantile(ascending: &[f64], share: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    Some(ascending[low] + part * (ascending[(low + 1).min(last)] - ascending[low]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_metric_that_hardly_moves_does_not_explode() {
        // 10,000 connections, one more in one row of a thousand.
        let usual = compress(Kind::Gauge, 10_000.0);
        let mut deviations = vec![0.0; 999];
        deviations.push(compress(Kind::Gauge, 10_001.0) - usual);
        let scale = Scale::fit(Kind::Gauge, deviations, usual);
        assert!(scale.apply(compress(Kind::Gauge, 10_001.0) - usual) < 0.1);
        assert!(scale.apply(compress(Kind::Gauge, 20_000.0) - usual) > 9.0);
    }

    #[test]
    fn deviations_come_to_unit_size_and_missing_ones_to_none() {
        let deviations: Vec<f64> = (-500..=500).map(|i| f64::from(i) / 100.0).collect();
        let scale = Scale::fit(Kind::Gauge, deviations, 8.0);
        assert!((scale.apply(2.5) - 1.349 / 2.0).abs() < 0.01, "{scale:?}");
        assert_eq!(scale.apply(f64::NAN), 0.0);
        assert_eq!(scale.apply(1e300), CLIP);
    }

    proptest! {
        #[test]
        fn what_was_compressed_is_restored(value in -1e15..1e15_f64) {
            let back = restore(Kind::Gauge, compress(Kind::Gauge, value));
            prop_assert!((back - value).abs() <= 1e-9 * value.abs().max(1.0), "{} {}", value, back);
        }

        #[test]
        fn a_small_move_is_never_unusual_however_still_a_metric_was(
            deviations in prop::collection::vec(-3.0..3.0_f64, 0..60),
            still in 0.0..1.0_f64,
            usual in -30.0..30.0_f64,
            ratio: bool,
        ) {
            let kind = if ratio { Kind::Ratio } else { Kind::Gauge };
            let deviations: Vec<f64> = deviations.iter().map(|value| value * still.powi(8)).collect();
            let spread = deviations.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            let scale = Scale::fit(kind, deviations, usual);
            // A fiftieth of the level, and where there is no level half a percent or a fiftieth of a unit.
            let small = if ratio { 0.005_f64.max(0.02 * usual.abs()) } else { 0.02 };
            prop_assert!(scale.apply(scale.centre + small) <= 1.0 + 1e-9, "{:?}", scale);
            prop_assert!(scale.apply(scale.centre - small) >= -1.0 - 1e-9, "{:?}", scale);
            // Nor does a floor make a metric blind: a move of many times all that was seen stands out.
            prop_assert!(scale.apply(scale.centre + 4.0 * (spread + small)) > 1.0, "{:?}", scale);
        }
    }
}
