//! After a session: the configuration that the mode wants, once, and then hands off.

use super::super::crd::{Mode, SessionOutcome, SessionRecord};
use super::super::facts::{BASELINE, Facts};
use super::super::reason::Reason;
use super::effect::{self, Effect, Target};
use super::{Decision, IDLE, SOON, restart_limit_seconds, restoring};
use crate::instance;

/// Why an approval that comes late, or another mode, changes nothing.
const CHANGED: &str = "somebody, or another tuning, has changed the configuration since this session ended, and the gain was \
                       not measured against that: change the annotation howdah.dev/restart-session to begin anew";

/// Somebody took the recommendation back, which is his right.
const REPLACED: &str = "the recommendation was applied, and somebody has replaced it since, which stays";

/// The server did not come up with what was verified.
const REFUSED: &str = "the server did not come up with the recommendation in the time that safety.maxRecoverySeconds allows, and \
                       the baseline was restored: see the log of its container; the annotation howdah.dev/restart-session \
                       begins anew";

/// Brings the outcome's configuration into effect and says how the tuning ended.
pub(super) fn settle(facts: &Facts, session: &SessionRecord, outcome: SessionOutcome) -> Decision {
    let wanted = wanted(facts, outcome);
    if session.settled.as_deref() == Some(&wanted) {
        return match wanted == BASELINE || is_in_effect(facts, session) {
            true => ended(facts, outcome, &wanted),
            false => Decision::wait(Reason::NotApplied, REPLACED, IDLE),
        };
    }
    if session.settled.is_some() && facts.is_elsewhere(session) {
        return Decision { next: IDLE, ..Decision::stalled(Reason::Interrupted, super::LEFT) };
    }
    if session.settled.is_some() && (facts.is_changed_since_it_settled() || has_another_baseline(facts, session)) {
        return Decision { next: IDLE, ..Decision::stalled(Reason::Interrupted, CHANGED) };
    }
    if let Some(message) = facts.shrunk(session).filter(|_| wanted != BASELINE) {
        let stalled = Decision { next: IDLE, ..Decision::stalled(Reason::InstanceNotReady, message) };
        if session.settled.is_some() {
            return stalled;
        }
        return restoring::restore(facts, &Target::original(session)).unwrap_or_else(|| Decision {
            session: Some(restoring::at_baseline(session)),
            next: SOON,
            ..stalled
        });
    }
    if session.settled.is_some() {
        return restoring::unsettle(session, Reason::Applying);
    }
    if wanted != BASELINE && session.applying_since.is_none() {
        let session = SessionRecord { applying_since: Some(facts.now.clone()), ..session.clone() };
        let begun = Decision::wait(Reason::Applying, "the recommendation is to take effect", SOON);
        return Decision { session: Some(session), ..begun };
    }
    let target = match facts.recommendation().filter(|r| r.hash == wanted) {
        Some(r) => Target::of(session, &r.recommended()),
        None => Target::original(session),
    };
    match effect::bring(facts, &target) {
        Effect::Complete => {
            let settled = Some(wanted.clone());
            let session = SessionRecord { settled, left: None, applying_since: None, ..session.clone() };
            Decision { session: Some(session), next: SOON, ..ended(facts, outcome, &wanted) }
        }
        Effect::Steps { steps, message } => Decision::act(Reason::Applying, message, steps),
        Effect::Waiting { message, restarting } => {
            Decision::wait(if restarting { Reason::Restarting } else { Reason::Applying }, message, SOON)
        }
        Effect::Blocked { reason, message } => Decision::stalled(reason, message),
    }
}

/// The server has not come up with the recommendation in the time in which it must recover: from now on the baseline is
/// what is to stay. `None` while there is time.
pub(super) fn refuse(facts: &Facts) -> Option<Decision> {
    let session = facts.session().filter(|session| session.settled.is_none())?;
    let hash = wanted(facts, session.outcome?);
    let seconds = facts.now.0.as_second() - session.applying_since.as_ref()?.0.as_second();
    let down =
        matches!(facts.instance_trouble()?.reason, instance::Reason::Unreachable | instance::Reason::PodNotReady);
    (hash != BASELINE && down && seconds > restart_limit_seconds(facts)).then(|| {
        let session = SessionRecord { refused: Some(hash), applying_since: None, ..session.clone() };
        let message = format!("the server has not come up with the recommendation for {seconds} s");
        Decision { session: Some(session), ..Decision::wait(Reason::Restoring, message, SOON) }
    })
}

