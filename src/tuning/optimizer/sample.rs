//! Proposals that are samples of the space, whatever was measured.

use super::{Request, stream};
use crate::learn::lhs;
use crate::learn::rng::Random;

/// Coordinates closer than this are the same.
const SAME: f64 = 1e-9;
/// How far a knob that the formulas leave alone is explored around its baseline, as a share of its axis.
const LOCAL_REACH: f64 = 0.3;

/// Sample number `number` of a Latin hypercube of as many samples as the session has trials.
pub fn latin_hypercube(request: &Request) -> Vec<f64> {
    let number = request.number.max(1) as usize;
    let samples = number.max(request.budget.max(1) as usize);
    design_point(request, number - 1, samples)
}

/// Exploration sample `exploration_index` of a Latin hypercube of `exploration_total` between the baseline and the far
/// end of each axis, seen from the heuristic: the formulas know the direction better than the distance. A knob that they
/// leave alone is moved around its baseline.
pub fn exploration(request: &Request) -> Vec<f64> {
    let index = request.exploration_index;
    let sample = design_point(request, index, request.exploration_total.max(index + 1));
    let axes = sample.iter().zip(request.baseline.iter().zip(&request.heuristic));
    axes.map(|(share, (from, formula))| match formula - from {
        up if up > SAME => from + share * (1.0 - from),
        down if down < -SAME => from - share * from,
        _ => (from + LOCAL_REACH * (2.0 * share - 1.0)).clamp(0.0, 1.0),
    })
    .collect()
}

/// A uniform sample.
pub fn uniform(request: &Request) -> Vec<f64> {
    let mut random = of_trial(request);
    request.heuristic.iter().map(|_| random.uniform()).collect()
}

/// The random numbers of one trial, independent of those of any other.
pub fn of_trial(request: &Request) -> Random {
    Random::new(request.optimizer.seed as u64, stream::TRIAL + request.number.max(0) as u64)
}

fn design_point(request: &Request, index: usize, samples: usize) -> Vec<f64> {
    let mut random = Random::new(request.optimizer.seed as u64, stream::DESIGN);
    lhs::design(samples, request.heuristic.len(), &mut random).swap_remove(index)
}
