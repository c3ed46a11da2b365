//! Whole sessions against the simulator.

use std::time::Instant;

use super::*;
use crate::tuning::simulator::{Simulator, SimulatorSpec};

fn reward_of(tps: f64, base: f64) -> f64 {
    (tps / base).ln().clamp(-1.0, 1.0)
}

pub fn session(spec: SimulatorSpec, optimizer: OptimizerSpec, explore: usize, pattern: &[TrialKind], base_every: i32) -> (f64, Vec<String>, f64) {
    let budget = 40;
    let mut simulator = Simulator::new(spec);
    let snap = |p: &[f64]| -> Vec<f64> { p.iter().map(|x| (x * 31.0).round() / 31.0).collect() };
    let mut history: Vec<Observation> = Vec::new();
    let mut checkpoint = None;
    let mut state = vec![];
    let (mut explored, mut turn) = (0, 0);
    let mut base = 0.0;
    let mut lines = vec![];
    let mut slowest: f64 = 0.0;
    for number in 1..=budget {
        let kind = if number == 1 || (number > 2 && (number - 1) % base_every == 0) { TrialKind::Baseline }
            else if number == 2 { TrialKind::Heuristic }
            else if explored < explore { TrialKind::Explore }
            else { let k = pattern[turn % pattern.len()]; turn += 1; k };
        let point = if history.is_empty() { simulator.baseline_point().to_vec() } else {
            let t = Instant::now();
            let p = propose(&Request {
                optimizer: optimizer.clone(), kind, number, budget, exploration_index: explored, exploration_total: explore,
                heuristic: simulator.heuristic_point().to_vec(), baseline: simulator.baseline_point().to_vec(),
                state: state.clone(), history: history.clone(), checkpoint: checkpoint.take() }).unwrap();
            slowest = slowest.max(t.elapsed().as_secs_f64());
            checkpoint = p.checkpoint;
            if kind == TrialKind::Baseline || kind == TrialKind::Heuristic { p.point } else { snap(&p.point) }
        };
        if kind == TrialKind::Explore { explored += 1; }
        let measured = simulator.measure(&point);
        let next_state = measured.as_ref().map_or(state.clone(), |m| m.state.iter().map(|d| d.0).collect());
        if state.is_empty() { state = next_state.clone(); }
        let (reward, feasible) = match &measured {
            Ok(m) => { if kind == TrialKind::Baseline { base = m.tps.0; } (reward_of(m.tps.0, base), true) }
            Err(_) => (history.iter().map(|o| o.reward).fold(0.0, f64::min) - 0.2, false),
        };
        lines.push(format!("{number:2} {kind:?} true {:.3} seen {reward:.3}", simulator.noise_free(&point) / simulator.best_known()));
        history.push(Observation { point, state: state.clone(), next_state: next_state.clone(), reward, feasible, kind });
        state = next_state;
    }
    let best = incumbent(&history).unwrap();
    let heuristic = simulator.noise_free(simulator.heuristic_point()) / simulator.best_known();
    lines.push(format!("incumbent {} heuristic {heuristic:.3} slowest {slowest:.3}", best + 1));
    (simulator.noise_free(&history[best].point) / simulator.best_known(), lines, heuristic)
}

#[test]
fn explore_schedules() {
    use TrialKind::{Policy as P, Refine as R};
    let get = |name: &str, default: &str| std::env::var(name).unwrap_or(default.into());
    let explore: usize = get("EXPLORE", "8").parse().unwrap();
    let pattern: Vec<TrialKind> = get("PATTERN", "PR").chars().map(|c| if c == 'P' { P } else { R }).collect();
    let seeds: u64 = get("SEEDS", "10").parse().unwrap();
    let noise: f64 = get("NOISE", "0.05").parse().unwrap();
    let mut all = vec![];
    let mut hs = vec![];
    for seed in 0..seeds {
        let (share, lines, h) = session(SimulatorSpec { noise, ..SimulatorSpec::new(seed) }, OptimizerSpec { seed: seed as i64, ..OptimizerSpec::default() }, explore, &pattern, get("BASE", "5").parse().unwrap());
        if get("VERBOSE", "") == seed.to_string() { for l in &lines { println!("{l}"); } }
        println!("seed {seed}: {share:.3} (heuristic {h:.3}) {}", lines.last().unwrap());
        all.push(share); hs.push(h);
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    println!("MEAN {:.4} heuristic {:.4} within5 {}/{}", mean(&all), mean(&hs), all.iter().filter(|s| **s >= 0.95).count(), all.len());
}
