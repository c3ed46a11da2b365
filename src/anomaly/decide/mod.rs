//! What to do next for a detector. Pure: the same facts give the same decision.

mod incidents;
mod notices;
mod training;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alarm;
use super::crd::{AnomalyDetectorStatus, FeatureStatus, State};
use super::facts::{Facts, SETTLE_MS, Trouble};
use super::features;
use super::reason::Reason;
use crate::control::conditions::{Standing, stands};
use crate::control::training::check_schedule;
use crate::decimal::Decimal;
use crate::duration;

pub use notices::{Notice, retry_after};

/// What to do, because of what, and when to look next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The one reason.
    pub because: Reason,
    /// The reason's own words for this case.
    pub message: String,
    /// The steps. They do not depend on each other: one that fails does not hold up the others.
    pub steps: Vec<Step>,
    /// When to look next, if nothing changes before.
    pub next: Duration,
    /// What is true of each condition besides `Ready`.
    pub standing: Vec<Standing<Reason>>,
    /// The status once the steps have succeeded, without conditions.
    pub status: AnomalyDetectorStatus,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Keeps the detector from being deleted before its models are removed.
    AddFinalizer,
    /// Creates the Job of a training.
    StartTraining {
        /// Name of the Job and of the model.
        name: String,
    },
    /// Ends the Job of a training that is no longer wanted.
    EndTraining {
        /// Its name.
        name: String,
    },
    /// Removes a model that is no longer used.
    RemoveModel {
        /// Its name.
        name: String,
    },
    /// Tells a receiver of an incident.
    Notify(Box<Notice>),
    /// Removes every model, forgets the metrics and lets the detector go.
    Release,
}

/// How soon to look again while something is under way.
const SOON: Duration = Duration::from_secs(1);
/// How soon to look again while something outside must change.
const PATIENT: Duration = Duration::from_secs(15);
/// How soon to look for history again.
const HISTORY: Duration = Duration::from_secs(60);
/// How soon to look again when there is nothing to do.
const IDLE: Duration = Duration::from_secs(300);
/// Clocks that differ by more are told of.
const SKEW_MS: i64 = 30_000;
/// Names in each list of the status.
const NAMES: usize = 64;

/// Decides.
pub fn decide(facts: &Facts) -> Decision {
    if let Some(trouble) = &facts.unseen {
        return Decision { status: facts.status(), ..resting(trouble.reason, &trouble.message, PATIENT) };
    }
    if facts.detector.metadata.deletion_timestamp.is_some() {
        return delete(facts);
    }
    if !facts.has_finalizer() {
        let begun = resting(Reason::NotTrained, Reason::NotTrained.sentence(), SOON);
        return Decision { steps: vec![Step::AddFinalizer], status: facts.status(), ..begun };
    }
    if facts.detector.spec.suspend {
        return suspend(facts);
    }
    match check_rows(facts) {
        Err(message) => invalid(facts, &message),
        Ok(()) => watch(facts),
    }
}

/// What the schema can't check of the rows that are asked for.
fn check_rows(facts: &Facts) -> Result<(), String> {
    let spec = &facts.detector.spec;
    features::check_selector(&spec.prometheus.selector)?;
    features::watched(&spec.features, &spec.prometheus.selector, facts.step_ms() / 1000).map(drop)
}

/// What the schema can't check of the training.
fn check_training(facts: &Facts) -> Result<(), String> {
    let spec = &facts.detector.spec;
    if spec.detection.false_alarms_per_week.0 <= 0.0 {
        return Err("detection.falseAlarmsPerWeek must be positive; 2 is a bearable number".into());
    }
    let (window, needed) = (spec.training.window_seconds(), spec.training.min_history_seconds());
    if window < needed {
        let (window, needed) = (duration::words(window), duration::words(needed));
        return Err(format!(
            "training.window is {window} and training.minHistory {needed}: no history in the window would ever be long \
             enough; lengthen the one or shorten the other"
        ));
    }
    check_schedule(spec.training.schedule.as_deref())
}

