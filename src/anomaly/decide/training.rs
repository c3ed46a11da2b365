//! When to train, and what becomes of a trained model.

use super::super::crd::{AnomalyDetectorStatus, ModelStatus};
use super::super::facts::{Facts, Trouble};
use super::super::features::spec_hash;
use super::super::reason::Reason;
use super::super::training::{TrainedModel, TrainingResult};
use super::Step;
use crate::control::conditions::{Standing, stands};
use crate::control::training::{Course, TrainingState, TrainingStatus, Turn};
use crate::duration;

const WEEK_DAYS: f64 = 7.0;

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

/// The training whose Job is to be made or runs.
pub(super) fn running(status: &AnomalyDetectorStatus) -> Option<&TrainingStatus> {
    status.training.as_ref().filter(|training| training.is_under_way())
}

/// Follows the training that is under way, or begins the one that is due.
pub(super) fn proceed(facts: &Facts, status: &mut AnomalyDetectorStatus) -> Trained {
    let spec_hash = spec_hash(&facts.detector);
    let model = status.model.as_ref().filter(|model| model.spec_hash == spec_hash && !unusable(facts));
    let course = Course {
        now: &facts.now,
        uid: facts.detector.metadata.uid.as_deref().unwrap_or_default(),
        spec_hash: &spec_hash,
        schedule: facts.detector.spec.training.schedule.as_deref(),
        model: model.map(|model| &model.trained_at),
        job: facts.job.as_ref(),
        last: status.training.as_ref(),
    };
    match course.turn() {
        Turn::Idle => Trained::default(),
        Turn::Due(due) => {
            let early = too_early(facts, status.model.as_ref().filter(|_| !unusable(facts)));
            if let Some(trouble) = early.or_else(|| facts.trainer.as_ref().err().cloned()) {
                return Trained::blocked(trouble);
            }
            status.training = Some(due);
            Trained { soon: true, ..Trained::default() }
        }
        Turn::Start(started) => {
            if let Err(trouble) = &facts.trainer {
                return Trained::blocked(trouble.clone());
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
        Turn::Abandon { job } => {
            status.training = None;
            Trained { steps: vec![Step::EndTraining { name: job }], soon: true, ..Trained::default() }
        }
        Turn::Left(TrainingResult::Trained(model)) => judge(facts, status, &model),
        Turn::Left(TrainingResult::Failed { reason, message }) => failed(facts, status, reason, &message),
        Turn::Died(why) => failed(facts, status, Reason::TrainingFailed, &why),
        Turn::Lost => failed(facts, status, Reason::TrainingLost, Reason::TrainingLost.sentence()),
        Turn::Later { message } => Trained {
            blocked: status.model.is_none().then(|| Trouble::new(why_failed(status.training.as_ref()), message)),
            ..Trained::default()
        },
    }
}

/// A first model is used whatever its backtest says: there is no other. A later one must keep to the alarm budget.
fn judge(facts: &Facts, status: &mut AnomalyDetectorStatus, model: &TrainedModel) -> Trained {
    let Some(training) = status.training.clone() else { return Trained::default() };
    let budget = facts.detector.spec.detection.false_alarms_per_week.0;
    // The held-out days are few: of a budget of two a week, one alarm in three days is not yet too many.
    let allowed = (budget * model.backtest.days.0 / WEEK_DAYS).ceil().max(1.0);
    // Less than a day says nothing of the other hours: what happens every night would be news to it night after night.
    let before = status
        .model
        .as_ref()
        .filter(|before| before.spec_hash == training.spec_hash && !unusable(facts) && model.backtest.days.0 >= 1.0);
    if before.is_some() && f64::from(model.backtest.alarms) > allowed {
        let message = format!("{}; the budget allows {allowed:.0}", model.backtest.message);
        let mut rejected = ended(facts, status, TrainingState::Rejected, &message);
        rejected.steps.push(Step::RemoveModel { name: training.job });
        return rejected;
    }
    let old = status.model.replace(model.status(&training.job));
    let mut promoted = ended(facts, status, TrainingState::Promoted, &model.backtest.message);
    promoted.steps.extend(old.map(|old| Step::RemoveModel { name: old.name }));
    promoted
}

fn failed(facts: &Facts, status: &mut AnomalyDetectorStatus, reason: Reason, message: &str) -> Trained {
    if let Some(training) = &mut status.training {
        training.fail(&facts.now, reason.word(), message);
    }
    Trained { soon: true, ..Trained::default() }
}

fn ended(facts: &Facts, status: &mut AnomalyDetectorStatus, state: TrainingState, message: &str) -> Trained {
    if let Some(training) = &mut status.training {
        training.end(state, &facts.now, message);
    }
    Trained { soon: true, ..Trained::default() }
}

/// The model in the store can't be used, so another is needed.
fn unusable(facts: &Facts) -> bool {
    matches!(&facts.scoring, Some(Err(trouble)) if trouble.reason == Reason::ModelUnusable)
}

/// What must be there before a training is worth its Job.
fn too_early(facts: &Facts, model: Option<&ModelStatus>) -> Option<Trouble> {
    let data = match &facts.data {
        Err(trouble) => return Some(trouble.clone()),
        Ok(data) => data,
    };
    // One that was at work, however well, goes on.
    if let Some(sparse) = super::sparse(facts).filter(|_| facts.status().model.is_none()) {
        return Some(Trouble::new(Reason::InvalidSpecification, sparse));
    }
    let needed = facts.detector.spec.training.min_history_seconds();
    match data.history_ms {
        Some(history) if history / 1000 < needed => {
            let (have, missing) = (history / 1000, needed - history / 1000);
            let message = format!(
                "Prometheus has {} of history, training.minHistory is {}: wait {} longer",
                duration::words(have),
                duration::words(needed),
                duration::words(missing)
            );
            Some(Trouble::new(Reason::TooLittleHistory, message))
        }
        // Without a model that can be used the history is looked for with every look.
        None if model.is_none() => Some(Trouble::new(Reason::NoSeries, Reason::NoSeries.sentence())),
        _ => None,
    }
}

/// The condition `Trained`.
pub(super) fn standing(facts: &Facts, status: &AnomalyDetectorStatus) -> Standing<Reason> {
    let under_way = running(status);
    let Some(model) = status.model.as_ref().filter(|_| !unusable(facts)) else {
        return match under_way {
            Some(training) => {
                let progress = training.progress.as_deref().unwrap_or("its rows are read");
                stands("Trained", false, Reason::Training, format!("a model learns what is normal: {progress}"))
            }
            None => not_trained(facts, status),
        };
    };
    let (reason, more) = match &status.training {
        Some(training) if training.state == TrainingState::Rejected => {
            let why = training.message.as_deref().unwrap_or_default();
            (Reason::ModelRejected, format!("; the retrained one was rejected: {why}"))
        }
        Some(training) if training.state == TrainingState::Failed => {
            let why = training.message.as_deref().unwrap_or_default();
            (Reason::Trained, format!("; the last retraining failed ({}): {why}", why_failed(Some(training))))
        }
        _ => (Reason::Trained, String::new()),
    };
    let message = format!("{} features, {} rows; {}{more}", model.features, model.rows, model.backtest.message);
    stands("Trained", true, reason, message)
}

/// The reason that a failed training gave.
fn why_failed(training: Option<&TrainingStatus>) -> Reason {
    let word = training.and_then(|training| training.reason.as_deref());
    let known = Reason::ALL.iter().find(|reason| Some(reason.word()) == word);
    known.copied().unwrap_or(Reason::TrainingFailed)
}

fn not_trained(facts: &Facts, status: &AnomalyDetectorStatus) -> Standing<Reason> {
    let failed = status.training.as_ref().filter(|training| training.state == TrainingState::Failed);
    let trouble = too_early(facts, None).or_else(|| {
        let message = failed?.message.clone().unwrap_or_default();
        Some(Trouble::new(why_failed(failed), message))
    });
    match trouble {
        Some(Trouble { reason, message }) => stands("Trained", false, reason, message),
        None => stands("Trained", false, Reason::NotTrained, Reason::NotTrained.sentence()),
    }
}
