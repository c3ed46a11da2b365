//! What a model's status says.

use super::act::Outcome;
use super::crd::QueryCostModelStatus;
use super::decide::{Decision, Step};
use super::facts::{Facts, Trouble};
use super::reason::Reason;
use crate::control::conditions::{condition, headed};
use crate::control::room::Report;
use crate::control::training::TrainingState;

/// Says what was decided and what became of it.
pub fn report(facts: &Facts, decision: &Decision, outcome: &Outcome) -> Report {
    let generation = facts.model.metadata.generation;
    let before = facts.status();
    let mut status = decision.status.clone();
    if let Some((index, _)) = &outcome.failed {
        // What was recorded as done and was not reached is not done.
        if decision.steps[*index..]
            .iter()
            .any(|step| matches!(step, Step::StartTraining { .. } | Step::EndTraining { .. }))
        {
            status.training.clone_from(&before.training);
        }
        let unpruned = decision.steps[*index..].iter().filter_map(|step| match step {
            Step::RemoveVersion { name } => Some(name.clone()),
            _ => None,
        });
        status.versions.extend(unpruned);
    }
    let trouble = outcome.failed.as_ref().map(|(_, trouble)| trouble);
    let (because, message) = match trouble {
        Some(Trouble { reason, message }) => (*reason, message.as_str()),
        None => (decision.because, decision.message.as_str()),
    };
    let serves = decision.standing.iter().any(|standing| standing.condition == "Serving" && standing.holds);
    let ready = serves
        && match because {
            // What could not be read or removed is told, and the replicas answer all the same.
            Reason::StepFailed | Reason::ModelStoreUnavailable => true,
            Reason::Serving | Reason::RollingOut => trouble.is_none(),
            _ => false,
        };
    let headline = condition("Ready", ready, because.word(), message, generation);
    status.observed_generation = generation;
    status.conditions = headed(headline.clone(), &decision.standing, &before.conditions);
    let released = trouble.is_none() && decision.steps.contains(&Step::Release);
    Report {
        // With its last finalizer the object is gone.
        status: (!released).then(|| serde_json::to_value(&status).unwrap_or_default()),
        seen: Some(serde_json::to_value(&facts.model.status).unwrap_or_default()),
        headline: Some(headline),
        events: events(&before, &status),
        next: decision.next,
        backoff: trouble.is_some(),
    }
}

/// What became of a training, told once: when the status tells it for the first time.
fn events(before: &QueryCostModelStatus, after: &QueryCostModelStatus) -> Vec<(&'static str, String, bool)> {
    let of = |status: &QueryCostModelStatus| status.training.as_ref().map(|t| (t.job.clone(), t.state));
    let Some(now) = after.training.as_ref().filter(|_| of(before) != of(after)) else { return Vec::new() };
    let message = now.message.clone().unwrap_or_default();
    match now.state {
        TrainingState::Promoted => vec![(Reason::ModelPromoted.word(), message, false)],
        TrainingState::Rejected => vec![(Reason::ModelRejected.word(), message, true)],
        TrainingState::Failed => vec![(Reason::TrainingFailed.word(), message, true)],
        TrainingState::Due | TrainingState::Running => Vec::new(),
    }
}