fn resting(because: Reason, message: &str, next: Duration) -> Decision {
    Decision {
        because,
        message: message.to_owned(),
        steps: Vec::new(),
        next,
        standing: Vec::new(),
        status: AnomalyDetectorStatus::default(),
    }
}

fn delete(facts: &Facts) -> Decision {
    let gone = resting(Reason::Deleting, Reason::Deleting.sentence(), IDLE);
    if !facts.has_finalizer() {
        return gone;
    }
    let mut status = incidents::close_all(facts.status(), facts.now_ms());
    let mut steps = notices::due(facts, &mut status, true).steps;
    steps.extend(training::running(&status).map(|training| Step::EndTraining { name: training.job.clone() }));
    steps.push(Step::Release);
    Decision { steps, status, ..gone }
}

/// Nothing is looked at, so nothing is known to be wrong.
fn suspend(facts: &Facts) -> Decision {
    let mut status = incidents::close_all(facts.status(), facts.now_ms());
    let notices::Due { mut steps, held } = notices::due(facts, &mut status, true);
    if let Some(running) = training::running(&status) {
        steps.push(Step::EndTraining { name: running.job.clone() });
        status.training = None;
    }
    status.state = Some(State::Suspended);
    (status.score, status.since, status.top_metric, status.cause) = (None, None, None, None);
    let standing = unlooked(facts, &status, Reason::Suspended, Reason::Suspended.sentence());
    let next = match (&held, steps.is_empty()) {
        (_, false) => SOON,
        (Some(_), true) => PATIENT,
        (None, true) => IDLE,
    };
    Decision { steps, status, standing, ..resting(Reason::Suspended, Reason::Suspended.sentence(), next) }
}

/// What was specified can't be done: nothing is looked at until it is corrected, and nothing is known meanwhile.
fn invalid(facts: &Facts, message: &str) -> Decision {
    let reason = Reason::InvalidSpecification;
    let mut status = facts.status();
    status.state = Some(if incidents::open(&status).is_some() { State::Anomalous } else { State::Blind });
    status.score = None;
    let standing = unlooked(facts, &status, reason, message);
    // An incident that is open goes on for those who were told of it: an alert that is not repeated would end by itself.
    let notices::Due { steps, .. } = notices::due(facts, &mut status, false);
    let next = if notices::is_repeated(&status) { PATIENT } else { IDLE };
    Decision { steps, standing, status, ..resting(reason, message, next) }
}

/// What stands while nothing is looked at: an incident that is open stays so.
fn unlooked(facts: &Facts, status: &AnomalyDetectorStatus, reason: Reason, message: &str) -> Vec<Standing<Reason>> {
    let anomalous = match incidents::open(status) {
        Some(open) => stands("Anomalous", true, Reason::AnomalyDetected, &open.message),
        None => stands("Anomalous", false, reason, message),
    };
    vec![
        stands("DataAvailable", false, reason, message),
        training::standing(facts, status),
        stands("Scoring", false, reason, message),
        anomalous,
    ]
}

/// The course of a detector: data, a model, scores, incidents, receivers.
fn watch(facts: &Facts) -> Decision {
    let mut status = facts.status();
    status.features = features_of(facts).or(status.features);
    // What is wrong with trainings to come is no reason not to look at rows that come now.
    let invalid = check_training(facts).err();
    let trained = match &invalid {
        Some(_) => training::Trained::default(),
        None => training::proceed(facts, &mut status),
    };
    let mut steps = trained.steps;
    incidents::update(facts, &mut status);
    incidents::depart(facts, &mut status);
    incidents::trials(facts, &mut status);
    incidents::label(facts, &mut status);
    let due = notices::due(facts, &mut status, false);
    steps.extend(due.steps);
    summarise(facts, &mut status);

    let scoring = scoring(facts, &status);
    let anomalous = anomalous(facts, &status, &scoring);
    let standing = vec![data(facts), training::standing(facts, &status), scoring, anomalous];
    // The first condition that does not hold stands in the way of those after it.
    let blocked = standing[..3].iter().find(|standing| !standing.holds);
    let (because, message) = match (&trained.blocked, blocked, &due.held) {
        _ if invalid.is_some() => (Reason::InvalidSpecification, invalid.unwrap_or_default()),
        (Some(trouble), Some(standing), _) if standing.condition == "Trained" => {
            (trouble.reason, trouble.message.clone())
        }
        (_, Some(standing), _) => (standing.reason, standing.message.clone()),
        (_, None, Some(held)) => (held.reason, held.message.clone()),
        (_, None, None) => (Reason::Scoring, standing[2].message.clone()),
    };
    let next = if trained.soon { SOON } else { next_look(facts, &status) };
    Decision { because, message, steps, next, standing, status }
}

