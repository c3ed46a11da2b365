//! The course of a room's training: when one is due, where its Job is, when a failed one is tried again. What a finished
//! one is worth is the room's to judge.
//!
//! A training is recorded as due before its Job is made, under the name that the Job will have: whoever comes back
//! after a crash makes the same Job or finds it made.

use cronexpr::{FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::duration;
use crate::hex::hex;
use crate::kubernetes::job::{JobFacts, JobPhase, PodTroubleKind};

/// Seconds after the first failure; they double with each up to the longest.
const FIRST_RETRY: i64 = 300;
const LONGEST_RETRY: i64 = 21_600;
/// Seconds that a scheduled training is put off, at the most.
const MOST_SPREAD: i64 = 3600;

/// A training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrainingStatus {
    /// Name of its Job, and of the model that it makes.
    pub job: String,
    /// Hash of the specification that it trains for.
    pub spec_hash: String,
    /// When it was due.
    pub due: Time,
    /// Tries of this training, from 1.
    pub attempt: i32,
    /// Where it is.
    pub state: TrainingState,
    /// When it came there.
    pub since: Time,
    /// How far it is: `epoch 40 of at most 400, loss 0.031`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Why it failed, if it did, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrainingState {
    /// Its Job is to be made.
    Due,
    /// Its Job runs.
    Running,
    /// Its model is in use.
    Promoted,
    /// Its model is worse than may be; the one before goes on.
    Rejected,
    /// It made no model, and is tried again.
    Failed,
}

impl TrainingStatus {
    /// Its Job is to be made, or runs.
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, TrainingState::Due | TrainingState::Running)
    }

    /// It has come to its end.
    pub fn end(&mut self, state: TrainingState, now: &Time, message: &str) {
        (self.state, self.since) = (state, now.clone());
        (self.progress, self.reason, self.message) = (None, None, Some(message.to_owned()));
    }

    /// It made no model.
    pub fn fail(&mut self, now: &Time, reason: &str, message: &str) {
        self.end(TrainingState::Failed, now, message);
        self.reason = Some(reason.to_owned());
    }
}

/// What the course of a training depends on.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// The time.
    pub now: &'a Time,
    /// Uid of the object that is trained for.
    pub uid: &'a str,
    /// Hash of the specification as it is now.
    pub spec_hash: &'a str,
    /// When to train anew, as cron.
    pub schedule: Option<&'a str>,
    /// When the model that is in use was trained; none where there is none for this specification that can be used.
    pub model: Option<&'a Time>,
    /// The Job of the training that runs.
    pub job: Option<&'a JobFacts>,
    /// The last training.
    pub last: Option<&'a TrainingStatus>,
}

/// What comes next. `R` is what a Job leaves in its termination message.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn<R> {
    /// Nothing is due.
    Idle,
    /// One is due: it is recorded, unless something is in the way.
    Due(TrainingStatus),
    /// The recorded one's Job is to be made, unless something is in the way.
    Start(TrainingStatus),
    /// The Job runs: how far it is, and what keeps its pod from starting.
    Wait(TrainingStatus, Option<String>),
    /// What it was begun for is no longer wanted.
    Abandon {
        /// Its Job.
        job: String,
    },
    /// Its Job left a result.
    Left(R),
    /// Its Job ended without one: why.
    Died(String),
    /// Its Job is gone.
    Lost,
    /// The last one failed, and it is too early to try again.
    Later {
        /// In a sentence.
        message: String,
    },
}

