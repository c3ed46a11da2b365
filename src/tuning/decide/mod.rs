//! What to do next for a tuning. Pure: the same facts give the same decision.

mod effect;
mod ending;
mod preflight;
mod trial;

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use serde::{Deserialize, Serialize};

use super::crd::{DeletionPolicy, SessionRecord, TrialState, TuningTrial, TuningTrialStatus};
use super::facts::{BASELINE, ConfigurationWay, Facts};
use super::measurement::Parameters;
use super::reason::Reason;
use crate::instance;
use effect::{Effect, Target};

pub use preflight::is_of;

/// What to do, because of what, and when to look next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The one reason.
    pub because: Reason,
    /// The reason's own words for this case.
    pub message: String,
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// When to look next, if nothing changes before.
    pub next: Duration,
    /// The session as it is to be recorded; `None` leaves the record as it is.
    pub session: Option<SessionRecord>,
    /// The user or the cluster must change something first.
    pub stalled: bool,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Keeps the tuning from being deleted before the baseline is restored.
    AddFinalizer,
    /// Lets the tuning go.
    RemoveFinalizer,
    /// Makes the configuration the server's text; what is in effect stays until a reload.
    WriteConfiguration(Write),
    /// Makes the kubelet sync the pod's volumes at once. The value differs at each try.
    TouchPod {
        /// The pod.
        pod: String,
        /// Value of the annotation.
        value: String,
    },
    /// Has the server read its configuration.
    Reload,
    /// Restarts the server through its workload.
    Restart {
        /// What for: the same value never restarts twice.
        marker: String,
    },
    /// Saves the learner's checkpoint before the trial that it proposed exists.
    SaveCheckpoint {
        /// Trial that it proposed.
        number: i32,
        /// The bytes.
        #[serde(skip)]
        checkpoint: Vec<u8>,
    },
    /// Removes what is left of a session before the last one: the learner's checkpoints, then the trials.
    ForgetSession {
        /// Its name.
        session: String,
        /// Names of its trials.
        trials: Vec<String>,
    },
    /// Creates a trial.
    CreateTrial(Box<TuningTrial>),
    /// Creates the benchmark's Job and marks its trial as measuring.
    StartBenchmark {
        /// The trial.
        trial: String,
        /// The Job.
        job: Box<Job>,
        /// When the server that it measures was started.
        server_started_at_ms: Option<i64>,
    },
    /// Deletes a benchmark's Job.
    DeleteJob {
        /// Its name.
        name: String,
    },
    /// Records where a trial is.
    SetTrial {
        /// The trial.
        name: String,
        /// Its status.
        status: Box<TuningTrialStatus>,
    },
}

/// A configuration as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// Text of our ConfigMap key; `None` removes it.
    ConfigMapKey(Option<String>),
    /// `ALTER SYSTEM`: what to set and what to reset.
    AlterSystem {
        /// Knobs and values.
        set: Parameters,
        /// Knobs to reset.
        reset: Vec<String>,
    },
}

/// How soon to look again while something is under way.
const SOON: Duration = Duration::from_secs(1);
/// How soon to look at a running benchmark's guardrails.
const WATCH: Duration = Duration::from_secs(2);
/// How soon to look again while something outside must change.
const PATIENT: Duration = Duration::from_secs(15);
/// How soon to look again when all is done.
const IDLE: Duration = Duration::from_secs(300);

impl Decision {
    /// Nothing to do but to look again.
    fn wait(because: Reason, message: impl Into<String>, next: Duration) -> Self {
        Self { because, message: message.into(), steps: Vec::new(), next, session: None, stalled: false }
    }

    /// Someone else must change something.
    fn stalled(because: Reason, message: impl Into<String>) -> Self {
        Self { stalled: true, ..Self::wait(because, message, PATIENT) }
    }

    /// Steps to do, and to look again at once.
    fn act(because: Reason, message: impl Into<String>, steps: Vec<Step>) -> Self {
        Self { steps, ..Self::wait(because, message, SOON) }
    }
}

