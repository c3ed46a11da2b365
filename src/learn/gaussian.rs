//! Gaussian process regression (Rasmussen and Williams 2006, chapters 2 and 5) for tens of noisy measurements over
//! the unit cube, measured in blocks.
//!
//! The kernel is the mean of one-dimensional kernels, one per axis, and a kernel of the whole distance (Duvenaud and
//! others 2011): knobs act mostly on their own, which few measurements suffice to learn, and the rest is left to the
//! second term.

/// Scales that are tried; the marginal likelihood chooses. Lengths are in units of an axis, deviations in units of
/// the targets.
const LENGTHS: [f64; 3] = [0.3, 0.6, 1.2];
const ADDITIVE_SHARES: [f64; 2] = [0.5, 0.9];
const SIGNALS: [f64; 3] = [0.1, 0.2, 0.4];
const NOISES: [f64; 3] = [0.03, 0.06, 0.1];

/// How much more or less relevant an axis may become in a round, and by how much the log likelihood must rise for it:
/// a few axes matter, and tens of measurements can tell which, but would also fit their noise.
const RELEVANCE_ROUNDS: usize = 2;
const RELEVANCE_FACTORS: [f64; 2] = [4.0, 0.25];
const RELEVANCE_EVIDENCE: f64 = 0.2;

/// Deviation of the noise of a measurement that defines the scale: not zero only to keep the matrix invertible.
const REFERENCE_NOISE: f64 = 0.005;

/// Measurements that a fit takes: the latest. It bounds the time of a fit, which grows with the third power.
const ROWS: usize = 150;

/// A measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where in the unit cube.
    pub point: Vec<f64>,
    /// What was measured.
    pub target: f64,
    /// Measurements of one block were compared with the same reference measurement and share the error of that one
    /// (a random block effect of the noise's variance). `None` for the reference itself, which has no error.
    pub block: Option<usize>,
}

/// A fitted process.
#[derive(Clone, Debug)]
pub struct GaussianProcess {
    rows: Vec<Row>,
    kernel: Kernel,
    noise: f64,
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
    /// Fits measurements with the scales of the largest marginal likelihood. `None` without any measurement.
    pub fn fit(rows: &[Row]) -> Option<Self> {
        let rows = &rows[rows.len().saturating_sub(ROWS)..];
        let axes = rows.first()?.point.len();
        let mut best: Option<(f64, Self)> = None;
        for length in LENGTHS {
            for additive in ADDITIVE_SHARES {
                let shape = Kernel { length, additive, signal: 1.0, relevance: vec![1.0 / axes as f64; axes] };
                let similarity = triangle(rows, |a, b| shape.between(&a.point, &b.point));
                for signal in SIGNALS {
                    for noise in NOISES {
                        let kernel = Kernel { signal, ..shape.clone() };
                        keep_likelier(&mut best, Self::condition(rows, kernel, noise, &similarity));
                    }
                }
            }
        }
        let (mut likelihood, mut process) = best?;
        for _ in 0..RELEVANCE_ROUNDS {
            for axis in 0..axes {
                for factor in RELEVANCE_FACTORS {
                    let kernel = process.kernel.with_relevance(axis, factor);
                    let similarity = triangle(rows, |a, b| kernel.between(&a.point, &b.point) / kernel.signal.powi(2));
                    if let Some((higher, candidate)) = Self::condition(rows, kernel, process.noise, &similarity)
                        && higher > likelihood + RELEVANCE_EVIDENCE
                    {
                        (likelihood, process) = (higher, candidate);
                    }
                }
            }
        }
        Some(process)
    }

