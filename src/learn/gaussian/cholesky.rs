//! The factor of a covariance matrix.

/// Lower triangle L of a symmetric matrix L·Lᵀ, row by row.
#[derive(Clone, Debug)]
pub(super) struct Cholesky(Vec<Vec<f64>>);

impl Cholesky {
    /// Factors the matrix of which the lower triangle is given; `None` when it is not positive definite.
    pub fn of(mut rows: Vec<Vec<f64>>) -> Option<Self> {
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
    pub fn half_solve(&self, right: &[f64]) -> Vec<f64> {
        let mut solution: Vec<f64> = Vec::with_capacity(right.len());
        for (row, value) in self.0.iter().zip(right) {
            let done = dot(&row[..solution.len()], &solution);
            solution.push((value - done) / row[solution.len()]);
        }
        solution
    }

    /// (L·Lᵀ)⁻¹·b
    pub fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut solution = self.half_solve(right);
        for row in (0..solution.len()).rev() {
            let done: f64 = (row + 1..solution.len()).map(|below| self.0[below][row] * solution[below]).sum();
            solution[row] = (solution[row] - done) / self.0[row][row];
        }
        solution
    }

    /// Half the log determinant of L·Lᵀ.
    pub fn log_diagonal(&self) -> f64 {
        self.0.iter().enumerate().map(|(index, row)| row[index].ln()).sum()
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

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
