//! Which changed knobs do nothing: fewer changed knobs, same gain.
//!
//! All trials of a session are one regression of the log gain on the knobs: numbers by their coordinate's difference
//! from the baseline, words by one indicator each. It is ridge regression read as a Bayesian posterior (Hoerl and
//! Kennard 1970; Bishop, PRML 3.3): effects have a normal prior with standard deviation [`PRIOR`], so a knob that was
//! never moved, or only together with another, keeps the prior's wide interval and is not called inert.

use crate::tuning::measurement::Parameters;
use crate::tuning::space::Space;

use super::t_quantile;

/// Standard deviation of an effect over a knob's whole range that is expected before measuring, as a log ratio.
const PRIOR: f64 = 0.5;

/// A contribution to the incumbent below this, as a log ratio, is not worth a changed knob.
const NEGLIGIBLE: f64 = 0.01;

/// Measurement noise is never taken to be smaller than this, as a log ratio.
const LEAST_NOISE: f64 = 0.002;

/// Trials that must remain after the effects are paid for; with fewer, nothing is called inert.
const LEAST_DEGREES: f64 = 5.0;

/// Knobs that differ between incumbent and baseline and show no effect: the upper end of the 95 % interval of the
/// contribution's size to the incumbent is below 1 %. Conservative: with few trials or much noise there are none.
///
/// `history` are the measured configurations with their log gains; knobs that one doesn't name are at their baseline.
/// The model is additive, so a winner without its inert knobs is still to be verified.
pub fn inert_knobs(
    history: &[(Parameters, f64)],
    space: &Space,
    incumbent: &Parameters,
    baseline: &Parameters,
) -> Vec<String> {
    let features = Features::new(space, baseline);
    let rows: Vec<Vec<f64>> = history.iter().map(|(parameters, _)| features.of(parameters)).collect();
    let gains: Vec<f64> = history.iter().map(|(_, gain)| *gain).collect();
    let Some(posterior) = Posterior::fit(&rows, &gains) else { return Vec::new() };
    let contrast = features.of(incumbent);
    let names = space.dimensions().iter().map(|dimension| dimension.name());
    names
        .zip(&features.columns)
        .filter(|(_, columns)| contrast[(*columns).clone()].iter().any(|value| *value != 0.0))
        .filter(|(_, columns)| posterior.largest_effect(&contrast, (*columns).clone()) < NEGLIGIBLE)
        .map(|(name, _)| name.to_owned())
        .collect()
}

type Columns = std::ops::Range<usize>;

/// How configurations become rows: differences from the baseline, so that the baseline's row is zero.
struct Features<'a> {
    space: &'a Space,
    columns: Vec<Columns>,
    baseline: &'a Parameters,
    origin: Vec<f64>,
}

impl<'a> Features<'a> {
    fn new(space: &'a Space, baseline: &'a Parameters) -> Self {
        let mut next = 0;
        let columns = space.dimensions().iter().map(|dimension| {
            let width = dimension.words().len().max(1);
            next += width;
            next - width..next
        });
        let columns = columns.collect();
        let mut features = Self { space, columns, baseline, origin: vec![0.0; next] };
        features.origin = features.of(&Parameters::new());
        features
    }

    fn of(&self, parameters: &Parameters) -> Vec<f64> {
        let mut whole = self.baseline.clone();
        whole.extend(parameters.clone());
        let point = self.space.encode(&whole);
        let mut row: Vec<f64> = self.origin.iter().map(|origin| -origin).collect();
        for ((dimension, columns), coordinate) in self.space.dimensions().iter().zip(&self.columns).zip(point) {
            if dimension.words().is_empty() {
                row[columns.start] += coordinate;
            } else {
                row[columns.start + dimension.index_at(coordinate)] += 1.0;
            }
        }
        row
    }
}

/// The effects' posterior.
struct Posterior {
    mean: Vec<f64>,
    covariance: Vec<Vec<f64>>,
    quantile: f64,
}

impl Posterior {
    /// `None` with too few trials for the effects that they show.
    fn fit(rows: &[Vec<f64>], gains: &[f64]) -> Option<Self> {
        let width = rows.first()?.len();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let column = |index: usize| -> Vec<f64> { rows.iter().map(|row| row[index]).collect() };
        let columns: Vec<Vec<f64>> = (0..width).map(column).collect();
        let gram: Vec<Vec<f64>> = columns.iter().map(|a| columns.iter().map(|b| dot(a, b)).collect()).collect();
        let target: Vec<f64> = columns.iter().map(|column| dot(column, gains)).collect();

        // The noise and the ridge that it implies depend on each other; a few rounds settle them.
        let mut noise = 0.05f64;
        for _ in 0..10 {
            let (mean, _, degrees) = solve(&gram, &target, (noise / PRIOR).powi(2), rows.len())?;
            let squares: f64 = rows.iter().zip(gains).map(|(row, gain)| (gain - dot(row, &mean)).powi(2)).sum();
            noise = (squares / degrees).sqrt().max(LEAST_NOISE);
        }
        let (mean, inverse, degrees) = solve(&gram, &target, (noise / PRIOR).powi(2), rows.len())?;
        let scaled = |row: Vec<f64>| row.into_iter().map(|value| value * noise * noise).collect();
        let covariance = inverse.into_iter().map(scaled).collect();
        Some(Self { mean, covariance, quantile: t_quantile(degrees as usize) })
    }

