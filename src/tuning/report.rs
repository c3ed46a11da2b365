//! What a tuning's status says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::act::Outcome;
use super::crd::{
    HistoryEntry, PostgresTuningStatus, SessionOutcome, SessionRecord, TrialKind, TrialState, TuningTrial,
};
use super::decide::{self, Decision, Step};
use super::facts::Facts;
use super::reason::Reason;
use super::session::{Next, Scores};
use super::summary::{self, Summary};
use crate::control::conditions::condition;
use crate::control::room::Report;

/// Trials that the history keeps; the TuningTrials of this session and the last one keep them all.
const HISTORY: usize = 50;

/// Says what was decided and what became of it.
pub fn report(facts: &Facts, decision: &Decision, outcome: &Outcome) -> Report {
    let released = decision.steps.iter().any(|step| matches!(step, Step::RemoveFinalizer));
    let session = decision.session.as_ref().or(facts.session());
    let (because, message, stalled) = match &outcome.trouble {
        Some(trouble) => (trouble.reason, trouble.message.as_str(), trouble.reason != Reason::StepFailed),
        None => (decision.because, decision.message.as_str(), decision.stalled),
    };
    let conditions = conditions(facts, session, because, message, stalled);
    let headline = conditions.first().cloned();
    let status = status(facts, session, conditions);
    Report {
        // With its last finalizer the object is gone.
        status: (!released).then(|| serde_json::to_value(status).unwrap_or_default()),
        seen: Some(serde_json::to_value(&facts.tuning.status).unwrap_or_default()),
        headline,
        events: events(decision, outcome),
        next: decision.next,
        backoff: outcome.trouble.is_some(),
    }
}

/// While trials run, `Ready` keeps one reason for the whole search; the step of the moment is told by `Reconciling`.
fn conditions(
    facts: &Facts,
    session: Option<&SessionRecord>,
    because: Reason,
    message: &str,
    stalled: bool,
) -> Vec<Condition> {
    let generation = facts.tuning.metadata.generation;
    let condition =
        |kind, status, reason: Reason, message: &str| condition(kind, status, reason.word(), message, generation);
    let ended = matches!(
        because,
        Reason::RecommendationReady
            | Reason::AwaitingApproval
            | Reason::Applied
            | Reason::NotApplied
            | Reason::NoSignificantGain
    );
    let passing = matches!(
        because,
        Reason::Applying
            | Reason::Restarting
            | Reason::Searching
            | Reason::Verifying
            | Reason::Preflight
            | Reason::Restoring
    );
    let running = session.is_some_and(|s| s.settled.is_none());
    let headline = match because {
        _ if !passing || !running || stalled => because,
        _ if facts.is_verifying() => Reason::Verifying,
        _ => Reason::Searching,
    };
    let headline_message = if headline == because { message } else { headline.sentence() };
    let improved = match session.and_then(|s| s.outcome) {
        Some(SessionOutcome::Improved) => condition("Improved", true, Reason::Verified, Reason::Verified.sentence()),
        Some(SessionOutcome::NoSignificantGain) => {
            condition("Improved", false, Reason::NoSignificantGain, Reason::NoSignificantGain.sentence())
        }
        Some(SessionOutcome::TooManyFailures) => {
            condition("Improved", false, Reason::TooManyFailures, Reason::TooManyFailures.sentence())
        }
        None => condition("Improved", false, Reason::NotVerified, Reason::NotVerified.sentence()),
    };
    let applied = session.is_some_and(|session| decide::is_in_effect(facts, session));
    let applied_reason = if applied { Reason::Applied } else { Reason::NotApplied };
    // Told of what is, not of what is wanted: whoever reads it may rely on the baseline.
    let suspended = facts.tuning.spec.suspend
        && if facts.unseen.is_some() { was_suspended(facts) } else { decide::is_restored(facts) };
    let suspended_reason = match suspended {
        true => Reason::Suspended,
        false if facts.tuning.spec.suspend => Reason::Restoring,
        false => Reason::Active,
    };
    let reconciling = !ended && !stalled && because != Reason::Suspended;
    vec![
        condition("Ready", ended, headline, headline_message),
        condition("Reconciling", reconciling, if ended { Reason::Completed } else { because }, message),
        condition(
            "Stalled",
            stalled,
            if stalled { because } else { Reason::Progressing },
            if stalled { message } else { Reason::Progressing.sentence() },
        ),
        improved,
        condition("Applied", applied, applied_reason, applied_reason.sentence()),
        condition("Suspended", suspended, suspended_reason, suspended_reason.sentence()),
    ]
}

