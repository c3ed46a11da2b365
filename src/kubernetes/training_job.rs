//! The training's Job. It runs as the operator does (its image, its account, its model store), in the operator's own
//! namespace: what it must read, Secrets of Prometheus and the model store, is the operator's to read, not the user's
//! pods'. Its name says what it trains, so that it can't run twice.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Container, Pod, PodAffinity, PodAffinityTerm, PodSpec, PodTemplateSpec, ResourceRequirements, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

/// A training that takes longer has failed: reading two weeks from a slow Prometheus takes minutes, not hours.
const DEADLINE_SECONDS: i64 = 7200;
/// A finished Job is kept for a day, for people to look at.
const KEEP_SECONDS: i32 = 86_400;
/// What a training's Job is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Training<'a> {
    /// Arguments of `howdah`; where the model store is follows them.
    pub arguments: Vec<String>,
    /// The label that names the uid of the object that is trained for, and that uid.
    pub owner: (&'static str, &'a str),
    /// Name of the Job, which is that of the model.
    pub name: &'a str,
    /// Resources of its pod: see [`resources`].
    pub resources: ResourceRequirements,
}

/// Whether a training's Job can be made after this pod: the reason why not.
///
/// # Errors
/// A sentence when the Job could not write where the operator reads.
pub fn check(pod: &Pod, store: &str) -> Result<(), String> {
    let Some(directory) = store.strip_prefix("file://") else { return Ok(()) };
    let spec = pod.spec.as_ref().ok_or("the operator's pod has no spec")?;
    let mounts = pattern(spec).and_then(|container| container.volume_mounts.as_deref()).unwrap_or_default();
    let mount = mounts.iter().filter(|mount| holds(mount, directory)).max_by_key(|mount| mount.mount_path.len());
    let volume = mount.and_then(|mount| volumes(spec).iter().find(|volume| volume.name == mount.name));
    match volume {
        Some(volume) if volume.persistent_volume_claim.is_some() || volume.host_path.is_some() => Ok(()),
        _ => Err(format!(
            "the model store {store} lies in the operator's pod alone, where a training's Job can't write; set \
             modelStore.persistence.enabled or an s3:// URL"
        )),
    }
}

/// Whether a directory lies on what is mounted.
pub fn holds(mount: &VolumeMount, directory: &str) -> bool {
    let path = mount.mount_path.trim_end_matches('/');
    directory.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The Job of a training after the operator's own pod.
///
/// # Errors
/// A sentence when the pod says too little.
pub fn job(training: &Training<'_>, pod: &Pod, store: &str) -> Result<Job, String> {
    let spec = pod.spec.as_ref().ok_or("the operator's pod has no spec")?;
    let own = pattern(spec).ok_or("the operator's pod has no container")?;
    let labels = labels("training", training.owner);
    let container = Container {
        name: "training".into(),
        image: own.image.clone(),
        image_pull_policy: own.image_pull_policy.clone(),
        args: Some(training.arguments.iter().cloned().chain(["--model-store".to_owned(), store.to_owned()]).collect()),
        env: own.env.clone(),
        env_from: own.env_from.clone(),
        resources: Some(training.resources.clone()),
        security_context: own.security_context.clone(),
        volume_mounts: own.volume_mounts.clone(),
        ..Container::default()
    };
    let mut spec = PodSpec { restart_policy: Some("Never".into()), ..like(pod, spec, container) };
    for scratch in spec.volumes.iter_mut().flatten().filter_map(|volume| volume.empty_dir.as_mut()) {
        // What the operator needs of it says nothing of a training, which is bound by its own ephemeral storage.
        scratch.size_limit = None;
    }
    Ok(Job {
        metadata: ObjectMeta {
            name: Some(training.name.into()),
            namespace: pod.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            // A second try is the operator's to decide: it knows why the first failed.
            backoff_limit: Some(0),
            active_deadline_seconds: Some(DEADLINE_SECONDS),
            ttl_seconds_after_finished: Some(KEEP_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(spec),
            },
            ..JobSpec::default()
        }),
        ..Job::default()
    })
}

/// A pod like the operator's, with another container in its place, and the volumes that this one mounts.
pub fn like(pod: &Pod, spec: &PodSpec, container: Container) -> PodSpec {
    // The API server adds the account's token to every pod by itself.
    let here = |mount: &VolumeMount| volumes(spec).iter().any(|volume| volume.name == mount.name && wanted(volume));
    let mounts: Option<Vec<VolumeMount>> =
        container.volume_mounts.map(|mounts| mounts.into_iter().filter(here).collect());
    let mounted = |volume: &&Volume| mounts.iter().flatten().any(|mount| mount.name == volume.name);
    PodSpec {
        service_account_name: spec.service_account_name.clone(),
        enable_service_links: Some(false),
        image_pull_secrets: spec.image_pull_secrets.clone(),
        node_selector: spec.node_selector.clone(),
        tolerations: spec.tolerations.clone(),
        affinity: beside(pod, volumes(spec).iter().filter(mounted)),
        security_context: spec.security_context.clone(),
        volumes: Some(volumes(spec).iter().filter(mounted).cloned().collect()),
        containers: vec![Container { volume_mounts: mounts.clone(), ..container }],
        ..PodSpec::default()
    }
}

/// The operator's container: the one of that name, else the first.
pub fn pattern(spec: &PodSpec) -> Option<&Container> {
    spec.containers.iter().find(|container| container.name == "operator").or(spec.containers.first())
}

fn volumes(spec: &PodSpec) -> &[Volume] {
    spec.volumes.as_deref().unwrap_or_default()
}

