//! When to train, and what becomes of a trained model.

use super::super::crd::{CostModelStatus, DriftStatus, QueryCostModelStatus};
use super::super::facts::{Facts, Trouble};
use super::super::reason::Reason;
use super::super::splits::Split;
use super::super::training::{TrainingResult, accuracy_by, has_targets, spec_hash};
use super::Step;
use crate::control::conditions::{Standing, stands};
use crate::control::training::{Course, TrainingState, Turn};

/// What the training asks for.
#[derive(Debug, Default)]
pub(super) struct Trained {
    pub steps: Vec<Step>,
    /// Why nothing is trained that should be.
    pub blocked: Option<Trouble>,
    /// Something was recorded that is to be followed at once.
    pub soon: bool,
}

impl Trained {
    fn blocked(trouble: Trouble) -> Self {
        Self { blocked: Some(trouble), ..Self::default() }
    }
}

/// Follows the training that is under way, or begins the one that is due.
pub(super) fn proceed(facts: &Facts, status: &mut QueryCostModelStatus) -> Trained {
    if facts.model.spec.suspend {
        return suspend(status);
    }
    let spec_hash = spec_hash(&facts.model.spec);
    let model = status.model.as_ref().filter(|model| model.spec_hash == spec_hash);
    // One that was rejected was a training, too: the next is due when the schedule says so. Where a model of this specification
    // is in use, also one that was made for another in between.
    let rejected = status.training.as_ref().filter(|last| last.state == TrainingState::Rejected);
    let rejected = rejected.filter(|last| model.is_some() || last.spec_hash == spec_hash).map(|last| &last.since);
    let course = Course {
        now: &facts.now,
        uid: facts.model.metadata.uid.as_deref().unwrap_or_default(),
        spec_hash: &spec_hash,
        schedule: facts.model.spec.training.schedule.as_deref(),
        model: model.and_then(|model| model.trained_at.as_ref()).into_iter().chain(rejected).max_by_key(|time| time.0),
        job: facts.job.as_ref(),
        last: status.training.as_ref(),
    };
    let in_the_way = || facts.source.as_ref().err().cloned().or_else(|| facts.pattern.as_ref().err().cloned());
    match course.turn() {
        Turn::Idle => Trained::default(),
        Turn::Due(due) => {
            if let Some(trouble) = in_the_way() {
                return Trained::blocked(trouble);
            }
            status.training = Some(due);
            Trained { soon: true, ..Trained::default() }
        }
        Turn::Start(started) => {
            if let Some(trouble) = in_the_way() {
                return Trained::blocked(trouble);
            }
            let name = started.job.clone();
            status.training = Some(started);
            Trained { steps: vec![Step::StartTraining { name }], soon: true, ..Trained::default() }
        }
        Turn::Wait(waiting, trouble) => {
            status.training = Some(waiting);
            let blocked = trouble.map(|message| Trouble::new(Reason::TrainingPending, message));
            Trained { blocked, ..Trained::default() }
        }
        Turn::Abandon { .. } => abandon(status),
        // The specification changed while the Job began, and back: what it made is for what it read.
        Turn::Left(TrainingResult::Trained { spec_hash: Some(read), .. }) if read != spec_hash => abandon(status),
        Turn::Left(TrainingResult::Trained { drift, .. }) => match &facts.result {
            Some(Ok(model)) => judge(facts, status, model, drift),
            // The store may be back at the next look.
            Some(Err(trouble)) => Trained::blocked(trouble.clone()),
            None => Trained::default(),
        },
        Turn::Left(TrainingResult::Failed { reason, message }) => failed(facts, status, reason, &message),
        Turn::Died(why) => failed(facts, status, Reason::TrainingFailed, &why),
        Turn::Lost => failed(facts, status, Reason::TrainingLost, Reason::TrainingLost.sentence()),
        Turn::Later { message } => Trained::blocked(Trouble::new(Reason::TrainingFailed, message)),
    }
}

