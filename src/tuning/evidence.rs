//! What the measurements prove: intervals of a gain, pairs of interleaved runs, knobs without effect.

mod inert;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use inert::inert_knobs;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 4000;

/// A mean with its 95 % interval, as log ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
}

impl Interval {
    /// The mean in percent.
    pub fn mean_percent(&self) -> f64 {
        percent(self.mean)
    }

    /// The lower end in percent.
    pub fn low_percent(&self) -> f64 {
        percent(self.low)
    }

    /// The upper end in percent.
    pub fn high_percent(&self) -> f64 {
        percent(self.high)
    }
}

/// A log ratio as a change in percent: `ln 1.1` is 10.
pub fn percent(log_ratio: f64) -> f64 {
    log_ratio.exp_m1() * 100.0
}

/// The mean of log ratios with its 95 % interval; `None` with fewer than two.
///
/// The interval spans both Student's t interval and the percentile bootstrap. The bootstrap alone undercovers in small
/// samples (84 % instead of 95 % at n = 5: Hesterberg, "What Teachers Should Know About the Bootstrap", 2015); Student's
/// t is exact for normal noise and knows no skewness, which the bootstrap adds where it widens. The same ratios and
/// seed give the same interval.
pub fn interval(log_ratios: &[f64], seed: u64) -> Option<Interval> {
    let n = log_ratios.len();
    if n < 2 {
        return None;
    }
    let mean = log_ratios.iter().sum::<f64>() / n as f64;
    let variance = log_ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let margin = t_quantile(n - 1) * (variance / n as f64).sqrt();

    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut means: Vec<f64> =
        (0..RESAMPLES).map(|_| (0..n).map(|_| log_ratios[rng.random_range(0..n)]).sum::<f64>() / n as f64).collect();
    means.sort_by(f64::total_cmp);
    let tail = RESAMPLES / 40;
    Some(Interval {
        mean,
        low: (mean - margin).min(means[tail]),
        high: (mean + margin).max(means[RESAMPLES - 1 - tail]),
    })
}

/// The 97.5 % quantile of Student's t distribution.
fn t_quantile(degrees: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    // Beyond the table, the first terms of the expansion in 1/degrees (Abramowitz and Stegun 26.7.5).
    let z = 1.959_964f64;
    let expansion = || z + (z.powi(3) + z) / (4.0 * degrees as f64);
    degrees.checked_sub(1).map_or(f64::INFINITY, |at| TABLE.get(at).copied().unwrap_or_else(expansion))
}

/// Log ratios of an arm's runs to a reference arm's, from runs in the order in which they were measured. `runs` holds
/// each run's arm and the logarithm of what it measured.
///
/// Each run is compared with the mean of the reference runs nearest to it in the order, one or, at equal distance, two.
/// In the order `ABBA…` these are pairs without a common run, so the ratios are independent, and a steady drift of
/// the machine cancels between one pair and the next.
pub fn pairs<A: PartialEq>(runs: &[(A, f64)], arm: &A, reference: &A) -> Vec<f64> {
    let references: Vec<(usize, f64)> =
        runs.iter().enumerate().filter(|(_, run)| run.0 == *reference).map(|(at, run)| (at, run.1)).collect();
    let ratio = |at: usize, value: f64| {
        let nearest = references.iter().map(|(other, _)| other.abs_diff(at)).min()?;
        let adjacent = references.iter().filter(|(other, _)| other.abs_diff(at) == nearest);
        let (sum, count) = adjacent.fold((0.0, 0.0), |(sum, count), (_, log)| (sum + log, count + 1.0));
        Some(value - sum / count)
    };
    runs.iter().enumerate().filter(|(_, run)| run.0 == *arm).filter_map(|(at, run)| ratio(at, run.1)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A standard normal number (Box and Muller).
    pub(super) fn normal(rng: &mut ChaCha8Rng) -> f64 {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    #[test]
    fn five_pairs_cover_the_truth_as_often_as_promised() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let sessions = 1000;
        let covered = (0..sessions)
            .filter(|seed| {
                let ratios: Vec<f64> = (0..5).map(|_| 0.1 + 0.05 * normal(&mut rng)).collect();
                let interval = interval(&ratios, *seed).unwrap();
                interval.low <= 0.1 && 0.1 <= interval.high
            })
            .count();
        assert!(covered * 100 >= 93 * sessions as usize, "{covered} of {sessions}");
    }

    #[test]
    fn a_single_pair_proves_nothing_and_equal_ones_have_no_width() {
        assert_eq!(interval(&[0.1], 0), None);
        let same = interval(&[0.5, 0.5, 0.5], 0).unwrap();
        assert_eq!((same.low, same.mean, same.high), (0.5, 0.5, 0.5));
        assert!((percent(1.1f64.ln()) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn quantiles_fall_towards_the_normal_one() {
        let quantiles: Vec<f64> = (0..200).map(t_quantile).collect();
        assert!(quantiles.windows(2).all(|pair| pair[0] > pair[1]), "{quantiles:?}");
        assert!((quantiles[60] - 2.0003).abs() < 2e-3);
    }

    #[test]
    fn interleaved_runs_cancel_a_drift() {
        let arms = ['a', 'b', 'b', 'a', 'a', 'b', 'b', 'a'];
        let runs: Vec<_> = arms
            .iter()
            .enumerate()
            .map(|(at, arm)| (*arm, 0.01 * at as f64 + if *arm == 'b' { 0.2 } else { 0.0 }))
            .collect();
        let ratios = pairs(&runs, &'b', &'a');
        assert_eq!(ratios.len(), 4);
        assert!((ratios.iter().sum::<f64>() / 4.0 - 0.2).abs() < 1e-12, "{ratios:?}");
        assert!(pairs(&runs, &'c', &'a').is_empty() && pairs(&runs, &'b', &'c').is_empty());
    }

    #[test]
    fn a_run_between_two_references_takes_their_mean() {
        assert_eq!(pairs(&[('a', 1.0), ('b', 5.0), ('a', 3.0)], &'b', &'a'), [3.0]);
    }

    proptest! {
        #[test]
        fn an_interval_is_in_order_and_repeats(ratios in prop::collection::vec(-1.0f64..1.0, 2..12), seed in any::<u64>()) {
            let found = interval(&ratios, seed).unwrap();
            prop_assert!(found.low <= found.mean && found.mean <= found.high);
            prop_assert_eq!(interval(&ratios, seed), Some(found));
        }
    }
}
