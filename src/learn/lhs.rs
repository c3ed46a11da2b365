//! Latin hypercube samples (McKay, Beckman, Conover 1979): each axis is cut into as many strata as there are
//! samples, and each stratum holds exactly one.

use super::rng::Random;

/// Designs that are drawn; the one whose closest two samples are farthest apart (maximin) is taken.
const CANDIDATES: usize = 16;

/// `samples` points of the unit cube of `dimensions` axes.
pub fn design(samples: usize, dimensions: usize, random: &mut Random) -> Vec<Vec<f64>> {
    let mut best = draw(samples, dimensions, random);
    let mut widest = closest_pair(&best);
    for _ in 1..CANDIDATES {
        let candidate = draw(samples, dimensions, random);
        let gap = closest_pair(&candidate);
        if gap > widest {
            (best, widest) = (candidate, gap);
        }
    }
    best
}

fn draw(samples: usize, dimensions: usize, random: &mut Random) -> Vec<Vec<f64>> {
    let mut points = vec![vec![0.0; dimensions]; samples];
    for axis in 0..dimensions {
        for (point, stratum) in points.iter_mut().zip(random.permutation(samples)) {
            point[axis] = (stratum as f64 + random.uniform()) / samples as f64;
        }
    }
    points
}

/// Smallest squared distance between two points; infinite when there are fewer than two.
fn closest_pair(points: &[Vec<f64>]) -> f64 {
    let mut closest = f64::INFINITY;
    for (index, a) in points.iter().enumerate() {
        for b in &points[..index] {
            closest = closest.min(a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum());
        }
    }
    closest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_stratum_of_each_axis_holds_one_sample(samples in 1_usize..30, dimensions in 1_usize..16, seed: u64) {
            let points = design(samples, dimensions, &mut Random::new(seed, 0));
            prop_assert_eq!(points.len(), samples);
            for axis in 0..dimensions {
                let mut strata: Vec<usize> = points.iter().map(|p| (p[axis] * samples as f64) as usize).collect();
                strata.sort_unstable();
                prop_assert_eq!(&strata, &(0..samples).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_design_spreads_better_than_the_first_draw() {
        let spread = |seed| {
            let first = closest_pair(&draw(8, 3, &mut Random::new(seed, 0)));
            (first, closest_pair(&design(8, 3, &mut Random::new(seed, 0))))
        };
        let pairs: Vec<(f64, f64)> = (0..10).map(spread).collect();
        assert!(pairs.iter().all(|(first, best)| best >= first));
        assert!(pairs.iter().filter(|(first, best)| best > first).count() >= 8, "{pairs:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_design() {
        assert_eq!(design(8, 14, &mut Random::new(5, 0)), design(8, 14, &mut Random::new(5, 0)));
    }
}
