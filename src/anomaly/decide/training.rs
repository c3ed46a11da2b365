//! When to train, and what becomes of a trained model.
//!
//! A training is recorded as due before its Job is made, under the name that the Job will have: whoever comes back
//! after a crash makes the same Job or finds it made.

use cronexpr::{FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::super::crd::{AnomalyDetectorStatus, ModelStatus, TrainingState, TrainingStatus};
use super::super::facts::{Facts, Trouble, time};
use super::super::features::{hash, spec_hash};
use super::super::reason::Reason;
use super::super::training::{TrainedModel, TrainingResult};
use super::{Standing, Step, stands};
use crate::duration;
use crate::kubernetes::job::{JobFacts, JobPhase, PodTroubleKind};

/// Seconds after the first failure; they double with each up to the longest.
const FIRST_RETRY: i64 = 300;
const LONGEST_RETRY: i64 = 21_600;
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

/// The name of a training's Job and model.
pub fn model_name(uid: &str, spec_hash: &str, due: &Time, attempt: i32) -> String {
    format!("howdah-train-{}", hash(&format!("{uid} {spec_hash} {} {attempt}", due.0)))
}

/// Whether a schedule can be read.
pub(super) fn check_schedule(schedule: Option<&str>) -> Result<(), String> {
    schedule.map_or(Ok(()), |schedule| next_due(schedule, Timestamp::UNIX_EPOCH).map(drop))
}

/// The first time of a schedule after a time.
///
/// # Errors
/// A sentence when the schedule can't be read, or has no time.
pub fn next_due(schedule: &str, after: Timestamp) -> Result<Timestamp, String> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    let wrong = |error: cronexpr::Error| {
        let words = error.to_string();
        let first = words.lines().next().unwrap_or_default();
        format!(
            "training.schedule {schedule:?} can't be read as cron ({first}); write minute, hour, day, month and weekday: 0 3 * * *"
        )
    };
    let crontab = parse_crontab_with(schedule, options).map_err(wrong)?;
    Ok(crontab.find_next(MakeTimestamp(after)).map_err(wrong)?.timestamp())
}

/// The training whose Job is to be made or runs.
pub(super) fn running(status: &AnomalyDetectorStatus) -> Option<&TrainingStatus> {
    status.training.as_ref().filter(|t| matches!(t.state, TrainingState::Due | TrainingState::Running))
}

/// Follows the training that is under way, or begins the one that is due.
pub(super) fn proceed(facts: &Facts, status: &mut AnomalyDetectorStatus) -> Trained {
    match status.training.as_ref().map(|training| training.state) {
        Some(TrainingState::Due) => start(facts, status),
        Some(TrainingState::Running) => follow(facts, status),
        _ => begin(facts, status),
    }
}

fn start(facts: &Facts, status: &mut AnomalyDetectorStatus) -> Trained {
    if let Err(trouble) = &facts.trainer {
        return Trained { blocked: Some(trouble.clone()), ..Trained::default() };
    }
    let Some(training) = &mut status.training else { return Trained::default() };
    (training.state, training.since) = (TrainingState::Running, facts.now.clone());
    let name = training.job.clone();
    Trained { steps: vec![Step::StartTraining { name }], soon: true, ..Trained::default() }
}

fn follow(facts: &Facts, status: &mut AnomalyDetectorStatus) -> Trained {
    let Some(training) = status.training.clone() else { return Trained::default() };
    let current = spec_hash(&facts.detector.spec);
    if training.spec_hash != current {
        // Its model would be refused: what it was trained for is no longer wanted.
        status.training = None;
        return Trained { steps: vec![Step::EndTraining { name: training.job }], soon: true, ..Trained::default() };
    }
    let Some(job) = &facts.job else {
        return ended(facts, status, TrainingState::Failed, Reason::TrainingLost.sentence());
    };
    if job.phase == JobPhase::Running {
        return wait(status, job);
    }
    match job.termination_message.as_deref().map(serde_json::from_str::<TrainingResult>) {
        Some(Ok(TrainingResult::Trained(model))) => judge(facts, status, &training, &model),
        Some(Ok(TrainingResult::Failed { message, .. })) => ended(facts, status, TrainingState::Failed, &message),
        Some(Err(_)) | None => {
            let why = job.trouble.as_ref().map_or("it left no result", |trouble| trouble.message.as_str());
            ended(facts, status, TrainingState::Failed, &format!("the training's pod failed: {why}"))
        }
    }
}

fn wait(status: &mut AnomalyDetectorStatus, job: &JobFacts) -> Trained {
    let pending = [PodTroubleKind::ImagePull, PodTroubleKind::Unschedulable, PodTroubleKind::CreateContainer];
    let trouble = job.trouble.as_ref().filter(|trouble| pending.contains(&trouble.kind));
    if let Some(training) = &mut status.training {
        training.progress = job.progress.clone();
        training.message = trouble.map(|trouble| trouble.message.clone());
    }
    let blocked = trouble.map(|trouble| Trouble::new(Reason::TrainingPending, &trouble.message));
    Trained { blocked, ..Trained::default() }
}

