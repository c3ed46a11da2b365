//! Gaussian process regression (Rasmussen and Williams 2006, chapters 2 and 5) for tens of noisy measurements over
//! the unit cube.
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

/// Measurements that a fit takes: the latest. It bounds the time of a fit, which grows with the third power.
const ROWS: usize = 150;

/// A fitted process.
#[derive(Clone, Debug)]
pub struct GaussianProcess {
    points: Vec<Vec<f64>>,
    kernel: Kernel,
    mean: f64,
    cholesky: Cholesky,
    /// (K + noise²·I)⁻¹ (targets − mean)
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
    /// Fits points of the unit cube and their targets, with the scales of the largest marginal likelihood. `None`
    /// without any measurement.
    pub fn fit(points: &[Vec<f64>], targets: &[f64]) -> Option<Self> {
        let from = points.len().saturating_sub(ROWS);
        let (points, targets) = (&points[from..], &targets[from..]);
        let mut best: Option<(f64, Self)> = None;
        for length in LENGTHS {
            for additive in ADDITIVE_SHARES {
                let shape = Kernel { length, additive, signal: 1.0 };
                let similarity: Vec<Vec<f64>> = points
                    .iter()
                    .enumerate()
                    .map(|(row, a)| points[..=row].iter().map(|b| shape.between(a, b)).collect())
                    .collect();
                for signal in SIGNALS {
                    for noise in NOISES {
                        let kernel = Kernel { signal, ..shape };
                        let Some((likelihood, process)) = Self::condition(points, targets, kernel, noise, &similarity)
                        else {
                            continue;
                        };
                        if best.as_ref().is_none_or(|(highest, _)| likelihood > *highest) {
                            best = Some((likelihood, process));
                        }
                    }
                }
            }
        }
        best.map(|(_, process)| process)
    }

    /// The process for one choice of scales, and its log marginal likelihood up to a constant.
    fn condition(
        points: &[Vec<f64>],
        targets: &[f64],
        kernel: Kernel,
        noise: f64,
        similarity: &[Vec<f64>],
    ) -> Option<(f64, Self)> {
        let covariance = similarity.iter().map(|row| {
            let mut row: Vec<f64> = row.iter().map(|value| value * kernel.signal.powi(2)).collect();
            if let Some(diagonal) = row.last_mut() {
                *diagonal += noise.powi(2);
            }
            row
        });
        let cholesky = Cholesky::of(covariance.collect())?;
        let ones = cholesky.solve(&vec![1.0; targets.len()]);
        let mean = dot(&ones, targets) / ones.iter().sum::<f64>();
        let centred: Vec<f64> = targets.iter().map(|target| target - mean).collect();
        let weights = cholesky.solve(&centred);
        let likelihood = -0.5 * dot(&centred, &weights) - cholesky.log_diagonal();
        let process = Self { points: points.to_vec(), kernel, mean, cholesky, weights };
        likelihood.is_finite().then_some((likelihood, process))
    }

    /// What the function is expected to be at a point.
    pub fn predict(&self, point: &[f64]) -> Prediction {
        let covariance: Vec<f64> = self.points.iter().map(|seen| self.kernel.between(seen, point)).collect();
        let explained = self.cholesky.half_solve(&covariance);
        let variance = self.kernel.signal.powi(2) - dot(&explained, &explained);
        Prediction { mean: self.mean + dot(&covariance, &self.weights), deviation: variance.max(0.0).sqrt() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Kernel {
    length: f64,
    /// Share of the variance that is a sum over the axes.
    additive: f64,
    signal: f64,
}

impl Kernel {
    fn between(&self, a: &[f64], b: &[f64]) -> f64 {
        let exponent = -0.5 / self.length.powi(2);
        let (mut squares, mut alone) = (0.0, 0.0);
        for (x, y) in a.iter().zip(b) {
            let square = (x - y).powi(2);
            squares += square;
            alone += (exponent * square).exp();
        }
        let axes = a.len().max(1) as f64;
        // The distance grows with the root of the number of axes, and the length with it.
        let whole = (exponent * squares / axes * 4.0).exp();
        self.signal.powi(2) * (self.additive * alone / axes + (1.0 - self.additive) * whole)
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
