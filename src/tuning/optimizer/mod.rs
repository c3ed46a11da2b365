//! The seam between a session and the algorithms that propose configurations: plain numbers in, a point out.
//!
//! A proposal is a function of its request alone: the same seed and history give the same point, whether the process
//! was restarted in between or not. Points lie in the unit cube over the session's knobs; the caller rounds them to
//! the knobs' levels and brings them within the safety bounds, and hands the point that was really measured back.

mod ddpg;
mod feasibility;
mod refine;
mod sample;
#[cfg(test)]
mod simulated;
mod surrogate;
#[cfg(test)]
mod tests;

use thiserror::Error;

use super::crd::{Algorithm, OptimizerSpec, TrialKind};
use serde::{Deserialize, Serialize};

use crate::learn::torch::ddpg::AgentError;

#[cfg(test)]
use surrogate::incumbent;

/// Independent streams of a session's seed.
mod stream {
    /// The Latin hypercube.
    pub const DESIGN: u64 = 1;
    /// From here on, one stream for each trial number.
    pub const TRIAL: u64 = 1_000;
}

/// A measured trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The configuration that was measured.
    pub point: Vec<f64>,
    /// Raw features in which the configuration was chosen: those of the trial before it.
    pub state: Vec<f64>,
    /// Raw features that the trial itself measured.
    pub next_state: Vec<f64>,
    /// The objective as a logarithm, not compared with any baseline; 0 of a failed trial.
    pub level: f64,
    /// What it was worth; of a failed trial, what the caller charges for a failure.
    pub reward: f64,
    /// Whether the configuration could be measured.
    pub feasible: bool,
    /// What the trial was for.
    pub kind: TrialKind,
}

/// All that a proposal depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Algorithm, seed and hyperparameters.
    pub optimizer: OptimizerSpec,
    /// What the trial is for.
    pub kind: TrialKind,
    /// Number of the trial in its session, from 1.
    pub number: i32,
    /// Trials of the session.
    pub budget: i32,
    /// Number of the exploration sample, from 0.
    pub exploration_index: usize,
    /// Exploration samples of the session.
    pub exploration_total: usize,
    /// Where the formulas lie.
    pub heuristic: Vec<f64>,
    /// Where the configuration before the first change lies.
    pub baseline: Vec<f64>,
    /// Raw features now.
    pub state: Vec<f64>,
    /// Trials so far, in their order, baselines and failures included. Only ever appended to.
    pub history: Vec<Observation>,
    /// What the proposal before this one returned. Without it, or where it is damaged or of another session, the agent
    /// learns the history anew, with the same result.
    pub checkpoint: Option<Vec<u8>>,
}

/// A configuration to try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The configuration.
    pub point: Vec<f64>,
    /// The agent after learning the history, for the next request; only `DDPG` has one. Not part of a recorded fact.
    #[serde(skip)]
    pub checkpoint: Option<Vec<u8>>,
}

/// Why nothing is proposed.
#[derive(Debug, Error)]
pub enum OptimizerError {
    /// Two points of one request have different numbers of axes.
    #[error("{what} has {found} axes where the heuristic has {expected}: all points of a session span the same knobs")]
    Axes {
        /// The point.
        what: String,
        /// Its axes.
        found: usize,
        /// Axes of the heuristic.
        expected: usize,
    },
    /// A number that is infinite, not a number, or outside of the unit cube.
    #[error("{what} is {value}, which is outside of its range: measure the trial again or mark it as failed")]
    Range {
        /// The number.
        what: String,
        /// Its value.
        value: f64,
    },
    /// There is no axis.
    #[error("there is no knob to turn: include one in spec.knobs")]
    NoKnobs,
    /// Verification runs measure what was found before.
    #[error("a {0:?} trial measures a configuration that is known: there is nothing to propose")]
    NothingToPropose(TrialKind),
    /// The agent failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// Proposes the configuration of a trial.
///
/// # Errors
/// The request is inconsistent; the message says where.
pub fn propose(request: &Request) -> Result<Proposal, OptimizerError> {
    check(request)?;
    let plain = |point| Ok(Proposal { point, checkpoint: request.checkpoint.clone() });
    match (request.kind, request.optimizer.algorithm) {
        (TrialKind::Baseline, _) => plain(request.baseline.clone()),
        (TrialKind::Heuristic, _) | (_, Algorithm::Heuristic) => plain(request.heuristic.clone()),
        (TrialKind::Verify, _) => Err(OptimizerError::NothingToPropose(request.kind)),
        (_, Algorithm::LHS) => plain(sample::latin_hypercube(request)),
        (_, Algorithm::Random) => plain(sample::uniform(request)),
        (kind, Algorithm::DDPG) => {
            // Every proposal learns what is new, so that no single one has to learn it all.
            let agent = ddpg::learned(request)?;
            let point = match kind {
                TrialKind::Explore => sample::exploration(request),
                TrialKind::Policy => ddpg::act(&agent, request)?,
                _ => refine::step(request),
            };
            Ok(Proposal { point, checkpoint: Some(agent.save()?) })
        }
    }
}

fn check(request: &Request) -> Result<(), OptimizerError> {
    let expected = request.heuristic.len();
    if expected == 0 {
        return Err(OptimizerError::NoKnobs);
    }
    let point = |what: &dyn Fn() -> String, point: &[f64]| {
        if point.len() != expected {
            return Err(OptimizerError::Axes { what: what(), found: point.len(), expected });
        }
        match point.iter().find(|x| !(0.0..=1.0).contains(*x)) {
            Some(value) => Err(OptimizerError::Range { what: format!("an axis of {}", what()), value: *value }),
            None => Ok(()),
        }
    };
    point(&|| "the heuristic".into(), &request.heuristic)?;
    point(&|| "the baseline".into(), &request.baseline)?;
    for (index, observation) in request.history.iter().enumerate() {
        point(&|| format!("the point of trial {}", index + 1), &observation.point)?;
        if !observation.reward.is_finite() {
            let what = format!("the reward of trial {}", index + 1);
            return Err(OptimizerError::Range { what, value: observation.reward });
        }
    }
    Ok(())
}