/// A first model is used whatever its backtest says: there is no other. A later one must keep to the alarm budget.
fn judge(
    facts: &Facts,
    status: &mut AnomalyDetectorStatus,
    training: &TrainingStatus,
    model: &TrainedModel,
) -> Trained {
    let budget = facts.detector.spec.detection.false_alarms_per_week.0;
    // The held-out days are few: of a budget of two a week, one alarm in three days is not yet too many.
    let allowed = (budget * model.backtest.days.0 / WEEK_DAYS).ceil().max(1.0);
    let before = status.model.as_ref().filter(|before| before.spec_hash == training.spec_hash && !unusable(facts));
    if before.is_some() && f64::from(model.backtest.alarms) > allowed {
        let message = format!("{}; the budget allows {allowed:.0}", model.backtest.message);
        let mut rejected = ended(facts, status, TrainingState::Rejected, &message);
        rejected.steps.push(Step::RemoveModel { name: training.job.clone() });
        return rejected;
    }
    let old = status.model.replace(model.status(&training.job));
    let mut promoted = ended(facts, status, TrainingState::Promoted, &model.backtest.message);
    promoted.steps.extend(old.map(|old| Step::RemoveModel { name: old.name }));
    promoted
}

fn ended(facts: &Facts, status: &mut AnomalyDetectorStatus, state: TrainingState, message: &str) -> Trained {
    if let Some(training) = &mut status.training {
        (training.state, training.since) = (state, facts.now.clone());
        (training.progress, training.message) = (None, Some(message.to_owned()));
    }
    Trained { soon: true, ..Trained::default() }
}

fn begin(facts: &Facts, status: &mut AnomalyDetectorStatus) -> Trained {
    let spec_hash = spec_hash(&facts.detector.spec);
    let last = status.training.as_ref().filter(|last| last.spec_hash == spec_hash);
    let (due, attempt) = match last.filter(|last| last.state == TrainingState::Failed) {
        Some(failed) => {
            let wait = retry_after(failed.attempt);
            if facts.now.0.as_second() - failed.since.0.as_second() < wait {
                return blocked_by_failure(failed, status.model.as_ref());
            }
            (failed.due.clone(), failed.attempt.saturating_add(1))
        }
        None => match due(facts, status.model.as_ref(), last, &spec_hash) {
            Some(due) => (due, 1),
            None => return Trained::default(),
        },
    };
    if let Some(trouble) = too_early(facts, status.model.as_ref()) {
        return Trained { blocked: Some(trouble), ..Trained::default() };
    }
    if let Err(trouble) = &facts.trainer {
        return Trained { blocked: Some(trouble.clone()), ..Trained::default() };
    }
    let uid = facts.detector.metadata.uid.as_deref().unwrap_or_default();
    status.training = Some(TrainingStatus {
        job: model_name(uid, &spec_hash, &due, attempt),
        spec_hash,
        due,
        attempt,
        state: TrainingState::Due,
        since: facts.now.clone(),
        progress: None,
        message: None,
    });
    Trained { soon: true, ..Trained::default() }
}

fn retry_after(attempt: i32) -> i64 {
    FIRST_RETRY.saturating_mul(1 << attempt.clamp(1, 16).saturating_sub(1)).min(LONGEST_RETRY)
}

fn blocked_by_failure(failed: &TrainingStatus, model: Option<&ModelStatus>) -> Trained {
    let message = format!(
        "training {} failed: {}; it is tried again after {}",
        failed.attempt,
        failed.message.as_deref().unwrap_or_default(),
        duration::words(retry_after(failed.attempt))
    );
    let blocked = model.is_none().then(|| Trouble::new(Reason::TrainingFailed, message));
    Trained { blocked, ..Trained::default() }
}

/// When a training is due, if one is: there is no model that can be used, or the schedule says so.
fn due(facts: &Facts, model: Option<&ModelStatus>, last: Option<&TrainingStatus>, spec_hash: &str) -> Option<Time> {
    let Some(model) = model.filter(|model| model.spec_hash == spec_hash && !unusable(facts)) else {
        // To the second, as the status keeps it: the name of the Job comes from it.
        return Some(time(facts.now_ms()));
    };
    let schedule = facts.detector.spec.training.schedule.as_deref()?;
    let after = last.map_or(model.trained_at.0, |last| last.due.0.max(model.trained_at.0));
    let due = next_due(schedule, after).ok()?;
    (due <= facts.now.0).then_some(Time(due))
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
    let needed = duration::seconds(&facts.detector.spec.training.min_history);
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
        // Without a model the history is looked for with every look.
        None if model.is_none() => Some(Trouble::new(Reason::NoSeries, Reason::NoSeries.sentence())),
        _ => None,
    }
}

/// The condition `Trained`.
pub(super) fn standing(facts: &Facts, status: &AnomalyDetectorStatus) -> Standing {
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
    let rejected = status.training.as_ref().filter(|training| training.state == TrainingState::Rejected);
    let (reason, more) = match rejected {
        Some(training) => {
            let why = training.message.as_deref().unwrap_or_default();
            (Reason::ModelRejected, format!("; the retrained one was rejected: {why}"))
        }
        None => (Reason::Trained, String::new()),
    };
    let message = format!("{} features, {} rows; {}{more}", model.features, model.rows, model.backtest.message);
    stands("Trained", true, reason, message)
}

fn not_trained(facts: &Facts, status: &AnomalyDetectorStatus) -> Standing {
    let failed = status.training.as_ref().filter(|training| training.state == TrainingState::Failed);
    let trouble = too_early(facts, None).or_else(|| {
        let message = failed?.message.clone().unwrap_or_default();
        Some(Trouble::new(Reason::TrainingFailed, message))
    });
    match trouble {
        Some(Trouble { reason, message }) => stands("Trained", false, reason, message),
        None => stands("Trained", false, Reason::NotTrained, Reason::NotTrained.sentence()),
    }
}