/// A training that runs ends; the model that is served goes on.
fn suspend(status: &mut QueryCostModelStatus) -> Trained {
    let blocked = Some(Trouble::new(Reason::Suspended, Reason::Suspended.sentence()));
    Trained { blocked, ..abandon(status) }
}

/// A training that runs ends, and what it stored goes.
fn abandon(status: &mut QueryCostModelStatus) -> Trained {
    let running = status.training.take_if(|training| training.is_under_way());
    let steps: Vec<Step> = running.map(|training| Step::EndTraining { name: training.job }).into_iter().collect();
    Trained { soon: !steps.is_empty(), steps, blocked: None }
}

/// A first model is used whatever its accuracy: there is no other. So is the first of other targets, whose accuracy is that
/// of other classes. A later one must be as good as the one before.
fn judge(
    facts: &Facts,
    status: &mut QueryCostModelStatus,
    model: &CostModelStatus,
    drift: Option<DriftStatus>,
) -> Trained {
    let mut model = model.clone();
    if let Some(training) = &status.training {
        (model.name, model.spec_hash) = (training.job.clone(), training.spec_hash.clone());
    }
    let before = status.model.as_ref().filter(|before| has_targets(before, &facts.model.spec));
    let compared = before.and_then(|before| compared(before, &model, drift.as_ref()));
    let gain = f64::from(facts.model.spec.promotion.min_accuracy_gain_percent) / 100.0;
    status.drift = drift;
    remember(status, &model.name);
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let told = match &compared {
        None => format!("accuracy {} on held-out statements", percent(model.accuracy.0)),
        Some(Compared { own, on, .. }) => format!("accuracy {} on {on}", percent(*own)),
    };
    match compared {
        // Who asks for a gain wants it shown.
        Some(Compared { own, before, noise, .. }) if own + if gain > 0.0 { ROUNDED } else { noise } < before + gain => {
            let least = percent(before + gain);
            let message = format!("{told}; the one before has {least}, with the gain that is asked for");
            end(facts, status, TrainingState::Rejected, &message)
        }
        _ => {
            status.model = Some(model);
            end(facts, status, TrainingState::Promoted, &told)
        }
    }
}

/// The accuracies are rounded: a thousandth is no difference.
const ROUNDED: f64 = 0.0005;
/// What may pass for the error of samples, at the most.
const MOST_NOISE: f64 = 0.03;

/// Accuracies of two models that say which one is better.
struct Compared {
    own: f64,
    before: f64,
    /// A difference that is none.
    noise: f64,
    /// The statements that judged, in words.
    on: String,
}

/// Compares with the model before: on the same statements, which neither has learnt from, where there are enough; else by
/// the split that both were judged by, each with the log of its time.
fn compared(before: &CostModelStatus, model: &CostModelStatus, drift: Option<&DriftStatus>) -> Option<Compared> {
    let newer = drift.filter(|drift| drift.name == before.name);
    if let Some((drift, own)) = newer.and_then(|drift| Some((drift, drift.retrained_accuracy?))) {
        let on = format!("{} statements that are new to both", drift.rows);
        return Some(Compared { own: own.0, before: drift.accuracy.0, noise: ROUNDED, on });
    }
    Split::ALL.into_iter().find_map(|split| {
        let ((own, own_rows), (before, rows_before)) = (accuracy_by(model, split)?, accuracy_by(before, split)?);
        // Each was judged by statements of its own. Without leave to differ as much as two samples do, the luckiest accuracy
        // ever seen would be asked of all that follow.
        let variance = before * (1.0 - before);
        let noise = ROUNDED + (2.0 * (variance / own_rows + variance / rows_before).sqrt()).min(MOST_NOISE);
        Some(Compared { own, before, noise, on: format!("the held-out statements of the {} split", split.word()) })
    })
}

fn remember(status: &mut QueryCostModelStatus, name: &str) {
    status.versions.retain(|known| known != name);
    status.versions.insert(0, name.to_owned());
}

