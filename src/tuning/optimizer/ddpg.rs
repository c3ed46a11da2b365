//! DDPG: the request's history as an agent's memory, and the agent's action with noise.

use super::feasibility::Feasibility;
use super::{Observation, OptimizerError, Request, sample, surrogate};
use crate::learn::rng::Random;
use crate::learn::torch::ddpg::{Agent, AgentError, Settings, Transition};
use crate::tuning::crd::DdpgSpec;

/// Share of the way that target networks move in a gradient step, where the discount is not 0.
const TAU: f64 = 0.005;
/// Draws of the noise of which one is taken.
const DRAWS: usize = 64;

/// The agent after learning the whole history: from the checkpoint what was learned before, where it can be used. The
/// agent is the same without it, and only takes longer.
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
    let memory = memory(&request.history);
    match request.checkpoint.as_ref().map(|bytes| resumed(bytes, &settings, &memory)) {
        // A setting was changed, a trial deleted, or Howdah upgraded.
        Some(Err(error @ (AgentError::Damaged(_) | AgentError::Foreign(_)))) => {
            tracing::warn!(%error, "the agent learns the session's trials anew");
        }
        Some(agent) => return Ok(agent?),
        None => {}
    }
    let mut agent = Agent::new(settings);
    agent.learn(&memory)?;
    Ok(agent)
}

fn resumed(checkpoint: &[u8], settings: &Settings, memory: &[Transition]) -> Result<Agent, AgentError> {
    let mut agent = Agent::load(checkpoint, settings)?;
    agent.learn(memory)?;
    Ok(agent)
}

/// Each trial's action with the state in which it was chosen, and what it led to.
fn memory(history: &[Observation]) -> Vec<Transition> {
    let transition = |trial: &Observation| Transition {
        state: trial.state.clone(),
        action: trial.point.clone(),
        reward: trial.reward,
        next_state: trial.next_state.clone(),
        terminal: !trial.feasible,
    };
    history.iter().map(transition).collect()
}

/// The agent's action in the current state with Gaussian noise, which falls linearly over the budget. Of several draws,
/// anywhere between the incumbent and the action, it takes the one of which the most is expected, and none that is likely
/// to fail: how far to follow an agent of tens of trials the measurements say.
pub fn act(agent: &Agent, request: &Request) -> Result<Vec<f64>, OptimizerError> {
    let spec = spec(request);
    let progress = (f64::from(request.number) / f64::from(request.budget.max(1))).clamp(0.0, 1.0);
    let (start, end) = (milli(spec.noise_start_milli), milli(spec.noise_end_milli));
    let deviation = start + (end - start) * progress;
    let mut random = sample::of_trial(request);
    let action = agent.act(&request.state)?;
    let noisy = |x: f64, random: &mut Random| (x + deviation * random.normal()).clamp(0.0, 1.0);
    let first: Vec<f64> = action.iter().map(|x| noisy(*x, &mut random)).collect();
    let Some(surface) = surrogate::surface(&request.history) else { return Ok(first) };
    let Some(incumbent) = surrogate::best(&request.history, &surface) else { return Ok(first) };
    let from = &request.history[incumbent].point;
    let mut draw = || -> Vec<f64> {
        let followed = random.uniform();
        let way = from.iter().zip(&action).map(|(from, to)| from + followed * (to - from));
        way.map(|x| noisy(x, &mut random)).collect()
    };
    let feasibility = Feasibility::of(&request.history);
    let expected = |point: Vec<f64>| (surface.predict(&point).mean, point);
    let others = (1..DRAWS).map(|_| draw()).filter(|point| !feasibility.likely_fails(point)).map(expected);
    let best = others.max_by(|a, b| a.0.total_cmp(&b.0));
    Ok(best.map_or(first, |(_, point)| point))
}

fn spec(request: &Request) -> DdpgSpec {
    request.optimizer.ddpg.clone().unwrap_or_default()
}

fn milli(thousandths: i32) -> f64 {
    f64::from(thousandths) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::crd::TrialKind;

    #[test]
    fn an_action_is_stored_with_the_state_in_which_it_was_chosen() {
        let trial = |number: f64, feasible| Observation {
            point: vec![number / 10.0],
            state: vec![number],
            next_state: vec![number + 1.0],
            level: 0.0,
            reward: number * 100.0,
            feasible,
            kind: TrialKind::Policy,
        };
        let stored = memory(&[trial(1.0, true), trial(2.0, false)]);
        assert_eq!(stored[0].state, [1.0]);
        assert_eq!((&stored[0].action, stored[0].reward), (&vec![0.1], 100.0));
        assert_eq!(stored[0].next_state, stored[1].state);
        assert!(!stored[0].terminal && stored[1].terminal);
    }
}