/// The next row's time, or when something may have changed.
fn next_look(facts: &Facts, status: &AnomalyDetectorStatus) -> Duration {
    let Some(data) = facts.seen() else { return PATIENT };
    if status.model.is_none() {
        // Each look asks for the whole history, while the training reads it, too.
        return if training::running(status).is_some() { PATIENT } else { HISTORY };
    }
    if matches!(&facts.scoring, Some(Err(trouble)) if trouble.reason == Reason::CatchingUp) {
        return SOON;
    }
    let step = facts.step_ms();
    let into = (data.server_ms - SETTLE_MS).rem_euclid(step);
    let after = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(1000));
    let row = after(step - into + 50);
    match &facts.scoring {
        // Without a model that can be used each look asks for the whole history.
        Some(Err(_)) => row.max(if training::running(status).is_some() { PATIENT } else { HISTORY }),
        // An alert that is not repeated ends by itself, however far rows are apart.
        _ if notices::is_repeated(status) => row.min(after(notices::AGAIN_MS)),
        _ => row,
    }
}

fn features_of(facts: &Facts) -> Option<FeatureStatus> {
    let data = facts.seen()?;
    let cut = |names: &[String]| names.iter().take(NAMES).cloned().collect::<Vec<_>>();
    let scored = facts.scored();
    Some(FeatureStatus {
        found: i32::try_from(data.found.len()).unwrap_or(i32::MAX),
        missing: cut(&data.missing),
        constant: scored.map(|scoring| cut(&scoring.constant)).unwrap_or_default(),
        stale: scored.map(|scoring| cut(&scoring.stale)).unwrap_or_default(),
        unlearnt: scored.map(|scoring| cut(&scoring.unlearnt)).unwrap_or_default(),
    })
}

fn data(facts: &Facts) -> Standing<Reason> {
    let data = match &facts.data {
        Err(Trouble { reason, message }) => return stands("DataAvailable", false, *reason, message),
        Ok(data) => data,
    };
    let selector = &facts.detector.spec.prometheus.selector;
    if data.found.is_empty() {
        let labels: Vec<String> = selector.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let message = format!(
            "Prometheus has no value of any feature under {{{}}}: look at its targets, or correct prometheus.selector",
            labels.join(", ")
        );
        return stands("DataAvailable", false, Reason::NoSeries, message);
    }
    let mut message = format!("{} features have values", data.found.len());
    if !data.missing.is_empty() {
        message += &format!(", {} have none (status.features.missing)", data.missing.len());
    }
    if data.not_finite > 0 {
        message += "; values that are NaN or infinite count as missing";
    }
    if let Some(sparse) = sparse(facts) {
        message += &format!("; {sparse}");
    }
    let skew = data.server_ms - facts.now_ms();
    if skew.abs() > SKEW_MS {
        let way = if skew > 0 { "ahead of" } else { "behind" };
        // To the minute, so that the message does not change with every look.
        let minutes = (skew.abs() + 30_000) / 60_000;
        message += &format!("; its clock is {minutes} min {way} the operator's, and rows go by its own");
    }
    stands("DataAvailable", true, Reason::DataAvailable, message)
}

/// Rows are much closer together than scrapes.
fn sparse(facts: &Facts) -> Option<String> {
    let (scraped, step) = (facts.seen()?.scraped_ms?, facts.step_ms());
    let seconds = (scraped + 500) / 1000;
    let wrong = "counters would stand still in some rows and leap in others";
    (scraped * 2 >= step * 3).then(|| {
        let step = duration::words(step / 1000);
        format!("Prometheus scrapes every {seconds} s, and step is {step}: {wrong}; set step to {seconds}s")
    })
}

