//! The kernel: a sum of one-dimensional kernels, one per axis, and of their products in pairs (Duvenaud and others 2011).

/// Lengths of the one-dimensional kernels, in units of an axis.
pub const LENGTHS: [f64; 3] = [0.6, 1.2, 2.4];

/// The one-dimensional kernels between two points, one for each axis.
pub fn terms(length: f64, a: &[f64], b: &[f64]) -> Vec<f64> {
    let exponent = -0.5 / length.powi(2);
    a.iter().zip(b).map(|(x, y)| (exponent * (x - y).powi(2)).exp()).collect()
}

#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Which of the [`LENGTHS`].
    pub length: usize,
    /// Share of the variance that is a sum over the pairs of axes; the rest is a sum over the axes.
    pub pairs: f64,
    /// Standard deviation of the function.
    pub signal: f64,
    /// Standard deviation of a measurement.
    pub noise: f64,
    /// Standard deviation of the machine's speed from one measurement to the next.
    pub drift: f64,
    /// Share of each axis; they sum to one.
    pub relevance: Vec<f64>,
}

impl Kernel {
    /// The sum of the squared shares, for [`Kernel::of`].
    pub fn own(&self) -> f64 {
        self.relevance.iter().map(|share| share * share).sum()
    }

    /// From the one-dimensional kernels' values and the sum of the squared shares.
    pub fn of(&self, terms: &[f64], own: f64) -> f64 {
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

    /// Makes one axis move the function more or less, and leaves the others as they are. Factor of its variance.
    pub fn scale(&mut self, axis: usize, factor: f64) {
        let variance = 1.0 + self.relevance[axis] * (factor - 1.0);
        self.weigh(axis, factor);
        self.signal *= variance.sqrt();
    }

    /// Makes one axis more or less relevant than the others, and leaves the function as wide as it is.
    pub fn weigh(&mut self, axis: usize, factor: f64) {
        self.relevance[axis] *= factor;
        let sum: f64 = self.relevance.iter().sum();
        self.relevance.iter_mut().for_each(|share| *share /= sum);
    }
}