impl Course<'_> {
    /// What comes next.
    pub fn turn<R: DeserializeOwned>(&self) -> Turn<R> {
        match self.last {
            Some(last) if last.state == TrainingState::Due => {
                let mut started = last.clone();
                (started.state, started.since) = (TrainingState::Running, self.now.clone());
                Turn::Start(started)
            }
            Some(last) if last.state == TrainingState::Running => self.follow(last),
            last => self.begin(last),
        }
    }

    fn follow<R: DeserializeOwned>(&self, training: &TrainingStatus) -> Turn<R> {
        if training.spec_hash != self.spec_hash {
            // Its model would be refused: what it was trained for is no longer wanted.
            return Turn::Abandon { job: training.job.clone() };
        }
        let Some(job) = self.job else { return Turn::Lost };
        if job.phase == JobPhase::Running {
            let pending = [PodTroubleKind::ImagePull, PodTroubleKind::Unschedulable, PodTroubleKind::CreateContainer];
            let trouble = job.trouble.as_ref().filter(|trouble| pending.contains(&trouble.kind));
            let trouble = trouble.map(|trouble| trouble.message.clone());
            let mut waiting = training.clone();
            (waiting.progress, waiting.message) = (job.progress.clone(), trouble.clone());
            return Turn::Wait(waiting, trouble);
        }
        match job.termination_message.as_deref().map(serde_json::from_str) {
            Some(Ok(result)) => Turn::Left(result),
            Some(Err(_)) | None => {
                let why = job.trouble.as_ref().map_or("it left no result", |trouble| trouble.message.as_str());
                Turn::Died(format!("the training's pod failed: {why}"))
            }
        }
    }

    fn begin<R>(&self, last: Option<&TrainingStatus>) -> Turn<R> {
        let last = last.filter(|last| last.spec_hash == self.spec_hash);
        let (due, attempt) = match last.filter(|last| last.state == TrainingState::Failed) {
            Some(failed) => {
                let wait = retry_after(failed.attempt);
                if self.now.0.as_second() - failed.since.0.as_second() < wait {
                    let message = format!(
                        "training {} failed: {}; it is tried again after {}",
                        failed.attempt,
                        failed.message.as_deref().unwrap_or_default(),
                        duration::words(wait)
                    );
                    return Turn::Later { message };
                }
                (failed.due.clone(), failed.attempt.saturating_add(1))
            }
            None => match self.due(last) {
                Some(due) => (due, 1),
                None => return Turn::Idle,
            },
        };
        Turn::Due(TrainingStatus {
            job: training_name(self.uid, self.spec_hash, &due, attempt),
            spec_hash: self.spec_hash.to_owned(),
            due,
            attempt,
            state: TrainingState::Due,
            since: self.now.clone(),
            progress: None,
            reason: None,
            message: None,
        })
    }

    /// When a training is due, if one is: there is no model that can be used, or the schedule says so.
    fn due(&self, last: Option<&TrainingStatus>) -> Option<Time> {
        let Some(trained_at) = self.model else {
            // To the second, as the status keeps it: the name of the Job comes from it.
            let second = self.now.0.as_millisecond().div_euclid(1000);
            return Some(Time(Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)));
        };
        let after = last.map_or(trained_at.0, |last| last.due.0.max(trained_at.0));
        let due = spread(self.schedule?, after, self.uid).ok()?;
        (due <= self.now.0).then_some(Time(due))
    }
}

/// The first time of a schedule after a time, put off by up to an hour, and at most a twenty-fourth of the time until the
/// one after it: whoever shares a schedule, which has a default, would all train in the same minute. The uid says by how much.
fn spread(schedule: &str, after: Timestamp, uid: &str) -> Result<Timestamp, String> {
    let due = next_due(schedule, after)?;
    let room = (next_due(schedule, due)?.as_second() - due.as_second()) / 24;
    let digest = Sha256::digest(uid.as_bytes());
    let share = i64::from(u16::from_be_bytes([digest[0], digest[1]]));
    let put_off = room.min(MOST_SPREAD) * share / i64::from(u16::MAX);
    Ok(Timestamp::from_second(due.as_second() + put_off).unwrap_or(due))
}

fn retry_after(attempt: i32) -> i64 {
    FIRST_RETRY.saturating_mul(1 << attempt.clamp(1, 16).saturating_sub(1)).min(LONGEST_RETRY)
}

/// The name of a training's Job and model.
pub fn training_name(uid: &str, spec_hash: &str, due: &Time, attempt: i32) -> String {
    format!("howdah-train-{}", short_hash(&format!("{uid} {spec_hash} {} {attempt}", due.0)))
}

/// Ten hexadecimal digits that tell texts apart.
pub fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..5])
}

/// Whether a schedule can be read.
///
/// # Errors
/// A sentence when it can't.
pub fn check_schedule(schedule: Option<&str>) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_share_a_schedule_do_not_train_at_once() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let due = |schedule: &str, after: &str, uid: &str| spread(schedule, at(after), uid).unwrap().as_second();
        let three = at("2026-03-02T03:00:00Z").as_second();
        let mut put_off: Vec<i64> =
            (0..50).map(|uid| due("0 3 * * *", "2026-03-02T00:00:00Z", &format!("uid-{uid}")) - three).collect();
        assert!(put_off.iter().all(|seconds| (0..=3600).contains(seconds)), "{put_off:?}");
        put_off.sort_unstable();
        put_off.dedup();
        assert!(put_off.len() > 40, "{put_off:?}");
        // Each at the same time every day, once a day.
        let first = due("0 3 * * *", "2026-03-02T00:00:00Z", "a");
        let after = Timestamp::from_second(first).unwrap().to_string();
        assert_eq!(due("0 3 * * *", &after, "a"), first + 86_400);
        // What is due often is put off by little.
        assert!(due("* * * * *", "2026-03-02T00:00:00Z", "b") - at("2026-03-02T00:01:00Z").as_second() <= 2);
    }
}
