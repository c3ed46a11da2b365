//! The way back to what was there before: of a suspension, a deletion, and whatever else ends what a session changed.

use super::super::crd::{DeletionPolicy, SessionRecord};
use super::super::facts::{BASELINE, ConfigurationWay, Facts};
use super::super::measurement::Parameters;
use super::super::reason::Reason;
use super::effect::{self, Effect, Target};
use super::{Decision, IDLE, SOON, Step, ending, is_out_of_reach, preflight, trial};

/// Whatever the session is at, or has applied, what it found comes back.
pub(super) fn suspend(facts: &Facts) -> Decision {
    let suspended = |message: &str| Decision::wait(Reason::Suspended, message, IDLE);
    let Some(session) = facts.session() else { return suspended(Reason::Suspended.sentence()) };
    let had_applied = session.left.as_deref().is_some_and(|left| left != BASELINE);
    match facts.running_rival() {
        // Its baseline is our recommendation, which it measures against and restores.
        Some(rival) if is_applied(session) || (session.settled.is_none() && had_applied) => return waits_for(rival),
        _ => {}
    }
    if is_applied(session) {
        if facts.is_elsewhere(session) {
            return Decision { next: IDLE, ..Decision::stalled(Reason::Interrupted, APPLIED_ELSEWHERE) };
        }
        if is_replaced(facts) {
            return suspended("what the session applied has been replaced, and what replaced it stays");
        }
        return unsettle(session, Reason::Restoring);
    }
    // Whoever took the key over keeps it, and the server reads what he wrote.
    let target = facts.taken_over().map_or_else(|| Target::original(session), Target::as_it_is);
    if let Some(decision) = session.settled.is_none().then(|| restore(facts, &target)).flatten() {
        return decision;
    }
    // A session that ended is applied anew once it is no longer suspended, where the mode wants it so.
    let ended = session.outcome.filter(|_| session.settled.is_none());
    let session = ended.map(|_| at_baseline(session));
    Decision { session, ..suspended(Reason::Suspended.sentence()) }
}

/// Why the suspension of a tuning whose instance has moved takes nothing back.
const APPLIED_ELSEWHERE: &str = "the PostgresInstance points elsewhere since the recommendation was applied, and it stays in \
                                 effect where that was";

/// The session's recommendation was left in effect.
pub(super) fn is_applied(session: &SessionRecord) -> bool {
    session.settled.as_deref().is_some_and(|settled| settled != BASELINE)
}

/// Others have changed what an ended session applied, or have taken it over.
fn is_replaced(facts: &Facts) -> bool {
    facts.running_rival().is_none() && (facts.was_changed_by_others() || facts.has_other_owners())
}

/// What took the server down, or its pod out of service, must not stay in effect: how far it is from what was there before.
/// `None` where the session has nothing to take back.
pub(super) fn way_back(facts: &Facts) -> Option<Effect> {
    let session = facts.session().filter(|session| session.settled.is_none())?;
    // The text is another's by now, and the server may still run what a trial wrote before.
    if let Some(text) = facts.taken_over() {
        return Some(effect::bring(facts, &Target::as_it_is(text)));
    }
    let ends = facts.tuning.spec.suspend || !preflight::is_of(session, &facts.tuning) || facts.elsewhere.is_some();
    let target = match session.outcome {
        None if !ends => Target::of(session, &Parameters::new()),
        // A recommendation on its way into effect was measured, and more than once.
        Some(_) if !ends && !ending::ends_with_baseline(facts, session) && facts.shrunk(session).is_none() => {
            return None;
        }
        _ => Target::original(session),
    };
    Some(effect::bring(facts, &target))
}

/// The text of the configuration is to be what it was, and is not yet.
pub(super) fn is_text_due(facts: &Facts) -> bool {
    matches!(way_back(facts), Some(Effect::Steps { steps, .. })
        if matches!(steps.first(), Some(Step::WriteConfiguration(_))))
}

/// Nothing of what the session changed is in effect, or will be once a server that does not answer has started.
pub fn is_restored(facts: &Facts) -> bool {
    let applied = facts
        .session()
        .is_some_and(|session| is_applied(session) && (facts.is_elsewhere(session) || !is_replaced(facts)));
    !applied
        && !facts.is_trial_running()
        && match way_back(facts) {
            None | Some(Effect::Complete) => true,
            // The text is what it was, so that a server that is down will start with it.
            Some(Effect::Waiting { .. }) => {
                facts.server().is_none() && matches!(facts.configuration_way(), Ok(ConfigurationWay::ConfigMap { .. }))
            }
            Some(Effect::Steps { .. } | Effect::Blocked { .. }) => false,
        }
}

