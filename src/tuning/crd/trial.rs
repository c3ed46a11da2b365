//! `TuningTrial`: one measured configuration.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;
use crate::tuning::measurement::{Measurement, Parameters};

/// One measured configuration of a tuning. The controller creates it; nobody else needs to.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "howdah.dev",
    version = "v1alpha1",
    kind = "TuningTrial",
    plural = "tuningtrials",
    shortname = "trial",
    shortname = "trials",
    category = "howdah",
    namespaced,
    status = "TuningTrialStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Tuning","type":"string","jsonPath":".spec.tuning"}"#,
    printcolumn = r#"{"name":"Kind","type":"string","jsonPath":".spec.kind"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"TPS","type":"string","jsonPath":".status.measurement.tps"}"#,
    printcolumn = r#"{"name":"P95 ms","type":"string","jsonPath":".status.measurement.latencyP95Ms"}"#,
    printcolumn = r#"{"name":"Gain %","type":"string","jsonPath":".status.gainPercent"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "a trial is a record: its spec can't be changed"}]))]
pub struct TuningTrialSpec {
    /// The tuning that it belongs to.
    pub tuning: String,
    /// The session of the tuning.
    pub session: String,
    /// Its number in the session, from 1.
    pub number: i32,
    /// What it is for.
    pub kind: TrialKind,
    /// In a verification: which configuration this run measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<Arm>,
    /// Knobs that differ from the baseline; empty for the baseline itself.
    #[serde(default)]
    pub parameters: Parameters,
    /// The same configuration as a point of the unit cube over the session's knobs.
    #[serde(default)]
    pub point: Vec<Decimal>,
    /// Marker that the server shows when the configuration is in effect.
    pub marker: String,
    /// What the safety kernel changed in the proposal, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<String>,
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TrialKind {
    /// The configuration before the first change.
    Baseline,
    /// The pgtune formulas.
    Heuristic,
    /// A sample that covers the space.
    Explore,
    /// A proposal of the policy.
    Policy,
    /// A step from the incumbent.
    Refine,
    /// A run of the paired verification.
    Verify,
}

/// Configurations that a verification compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Arm {
    /// The configuration before the first change.
    Baseline,
    /// The pgtune formulas.
    Heuristic,
    /// The best of the search.
    Incumbent,
    /// The winner without the knobs that showed no effect.
    Pruned,
}

/// Where a trial is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TrialState {
    /// Its configuration is being brought into effect.
    #[default]
    Applying,
    /// The server is being restarted.
    Restarting,
    /// The benchmark is running.
    Measuring,
    /// Measured.
    Observed,
    /// Not measured: the benchmark or the configuration failed.
    Failed,
    /// Ended by a guardrail, a suspension or a deletion.
    Aborted,
}

impl TrialState {
    /// The states that no further step follows.
    pub const FINAL: [Self; 3] = [Self::Observed, Self::Failed, Self::Aborted];

    /// No further step follows.
    pub fn is_final(self) -> bool {
        Self::FINAL.contains(&self)
    }
}

/// What a trial observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TuningTrialStatus {
    /// Where it is.
    pub state: TrialState,
    /// Why it is there, when that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reason in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// UID of the benchmark's Job, so that no benchmark runs twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// When the state was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When the server that is measured was started, in milliseconds since 1970: another start ends the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_started_at_ms: Option<i64>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<Measurement>,
    /// Gain over the baseline measured before it, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain_percent: Option<Decimal>,
    /// Reward that the learner was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<Decimal>,
}