fn was_suspended(facts: &Facts) -> bool {
    let before = facts.tuning.status.iter().flat_map(|status| &status.conditions);
    before.into_iter().any(|condition| condition.type_ == "Suspended" && condition.status == "True")
}

fn status(facts: &Facts, session: Option<&SessionRecord>, conditions: Vec<Condition>) -> PostgresTuningStatus {
    let before = facts.tuning.status.clone().unwrap_or_default();
    let base = PostgresTuningStatus {
        observed_generation: facts.tuning.metadata.generation,
        conditions,
        session: session.cloned(),
        ..PostgresTuningStatus::default()
    };
    let Some(session) = session else { return base };
    let same_session = before.session.as_ref().is_some_and(|s| s.name == session.name);
    let concluded_before = before.session.as_ref().is_some_and(|s| s.outcome.is_some());
    if facts.unseen.is_some() || same_session && concluded_before {
        // Trials that could not be read are not gone, and the record of an ended session stays as it was written,
        // whatever becomes of its trials.
        return PostgresTuningStatus {
            observed_generation: base.observed_generation,
            conditions: base.conditions,
            session: base.session,
            ..before
        };
    }
    if !same_session {
        return PostgresTuningStatus { progress: Some(format!("0/{}", facts.tuning.spec.budget.trials)), ..base };
    }
    let Ok(plan) = facts.plan(session) else { return base };
    // Asked for at the end only: in a verification it takes a regression over all trials.
    let conclusion = session.outcome.and_then(|_| match plan.next() {
        Next::Conclude(conclusion) => Some(conclusion),
        _ => None,
    });
    let metric = facts.tuning.spec.objective.metric;
    let Summary { baseline, heuristic, incumbent, recommendation } = summary::summarise(
        metric,
        &session.baseline_parameters,
        &plan.space.restart_knobs(),
        &plan.records,
        conclusion.as_ref(),
    );
    let gain = match (&recommendation, &incumbent, session.outcome) {
        (Some(r), _, _) => Some(r.gain_percent),
        (None, Some(i), None) => Some(i.gain_percent),
        _ => None,
    };
    let scores = Scores::new(metric, &plan.records);
    let trials = facts.session_trials();
    let last = trials.len().saturating_sub(HISTORY);
    let history = trials[last..].iter().map(|trial| entry(facts, trial, &scores)).collect();
    PostgresTuningStatus {
        progress: Some(progress(facts, &trials)),
        best_gain_percent: gain.map(|gain| format!("{:+.1}", gain.0)),
        baseline,
        heuristic,
        incumbent,
        recommendation,
        history,
        ..base
    }
}

fn entry(facts: &Facts, trial: &TuningTrial, scores: &Scores<'_>) -> HistoryEntry {
    let measurement = trial.status.as_ref().and_then(|s| s.measurement.as_ref());
    HistoryEntry {
        number: trial.spec.number,
        kind: trial.spec.kind,
        state: facts.state_of(trial),
        tps: measurement.map(|m| m.tps),
        gain_percent: scores.of(trial.spec.number).map(|score| summary::percent(score.log_gain)),
    }
}

fn progress(facts: &Facts, trials: &[&TuningTrial]) -> String {
    let verified = trials.iter().filter(|t| t.spec.kind == TrialKind::Verify).count();
    let searched = trials.len() - verified;
    let budget = facts.tuning.spec.budget.trials;
    if verified > 0 { format!("{searched}/{budget} verify {verified}") } else { format!("{searched}/{budget}") }
}

/// Trials that ended, told once: the step that recorded the end is taken once.
fn events(decision: &Decision, outcome: &Outcome) -> Vec<(&'static str, String, bool)> {
    let done = &decision.steps[..outcome.done.min(decision.steps.len())];
    done.iter()
        .filter_map(|step| match step {
            Step::SetTrial { name, status } => match status.state {
                TrialState::Observed => {
                    let tps = status.measurement.as_ref()?.tps.0;
                    Some(("TrialObserved", format!("trial {name} measured {tps:.1} tps"), false))
                }
                TrialState::Failed | TrialState::Aborted => {
                    let message = status.message.clone().unwrap_or_default();
                    let reason = if status.state == TrialState::Failed { "TrialFailed" } else { "TrialAborted" };
                    Some((reason, format!("trial {name}: {message}"), true))
                }
                _ => None,
            },
            _ => None,
        })
        .collect()
}
