//! `PostgresTuning`: what is tuned, by what, and what is done with the result.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Budget, KnobSelection, OptimizerSpec, PostgresTuningStatus, Safety, Workload};

/// A search for a better configuration of one PostgresInstance.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "howdah.dev",
    version = "v1alpha1",
    kind = "PostgresTuning",
    plural = "postgrestunings",
    shortname = "pgt",
    category = "howdah",
    namespaced,
    status = "PostgresTuningStatus",
    derive = "PartialEq",
    validation = Rule::new("size(self.metadata.name) <= 52")
        .message("metadata.name can have 52 characters at most: trials and Jobs are named after it"),
    printcolumn = r#"{"name":"Instance","type":"string","jsonPath":".spec.instanceRef.name"}"#,
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Trial","type":"string","jsonPath":".status.progress"}"#,
    printcolumn = r#"{"name":"Gain %","type":"string","jsonPath":".status.bestGainPercent"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct PostgresTuningSpec {
    /// The PostgresInstance to tune, in the same namespace.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf", "message": "instanceRef can't be changed: create another PostgresTuning for the other instance"
    }]))]
    pub instance_ref: InstanceReference,
    /// What is done with a verified recommendation.
    #[serde(default)]
    pub mode: Mode,
    /// Whether the server may be restarted. With `Never`, knobs that need a restart are left out of the search.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// What is to become better, and from which gain on it is worth recommending.
    #[serde(default)]
    pub objective: Objective,
    /// The load that the configuration is measured with.
    pub workload: Workload,
    /// Which knobs may be turned, and how far.
    #[serde(default)]
    pub knobs: KnobSelection,
    /// How the search proposes configurations.
    #[serde(default)]
    pub optimizer: OptimizerSpec,
    /// How much the search may cost.
    #[serde(default)]
    pub budget: Budget,
    /// Bounds that no configuration crosses.
    #[serde(default)]
    pub safety: Safety,
    /// Pauses the tuning and restores the baseline; set it back to continue.
    #[serde(default)]
    pub suspend: bool,
    /// What happens to an applied recommendation when the tuning is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Resources of the benchmark's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benchmark_resources: Option<ResourceRequirements>,
}

/// A PostgresInstance in the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceReference {
    /// Name of the PostgresInstance.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What is done with a verified recommendation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It is written to the status; the baseline is restored.
    #[default]
    Recommend,
    /// It is applied once the annotation `howdah.dev/approve: <hash>` names it.
    RequireApproval,
    /// It is applied at once.
    Apply,
}

/// Whether the server may be restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartPolicy {
    /// Never: only knobs that a reload applies are turned.
    #[default]
    Never,
    /// Whenever a knob needs it, through the workload, as rarely as the search allows.
    Always,
}

/// What happens to an applied recommendation when the tuning is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The baseline is restored.
    #[default]
    Revert,
    /// An applied recommendation stays. An unfinished search restores the baseline all the same.
    Retain,
}

/// What is to become better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Objective {
    /// The quantity.
    pub metric: ObjectiveMetric,
    /// The lower bound of the verified gain's 95 % interval must reach this, or nothing is recommended.
    #[schemars(range(min = 0, max = 100))]
    pub min_improvement_percent: i32,
}

impl Default for Objective {
    fn default() -> Self {
        Self { metric: ObjectiveMetric::default(), min_improvement_percent: 2 }
    }
}

/// The quantity that is to become better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ObjectiveMetric {
    /// Transactions per second, with the closing checkpoint charged.
    #[default]
    Throughput,
    /// The 95th percentile of the latency.
    Latency,
    /// Both, with equal weight.
    Balanced,
}
