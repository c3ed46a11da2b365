//! The one list of kinds. CustomResourceDefinitions, permissions and controllers derive from it.

use std::sync::Arc;

use futures::future::BoxFuture;
use kube::CustomResourceExt;

use crate::anomaly::crd::AnomalyDetector;
use crate::anomaly::surroundings::Memory;
use crate::anomaly::{self, Anomaly};
use crate::control::kinds::{Kind, Rule};
use crate::control::scope::Scope;
use crate::control::{self, Options};
use crate::cost::crd::QueryCostModel;
use crate::cost::grants::Grants;
use crate::cost::{self, QueryCost};
use crate::instance::crd::PostgresInstance;
use crate::instance::{self, InstanceRoom};
use crate::learn::worker::Worker;
use crate::tuning::crd::{PostgresTuning, TuningTrial};
use crate::tuning::{self, Tuning};
use crate::world::kubernetes::pod::OwnPod;
use crate::world::store::Store;

/// What a room may be made of.
#[derive(Clone)]
pub struct Surroundings {
    /// Which namespaces are watched, and the client.
    pub scope: Scope,
    /// How the loop runs.
    pub options: Options,
    /// Where learners keep their models.
    pub models: Arc<Store>,
    /// Its URL, which Jobs that write to it are given.
    pub model_store: String,
    /// The thread on which models learn and propose.
    pub learner: Worker,
    /// The thread on which rows are scored: a tuning's proposal, which takes seconds, does not hold them up.
    pub scorer: Worker,
    /// The operator's own pod, after which trainings and replicas are made.
    pub own_pod: Arc<OwnPod>,
    /// Query logs that may be read with the operator's own rights, and for whom.
    pub query_logs: Grants,
    /// Image of the benchmark's Jobs.
    pub benchmark_image: String,
}

/// Starts a room's loop, which runs until the shutdown.
pub type Start = fn(Surroundings) -> BoxFuture<'static, ()>;

/// A kind, and the loop that reconciles it, where it has one of its own.
pub struct Entry {
    /// What it needs of the cluster.
    pub kind: Kind,
    /// Its loop.
    pub start: Option<Start>,
}

/// Every kind of the operator, in the order of the docs.
pub fn all() -> Vec<Entry> {
    vec![
        Entry {
            kind: Kind { crd: PostgresInstance::crd(), rules: instance::rules() },
            start: Some(|Surroundings { scope, options, .. }| {
                let room = InstanceRoom::new(scope.client.clone());
                Box::pin(control::run(room, scope, options))
            }),
        },
        Entry {
            kind: Kind { crd: PostgresTuning::crd(), rules: tuning::rules() },
            start: Some(|surroundings| {
                let Surroundings { scope, options, models, learner, benchmark_image, .. } = surroundings;
                let room = Tuning(tuning::surroundings::Surroundings {
                    client: scope.client.clone(),
                    store: models,
                    worker: learner,
                    benchmark_image,
                    metrics: options.metrics.clone(),
                });
                Box::pin(control::run(room, scope, options))
            }),
        },
        Entry { kind: Kind { crd: TuningTrial::crd(), rules: Vec::new() }, start: None },
        Entry {
            kind: Kind { crd: AnomalyDetector::crd(), rules: anomaly::rules() },
            start: Some(|surroundings| {
                let Surroundings { scope, options, models, model_store, scorer, own_pod, .. } = surroundings;
                let room = Anomaly(anomaly::surroundings::Surroundings {
                    client: scope.client.clone(),
                    store: models,
                    store_url: model_store,
                    worker: scorer,
                    metrics: options.metrics.clone(),
                    own_pod,
                    memory: Arc::new(Memory::default()),
                });
                Box::pin(control::run(room, scope, options))
            }),
        },
        Entry {
            kind: Kind { crd: QueryCostModel::crd(), rules: cost::rules() },
            start: Some(|surroundings| {
                let Surroundings { scope, options, models, model_store, own_pod, query_logs, .. } = surroundings;
                let room = QueryCost(cost::surroundings::Surroundings {
                    client: scope.client.clone(),
                    store: models,
                    store_url: model_store,
                    own_pod,
                    metrics: options.metrics.clone(),
                    grants: query_logs,
                });
                Box::pin(control::run(room, scope, options))
            }),
        },
    ]
}

/// Every permission of the operator in its own namespace, beside those in the namespaces that it watches.
pub fn home_rules() -> Vec<Rule> {
    control::kinds::lease_rules().into_iter().chain(anomaly::home_rules()).chain(cost::home_rules()).collect()
}

/// Every permission of the operator in the namespaces that it watches.
pub fn rules() -> Vec<Rule> {
    let entries = all();
    let own = entries.iter().flat_map(|entry| {
        let plural = &entry.kind.crd.spec.names.plural;
        [
            Rule::new("howdah.dev", &[plural], &["get", "list", "watch"], "The kinds that Howdah reconciles."),
            Rule::new("howdah.dev", &[&format!("{plural}/status")], &["patch"], "What Howdah saw and did."),
        ]
    });
    let rooms = entries.iter().flat_map(|entry| entry.kind.rules.iter().cloned());
    own.chain(rooms).chain(control::kinds::loop_rules()).collect()
}
