//! StatefulSets and Deployments: their pods, and restarting them.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::Selector;
use kube::{Api, Client};
use serde_json::json;

use super::KubeError;
use crate::kubernetes::workload::{RESTARTED_FOR, WorkloadFacts, WorkloadKind};

/// Reads a workload: its selector, and whether its current template is rolled out.
///
/// # Errors
/// `NotFound` when it is absent, `Forbidden` when it may not be read, `Other` when its selector can't be read.
pub async fn read(
    client: &Client,
    namespace: &str,
    kind: WorkloadKind,
    name: &str,
) -> Result<WorkloadFacts, KubeError> {
    let object = object(kind, namespace, name);
    match kind {
        WorkloadKind::StatefulSet => {
            let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
            stateful_set_facts(&sets.get(name).await.map_err(|e| KubeError::of(&object, e))?)
        }
        WorkloadKind::Deployment => {
            let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
            deployment_facts(&deployments.get(name).await.map_err(|e| KubeError::of(&object, e))?)
        }
    }
    .map_err(|message| KubeError::Other { object, message })
}

/// The pods of a workload, oldest first.
///
/// # Errors
/// `Forbidden` when pods may not be listed in the namespace.
pub async fn pods(client: &Client, namespace: &str, workload: &WorkloadFacts) -> Result<Vec<Pod>, KubeError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut found = pods
        .list(&ListParams::default().labels(&workload.selector))
        .await
        .map_err(|e| KubeError::of(format!("Pods {} in {namespace}", workload.selector), e))?
        .items;
    found.sort_by_key(|pod| (pod.metadata.creation_timestamp.as_ref().map(|t| t.0), pod.metadata.name.clone()));
    Ok(found)
}

/// Restarts a workload's pods through an annotation of its template, once for each marker: asking again for the same
/// marker changes nothing.
///
/// # Errors
/// `NotFound` when the workload is absent, `Forbidden` when it may not be patched.
pub async fn restart_workload(
    client: &Client,
    namespace: &str,
    kind: WorkloadKind,
    name: &str,
    marker: &str,
) -> Result<(), KubeError> {
    let patch = Patch::Merge(json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_FOR: marker}}}}}));
    let params = PatchParams::default();
    let patched = match kind {
        WorkloadKind::StatefulSet => {
            Api::<StatefulSet>::namespaced(client.clone(), namespace).patch(name, &params, &patch).await.map(drop)
        }
        WorkloadKind::Deployment => {
            Api::<Deployment>::namespaced(client.clone(), namespace).patch(name, &params, &patch).await.map(drop)
        }
    };
    patched.map_err(|e| KubeError::of(object(kind, namespace, name), e))
}

fn object(kind: WorkloadKind, namespace: &str, name: &str) -> String {
    format!("{kind:?} {namespace}/{name}")
}

fn stateful_set_facts(set: &StatefulSet) -> Result<WorkloadFacts, String> {
    let spec = set.spec.as_ref().ok_or("it has no spec")?;
    let status = set.status.as_ref();
    let replicas = spec.replicas.unwrap_or(1);
    Ok(WorkloadFacts {
        replicas,
        selector: selector(&spec.selector)?,
        rolled_out: status.is_some_and(|status| {
            status.observed_generation == set.metadata.generation
                && status.ready_replicas.unwrap_or(0) >= replicas
                && (status.updated_replicas.unwrap_or(0) >= replicas
                    || status.current_revision == status.update_revision)
        }),
        restarted_for: restarted_for(&spec.template),
        restart_hazard: stateful_set_hazard(spec),
    })
}

/// A pod that nobody replaces does not restart.
fn stateful_set_hazard(spec: &StatefulSetSpec) -> Option<String> {
    let strategy = spec.update_strategy.as_ref()?;
    let partition = strategy.rolling_update.as_ref().and_then(|rolling| rolling.partition).unwrap_or(0);
    let found = match strategy.type_.as_deref() {
        Some("OnDelete") => "updateStrategy OnDelete",
        _ if partition >= spec.replicas.unwrap_or(1).max(1) => "an updateStrategy with a partition above all pods",
        _ => return None,
    };
    Some(format!(
        "the StatefulSet has {found}, by which none of them restarts: set updateStrategy.type RollingUpdate without one"
    ))
}

