//! PostgresInstance: where a database is, how it is configured, how its settings are read and written.

pub mod act;
pub mod crd;
pub mod decide;
pub mod facts;
pub mod observe;
pub mod reason;
pub mod report;
pub mod resources;

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};

use crate::control::kinds::Rule;
use crate::control::room::{Guarded, Report, Room};
use crate::control::scope::Scope;
use crate::kubernetes::workload::WorkloadKind;
use crd::PostgresInstance;
use decide::Decision;
use facts::InstanceFacts;

pub use facts::Trouble;
pub use reason::Reason;

/// The reconciliation of PostgresInstances. It only looks: what changes a server is asked for by a tuning.
pub struct InstanceRoom {
    client: Client,
}

impl InstanceRoom {
    /// A room that looks with this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl Room for InstanceRoom {
    type Kind = PostgresInstance;
    type Facts = InstanceFacts;
    type Decision = Decision;
    type Outcome = ();

    /// A workload that changes (its pod became ready, say) wakes its instance. Only metadata travels, nothing is kept.
    fn watch(&self, controller: Guarded<PostgresInstance>, scope: &Scope) -> Guarded<PostgresInstance> {
        let controller = watch_workloads::<StatefulSet>(controller, scope, WorkloadKind::StatefulSet);
        watch_workloads::<Deployment>(controller, scope, WorkloadKind::Deployment)
    }

    async fn observe(&self, object: Arc<PostgresInstance>) -> InstanceFacts {
        observe::facts(&self.client, &object).await
    }

    fn decide(facts: &InstanceFacts) -> Decision {
        decide::decide(facts)
    }

    async fn act(&self, _: Arc<PostgresInstance>, _: &InstanceFacts, _: &Decision) {}

    fn report(facts: &InstanceFacts, decision: &Decision, (): &()) -> Report {
        report::report(facts, decision)
    }
}

fn watch_workloads<W>(
    controller: Guarded<PostgresInstance>,
    scope: &Scope,
    kind: WorkloadKind,
) -> Guarded<PostgresInstance>
where
    W: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + 'static,
    PartialObjectMeta<W>: Send,
{
    let instances = controller.store();
    let workloads = scope.api::<PartialObjectMeta<W>>();
    controller.watches(workloads, watcher::Config::default(), move |workload| {
        instances_of(&instances, workload.namespace().as_deref(), kind, &workload.name_any())
    })
}

type InstanceRef = ObjectRef<DeserializeGuard<PostgresInstance>>;

fn instances_of(
    instances: &Store<DeserializeGuard<PostgresInstance>>,
    namespace: Option<&str>,
    kind: WorkloadKind,
    name: &str,
) -> Vec<InstanceRef> {
    let runs_on = |guarded: &DeserializeGuard<PostgresInstance>| {
        guarded.0.as_ref().is_ok_and(|instance| {
            instance.spec.workload.as_ref().is_some_and(|workload| workload.kind == kind && workload.name == name)
                && instance.namespace().as_deref() == namespace
        })
    };
    instances.state_filter(runs_on).iter().map(|found| ObjectRef::from_obj(&**found)).collect()
}

/// What the room does in the cluster.
pub fn rules() -> Vec<Rule> {
    vec![
        Rule::new("", &["secrets"], &["get"], "The connection URI is read from the Secret that an instance names."),
        Rule::new(
            "",
            &["configmaps"],
            &["get", "patch"],
            "Tuned settings are one key of the ConfigMap that an instance names; no other key is touched.",
        ),
        Rule::new(
            "",
            &["pods"],
            &["list", "patch"],
            "A workload's pod tells limits and restarts; an annotation makes the kubelet sync its volumes at once.",
        ),
        Rule::new(
            "apps",
            &["statefulsets", "deployments"],
            &["get", "list", "watch", "patch"],
            "A workload leads to its pod; restartPolicy Always restarts it through an annotation of its template.",
        ),
    ]
}