/// Ends what runs and restores what was there before; `None` once that is done.
pub(super) fn restore(facts: &Facts, target: &Target) -> Option<Decision> {
    if let Some(steps) = trial::abort(facts, Reason::Interrupted, Reason::Interrupted.sentence()) {
        return Some(Decision::act(Reason::Restoring, "the running trial is ended", steps));
    }
    match effect::bring(facts, target) {
        Effect::Complete => None,
        Effect::Steps { steps, message } => Some(Decision::act(Reason::Restoring, message, steps)),
        Effect::Waiting { message, .. } => Some(Decision::wait(Reason::Restoring, message, SOON)),
        Effect::Blocked { reason, message } => Some(Decision::stalled(reason, message)),
    }
}

/// A session that has settled on what was there before.
pub(super) fn at_baseline(session: &SessionRecord) -> SessionRecord {
    SessionRecord { settled: Some(BASELINE.to_owned()), left: None, applying_since: None, ..session.clone() }
}

/// Recorded before the first step away from what a session settled on: whatever comes between, a deletion or a
/// suspension say, then restores what was there before.
pub(super) fn unsettle(session: &SessionRecord, because: Reason) -> Decision {
    let session = SessionRecord { settled: None, left: session.settled.clone(), ..session.clone() };
    Decision { session: Some(session), ..Decision::wait(because, "another configuration is to take effect", SOON) }
}

/// The baseline comes back before the tuning goes, unless its owner wants the applied recommendation to stay.
pub(super) fn delete(facts: &Facts) -> Decision {
    if !facts.has_finalizer() {
        return Decision::wait(Reason::Deleting, Reason::Deleting.sentence(), IDLE);
    }
    let release = |message: &str| Decision::act(Reason::Deleting, message, vec![Step::RemoveFinalizer]);
    let Some(session) = facts.session() else { return release("nothing was changed") };
    match (session.settled.as_deref(), facts.running_rival()) {
        (Some(BASELINE), _) if session.original.is_none() => return release("the baseline is in effect"),
        (Some(_), _) if facts.tuning.spec.deletion_policy == DeletionPolicy::Retain => {
            return release("the applied recommendation stays, as deletionPolicy Retain wants");
        }
        // Its baseline is our recommendation, which it measures against and restores.
        (Some(_), Some(rival)) => return waits_for(rival),
        (Some(_), None) if facts.was_changed_by_others() => {
            return release("the applied recommendation has been replaced since, and what replaced it stays");
        }
        (Some(_), None) => return unsettle(session, Reason::Restoring),
        (None, _) => {}
    }
    let (target, restored) = match (facts.taken_over(), facts.tuning.spec.deletion_policy) {
        (Some(text), _) => (Target::as_it_is(text), "another field manager has the configuration, and its text stays"),
        (None, DeletionPolicy::Retain) => (Target::original(session), "the baseline is in effect again"),
        (None, DeletionPolicy::Revert) => (Target::first(session), "the baseline is in effect again"),
    };
    match restore(facts, &target) {
        None => release(restored),
        // What can still be written is, so that a server that comes back starts with its own configuration.
        Some(decision)
            if (decision.steps.is_empty() && facts.target_is_gone())
                || (facts.elsewhere.is_some() && is_out_of_reach(facts)) =>
        {
            release("the server is gone, and with it everything that could be restored")
        }
        // What will start, if anything does, starts with the text that is written.
        Some(decision) if decision.steps.is_empty() && facts.is_scaled_down() => {
            release("what was there before is in the configuration, and no server runs")
        }
        Some(decision) if decision.because == Reason::ConfigurationNotInEffect => release(&format!(
            "what was there before is in the configuration, and a restart is due: {}",
            decision.message
        )),
        Some(decision) => decision,
    }
}

fn waits_for(rival: &str) -> Decision {
    let message = format!(
        "the tuning {rival} works on the instance with this recommendation as its baseline; what was there before is \
         restored when that one has ended or is deleted"
    );
    Decision::stalled(Reason::InstanceBusy, message)
}