/// Decides.
pub fn decide(facts: &Facts) -> Decision {
    let tuning = &facts.tuning;
    if let Some(trouble) = &facts.unseen {
        return Decision::wait(trouble.reason, &trouble.message, PATIENT);
    }
    if tuning.metadata.deletion_timestamp.is_some() {
        return delete(facts);
    }
    if let Some((why, session)) = facts.elsewhere.as_deref().zip(facts.session()).filter(|_| is_out_of_reach(facts)) {
        return left(why, session);
    }
    if let Some(decision) = step_aside(facts) {
        return decision;
    }
    if !facts.has_finalizer() {
        return Decision::act(Reason::Preflight, Reason::Preflight.sentence(), vec![Step::AddFinalizer]);
    }
    let session = facts.session();
    if tuning.spec.suspend {
        return suspend(facts);
    }
    if let Some((why, session)) = facts.elsewhere.as_deref().zip(session) {
        return leave(facts, why, session);
    }
    match session {
        None => preflight::begin(facts),
        Some(session) if !preflight::is_of(session, tuning) && !facts.is_trial_running() => {
            preflight::begin_anew(facts, session)
        }
        Some(session) => match session.outcome {
            Some(outcome) => ending::settle(facts, session, outcome),
            None if session.settled.is_some() => {
                Decision { next: IDLE, ..Decision::stalled(Reason::Interrupted, LEFT) }
            }
            None => trial::proceed(facts, session),
        },
    }
}

/// What a session says that was ended because its instance was deleted or points elsewhere.
const LEFT: &str = "the PostgresInstance was deleted or points elsewhere since the session began, and the baseline was \
                    restored where it had been; change the annotation howdah.dev/restart-session to begin anew";

/// Whatever the session is at, or has applied, what it found comes back.
fn suspend(facts: &Facts) -> Decision {
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
    if let Some(decision) = session.settled.is_none().then(|| restore(facts, &Target::original(session))).flatten() {
        return decision;
    }
    // A session that ended is applied anew once it is no longer suspended, where the mode wants it so.
    let ended = session.outcome.filter(|_| session.settled.is_none());
    let session = ended.map(|_| SessionRecord { settled: Some(BASELINE.to_owned()), left: None, ..session.clone() });
    Decision { session, ..suspended(Reason::Suspended.sentence()) }
}

/// Why the suspension of a tuning whose instance has moved takes nothing back.
const APPLIED_ELSEWHERE: &str = "the PostgresInstance points elsewhere since the recommendation was applied, and it stays in \
                                 effect where that was";

/// The session's recommendation was left in effect.
fn is_applied(session: &SessionRecord) -> bool {
    session.settled.as_deref().is_some_and(|settled| settled != BASELINE)
}

/// Others have changed what an ended session applied, or have taken it over.
fn is_replaced(facts: &Facts) -> bool {
    facts.running_rival().is_none() && (facts.was_changed_by_others() || facts.has_other_owners())
}

/// What the session changed is restored where it was changed, and the session is over.
fn leave(facts: &Facts, why: &str, session: &SessionRecord) -> Decision {
    restore(facts, &Target::original(session)).unwrap_or_else(|| left(why, session))
}

fn left(why: &str, session: &SessionRecord) -> Decision {
    let session = SessionRecord { settled: Some(BASELINE.to_owned()), left: None, ..session.clone() };
    Decision { session: Some(session), ..Decision::stalled(Reason::Interrupted, why) }
}

/// Where the session changed something there is nothing left that could be restored: the ConfigMap is gone, or has its text
/// again and no server reads it.
fn is_out_of_reach(facts: &Facts) -> bool {
    let unread =
        facts.instance_trouble().is_some_and(|trouble| trouble.reason == instance::Reason::ConfigMapNotMounted);
    !facts.is_trial_running() && (facts.target_is_gone() || (unread && !is_text_due(facts)))
}