/// Removes the oldest versions, but not the one that is served. Only once every replica serves it: until then a replica
/// that is started anew reads the one before.
pub(super) fn prune(facts: &Facts, status: &mut QueryCostModelStatus, steps: &mut Vec<Step>) {
    let kept = usize::try_from(facts.model.spec.promotion.keep_versions).unwrap_or(1).max(1);
    let served = status.model.as_ref().map(|model| model.name.clone());
    while status.versions.len() > kept {
        let oldest = status.versions.iter().rposition(|name| Some(name) != served.as_ref());
        let Some(oldest) = oldest else { break };
        steps.push(Step::RemoveVersion { name: status.versions.remove(oldest) });
    }
}

fn failed(facts: &Facts, status: &mut QueryCostModelStatus, reason: Reason, message: &str) -> Trained {
    let mut steps = Vec::new();
    if let Some(training) = &mut status.training {
        training.fail(&facts.now, reason.word(), message);
        let name = training.job.clone();
        let in_use = status.model.as_ref().is_some_and(|model| model.name == name) || status.versions.contains(&name);
        // What it had stored before it failed would fill the store with each try.
        steps.extend((!in_use).then_some(Step::RemoveVersion { name }));
    }
    Trained { steps, soon: true, ..Trained::default() }
}

/// What the log was to blame for, if the last training failed for it.
pub(super) fn blamed_on_the_log(status: &QueryCostModelStatus) -> Option<Trouble> {
    let failed = status.training.as_ref().filter(|training| training.state == TrainingState::Failed)?;
    let of_the_log = [
        Reason::SourceUnreadable,
        Reason::SourceForbidden,
        Reason::SecretMissing,
        Reason::InstanceMissing,
        Reason::TooLittleData,
    ];
    let reason = of_the_log.into_iter().find(|reason| failed.reason.as_deref() == Some(reason.word()))?;
    let message = failed.message.clone().unwrap_or_default();
    Some(Trouble::new(reason, format!("the last training failed: {message}")))
}

fn end(facts: &Facts, status: &mut QueryCostModelStatus, state: TrainingState, message: &str) -> Trained {
    if let Some(training) = &mut status.training {
        training.end(state, &facts.now, message);
    }
    Trained { soon: true, ..Trained::default() }
}

/// The condition `Trained`. Of a model that is in use it also says what is in the way of the next.
pub(super) fn standing(facts: &Facts, status: &QueryCostModelStatus, blocked: Option<&Trouble>) -> Standing<Reason> {
    let mut standing = of_training(facts, status);
    let blocked = blocked.filter(|blocked| status.model.is_some() && blocked.reason != Reason::Suspended);
    if let Some(Trouble { message, .. }) = blocked {
        standing.message = format!("{}; {message}", standing.message);
    }
    standing
}

fn of_training(facts: &Facts, status: &QueryCostModelStatus) -> Standing<Reason> {
    let training = status.training.as_ref();
    let message = || training.and_then(|training| training.message.clone()).unwrap_or_default();
    match (&status.model, training.map(|training| training.state)) {
        (Some(model), Some(TrainingState::Rejected)) => {
            let told = format!("model {}; the retrained one was rejected: {}", model.version, message());
            stands("Trained", true, Reason::ModelRejected, told)
        }
        (Some(model), _) => {
            let told = format!("model {} with accuracy {:.1} %", model.version, model.accuracy.0 * 100.0);
            stands("Trained", true, Reason::Trained, told)
        }
        (None, Some(TrainingState::Due | TrainingState::Running)) => {
            let progress = training.and_then(|training| training.progress.as_deref()).unwrap_or("its log is read");
            stands("Trained", false, Reason::Training, format!("a model learns what statements cost: {progress}"))
        }
        (None, Some(TrainingState::Failed)) => stands("Trained", false, Reason::TrainingFailed, message()),
        (None, _) if facts.model.spec.suspend => {
            stands("Trained", false, Reason::Suspended, Reason::Suspended.sentence())
        }
        (None, _) => stands("Trained", false, Reason::NotTrained, Reason::NotTrained.sentence()),
    }
}
