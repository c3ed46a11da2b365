//! The status of a QueryCostModel: what it learnt, how good it is, and where it answers.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::training::TrainingStatus;
use crate::decimal::Decimal;

/// What the model learnt, how good it is, and where it answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueryCostModelStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `DataAvailable`, `Trained`, `Serving` and `Drifted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The model in use: that replicas answer with, or are to answer with once they have changed to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<CostModelStatus>,
    /// The version that all replicas answered with when they had last changed. While they change to another model, those
    /// that have not yet changed answer with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_version: Option<String>,
    /// Names of the versions in the model store, the newest first; also rejected ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// The last training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingStatus>,
    /// How the model did on statements that are newer than it, with the last training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftStatus>,
    /// Where the REST API answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// A trained model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostModelStatus {
    /// Its name in the model store, which is that of the Job that trained it.
    pub name: String,
    /// A digest of its files, which its answers carry.
    pub version: String,
    /// When it was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_at: Option<Time>,
    /// Hash of the specification that it was trained for.
    pub spec_hash: String,
    /// Hash of its targets' names and bounds: models of other targets can't be compared with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub targets_hash: String,
    /// Share of the statements that judged it whose class was right: the mean over the targets, by the split of the
    /// specification.
    pub accuracy: Decimal,
    /// What it learnt from.
    pub log: LogStatus,
    /// How good it is, by target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetStatus>,
    /// Splits that the log does not allow, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing_splits: BTreeMap<String, String>,
}

/// What a model learnt from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogStatus {
    /// Statements.
    pub statements: i64,
    /// Distinct fingerprints that the model knows: those of the whole log, or the 50,000 most frequent ones.
    pub fingerprints: i64,
    /// Fingerprints beside those that are known from the server's `pg_stat_statements`.
    #[serde(default)]
    pub counted_fingerprints: i64,
    /// Rows that are no statements, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, i64>,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
    /// Time of the oldest statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    /// Time of the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Time>,
    /// Share of the texts that could not be lexed to their end and were read as words.
    pub read_as_words: Decimal,
}

/// How good a model is for one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The target.
    pub name: String,
    /// Ranges of its classes, from the cheapest.
    pub classes: Vec<String>,
    /// By split; the first is the specification's.
    pub splits: Vec<SplitStatus>,
    /// Features that the trees ask for most often.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_features: Vec<String>,
}

/// How good a model is by one split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SplitStatus {
    /// `time`, `random` or `template`.
    pub split: String,
    /// Statements that judged.
    pub rows: i64,
    /// Accuracies by method: ours and the baselines.
    pub methods: Vec<MethodStatus>,
    /// Ours by class.
    pub classes: Vec<ClassStatus>,
    /// Statements by true class (outer) and predicted class (inner).
    pub confusion: Vec<Vec<i64>>,
}

/// How good a method is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MethodStatus {
    /// `majority`, `lookup`, `paper` or `ours`.
    pub method: String,
    /// Share of the statements whose class was right.
    pub accuracy: Decimal,
    /// The same over the 80 % of which the method was surest.
    pub at80_percent_coverage: Decimal,
}

/// How good a model is for one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassStatus {
    /// The class's range.
    pub class: String,
    /// Share of the statements predicted so that are so.
    pub precision: Decimal,
    /// Share of the statements that are so that were predicted so.
    pub recall: Decimal,
    /// Statements that are so.
    pub support: i64,
}

/// How a served model did on statements that are newer than it, those of the time split at the most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// The model.
    pub name: String,
    /// Statements that are newer.
    pub rows: i64,
    /// Share of them whose class was right: the mean over the targets.
    pub accuracy: Decimal,
    /// The same of what was learnt anew, without them, to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrained_accuracy: Option<Decimal>,
    /// Share of them whose fingerprint it does not know.
    pub unknown_fingerprints: Decimal,
}