    /// The process for one choice of scales, and its log marginal likelihood up to a constant. `None` when the
    /// covariance is not positive definite.
    fn condition(rows: &[Row], kernel: Kernel, noise: f64, similarity: &[Vec<f64>]) -> Option<(f64, Self)> {
        let mut covariance = triangle(rows, |a, b| match (a.block, b.block) {
            (Some(first), Some(second)) if first == second => noise.powi(2),
            _ => 0.0,
        });
        for (index, (row, similar)) in covariance.iter_mut().zip(similarity).enumerate() {
            row.iter_mut().zip(similar).for_each(|(value, similar)| *value += kernel.signal.powi(2) * similar);
            row[index] += if rows[index].block.is_some() { noise.powi(2) } else { REFERENCE_NOISE.powi(2) };
        }
        let cholesky = Cholesky::of(covariance)?;
        let targets: Vec<f64> = rows.iter().map(|row| row.target).collect();
        let ones = cholesky.solve(&vec![1.0; rows.len()]);
        let mean = dot(&ones, &targets) / ones.iter().sum::<f64>();
        let centred: Vec<f64> = targets.iter().map(|target| target - mean).collect();
        let weights = cholesky.solve(&centred);
        let likelihood = -0.5 * dot(&centred, &weights) - cholesky.log_diagonal();
        let process = Self { rows: rows.to_vec(), kernel, noise, mean, cholesky, weights };
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

/// Lower triangle of a symmetric matrix over the rows.
fn triangle(rows: &[Row], value: impl Fn(&Row, &Row) -> f64) -> Vec<Vec<f64>> {
    rows.iter().enumerate().map(|(index, a)| rows[..=index].iter().map(|b| value(a, b)).collect()).collect()
}

fn keep_likelier(best: &mut Option<(f64, GaussianProcess)>, candidate: Option<(f64, GaussianProcess)>) {
    if let Some(candidate) = candidate
        && best.as_ref().is_none_or(|(highest, _)| candidate.0 > *highest)
    {
        *best = Some(candidate);
    }
}

#[derive(Clone, Debug)]
struct Kernel {
    length: f64,
    /// Share of the variance that is a sum over the axes.
    additive: f64,
    signal: f64,
    /// Share of each axis; they sum to one.
    relevance: Vec<f64>,
}

impl Kernel {
    fn between(&self, a: &[f64], b: &[f64]) -> f64 {
        let exponent = -0.5 / self.length.powi(2);
        let (mut squares, mut alone) = (0.0, 0.0);
        for ((x, y), share) in a.iter().zip(b).zip(&self.relevance) {
            let square = (x - y).powi(2);
            squares += share * square;
            alone += share * (exponent * square).exp();
        }
        self.signal.powi(2) * (self.additive * alone + (1.0 - self.additive) * (4.0 * exponent * squares).exp())
    }

    /// The same with one axis more or less relevant.
    fn with_relevance(&self, axis: usize, factor: f64) -> Self {
        let mut relevance = self.relevance.clone();
        relevance[axis] *= factor;
        let sum: f64 = relevance.iter().sum();
        relevance.iter_mut().for_each(|share| *share /= sum);
        Self { relevance, ..self.clone() }
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

    /// Rows at random points of four axes, of which two matter, in blocks of five.
    fn rows(count: usize, noise: f64, block_errors: [f64; 2]) -> Vec<Row> {
        let mut random = Random::new(2, 0);
        let row = |index| {
            let point: Vec<f64> = (0..4).map(|_| random.uniform()).collect();
            let block = index / 5;
            Row {
                target: surface(&point) + noise * random.normal() - block_errors[block % 2],
                point,
                block: Some(block),
            }
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn it_learns_a_surface_from_noisy_rows() {
        let process = GaussianProcess::fit(&rows(40, 0.03, [0.0; 2])).unwrap();
        let mut random = Random::new(3, 0);
        let (mut error, mut spread) = (0.0, 0.0);
        for _ in 0..200 {
            let point: Vec<f64> = (0..4).map(|_| random.uniform()).collect();
            error += (process.predict(&point).mean - surface(&point)).powi(2);
            spread += (process.mean - surface(&point)).powi(2);
        }
        assert!(error < 0.25 * spread, "{error} {spread}");
    }

    #[test]
    fn the_error_of_a_blocks_reference_is_not_taken_for_the_surface() {
        let mut measured = rows(40, 0.01, [0.08, -0.08]);
        measured.push(Row { point: vec![0.0, 0.4, 0.5, 0.5], target: 0.0, block: None });
        let far = GaussianProcess::fit(&measured).unwrap().predict(&[1.0, 0.4, 0.5, 0.5]).mean;
        assert!((far - 0.2).abs() < 0.06, "{far}");
    }

    #[test]
    fn what_was_measured_is_less_uncertain_than_what_was_not() {
        let measured: Vec<Row> =
            (0..6).map(|i| Row { point: vec![0.1], target: 0.01 * f64::from(i), block: Some(i as usize) }).collect();
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
