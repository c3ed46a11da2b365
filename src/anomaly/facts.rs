//! Everything that a detector's decision depends on. No secrets: a recorded decision can be shown to anyone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FINALIZER;
use super::alarm;
use super::crd::{AnomalyDetector, AnomalyDetectorStatus};
use super::incident::Incident;
use super::reason::Reason;
use super::score::Contribution;
use super::watch::Departure;
use crate::duration;
use crate::kubernetes::job::JobFacts;

/// Rows are cut so long after their time, in milliseconds: a scrape's samples come in when it ends, under the time at
/// which it began.
pub const SETTLE_MS: i64 = 1500;

/// Values may be missing for so long, or for so many rows where these are further apart, before that is told.
const LAPSE_MS: i64 = 120_000;
const LAPSE_ROWS: i64 = 4;

/// How long values may be missing before that is told, in milliseconds, with rows so far apart.
pub fn lapse_ms(step_ms: i64) -> i64 {
    LAPSE_MS.max(LAPSE_ROWS * step_ms)
}

/// Why something could not be seen or done.
pub type Trouble = crate::control::reason::Trouble<Reason>;

/// Everything that a detector's decision depends on. Not seeing something is a fact too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The time.
    pub now: Time,
    /// The detector.
    pub detector: AnomalyDetector,
    /// Why the cluster's own objects could not be read, if so: nothing may be concluded from what seems to be absent.
    pub unseen: Option<Trouble>,
    /// What Prometheus has.
    pub data: Result<Data, Trouble>,
    /// What the model says of the rows; absent without a model.
    pub scoring: Option<Result<Scoring, Trouble>>,
    /// When trials of the instance's tunings ran that have ended, as far as these still exist, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trials: Vec<(i64, i64)>,
    /// The Job of the training that is under way, if there is one.
    pub job: Option<JobFacts>,
    /// Whether a training's Job can be made.
    pub trainer: Result<(), Trouble>,
    /// When the Alertmanager was last told that an alert fires.
    pub alerted: Option<Time>,
    /// Receivers that did not take what they were last told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refusal>,
}

/// Kinds of receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Receiver {
    /// An Alertmanager, by its API v2.
    Alertmanager,
    /// A webhook.
    Webhook,
}

impl Receiver {
    /// As the status names it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Webhook => "webhook",
        }
    }
}

/// A receiver that did not take what it was told, and is left alone for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Who.
    pub receiver: Receiver,
    /// Why not.
    pub message: String,
    /// When it may be told again.
    pub again: Time,
}

/// What Prometheus has of the features.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// Prometheus's clock, in milliseconds since 1970.
    pub server_ms: i64,
    /// Features with a value lately.
    pub found: Vec<String>,
    /// Features without one.
    pub missing: Vec<String>,
    /// Milliseconds of history, where nothing is trained yet and it was looked for.
    pub history_ms: Option<i64>,
    /// Values that were NaN or infinite, and count as missing.
    pub not_finite: u64,
    /// Usual time between two scrapes, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scraped_ms: Option<i64>,
}

/// What the model says of the rows since the last look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scoring {
    /// The newest row, in milliseconds since 1970.
    pub time: i64,
    /// Score of the newest row that was judged; 1 is the threshold.
    pub score: Option<f64>,
    /// When that row was, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_ms: Option<i64>,
    /// Why the newest row was not judged, if so.
    pub skipped: Option<String>,
    /// What the alarm is after the newest row.
    pub alarm: alarm::State,
    /// Incidents that these rows began, continued or ended, oldest first; the last one even when it ended before.
    pub incidents: Vec<Incident>,
    /// Metrics that never moved while the model learnt, and moved with these rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departures: Vec<Departure>,
    /// What contributes most to the newest score.
    pub contributions: Vec<Contribution>,
    /// Features that never changed in training.
    pub constant: Vec<String>,
    /// Features that the model knows and that have no recent value.
    pub stale: Vec<String>,
    /// Features with a recent value that the model knows nothing of: they were missing in most of what it learnt from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlearnt: Vec<String>,
}

impl Facts {
    /// The status that was read.
    pub fn status(&self) -> AnomalyDetectorStatus {
        self.detector.status.clone().unwrap_or_default()
    }

    /// The time in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.now.0.as_millisecond()
    }

    /// Time between rows in milliseconds.
    pub fn step_ms(&self) -> i64 {
        duration::seconds(&self.detector.spec.step).max(1) * 1000
    }

    /// The detector can't go before its models are removed.
    pub fn has_finalizer(&self) -> bool {
        self.detector.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
    }

    /// What Prometheus has, where it answers.
    pub fn seen(&self) -> Option<&Data> {
        self.data.as_ref().ok()
    }

    /// What the model says, while rows are judged as they come. One or two that can't be, after a scrape that failed say,
    /// are no reason to tell anybody.
    pub fn judging(&self) -> Option<&Scoring> {
        let lately =
            |scoring: &Scoring| scoring.judged_ms.is_some_and(|at| scoring.time - at < lapse_ms(self.step_ms()));
        self.scored().filter(|scoring| scoring.skipped.is_none() || lately(scoring))
    }

    /// What the model says, where it says something.
    pub fn scored(&self) -> Option<&Scoring> {
        self.scoring.as_ref()?.as_ref().ok()
    }
}

/// Milliseconds since 1970 as Kubernetes writes times, which is to the second.
pub fn time(ms: i64) -> Time {
    Time(Timestamp::from_second(ms.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH))
}
