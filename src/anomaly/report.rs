//! What a detector's status says.

use std::time::Duration;

use super::act::Outcome;
use super::crd::{AnomalyDetectorStatus, IncidentStatus};
use super::decide::{Decision, Step};
use super::facts::{Facts, Trouble};
use super::reason::Reason;
use crate::control::conditions::{condition, headed};
use crate::control::room::Report;

/// How soon a step that failed is tried again, at the earliest.
const RETRY: Duration = Duration::from_secs(5);

/// Says what was decided and what became of it.
pub fn report(facts: &Facts, decision: &Decision, outcome: &Outcome) -> Report {
    let failed = |index: usize| outcome.failed.iter().any(|(position, _)| *position == index);
    let release = decision.steps.iter().position(|step| matches!(step, Step::Release));
    let released = release.is_some_and(|index| !failed(index));
    let before = facts.status();
    let mut status = decision.status.clone();
    undo(&mut status, &before, decision, outcome);

    let generation = facts.detector.metadata.generation;
    // What could not be done is told when nothing that was seen is in the way.
    let trouble = outcome.failed.first().map(|(_, trouble)| trouble);
    let (ready, because, message) = match (decision.because, trouble) {
        (Reason::Scoring, None) => (true, Reason::Scoring, decision.message.as_str()),
        (Reason::Scoring | Reason::Training | Reason::NotTrained, Some(Trouble { reason, message })) => {
            (false, *reason, message.as_str())
        }
        (because, _) => (false, because, decision.message.as_str()),
    };
    let headline = condition("Ready", ready, because.word(), message, generation);
    status.observed_generation = generation;
    status.conditions = headed(headline.clone(), &decision.standing, &before.conditions);
    Report {
        // With its last finalizer the object is gone.
        status: (!released).then(|| serde_json::to_value(&status).unwrap_or_default()),
        seen: Some(serde_json::to_value(&facts.detector.status).unwrap_or_default()),
        headline: Some(headline),
        events: events(&before, &status),
        // What failed is tried again, but not at once: rows go on all the same.
        next: if outcome.failed.is_empty() { decision.next } else { decision.next.max(RETRY) },
        backoff: release.is_some() && !released,
    }
}

/// What was recorded as done and failed is not done.
fn undo(status: &mut AnomalyDetectorStatus, before: &AnomalyDetectorStatus, decision: &Decision, outcome: &Outcome) {
    for (index, _) in &outcome.failed {
        match &decision.steps[*index] {
            Step::StartTraining { .. } | Step::EndTraining { .. } => status.training.clone_from(&before.training),
            Step::Notify(notice) => {
                let word = notice.receiver.word();
                status.deliveries.retain(|delivery| delivery.receiver != word);
                status
                    .deliveries
                    .extend(before.deliveries.iter().filter(|delivery| delivery.receiver == word).cloned());
            }
            Step::AddFinalizer | Step::RemoveModel { .. } | Step::Release => {}
        }
    }
}

/// An incident's begin and end, and what became of a training, told once: when the status tells it for the first time.
fn events(before: &AnomalyDetectorStatus, after: &AnomalyDetectorStatus) -> Vec<(&'static str, String, bool)> {
    let known = |incident: &IncidentStatus| before.incidents.iter().find(|known| known.id == incident.id);
    let mut told = Vec::new();
    for incident in after.incidents.iter().rev() {
        let ended = incident.until.is_some();
        let transition = match known(incident) {
            None => Some(if ended { Reason::AnomalyResolved } else { Reason::AnomalyDetected }),
            Some(known) if known.until.is_none() && ended => Some(Reason::AnomalyResolved),
            Some(known) if known.until.is_some() && !ended => Some(Reason::AnomalyDetected),
            Some(_) => None,
        };
        if let Some(reason) = transition {
            told.push((reason.word(), incident.message.clone(), reason == Reason::AnomalyDetected));
        }
    }
    for departure in after.departures.iter().rev().filter(|departure| !before.departures.contains(departure)) {
        told.push((Reason::ConstantMoved.word(), departure.message.clone(), true));
    }
    let reason_of = |status: &AnomalyDetectorStatus| {
        status.conditions.iter().find(|condition| condition.type_ == "Anomalous").map(|found| found.reason.clone())
    };
    let shifted = Reason::BaselineShifted;
    if reason_of(after).as_deref() == Some(shifted.word()) && reason_of(before) != reason_of(after) {
        told.push((shifted.word(), shifted.sentence().to_owned(), true));
    }
    let training = |status: &AnomalyDetectorStatus| status.training.as_ref().map(|t| (t.job.clone(), t.state));
    if let Some(now) = &after.training
        && training(before) != training(after)
    {
        use crate::control::training::TrainingState::{Failed, Promoted, Rejected};
        let message = now.message.clone().unwrap_or_default();
        match now.state {
            Promoted => told.push((Reason::ModelPromoted.word(), message, false)),
            Rejected => told.push((Reason::ModelRejected.word(), message, true)),
            Failed => told.push((Reason::TrainingFailed.word(), message, true)),
            _ => {}
        }
    }
    told
}
