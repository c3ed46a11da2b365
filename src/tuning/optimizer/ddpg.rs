//! DDPG: the request's history as an agent's memory, and the agent's action with noise.

use super::{OptimizerError, Request, sample};
use crate::learn::torch::ddpg::{Agent, Settings, Transition};
use crate::tuning::crd::DdpgSpec;

/// Share of the way that target networks move in a gradient step, where the discount is not 0.
const TAU: f64 = 0.005;

/// The agent after learning the whole history: from the checkpoint what was learned before.
pub fn learned(request: &Request) -> Result<Agent, OptimizerError> {
    let spec = spec(request);
    let settings = Settings {
        seed: request.optimizer.seed as u64,
        state_width: request.state.len(),
        initial_action: request.heuristic.clone(),
        updates_per_sample: spec.updates_per_trial.max(0) as u32,
        batch_size: spec.batch_size.max(1) as usize,
        gamma: milli(spec.gamma_milli),
        tau: TAU,
    };
    let mut agent = match &request.checkpoint {
        Some(bytes) => Agent::load(bytes, &settings)?,
        None => Agent::new(settings),
    };
    let memory = request.history.iter().map(|trial| Transition {
        state: trial.state.clone(),
        action: trial.point.clone(),
        reward: trial.reward,
        next_state: trial.next_state.clone(),
        terminal: !trial.feasible,
    });
    agent.learn(&memory.collect::<Vec<_>>())?;
    Ok(agent)
}

/// The agent's action in the current state with Gaussian noise, which falls linearly over the budget.
pub fn act(agent: &Agent, request: &Request) -> Result<Vec<f64>, OptimizerError> {
    let spec = spec(request);
    let progress = (f64::from(request.number) / f64::from(request.budget.max(1))).clamp(0.0, 1.0);
    let (start, end) = (milli(spec.noise_start_milli), milli(spec.noise_end_milli));
    let deviation = start + (end - start) * progress;
    let mut random = sample::of_trial(request);
    let action = agent.act(&request.state)?;
    Ok(action.iter().map(|x| (x + deviation * random.normal()).clamp(0.0, 1.0)).collect())
}

fn spec(request: &Request) -> DdpgSpec {
    request.optimizer.ddpg.clone().unwrap_or_default()
}

fn milli(thousandths: i32) -> f64 {
    f64::from(thousandths) / 1000.0
}
