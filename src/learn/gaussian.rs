//! Gaussian process regression (Rasmussen and Williams 2006, chapters 2 and 5) for tens of noisy measurements over
//! the unit cube, taken one after another on a machine whose speed may wander.
//!
//! The kernel is a sum of one-dimensional kernels, one per axis, and of their products in pairs (Duvenaud and others
//! 2011): knobs act mostly on their own, which few measurements suffice to learn, and some in twos.

/// Scales that are tried; the marginal likelihood chooses. Lengths are in units of an axis, deviations in units of
/// the targets; of the drift, from one measurement to the next.
const LENGTHS: [f64; 3] = [0.6, 1.2, 2.4];
const PAIR_SHARES: [f64; 3] = [0.1, 0.3, 0.6];
const SIGNALS: [f64; 5] = [0.2, 0.4, 0.8, 1.6, 3.2];
const NOISES: [f64; 4] = [0.03, 0.06, 0.1, 0.2];
const DRIFTS: [f64; 4] = [0.0, 0.01, 0.03, 0.1];
/// By how much the log likelihood must rise for a larger drift: a search that gets better looks like one.
const DRIFT_EVIDENCE: f64 = 2.0;
/// Times that every scale is chosen anew, the others given.
const ROUNDS: usize = 3;

/// How much more or less relevant an axis may become in a round, and by how much the log likelihood must rise for it:
/// a few axes matter, and tens of measurements can tell which, but would also fit their noise.
const RELEVANCE_FACTORS: [f64; 2] = [4.0, 0.25];
const RELEVANCE_EVIDENCE: f64 = 0.2;

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
    /// Fits measurements with the scales of the largest marginal likelihood that a search from one scale to the next
    /// finds. `None` without any measurement.
    pub fn fit(rows: &[Row]) -> Option<Self> {
        let rows = &rows[rows.len().saturating_sub(ROWS)..];
        let axes = rows.first()?.point.len();
        let kernel = Kernel {
            length: 0.6,
            pairs: 0.3,
            signal: 0.4,
            noise: 0.06,
            drift: 0.0,
            relevance: vec![1.0 / axes as f64; axes],
        };
        let terms = LENGTHS.map(|length| triangle(rows, |a, b| terms(length, &a.point, &b.point)));
        let condition = |kernel: Kernel| {
            let at = LENGTHS.iter().position(|length| *length == kernel.length)?;
            Self::condition(rows, kernel, &terms[at])
        };
        let mut best = condition(kernel)?;
        for _ in 0..ROUNDS {
            let before = best.0;
            let consider = |best: &mut (f64, Self), evidence: f64, change: &dyn Fn(&mut Kernel)| {
                let mut kernel = best.1.kernel.clone();
                change(&mut kernel);
                if kernel != best.1.kernel
                    && let Some(candidate) = condition(kernel)
                    && candidate.0 > best.0 + evidence
                {
                    *best = candidate;
                }
            };
            NOISES.iter().for_each(|noise| consider(&mut best, 0.0, &|kernel| kernel.noise = *noise));
            // Together: a function that is twice as wide and moves twice as much looks much the same.
            for (length, signal) in LENGTHS.iter().flat_map(|length| SIGNALS.map(|signal| (*length, signal))) {
                consider(&mut best, 0.0, &|kernel| (kernel.length, kernel.signal) = (length, signal));
            }
            DRIFTS.iter().for_each(|drift| consider(&mut best, DRIFT_EVIDENCE, &|kernel| kernel.drift = *drift));
            PAIR_SHARES.iter().for_each(|share| consider(&mut best, 0.0, &|kernel| kernel.pairs = *share));
            for axis in 0..axes {
                for factor in RELEVANCE_FACTORS {
                    consider(&mut best, RELEVANCE_EVIDENCE, &|kernel| kernel.weigh(axis, factor));
                }
            }
            if best.0 <= before {
                break;
            }
        }
        best.1.rows = rows.to_vec();
        Some(best.1)
    }

    /// The process for one choice of scales, still without its rows, and its log marginal likelihood up to a constant.
    /// `terms` are those of the kernel's length between the rows. `None` when the covariance is not positive definite.
    fn condition(rows: &[Row], kernel: Kernel, terms: &[Vec<Vec<f64>>]) -> Option<(f64, Self)> {
        let first = rows.first()?.at;
        // A random walk of the machine's speed: what two measurements share of it is the walk up to the earlier one.
        let walked = |a: &Row, b: &Row| kernel.drift.powi(2) * (a.at.min(b.at) - first);
        let own: f64 = kernel.relevance.iter().map(|share| share * share).sum();
        let mut covariance = triangle(rows, walked);
        for (index, (row, terms)) in covariance.iter_mut().zip(terms).enumerate() {
            row.iter_mut().zip(terms).for_each(|(value, terms)| *value += kernel.of(terms, own));
            row[index] += kernel.noise.powi(2);
        }
        let cholesky = Cholesky::of(covariance)?;
        let targets: Vec<f64> = rows.iter().map(|row| row.target).collect();
        let ones = cholesky.solve(&vec![1.0; rows.len()]);
        let mean = dot(&ones, &targets) / ones.iter().sum::<f64>();
        let centred: Vec<f64> = targets.iter().map(|target| target - mean).collect();
        let weights = cholesky.solve(&centred);
        let likelihood = -0.5 * dot(&centred, &weights) - cholesky.log_diagonal();
        let process = Self { rows: Vec::new(), kernel, mean, cholesky, weights };
        likelihood.is_finite().then_some((likelihood, process))
    }

    /// What the function is expected to be at a point.
    pub fn predict(&self, point: &[f64]) -> Prediction {
        let covariance: Vec<f64> = self.rows.iter().map(|row| self.kernel.between(&row.point, point)).collect();
        let explained = self.cholesky.half_solve(&covariance);
        let variance = self.kernel.signal.powi(2) - dot(&explained, &explained);
        Prediction { mean: self.mean + dot(&covariance, &self.weights), deviation: variance.max(0.0).sqrt() }
    }
}

