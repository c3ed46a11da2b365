//! A step from the incumbent: local search on the smoothed surface within a trust region that shrinks over the
//! session (as TuRBO does, Eriksson and others 2019), by moves of a few coordinates.

use super::feasibility::Feasibility;
use super::{Request, sample, surrogate};
use crate::learn::gaussian::GaussianProcess;
use crate::learn::rng::Random;

/// Half the edge of the trust region, as a share of an axis, at the start and at the end of the budget.
const RADIUS: (f64, f64) = (1.0, 0.5);
/// Standard deviations that a candidate's expected reward is credited for being unknown, at the start and at the end.
const CURIOSITY: (f64, f64) = (2.0, 0.0);
/// Moves that are tried on the surface; their length shrinks from the radius to a hundredth of an axis.
const MOVES: usize = 1500;
const SHORTEST_MOVE: f64 = 0.01;

/// The point to measure next.
pub fn step(request: &Request) -> Vec<f64> {
    let history = &request.history;
    let start = surrogate::surface(history).and_then(|surface| Some((surrogate::best(history, &surface)?, surface)));
    // Before the first measurement the heuristic is the best that is known.
    let Some((incumbent, surface)) = start else { return request.heuristic.clone() };
    let centre = &history[incumbent].point;
    climb(request, &surface, centre)
}

fn climb(request: &Request, surface: &GaussianProcess, centre: &[f64]) -> Vec<f64> {
    let progress = (f64::from(request.number) / f64::from(request.budget.max(1))).clamp(0.0, 1.0);
    let between = |(start, end): (f64, f64)| start + (end - start) * progress;
    let (radius, curiosity) = (between(RADIUS), between(CURIOSITY));
    let worth = |point: &[f64]| {
        let prediction = surface.predict(point);
        prediction.mean + curiosity * prediction.deviation
    };
    let feasibility = Feasibility::of(&request.history);
    let mut random = sample::of_trial(request);
    let (mut best, mut best_worth) = (centre.to_vec(), worth(centre));
    for number in 0..MOVES {
        let length = radius * (SHORTEST_MOVE / radius).powf(number as f64 / MOVES as f64);
        let candidate = moved(&best, centre, radius, length, &mut random);
        let candidate_worth = worth(&candidate);
        if candidate_worth > best_worth && !feasibility.likely_fails(&candidate) {
            (best, best_worth) = (candidate, candidate_worth);
        }
    }
    best
}

/// One to three coordinates changed, within the trust region.
fn moved(from: &[f64], centre: &[f64], radius: f64, length: f64, random: &mut Random) -> Vec<f64> {
    let mut point = from.to_vec();
    for _ in 0..=random.below(3) {
        let axis = random.below(point.len());
        let (low, high) = ((centre[axis] - radius).max(0.0), (centre[axis] + radius).min(1.0));
        point[axis] = (point[axis] + length * random.normal()).clamp(low, high);
    }
    point
}