/// What must be right before anything is changed. A server that fails in the middle of a trial is the trial's matter.
fn step_aside(facts: &Facts) -> Option<Decision> {
    if let Err(trouble) = &facts.instance {
        return Some(Decision::stalled(trouble.reason, &trouble.message));
    }
    if let Some(rival) = facts.busy_with().filter(|_| !is_at_rest(facts)) {
        let message = format!(
            "the tuning {rival} works on instance {} and this one begins when it has ended",
            facts.tuning.spec.instance_ref.name
        );
        return Some(Decision::stalled(Reason::InstanceBusy, message));
    }
    if facts.is_trial_running() {
        return None;
    }
    let trouble = facts.instance_trouble()?;
    let message = format!("{}: {}", trouble.reason, trouble.message);
    match way_back(facts) {
        Some(Effect::Steps { steps, .. }) if helps(&trouble, &steps) => {
            let message = format!("what the session changed is taken back, because of {message}");
            Some(Decision::act(Reason::Restoring, message, steps))
        }
        // Nothing of it is in effect any more.
        None | Some(Effect::Complete) if facts.tuning.spec.suspend => None,
        _ => Some(Decision::stalled(Reason::InstanceNotReady, message)),
    }
}

/// Steps back to the baseline are worth a try, whatever is wrong with the instance.
fn helps(trouble: &instance::Trouble, steps: &[Step]) -> bool {
    use instance::Reason::{
        ConfigMapMountedBySubPath, ConfigMapNotMounted, FieldConflict, MissingRights, NotIncluded, PodNotReady,
    };
    match trouble.reason {
        // The key is not ours any more.
        FieldConflict => false,
        // No further than the text: a server that does not read it, or whose role may not make it, is asked in vain.
        MissingRights | NotIncluded | ConfigMapNotMounted | ConfigMapMountedBySubPath => {
            matches!(steps.first(), Some(Step::WriteConfiguration(_)))
        }
        // The configuration may be what makes it so.
        PodNotReady => !steps.is_empty(),
        _ => !steps.is_empty() && !steps.iter().any(|step| matches!(step, Step::Restart { .. })),
    }
}

/// What took the server down, or its pod out of service, must not stay in effect: how far it is from what was there before.
/// `None` where the session has nothing to take back.
fn way_back(facts: &Facts) -> Option<Effect> {
    let session = facts.session().filter(|session| session.settled.is_none())?;
    let ends = facts.tuning.spec.suspend || !preflight::is_of(session, &facts.tuning) || facts.elsewhere.is_some();
    let target = match session.outcome {
        None if !ends => Target::of(session, &Parameters::new()),
        // A recommendation on its way into effect was measured, and more than once.
        Some(_) if !ends && !ending::ends_with_baseline(facts, session) => return None,
        _ => Target::original(session),
    };
    Some(effect::bring(facts, &target))
}

/// The text of the configuration is to be what it was, and is not yet.
fn is_text_due(facts: &Facts) -> bool {
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

/// The tuning wants nothing of its instance, so that it need not wait for another one.
fn is_at_rest(facts: &Facts) -> bool {
    let ended =
        |session: &SessionRecord| preflight::is_of(session, &facts.tuning) && ending::is_settled(facts, session);
    facts.tuning.spec.suspend || facts.session().is_some_and(ended)
}

/// Ends what runs and restores what was there before; `None` once that is done.
fn restore(facts: &Facts, target: &Target) -> Option<Decision> {
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

/// Recorded before the first step away from what a session settled on: whatever comes between, a deletion or a
/// suspension say, then restores what was there before.
fn unsettle(session: &SessionRecord, because: Reason) -> Decision {
    let session = SessionRecord { settled: None, left: session.settled.clone(), ..session.clone() };
    Decision { session: Some(session), ..Decision::wait(because, "another configuration is to take effect", SOON) }
}

/// The baseline comes back before the tuning goes, unless its owner wants the applied recommendation to stay.
fn delete(facts: &Facts) -> Decision {
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

/// A trial's status with its state and why.
fn trial_status(facts: &Facts, trial: &TuningTrial, state: TrialState) -> TuningTrialStatus {
    let before = trial.status.clone().unwrap_or_default();
    TuningTrialStatus { state, since: Some(facts.now.clone()), ..before }
}

#[cfg(test)]
mod tests;
