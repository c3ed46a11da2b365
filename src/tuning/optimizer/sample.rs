//! Proposals that are samples of the space, whatever was measured.

use super::{Request, stream};
use crate::learn::lhs;
use crate::learn::rng::Random;

/// Of this many exploration samples, one lies around the heuristic.
const LOCAL_EVERY: usize = 4;
/// Standard deviation of a sample around the heuristic, as a share of an axis.
const LOCAL_DEVIATION: f64 = 0.15;

/// Sample number `number` of a Latin hypercube of as many samples as the session has trials.
pub fn latin_hypercube(request: &Request) -> Vec<f64> {
    let number = request.number.max(1) as usize;
    let samples = number.max(request.budget.max(1) as usize);
    design_point(request, number - 1, samples)
}

/// Exploration sample `exploration_index` of a Latin hypercube of `exploration_total`; every fourth is drawn around
/// the heuristic instead, where good configurations are.
pub fn exploration(request: &Request) -> Vec<f64> {
    let index = request.exploration_index;
    if index % LOCAL_EVERY == LOCAL_EVERY - 1 {
        let mut random = of_trial(request);
        return request.heuristic.iter().map(|x| (x + LOCAL_DEVIATION * random.normal()).clamp(0.0, 1.0)).collect();
    }
    design_point(request, index, request.exploration_total.max(index + 1))
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
