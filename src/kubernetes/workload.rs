//! The workloads that Howdah can read and restart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kinds of workload that Howdah can read and restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// apps/v1 StatefulSet.
    #[default]
    StatefulSet,
    /// apps/v1 Deployment.
    Deployment,
}

/// The annotation of the pod template that restarts a workload; its value names what it was restarted for.
pub const RESTARTED_FOR: &str = "howdah.dev/restarted-for";

/// What a workload says of its pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadFacts {
    /// Pods that it wants.
    pub replicas: i32,
    /// Label selector of its pods, as a query (`app=orders`).
    pub selector: String,
    /// Every pod runs the current template and is ready.
    pub rolled_out: bool,
    /// Value of [`RESTARTED_FOR`] in the pod template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_for: Option<String>,
    /// Why a change of the pod template is no way to restart its server, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_hazard: Option<String>,
}