fn wanted(volume: &Volume) -> bool {
    volume.projected.as_ref().is_none_or(|_| !volume.name.starts_with("kube-api-access-"))
}

/// A volume that one node mounts at a time can be shared on that node only.
fn beside<'a>(pod: &Pod, mut mounted: impl Iterator<Item = &'a Volume>) -> Option<Affinity> {
    let claims = mounted.any(|volume| volume.persistent_volume_claim.is_some());
    let term =
        || PodAffinityTerm {
            topology_key: "kubernetes.io/hostname".into(),
            label_selector: Some(LabelSelector {
                // The template's hash differs between two versions that are rolled over.
                match_labels: pod.metadata.labels.clone().map(|labels| {
                    labels.into_iter().filter(|(name, _)| name.starts_with("app.kubernetes.io/")).collect()
                }),
                ..LabelSelector::default()
            }),
            ..PodAffinityTerm::default()
        };
    claims.then(|| Affinity {
        pod_affinity: Some(PodAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term()]),
            ..PodAffinity::default()
        }),
        ..Affinity::default()
    })
}

/// Labels of what the operator runs beside itself.
pub fn labels(component: &str, (owner, uid): (&str, &str)) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "howdah"),
        ("app.kubernetes.io/component", component),
        ("app.kubernetes.io/managed-by", "howdah"),
        (owner, uid),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Resources that a training asks for where its object asks for none. There is no limit of processors: it may use what is
/// idle.
pub fn resources(memory: &str, memory_limit: &str, scratch_limit: &str) -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: quantities(&[("cpu", "250m"), ("memory", memory)]),
        limits: quantities(&[("memory", memory_limit), ("ephemeral-storage", scratch_limit)]),
        claims: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(models: serde_json::Value) -> Pod {
        let mut volume = json!({"name": "models"});
        volume.as_object_mut().unwrap().extend(models.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "metadata": {"name": "howdah-1", "namespace": "howdah-system", "labels": {
                "app.kubernetes.io/name": "howdah", "pod-template-hash": "abc"}},
            "spec": {
                "serviceAccountName": "howdah",
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "operator", "image": "howdah:1", "args": ["operator"],
                    "env": [{"name": "AWS_REGION", "value": "eu"}],
                    "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true},
                    "ports": [{"containerPort": 8080}], "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
                    "volumeMounts": [
                        {"name": "models", "mountPath": "/var/lib/howdah"}, {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]
                }],
                "volumes": [volume, {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}, {"name": "kube-api-access-x", "projected": {"sources": []}}]
            }
        }))
        .unwrap()
    }

    fn claim() -> Pod {
        pod(json!({"persistentVolumeClaim": {"claimName": "models"}}))
    }

    #[test]
    fn a_training_runs_as_the_operator_does() {
        let training = Training {
            arguments: ["anomaly", "train"].map(str::to_owned).to_vec(),
            owner: ("howdah.dev/detector-uid", "u1"),
            name: "howdah-train-1",
            resources: resources("512Mi", "2Gi", "16Gi"),
        };
        let job = job(&training, &claim(), "file:///var/lib/howdah").unwrap();
        assert_eq!(job.metadata.namespace.as_deref(), Some("howdah-system"));
        let spec = job.spec.unwrap();
        assert_eq!((spec.backoff_limit, spec.active_deadline_seconds), (Some(0), Some(DEADLINE_SECONDS)));
        let pod = spec.template.spec.unwrap();
        assert_eq!(pod.service_account_name.as_deref(), Some("howdah"));
        assert_eq!(pod.security_context.unwrap().run_as_non_root, Some(true));
        let container = &pod.containers[0];
        let expected = "anomaly train --model-store file:///var/lib/howdah";
        assert_eq!(container.args.as_ref().unwrap().join(" "), expected);
        assert_eq!(container.image.as_deref(), Some("howdah:1"));
        assert!(container.ports.is_none() && container.liveness_probe.is_none());
        assert_eq!(container.security_context.as_ref().unwrap().read_only_root_filesystem, Some(true));
        let mounts: Vec<_> = container.volume_mounts.iter().flatten().map(|mount| mount.name.as_str()).collect();
        let volumes: Vec<_> = pod.volumes.iter().flatten().map(|volume| volume.name.as_str()).collect();
        assert_eq!((mounts, volumes), (vec!["models", "tmp"], vec!["models", "tmp"]));
        // A log that is brought is larger than what the operator writes.
        assert_eq!(pod.volumes.as_ref().unwrap()[1].empty_dir.as_ref().unwrap().size_limit, None);
        let near =
            pod.affinity.unwrap().pod_affinity.unwrap().required_during_scheduling_ignored_during_execution.unwrap();
        let near = near[0].label_selector.as_ref().unwrap().match_labels.as_ref().unwrap();
        assert_eq!(near.keys().collect::<Vec<_>>(), ["app.kubernetes.io/name"]);
    }

    #[test]
    fn a_store_that_the_job_does_not_share_is_refused() {
        assert_eq!(check(&claim(), "file:///var/lib/howdah"), Ok(()));
        assert_eq!(check(&pod(json!({"hostPath": {"path": "/x"}})), "file:///var/lib/howdah/models"), Ok(()));
        assert_eq!(check(&pod(json!({"emptyDir": {}})), "s3://bucket"), Ok(()));
        for (pod, store) in [(pod(json!({"emptyDir": {}})), "file:///var/lib/howdah"), (claim(), "file:///elsewhere")] {
            assert!(check(&pod, store).unwrap_err().contains("modelStore.persistence.enabled"));
        }
    }
}
