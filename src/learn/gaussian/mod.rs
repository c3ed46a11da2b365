//! Gaussian process regression (Rasmussen and Williams 2006, chapters 2 and 5) for tens of noisy measurements over
//! the unit cube, taken one after another on a machine whose speed may wander.
//!
//! Tens of measurements do not tell which axes matter: what is expected is the mean over kernels that they leave
//! plausible (as Eriksson and Jankowiak 2021 do with many axes), not what a single one of them makes of the noise.

mod cholesky;
mod kernel;
mod plausible;

use cholesky::{Cholesky, dot};
use kernel::{Kernel, LENGTHS, terms};

/// Measurements that a fit takes: the latest. It bounds the time of a fit, which grows with the third power.
const ROWS: usize = 150;

/// A measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where in the unit cube.
    pub point: Vec<f64>,
    /// What was measured.
    pub target: f64,
    /// When, as a count of measurements: what lies far apart in time may differ by the machine's drift.
    pub at: f64,
}

/// A fitted process.
#[derive(Clone, Debug)]
pub struct GaussianProcess {
    rows: Vec<Row>,
    members: Vec<Member>,
}

/// The process of one plausible kernel.
#[derive(Clone, Debug)]
struct Member {
    kernel: Kernel,
    mean: f64,
    cholesky: Cholesky,
    /// (K + noise)⁻¹ (targets − mean)
    weights: Vec<f64>,
}

/// Mean and standard deviation of the function (without measurement noise) at a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Expected value.
    pub mean: f64,
    /// Standard deviation of the expectation.
    pub deviation: f64,
}

impl GaussianProcess {
    /// Fits measurements; the same ones give the same process. `None` without any measurement.
    pub fn fit(rows: &[Row]) -> Option<Self> {
        let rows = &rows[rows.len().saturating_sub(ROWS)..];
        let members = plausible::members(&Given::new(rows)?)?;
        Some(Self { rows: rows.to_vec(), members })
    }

    /// What the function is expected to be at a point.
    pub fn predict(&self, point: &[f64]) -> Prediction {
        let of_length = |length: usize| {
            let used = self.members.iter().any(|member| member.kernel.length == length);
            let rows = used.then_some(&self.rows).into_iter().flatten();
            rows.map(|row| terms(LENGTHS[length], &row.point, point)).collect::<Vec<_>>()
        };
        let terms: Vec<Vec<Vec<f64>>> = (0..LENGTHS.len()).map(of_length).collect();
        let (mut mean, mut square) = (0.0, 0.0);
        for member in &self.members {
            let expected = member.predict(&terms[member.kernel.length]);
            mean += expected.mean;
            square += expected.mean.powi(2) + expected.deviation.powi(2);
        }
        let count = self.members.len() as f64;
        let mean = mean / count;
        Prediction { mean, deviation: (square / count - mean.powi(2)).max(0.0).sqrt() }
    }
}

impl Member {
    /// From the one-dimensional kernels between each row and the point.
    fn predict(&self, terms: &[Vec<f64>]) -> Prediction {
        let own = self.kernel.own();
        let covariance: Vec<f64> = terms.iter().map(|terms| self.kernel.of(terms, own)).collect();
        let explained = self.cholesky.half_solve(&covariance);
        let variance = self.kernel.signal.powi(2) - dot(&explained, &explained);
        Prediction { mean: self.mean + dot(&covariance, &self.weights), deviation: variance.max(0.0).sqrt() }
    }
}

/// Rows, and what every kernel over them is made of.
struct Given<'a> {
    rows: &'a [Row],
    axes: usize,
    /// For each length the one-dimensional kernels between the rows.
    terms: [Vec<Vec<Vec<f64>>>; LENGTHS.len()],
}

impl<'a> Given<'a> {
    fn new(rows: &'a [Row]) -> Option<Self> {
        let axes = rows.first()?.point.len();
        let terms = LENGTHS.map(|length| triangle(rows, |a, b| terms(length, &a.point, &b.point)));
        Some(Self { rows, axes, terms })
    }

