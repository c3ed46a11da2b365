//! The status of a detector: what it learnt, what it sees, what it found.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::anomaly::NORMAL;
use crate::control::training::TrainingStatus;
use crate::decimal::Decimal;

/// What the detector learnt, sees and found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnomalyDetectorStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `DataAvailable`, `Trained`, `Scoring` and `Anomalous`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The whole in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The score, of which 1 is the threshold: in steps, so that it is not written with every row. The exact one is the
    /// metric `howdah_anomaly_score`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Decimal>,
    /// Since when it is anomalous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The metric that moved first in the open incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_metric: Option<String>,
    /// What the open incident looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Which features there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<FeatureStatus>,
    /// The model that scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelStatus>,
    /// The last training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingStatus>,
    /// The last incidents, newest first; an open one has no end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<IncidentStatus>,
    /// Times of older incidents, newest first: trainings leave them out, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_incidents: Vec<PastSpan>,
    /// When trials of the instance's tunings ran, newest first: trainings leave these times out, too, when the trials are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_trials: Vec<PastSpan>,
    /// Metrics that never moved while the model learnt, and moved since, newest first: no score tells of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departures: Vec<DepartureStatus>,
    /// Signatures of labelled incidents, by which later ones are recognised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<LearntSignature>,
    /// What receivers were last told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<Delivery>,
}

/// A metric that never moved while the model learnt, and moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DepartureStatus {
    /// The metric.
    pub metric: String,
    /// From what to what: `archive_failed 0/s → 0.2/s`.
    pub message: String,
    /// When it was last told; it is told again after an hour at the earliest.
    pub time: Time,
}

/// The whole in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// There is data and no model yet.
    Learning,
    /// Rows are scored and normal.
    Normal,
    /// An incident is open.
    Anomalous,
    /// There is no data, or no row that could be scored.
    Blind,
    /// The detector is suspended.
    Suspended,
}

impl State {
    /// Every state, as the metrics name them.
    pub const ALL: [Self; 5] = [Self::Learning, Self::Normal, Self::Anomalous, Self::Blind, Self::Suspended];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Learning => "Learning",
            Self::Normal => "Normal",
            Self::Anomalous => "Anomalous",
            Self::Blind => "Blind",
            Self::Suspended => "Suspended",
        }
    }
}

/// Which features there are. Lists are cut at 64 names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureStatus {
    /// How many were found.
    pub found: i32,
    /// Those without a single value in the history that was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Those that never changed in training: a change of theirs is evidence by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constant: Vec<String>,
    /// Those that the model knows and that have no recent value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<String>,
    /// Those that have values and are not judged: they were missing in more than half of the rows of the training, and are
    /// learnt once they fill half of `training.window`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlearnt: Vec<String>,
}

/// The model that scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// Its name: that of the Job that trained it, and of its artefact in the model store.
    pub name: String,
    /// When it was trained.
    pub trained_at: Time,
    /// Hash of the specification that it was trained for.
    pub spec_hash: String,
    /// Hash of the queries that its rows came from, and of the step: rows of others are not scored by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_hash: Option<String>,
    /// Rows that it learnt from.
    pub rows: i64,
    /// Rows that were left out: missing data, excluded times, incidents, trials, the worst percent.
    pub rows_left_out: i64,
    /// Features that it scores.
    pub features: i32,
    /// Passes over the rows, of both fits; none of principal components.
    #[serde(default)]
    pub epochs: i32,
    /// Reconstruction error of the validation rows.
    pub loss: Decimal,
    /// Score of a row at which the normalised score is 1.
    pub threshold: Decimal,
    /// How the threshold was found: `PeaksOverThreshold` or `EmpiricalQuantile`, with the rows in the tail.
    pub threshold_method: String,
    /// What it would have alarmed on.
    pub backtest: Backtest,
    /// Principal components, trained on the same rows, for comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pca: Option<ModelRow>,
}

/// What a model would have alarmed on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backtest {
    /// Alarms that it would have raised.
    pub alarms: i32,
    /// In so many days of held-out history.
    pub days: Decimal,
    /// In a sentence.
    pub message: String,
}

/// A model's numbers, for comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelRow {
    /// Reconstruction error of the validation rows.
    pub loss: Decimal,
    /// Alarms that it would have raised.
    pub alarms: i32,
}

/// An incident: from its first anomalous row to its last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentStatus {
    /// Its name: when it began (`20240501t140230z`).
    pub id: String,
    /// When it began.
    pub since: Time,
    /// When it was raised.
    pub raised: Time,
    /// When it ended; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// When it last went on, shortly after it had seemed to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopened: Option<Time>,
    /// The highest score.
    pub peak: Decimal,
    /// What happened, in the words of the Event.
    pub message: String,
    /// When `message` was last written: when something worth telling had changed, or the incident lasted twice as long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// What moved, in the order of onset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contributors: Vec<ContributionStatus>,
    /// What it looks like, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<CauseStatus>,
    /// What changed at the same time: settings, pods, rollouts, trials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coincidences: Vec<String>,
    /// The change of each feature against its normal spread, strongest first: what a label turns into a signature.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: BTreeMap<String, Decimal>,
    /// Its cause as labelled by the annotation `howdah.dev/cause`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl IncidentStatus {
    /// It was no fault, as people say.
    pub fn is_normal(&self) -> bool {
        self.label.as_deref() == Some(NORMAL)
    }
}

/// When something was of which only its time is kept: an incident, or trials that ran one after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PastSpan {
    /// Its begin.
    pub from: Time,
    /// Its end.
    pub to: Time,
}

/// A feature's part in an incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContributionStatus {
    /// The feature.
    pub metric: String,
    /// Its value.
    pub now: Decimal,
    /// What was expected, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Decimal>,
    /// `Up` or `Down`.
    pub direction: String,
    /// Its share of the score, in percent.
    pub share_percent: Decimal,
    /// When it left its normal range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onset: Option<Time>,
}

/// What an incident looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CauseStatus {
    /// The cause.
    pub cause: String,
    /// How alike, of 1.
    pub similarity: Decimal,
}

/// The signature of a labelled incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearntSignature {
    /// The incident.
    pub incident: String,
    /// Its cause.
    pub cause: String,
    /// The change of each feature against its normal spread.
    pub changes: BTreeMap<String, Decimal>,
}

/// What a receiver was last told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// `alertmanager` or `webhook`.
    pub receiver: String,
    /// The incident.
    pub incident: String,
    /// What it was told.
    pub state: DeliveryState,
}

/// What a receiver was told of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeliveryState {
    /// It began.
    Firing,
    /// It is over.
    Resolved,
}