/// Two servers on the same data destroy it.
fn deployment_hazard(spec: &DeploymentSpec) -> Option<String> {
    let strategy = spec.strategy.as_ref();
    let surge = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_surge.as_ref());
    let none = match surge {
        Some(IntOrString::Int(surge)) => *surge == 0,
        Some(IntOrString::String(surge)) => surge.trim_end_matches('%').trim() == "0",
        None => false,
    };
    let recreates = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate");
    (!recreates && !none).then(|| {
        "the Deployment starts a new pod before the old one has ended, and two servers would share the data: set its \
         strategy.type to Recreate"
            .to_owned()
    })
}

fn deployment_facts(deployment: &Deployment) -> Result<WorkloadFacts, String> {
    let spec = deployment.spec.as_ref().ok_or("it has no spec")?;
    let status = deployment.status.as_ref();
    let replicas = spec.replicas.unwrap_or(1);
    Ok(WorkloadFacts {
        replicas,
        selector: selector(&spec.selector)?,
        rolled_out: status.is_some_and(|status| {
            status.observed_generation == deployment.metadata.generation
                && status.ready_replicas.unwrap_or(0) >= replicas
                && status.updated_replicas.unwrap_or(0) >= replicas
                && status.replicas.unwrap_or(0) <= replicas
        }),
        restarted_for: restarted_for(&spec.template),
        restart_hazard: deployment_hazard(spec),
    })
}

fn selector(selector: &LabelSelector) -> Result<String, String> {
    let parsed: Selector = selector.clone().try_into().map_err(|e| format!("its selector can't be read: {e}"))?;
    Ok(parsed.to_string())
}

fn restarted_for(template: &PodTemplateSpec) -> Option<String> {
    template.metadata.as_ref()?.annotations.as_ref()?.get(RESTARTED_FOR).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(status: serde_json::Value) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"generation": 4},
            "spec": {
                "serviceName": "db", "replicas": 1, "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"annotations": {RESTARTED_FOR: "m1"}}}
            },
            "status": status
        }))
        .unwrap()
    }

    #[test]
    fn two_servers_on_the_same_data_are_a_hazard_and_so_is_none() {
        let set = |strategy: serde_json::Value| {
            let mut set = set(json!({}));
            set.spec.as_mut().unwrap().update_strategy = Some(serde_json::from_value(strategy).unwrap());
            stateful_set_facts(&set).unwrap().restart_hazard
        };
        assert_eq!(set(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})), None);
        assert!(set(json!({"type": "OnDelete"})).unwrap().contains("OnDelete"));
        assert!(set(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}})).is_some());
        let deployment = |strategy: serde_json::Value| {
            let spec = json!({"selector": {"matchLabels": {"app": "db"}}, "template": {}, "strategy": strategy});
            let deployment = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            deployment_facts(&deployment).unwrap().restart_hazard
        };
        assert_eq!(deployment(json!({"type": "Recreate"})), None);
        assert_eq!(deployment(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "0%"}})), None);
        assert_eq!(deployment(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}})), None);
        for surging in [json!({}), json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}})] {
            assert!(deployment(surging).unwrap().contains("Recreate"));
        }
    }

    #[test]
    fn a_stateful_set_is_rolled_out_when_the_new_template_is_ready() {
        let now = |status| stateful_set_facts(&set(status)).unwrap();
        let done = json!({"replicas": 1, "observedGeneration": 4, "readyReplicas": 1, "updatedReplicas": 1});
        assert!(now(done.clone()).rolled_out);
        assert_eq!(now(done.clone()).selector, "app=db");
        assert_eq!(now(done).restarted_for.as_deref(), Some("m1"));
        // Not seen yet, not replaced yet, not ready yet.
        for waiting in [
            json!({"replicas": 1, "observedGeneration": 3, "readyReplicas": 1, "updatedReplicas": 1}),
            json!({"replicas": 1, "observedGeneration": 4, "readyReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
            json!({"replicas": 1, "observedGeneration": 4, "updatedReplicas": 1}),
        ] {
            assert!(!now(waiting.clone()).rolled_out, "{waiting}");
        }
    }
}