    /// The process of one kernel, and its log marginal likelihood up to a constant. `None` when the covariance is not
    /// positive definite.
    fn condition(&self, kernel: Kernel) -> Option<(f64, Member)> {
        let terms = &self.terms[kernel.length];
        let first = self.rows.first()?.at;
        // A random walk of the machine's speed: what two measurements share of it is the walk up to the earlier one.
        let walked = |a: &Row, b: &Row| kernel.drift.powi(2) * (a.at.min(b.at) - first);
        let own = kernel.own();
        let mut covariance = triangle(self.rows, walked);
        for (index, (row, terms)) in covariance.iter_mut().zip(terms).enumerate() {
            row.iter_mut().zip(terms).for_each(|(value, terms)| *value += kernel.of(terms, own));
            row[index] += kernel.noise.powi(2);
        }
        let cholesky = Cholesky::of(covariance)?;
        let targets: Vec<f64> = self.rows.iter().map(|row| row.target).collect();
        let ones = cholesky.solve(&vec![1.0; targets.len()]);
        let mean = dot(&ones, &targets) / ones.iter().sum::<f64>();
        let centred: Vec<f64> = targets.iter().map(|target| target - mean).collect();
        let weights = cholesky.solve(&centred);
        let likelihood = -0.5 * dot(&centred, &weights) - cholesky.log_diagonal();
        likelihood.is_finite().then_some((likelihood, Member { kernel, mean, cholesky, weights }))
    }
}

/// Lower triangle of a symmetric matrix over the rows.
fn triangle<T>(rows: &[Row], value: impl Fn(&Row, &Row) -> T) -> Vec<Vec<T>> {
    rows.iter().enumerate().map(|(index, a)| rows[..=index].iter().map(|b| value(a, b)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::rng::Random;

    fn surface(point: &[f64]) -> f64 {
        0.2 * point[0] - 0.3 * (point[1] - 0.4).powi(2)
    }

    /// Rows at random points of four axes, of which two matter.
    fn rows(count: usize, noise: f64, drift: f64) -> Vec<Row> {
        let mut random = Random::new(2, 0);
        let mut speed = 0.0;
        let row = |index| {
            let point: Vec<f64> = (0..4).map(|_| random.uniform()).collect();
            speed += drift * random.normal();
            Row { target: surface(&point) + speed + noise * random.normal(), point, at: f64::from(index) }
        };
        (0..count as i32).map(row).collect()
    }

    /// Mean square of the error and of the function itself, both apart from a constant.
    fn error_and_spread(process: &GaussianProcess) -> (f64, f64) {
        let mut random = Random::new(3, 0);
        let points: Vec<Vec<f64>> = (0..200).map(|_| (0..4).map(|_| random.uniform()).collect()).collect();
        let variance = |value: &dyn Fn(&Vec<f64>) -> f64| {
            let values: Vec<f64> = points.iter().map(value).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
        };
        (variance(&|point| process.predict(point).mean - surface(point)), variance(&|point| surface(point)))
    }

    #[test]
    fn it_learns_a_surface_from_noisy_rows() {
        let (error, spread) = error_and_spread(&GaussianProcess::fit(&rows(40, 0.03, 0.0)).unwrap());
        assert!(error < 0.25 * spread, "{error} {spread}");
    }

    #[test]
    fn the_drift_of_the_machine_is_not_taken_for_the_surface() {
        let (error, spread) = error_and_spread(&GaussianProcess::fit(&rows(60, 0.01, 0.05)).unwrap());
        assert!(error < 0.4 * spread, "{error} {spread}");
    }

    #[test]
    fn what_was_measured_is_less_uncertain_than_what_was_not() {
        let measured: Vec<Row> =
            (0..6).map(|i| Row { point: vec![0.1], target: 0.01 * f64::from(i), at: f64::from(i) }).collect();
        let process = GaussianProcess::fit(&measured).unwrap();
        assert!(process.predict(&[0.1]).deviation < process.predict(&[0.9]).deviation);
    }

    #[test]
    fn nothing_measured_is_nothing_fitted() {
        assert!(GaussianProcess::fit(&[]).is_none());
    }
}
