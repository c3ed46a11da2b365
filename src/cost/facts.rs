//! Everything that a model's decision depends on. No secrets: a recorded decision can be shown to anyone.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use super::FINALIZER;
use super::crd::{CostModelStatus, QueryCostModel, QueryCostModelStatus, RoutingGroups};
use super::reason::Reason;
use crate::kubernetes::job::JobFacts;

/// Why something could not be seen or done.
pub type Trouble = crate::control::reason::Trouble<Reason>;

/// Everything that a model's decision depends on. Not seeing something is a fact too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The time.
    pub now: Time,
    /// The object.
    pub model: QueryCostModel,
    /// Why the cluster's own objects could not be read, if so: nothing may be concluded from what seems to be absent.
    pub unseen: Option<Trouble>,
    /// Whether the source is there.
    pub source: Result<(), Trouble>,
    /// The Job of the training that is under way, if there is one.
    pub job: Option<JobFacts>,
    /// What that training left in the model store, once its Job succeeded.
    pub result: Option<Result<CostModelStatus, Trouble>>,
    /// What trainings and replicas are made after.
    pub pattern: Result<Pattern, Trouble>,
    /// The version of the Secret with the connection for EXPLAIN, where it is enabled.
    #[serde(default)]
    pub explain: Option<Result<String, Trouble>>,
    /// The replicas.
    pub deployment: Option<DeploymentFacts>,
}

/// The operator's own pod, as far as decisions depend on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pattern {
    /// Its namespace, where trainings and replicas run.
    pub namespace: String,
    /// Hash of what replicas take over from it: see [`super::deployment::template_hash`].
    pub template: String,
}

/// The replicas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentFacts {
    /// What they were made for: see [`super::deployment::hash`].
    pub hash: String,
    /// The groups that they answer with.
    #[serde(default)]
    pub routing: Option<RoutingGroups>,
    /// Replicas that are asked for.
    #[serde(default)]
    pub replicas: i32,
    /// Replicas that are ready.
    pub ready: i32,
    /// All of them are ready and of the newest template.
    pub rolled_out: bool,
    /// Why they are not, in Kubernetes' words.
    pub message: Option<String>,
    /// What is there beside them.
    #[serde(default)]
    pub beside: BTreeSet<Beside>,
}

/// What may stand beside the replicas, under their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Beside {
    /// Their Service.
    Service,
    /// Their PodDisruptionBudget.
    Budget,
    /// Their HorizontalPodAutoscaler.
    Autoscaler,
    /// The Secret with their connection for EXPLAIN.
    Connection,
}

impl Facts {
    /// The status that was read.
    pub fn status(&self) -> QueryCostModelStatus {
        self.model.status.clone().unwrap_or_default()
    }

    /// The object can't go before its models are removed.
    pub fn has_finalizer(&self) -> bool {
        self.model.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
    }
}