fn scoring(facts: &Facts, status: &AnomalyDetectorStatus) -> Standing<Reason> {
    let scoring = match &facts.scoring {
        None if status.model.is_some() => {
            return stands("Scoring", false, Reason::NotTrained, "the model begins with the next look");
        }
        None => return stands("Scoring", false, Reason::NotTrained, Reason::NotTrained.sentence()),
        Some(Err(Trouble { reason, message })) => return stands("Scoring", false, *reason, message),
        Some(Ok(scoring)) => scoring,
    };
    match scoring.skipped.as_deref().filter(|_| facts.judging().is_none()) {
        Some("DataIncomplete") => {
            let stale = match scoring.stale.as_slice() {
                [] => "counters have no rate before their second value".to_owned(),
                stale => {
                    format!("without a recent value: {}", stale.iter().take(8).cloned().collect::<Vec<_>>().join(", "))
                }
            };
            let message = format!("the newest row misses too many features; {stale}");
            stands("Scoring", false, Reason::DataIncomplete, message)
        }
        Some("WarmUp") => {
            let message = "the newest rows are the first after a gap: there is no recent past to compare with yet";
            stands("Scoring", false, Reason::DataIncomplete, message)
        }
        _ => {
            let every = duration::words(facts.step_ms() / 1000);
            stands("Scoring", true, Reason::Scoring, format!("a row is scored every {every}"))
        }
    }
}

fn anomalous(facts: &Facts, status: &AnomalyDetectorStatus, scoring: &Standing<Reason>) -> Standing<Reason> {
    if let Some(open) = incidents::open(status) {
        // By its age: a look that fails does not make it young.
        if facts.now_ms() - open.since.0.as_millisecond() >= alarm::SHIFTED_AFTER_MS {
            let message = format!("{} {}", open.message, Reason::BaselineShifted.sentence());
            return stands("Anomalous", true, Reason::BaselineShifted, message);
        }
        return stands("Anomalous", true, Reason::AnomalyDetected, &open.message);
    }
    // That nothing is scored is told in another condition's words: here it only means that nothing is known.
    if scoring.holds {
        return stands("Anomalous", false, Reason::Normal, Reason::Normal.sentence());
    }
    stands("Anomalous", false, scoring.reason, "nothing is scored, so nothing is known to be wrong")
}

/// The columns that `kubectl get` shows.
fn summarise(facts: &Facts, status: &mut AnomalyDetectorStatus) {
    let open = incidents::open(status).cloned();
    status.state = Some(match (&open, &status.model, facts.scored()) {
        (Some(_), _, _) => State::Anomalous,
        (None, None, _) if facts.seen().is_some_and(|data| !data.found.is_empty()) => State::Learning,
        (None, None, _) => State::Blind,
        // Its first rows are judged with the next look.
        (None, Some(_), _) if facts.scoring.is_none() => State::Learning,
        (None, Some(_), Some(_)) if facts.judging().is_some() => State::Normal,
        (None, Some(_), _) => State::Blind,
    });
    // A score that is no longer made is no score.
    let score = facts.judging().and_then(|scoring| scoring.score);
    status.score = score.map(|score| told_score(status.score, score));
    status.since = open.as_ref().map(|open| open.since.clone());
    status.top_metric = open.as_ref().and_then(|open| open.contributors.first()).map(|first| first.metric.clone());
    status.cause = open.and_then(|open| open.label.or_else(|| open.causes.into_iter().next().map(|cause| cause.cause)));
}

/// The score as the status tells it: to a tenth, and only when it has moved, or passed the threshold.
fn told_score(before: Option<Decimal>, now: f64) -> Decimal {
    let near = |before: &Decimal| {
        (before.0 - now).abs() <= (0.25 * before.0.abs()).max(0.3) && (before.0 >= 1.0) == (now >= 1.0)
    };
    before.filter(near).unwrap_or_else(|| {
        let tenths = (now * 10.0).round() / 10.0;
        // Rounding does not carry a score over the threshold.
        Decimal(if now < 1.0 { tenths.min(0.9) } else { tenths })
    })
}

#[cfg(test)]
mod tests;