/// A value that the session left at its baseline is another one by now, wherever that was set.
fn has_another_baseline(facts: &Facts, session: &SessionRecord) -> bool {
    let settled = session.settled.as_deref() == Some(BASELINE) && facts.server().is_some();
    settled && Target::original(session).first_mismatch(facts).is_some()
}

/// The recommendation that an ended session applied is still in effect, as far as can be known.
pub fn is_in_effect(facts: &Facts, session: &SessionRecord) -> bool {
    if !restoring::is_applied(session) {
        return false;
    }
    if facts.is_elsewhere(session) {
        return true;
    }
    // What can't be read, or is another tuning's trial of the moment, is as it was.
    let readable = facts.running_rival().is_none().then(|| facts.lacks_the_recommendation()).flatten();
    !readable.unwrap_or_else(|| {
        let before = facts.tuning.status.iter().flat_map(|status| &status.conditions);
        before.into_iter().any(|condition| condition.type_ == "Applied" && condition.status == "False")
    })
}

/// The session has ended, and the configuration that the mode wants is in effect.
pub(super) fn is_settled(facts: &Facts, session: &SessionRecord) -> bool {
    session.outcome.is_some_and(|outcome| session.settled.as_deref() == Some(&wanted(facts, outcome)))
}

/// The baseline is what is to stay of an ended session.
pub(super) fn ends_with_baseline(facts: &Facts, session: &SessionRecord) -> bool {
    session.outcome.is_none_or(|outcome| wanted(facts, outcome) == BASELINE)
}

/// Name of the configuration that is to stay: `baseline`, or the recommendation's hash.
fn wanted(facts: &Facts, outcome: SessionOutcome) -> String {
    let applies = |hash: &str| match facts.tuning.spec.mode {
        Mode::Recommend => false,
        Mode::RequireApproval => facts.approved(hash),
        Mode::Apply => true,
    };
    match (outcome, facts.recommendation()) {
        (SessionOutcome::Improved, Some(r)) if applies(&r.hash) && !is_refused(facts, &r.hash) => r.hash.clone(),
        _ => BASELINE.to_owned(),
    }
}

/// The server did not come up with this recommendation.
fn is_refused(facts: &Facts, hash: &str) -> bool {
    facts.session().is_some_and(|session| session.refused.as_deref() == Some(hash))
}

fn ended(facts: &Facts, outcome: SessionOutcome, settled: &str) -> Decision {
    let recommendation = facts.recommendation();
    let gain = recommendation.map_or_else(String::new, |r| {
        format!(
            "{:+.1} % (95 % interval {:+.1} … {:+.1} %)",
            r.gain_percent.0, r.gain_low_percent.0, r.gain_high_percent.0
        )
    });
    let hash = recommendation.map_or("", |r| r.hash.as_str());
    match (outcome, facts.tuning.spec.mode) {
        (SessionOutcome::TooManyFailures, _) => {
            let last = facts.last_failure().unwrap_or_default();
            let message = format!(
                "too many trials failed in a row, the last because {last}; mend the cause, then change the annotation \
                 howdah.dev/restart-session to begin anew; the baseline is in effect"
            );
            Decision { next: IDLE, ..Decision::stalled(Reason::TooManyFailures, message) }
        }
        (SessionOutcome::NoSignificantGain, _) => {
            let failed = facts.failed_verification().map_or_else(String::new, |why| {
                format!("; a configuration that was to be verified dropped out: {why}")
            });
            let message = format!("{}{failed}", Reason::NoSignificantGain.sentence());
            Decision::wait(Reason::NoSignificantGain, message, IDLE)
        }
        (SessionOutcome::Improved, _) if settled == hash => {
            Decision::wait(Reason::Applied, format!("recommendation {hash} is in effect: {gain}"), IDLE)
        }
        (SessionOutcome::Improved, _) if is_refused(facts, hash) => Decision::wait(Reason::NotApplied, REFUSED, IDLE),
        (SessionOutcome::Improved, Mode::RequireApproval) => {
            let message = format!("{gain}; approve it with the annotation howdah.dev/approve: {hash}");
            Decision::wait(Reason::AwaitingApproval, message, IDLE)
        }
        (SessionOutcome::Improved, _) => Decision::wait(
            Reason::RecommendationReady,
            format!("recommendation {hash}: {gain}; the baseline is in effect"),
            IDLE,
        ),
    }
}