/// The one-dimensional kernels between two points, one for each axis.
fn terms(length: f64, a: &[f64], b: &[f64]) -> Vec<f64> {
    let exponent = -0.5 / length.powi(2);
    a.iter().zip(b).map(|(x, y)| (exponent * (x - y).powi(2)).exp()).collect()
}

/// Lower triangle of a symmetric matrix over the rows.
fn triangle<T>(rows: &[Row], value: impl Fn(&Row, &Row) -> T) -> Vec<Vec<T>> {
    rows.iter().enumerate().map(|(index, a)| rows[..=index].iter().map(|b| value(a, b)).collect()).collect()
}

#[derive(Clone, Debug, PartialEq)]
struct Kernel {
    length: f64,
    /// Share of the variance that is a sum over the pairs of axes; the rest is a sum over the axes.
    pairs: f64,
    /// Standard deviation of the function.
    signal: f64,
    /// Standard deviation of a measurement.
    noise: f64,
    /// Standard deviation of the machine's speed from one measurement to the next.
    drift: f64,
    /// Share of each axis; they sum to one.
    relevance: Vec<f64>,
}

impl Kernel {
    fn between(&self, a: &[f64], b: &[f64]) -> f64 {
        let own = self.relevance.iter().map(|share| share * share).sum();
        self.of(&terms(self.length, a, b), own)
    }

    /// From the one-dimensional kernels' values and the sum of the squared shares.
    fn of(&self, terms: &[f64], own: f64) -> f64 {
        // The sum over pairs follows from the sums of the terms and of their squares.
        let (mut alone, mut squares) = (0.0, 0.0);
        for (term, share) in terms.iter().zip(&self.relevance) {
            let term = share * term;
            alone += term;
            squares += term * term;
        }
        let pairs = if own < 1.0 { (alone * alone - squares) / (1.0 - own) } else { alone };
        self.signal.powi(2) * ((1.0 - self.pairs) * alone + self.pairs * pairs)
    }

    /// Makes one axis more or less relevant.
    fn weigh(&mut self, axis: usize, factor: f64) {
        self.relevance[axis] *= factor;
        let sum: f64 = self.relevance.iter().sum();
        self.relevance.iter_mut().for_each(|share| *share /= sum);
    }
}

/// Lower triangle L of a symmetric matrix L·Lᵀ, row by row.
#[derive(Clone, Debug)]
struct Cholesky(Vec<Vec<f64>>);

impl Cholesky {
    /// Factors the matrix of which the lower triangle is given; `None` when it is not positive definite.
    fn of(mut rows: Vec<Vec<f64>>) -> Option<Self> {
        for row in 0..rows.len() {
            let (above, rest) = rows.split_at_mut(row);
            let current = &mut rest[0];
            for column in 0..row {
                let done = dot(&current[..column], &above[column][..column]);
                current[column] = (current[column] - done) / above[column][column];
            }
            let pivot = current[row] - dot(&current[..row], &current[..row]);
            if pivot <= 0.0 || !pivot.is_finite() {
                return None;
            }
            current[row] = pivot.sqrt();
        }
        Some(Self(rows))
    }

    /// L⁻¹·b
    fn half_solve(&self, right: &[f64]) -> Vec<f64> {
        let mut solution: Vec<f64> = Vec::with_capacity(right.len());
        for (row, value) in self.0.iter().zip(right) {
            let done = dot(&row[..solution.len()], &solution);
            solution.push((value - done) / row[solution.len()]);
        }
        solution
    }

    /// (L·Lᵀ)⁻¹·b
    fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut solution = self.half_solve(right);
        for row in (0..solution.len()).rev() {
            let done: f64 = (row + 1..solution.len()).map(|below| self.0[below][row] * solution[below]).sum();
            solution[row] = (solution[row] - done) / self.0[row][row];
        }
        solution
    }

    /// Half the log determinant of L·Lᵀ.
    fn log_diagonal(&self) -> f64 {
        self.0.iter().enumerate().map(|(index, row)| row[index].ln()).sum()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
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

    #[test]
    fn a_factored_matrix_solves_its_equations() {
        let cholesky = Cholesky::of(vec![vec![4.0], vec![2.0, 5.0], vec![1.0, 3.0, 6.0]]).unwrap();
        let solution = cholesky.solve(&[4.0 + 4.0 + 3.0, 2.0 + 10.0 + 9.0, 1.0 + 6.0 + 18.0]);
        for (found, expected) in solution.iter().zip([1.0, 2.0, 3.0]) {
            assert!((found - expected).abs() < 1e-9, "{solution:?}");
        }
        assert!(Cholesky::of(vec![vec![1.0], vec![2.0, 1.0]]).is_none());
    }
}
