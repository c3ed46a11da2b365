//! What to do next for a tuning. Pure: the same facts give the same decision.

mod effect;
mod ending;
mod preflight;
mod restoring;
mod trial;

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use serde::{Deserialize, Serialize};

use super::crd::{SessionRecord, TrialState, TuningTrial, TuningTrialStatus};
use super::facts::Facts;
use super::measurement::Parameters;
use super::reason::Reason;
use crate::instance;
use effect::{Effect, Target};

pub use ending::is_in_effect;
pub use preflight::is_of;
pub use restoring::is_restored;
use restoring::{delete, is_text_due, restore, suspend, way_back};

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
/// How long a server may take to come up besides its recovery.
const RESTART_LIMIT_SECONDS: i64 = 120;
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
    let decision = decide_here(facts);
    match facts.failed_over() {
        Some(elsewhere) => Decision { message: format!("{}; {elsewhere}", decision.message), ..decision },
        None => decision,
    }
}

fn decide_here(facts: &Facts) -> Decision {
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

/// What the session changed is restored where it was changed, and the session is over.
fn leave(facts: &Facts, why: &str, session: &SessionRecord) -> Decision {
    restore(facts, &Target::original(session)).unwrap_or_else(|| left(why, session))
}

fn left(why: &str, session: &SessionRecord) -> Decision {
    Decision { session: Some(restoring::at_baseline(session)), ..Decision::stalled(Reason::Interrupted, why) }
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
    if let Some(decision) = ending::refuse(facts).filter(|_| !facts.tuning.spec.suspend) {
        return Some(decision);
    }
    let trouble = facts.instance_trouble()?;
    let message = format!("{}: {}", trouble.reason, trouble.message);
    match way_back(facts) {
        Some(Effect::Steps { steps, .. }) if helps(facts, &trouble, &steps) => {
            let message = format!("what the session changed is taken back, because of {message}");
            Some(Decision::act(Reason::Restoring, message, steps))
        }
        // Nothing of it is in effect any more.
        None | Some(Effect::Complete) if facts.tuning.spec.suspend => None,
        _ => Some(Decision::stalled(Reason::InstanceNotReady, message)),
    }
}

/// Steps back to the baseline are worth a try, whatever is wrong with the instance.
fn helps(facts: &Facts, trouble: &instance::Trouble, steps: &[Step]) -> bool {
    use instance::Reason::{
        ConfigMapMountedBySubPath, ConfigMapNotMounted, FieldConflict, MissingRights, NotIncluded, PodNotReady,
    };
    let writes = matches!(steps.first(), Some(Step::WriteConfiguration(_)));
    let restarts = steps.iter().any(|step| matches!(step, Step::Restart { .. }));
    match trouble.reason {
        // The key is not ours any more, but the server is to read whose it is.
        FieldConflict => !steps.is_empty() && !writes && !restarts,
        // Whatever else the role may not do: that the server reads its file is asked for in vain only without this right.
        MissingRights => writes || (!steps.is_empty() && !restarts && facts.may_reload()),
        // No further than the text: a server that does not read it is asked in vain.
        NotIncluded | ConfigMapNotMounted | ConfigMapMountedBySubPath => writes,
        // The configuration may be what makes it so.
        PodNotReady => !steps.is_empty(),
        _ => !steps.is_empty() && !restarts,
    }
}

/// How long a server may take to come up with another configuration, in seconds.
fn restart_limit_seconds(facts: &Facts) -> i64 {
    i64::from(facts.tuning.spec.safety.max_recovery_seconds) + RESTART_LIMIT_SECONDS
}

/// The tuning wants nothing of its instance, so that it need not wait for another one.
fn is_at_rest(facts: &Facts) -> bool {
    let ended =
        |session: &SessionRecord| preflight::is_of(session, &facts.tuning) && ending::is_settled(facts, session);
    facts.tuning.spec.suspend || facts.session().is_some_and(ended)
}

/// A trial's status with its state and why.
fn trial_status(facts: &Facts, trial: &TuningTrial, state: TrialState) -> TuningTrialStatus {
    let before = trial.status.clone().unwrap_or_default();
    TuningTrialStatus { state, since: Some(facts.now.clone()), ..before }
}

#[cfg(test)]
mod tests;
