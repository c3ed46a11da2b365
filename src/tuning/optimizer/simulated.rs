//! Whole sessions against the simulator.

use super::*;
use crate::tuning::simulator::{Simulator, SimulatorSpec};

const BUDGET: i32 = 40;
const EXPLORATION: usize = 8;

/// Throughput without noise, as a share of the best known.
#[derive(Debug)]
struct Found {
    heuristic: f64,
    incumbent: f64,
}

/// Baseline, heuristic, exploration, then policy and refinement in turns; the baseline again every fifth trial.
fn kind(number: i32, proposals: usize) -> TrialKind {
    match number {
        2 => TrialKind::Heuristic,
        _ if number % 5 == 1 => TrialKind::Baseline,
        _ if proposals < EXPLORATION => TrialKind::Explore,
        _ if proposals.is_multiple_of(2) => TrialKind::Policy,
        _ => TrialKind::Refine,
    }
}

fn bucket(point: &[f64]) -> Vec<f64> {
    point.iter().map(|x| (x * 31.0).round() / 31.0).collect()
}

fn session(seed: u64) -> Found {
    let mut simulator = Simulator::new(SimulatorSpec::new(seed));
    let mut request = Request {
        optimizer: OptimizerSpec { seed: seed as i64, ..OptimizerSpec::default() },
        kind: TrialKind::Baseline,
        number: 1,
        budget: BUDGET,
        exploration_index: 0,
        exploration_total: EXPLORATION,
        heuristic: simulator.heuristic_point().to_vec(),
        baseline: simulator.baseline_point().to_vec(),
        state: Vec::new(),
        history: Vec::new(),
        checkpoint: None,
    };
    let (mut proposals, mut baseline_tps) = (0, 0.0);
    for number in 1..=BUDGET {
        (request.number, request.kind, request.exploration_index) = (number, kind(number, proposals), proposals);
        let proposal = propose(&request).unwrap();
        request.checkpoint = proposal.checkpoint;
        let known = matches!(request.kind, TrialKind::Baseline | TrialKind::Heuristic);
        proposals += usize::from(!known);
        let point = if known { proposal.point } else { bucket(&proposal.point) };
        let measured = simulator.measure(&point);
        let next_state = measured.as_ref().map_or(request.state.clone(), |m| m.state.iter().map(|d| d.0).collect());
        if request.state.is_empty() {
            request.state = next_state.clone();
        }
        let reward = measured.as_ref().map_or(-0.5, |measurement| {
            if request.kind == TrialKind::Baseline {
                baseline_tps = measurement.tps.0;
            }
            (measurement.tps.0 / baseline_tps).ln()
        });
        let level = measured.as_ref().map_or(0.0, |measurement| measurement.tps.0.ln());
        let (state, feasible) = (std::mem::replace(&mut request.state, next_state.clone()), measured.is_ok());
        request.history.push(Observation { point, state, next_state, level, reward, feasible, kind: request.kind });
    }
    let best = incumbent(&request.history).unwrap();
    let share = |point: &[f64]| simulator.noise_free(point) / simulator.best_known();
    Found { heuristic: share(simulator.heuristic_point()), incumbent: share(&request.history[best].point) }
}

#[test]
fn sessions_go_on_from_the_heuristic_towards_the_optimum() {
    let found: Vec<Found> = (0..4).map(session).collect();
    let mean = |share: fn(&Found) -> f64| found.iter().map(share).sum::<f64>() / found.len() as f64;
    let (heuristic, incumbent) = (mean(|f| f.heuristic), mean(|f| f.incumbent));
    assert!(incumbent > heuristic + 0.3 * (1.0 - heuristic), "{found:?}");
}