    /// The greatest size of the contribution of some columns to a row that the 95 % interval leaves possible.
    fn largest_effect(&self, row: &[f64], columns: Columns) -> f64 {
        let mean: f64 = columns.clone().map(|i| row[i] * self.mean[i]).sum();
        let pairs = columns.clone().flat_map(|i| columns.clone().map(move |j| (i, j)));
        let variance: f64 = pairs.map(|(i, j)| row[i] * self.covariance[i][j] * row[j]).sum();
        mean.abs() + self.quantile * variance.max(0.0).sqrt()
    }
}

/// Mean, inverse of (gram + ridge) and the residual degrees of freedom, or `None` when too few are left.
fn solve(gram: &[Vec<f64>], target: &[f64], ridge: f64, trials: usize) -> Option<(Vec<f64>, Vec<Vec<f64>>, f64)> {
    let width = gram.len();
    let mut matrix: Vec<Vec<f64>> = gram.to_vec();
    (0..width).for_each(|i| matrix[i][i] += ridge);
    let inverse = inverted(matrix)?;
    let mean = inverse.iter().map(|row| row.iter().zip(target).map(|(a, b)| a * b).sum()).collect();
    // Effective number of effects: the trace of inverse·gram = width − ridge·trace(inverse).
    let effects = width as f64 - ridge * (0..width).map(|i| inverse[i][i]).sum::<f64>();
    let degrees = trials as f64 - effects;
    (degrees >= LEAST_DEGREES).then_some((mean, inverse, degrees))
}

/// The inverse of a symmetric positive definite matrix by Gauss and Jordan, which needs no pivoting there.
fn inverted(mut matrix: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let width = matrix.len();
    for (i, row) in matrix.iter_mut().enumerate() {
        row.extend((0..width).map(|j| f64::from(u8::from(i == j))));
    }
    for i in 0..width {
        let pivot = matrix[i][i];
        if pivot.is_nan() || pivot <= 0.0 {
            return None;
        }
        matrix[i].iter_mut().for_each(|value| *value /= pivot);
        let reduced = matrix[i].clone();
        for (_, row) in matrix.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            let factor = row[i];
            row.iter_mut().zip(&reduced).for_each(|(value, above)| *value -= factor * above);
        }
    }
    Some(matrix.into_iter().map(|row| row[width..].to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::decimal::Decimal;
    use crate::tuning::crd::{KnobScale, SessionKnob};
    use crate::tuning::evidence::tests::normal;

    fn space(numbers: usize) -> Space {
        let knob = |name: String, values: Vec<String>| SessionKnob {
            name,
            baseline: if values.is_empty() { "0".into() } else { values[0].clone() },
            min: values.is_empty().then_some(Decimal(0.0)),
            max: values.is_empty().then_some(Decimal(1000.0)),
            scale: KnobScale::Linear,
            integer: true,
            special: Vec::new(),
            values,
            unit: String::new(),
            restart: false,
        };
        let mut knobs: Vec<_> = (0..numbers).map(|i| knob(format!("n{i}"), Vec::new())).collect();
        knobs.push(knob("word".into(), ["off", "lz4", "zstd"].map(str::to_owned).to_vec()));
        Space::from_session(&knobs).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn inert_knobs_are_found_and_strong_ones_never(seed in any::<u64>(), strong in 0usize..4, trials in 40usize..80) {
            let space = space(4);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let baseline = space.baseline();
            let history: Vec<_> = (0..trials).map(|_| {
                let point: Vec<f64> = (0..5).map(|_| rng.random()).collect();
                let parameters = space.decode(&point);
                let value: f64 = parameters[&format!("n{strong}")].parse().unwrap();
                let words = if parameters["word"] == "zstd" { -0.1 } else { 0.0 };
                let gain = 0.15 * value / 1000.0 + words + 0.003 * normal(&mut rng);
                (parameters, gain)
            }).collect();
            let incumbent: Parameters =
                baseline.keys().map(|name| (name.clone(), if name == "word" { "zstd" } else { "700" }.to_owned())).collect();
            let inert = inert_knobs(&history, &space, &incumbent, &baseline);
            prop_assert!(!inert.contains(&format!("n{strong}")) && !inert.contains(&"word".to_owned()), "{:?}", inert);
            prop_assert_eq!(inert.len(), 3, "{:?}", inert);
        }
    }

    #[test]
    fn nothing_is_inert_without_evidence() {
        let space = space(2);
        let baseline = space.baseline();
        let incumbent = space.decode(&[0.9, 0.9, 0.9]);
        assert!(inert_knobs(&[], &space, &incumbent, &baseline).is_empty());
        // n1 and the word never moved: their effects are unknown, not zero.
        let history: Vec<_> =
            (0..30).map(|i| (Parameters::from([("n0".to_owned(), (i * 30).to_string())]), 0.0)).collect();
        assert_eq!(inert_knobs(&history, &space, &incumbent, &baseline), ["n0"]);
    }

    #[test]
    fn a_knob_at_its_baseline_is_not_listed() {
        let space = space(1);
        let baseline = space.baseline();
        let history: Vec<_> =
            (0..30).map(|i| (Parameters::from([("n0".to_owned(), (i * 30).to_string())]), 0.0)).collect();
        assert!(inert_knobs(&history, &space, &baseline, &baseline).is_empty());
    }
}
