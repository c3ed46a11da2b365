//! What a pod says of the container that runs PostgreSQL.

use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, Container, KeyToPath, Pod, Volume, VolumeMount};
use serde::{Deserialize, Serialize};

use super::quantity;

/// A pod, read for one of its containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// Its uid: another pod under the same name is another pod.
    pub uid: String,
    /// The container that was read; absent when the pod has none of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The pod's condition `Ready`.
    pub ready: bool,
    /// It is being deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminating: bool,
    /// Restarts of the container.
    pub restarts: i32,
    /// When the running container started, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Why the container waits (`CrashLoopBackOff`, `ImagePullBackOff`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Why the container ended the last time (`OOMKilled`, `Error`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_termination: Option<String>,
    /// Memory limit of the container in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,
    /// CPU limit of the container in thousandths of a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<i64>,
    /// Where the container sees ConfigMaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_map_mounts: Vec<ConfigMapMount>,
}

/// A ConfigMap in a container's file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapMount {
    /// Name of the ConfigMap.
    pub config_map: String,
    /// Where it is mounted.
    pub path: String,
    /// A mount by `subPath` never sees a changed ConfigMap.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_sub_path: bool,
    /// The keys that are projected and their files, where the volume lists them; empty means every key under its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<(String, String)>,
}

/// How a container sees one key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyMount {
    /// In a mounted directory, as this file.
    File(String),
    /// By `subPath`: it would never see a change.
    BySubPath,
    /// Not at all.
    Absent,
}

impl ConfigMapMount {
    /// The file below [`ConfigMapMount::path`] that a key of the ConfigMap is; `None` where the volume leaves it out.
    fn file<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        if self.items.is_empty() {
            return Some(key);
        }
        self.items.iter().find(|(item, _)| item == key).map(|(_, path)| path.as_str())
    }
}

impl PodFacts {
    /// Reads a pod. Without a name, the container is the pod's first.
    pub fn of(pod: &Pod, container: Option<&str>) -> Self {
        let spec = pod.spec.as_ref();
        let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let found = match container {
            Some(name) => containers.iter().find(|container| container.name == name),
            None => containers.first(),
        };
        let status = pod.status.as_ref();
        let state = found.and_then(|found| {
            status?.container_statuses.as_ref()?.iter().find(|candidate| candidate.name == found.name)
        });
        let current = state.and_then(|state| state.state.as_ref());
        let ready = status
            .and_then(|status| status.conditions.as_ref())
            .is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
        let volumes = spec.and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            container: found.map(|found| found.name.clone()),
            ready,
            terminating: pod.metadata.deletion_timestamp.is_some(),
            restarts: state.map_or(0, |state| state.restart_count),
            started_at: current
                .and_then(|current| current.running.as_ref()?.started_at.as_ref())
                .map(|time| time.0.to_string()),
            waiting: current.and_then(|current| current.waiting.as_ref()?.reason.clone()),
            last_termination: state.and_then(|state| state.last_state.as_ref()?.terminated.as_ref()?.reason.clone()),
            memory_bytes: found.and_then(|found| limit(found, "memory")).and_then(|text| quantity::bytes(&text)),
            cpu_millis: found.and_then(|found| limit(found, "cpu")).and_then(|text| quantity::millicores(&text)),
            config_map_mounts: found.map(|found| config_map_mounts(found, volumes)).unwrap_or_default(),
        }
    }

    /// How the container sees `key` of the ConfigMap. A directory wins over a `subPath`.
    pub fn key_mount(&self, config_map: &str, key: &str) -> KeyMount {
        let mut mounts = self.config_map_mounts.iter();
        match self.key_file(config_map, key) {
            Some((directory, file)) => KeyMount::File(Path::new(directory).join(file).display().to_string()),
            None if mounts.any(|mount| mount.config_map == config_map && mount.by_sub_path) => KeyMount::BySubPath,
            None => KeyMount::Absent,
        }
    }

    /// The mounted directory that shows `key` of the ConfigMap, and the file below it.
    pub fn key_file<'a>(&'a self, config_map: &str, key: &'a str) -> Option<(&'a str, &'a str)> {
        let mounts = self.config_map_mounts.iter();
        let mut directories = mounts.filter(|mount| mount.config_map == config_map && !mount.by_sub_path);
        directories.find_map(|mount| Some((mount.path.as_str(), mount.file(key)?)))
    }
}

fn limit(container: &Container, resource: &str) -> Option<String> {
    Some(container.resources.as_ref()?.limits.as_ref()?.get(resource)?.0.clone())
}

fn config_map_mounts(container: &Container, volumes: &[Volume]) -> Vec<ConfigMapMount> {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    mounts
        .iter()
        .filter_map(|mount| Some((mount, volumes.iter().find(|volume| volume.name == mount.name)?)))
        .flat_map(|(mount, volume)| mounted(mount, volume))
        .collect()
}

fn mounted(mount: &VolumeMount, volume: &Volume) -> Vec<ConfigMapMount> {
    let at = |config_map: &str, items: Option<&[KeyToPath]>| ConfigMapMount {
        config_map: config_map.to_owned(),
        path: mount.mount_path.clone(),
        by_sub_path: mount.sub_path.as_deref().is_some_and(|path| !path.is_empty()) || mount.sub_path_expr.is_some(),
        items: items.unwrap_or_default().iter().map(|item| (item.key.clone(), item.path.clone())).collect(),
    };
    let direct =
        volume.config_map.iter().map(|ConfigMapVolumeSource { name, items, .. }| at(name.as_str(), items.as_deref()));
    let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let projected = projected
        .filter_map(|source| source.config_map.as_ref())
        .map(|source| at(source.name.as_str(), source.items.as_deref()));
    direct.chain(projected).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(mount: serde_json::Value, volume: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "db-0", "uid": "u1"},
            "spec": {
                "containers": [
                    {"name": "postgres", "resources": {"limits": {"memory": "2Gi", "cpu": "1500m"}}, "volumeMounts": [mount]},
                    {"name": "exporter"}
                ],
                "volumes": [volume]
            },
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{
                    "name": "postgres", "ready": true, "restartCount": 3, "image": "i", "imageID": "i",
                    "state": {"running": {"startedAt": "2024-05-01T10:00:00Z"}},
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
                }]
            }
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_tells_limits_and_why_it_restarted() {
        let facts = PodFacts::of(&pod(json!({"name": "v", "mountPath": "/m"}), json!({"name": "v"})), None);
        assert!(facts.ready);
        assert_eq!(facts.container.as_deref(), Some("postgres"));
        assert_eq!((facts.memory_bytes, facts.cpu_millis), (Some(2 << 30), Some(1500)));
        assert_eq!((facts.restarts, facts.last_termination.as_deref()), (3, Some("OOMKilled")));
        assert_eq!(facts.started_at.as_deref(), Some("2024-05-01T10:00:00Z"));
        let none = PodFacts::of(&pod(json!({"name": "v", "mountPath": "/m"}), json!({"name": "v"})), Some("patroni"));
        assert_eq!((none.container, none.memory_bytes), (None, None));
    }

    #[test]
    fn a_key_is_a_file_only_in_a_mounted_directory() {
        let volume = json!({"name": "v", "configMap": {"name": "conf"}});
        let seen = |mount, volume| PodFacts::of(&pod(mount, volume), None).key_mount("conf", "howdah.conf");
        let directory = json!({"name": "v", "mountPath": "/etc/conf.d"});
        assert_eq!(seen(directory.clone(), volume.clone()), KeyMount::File("/etc/conf.d/howdah.conf".into()));
        let sub_path = json!({"name": "v", "mountPath": "/etc/howdah.conf", "subPath": "howdah.conf"});
        assert_eq!(seen(sub_path, volume.clone()), KeyMount::BySubPath);
        assert_eq!(seen(json!({"name": "other", "mountPath": "/etc"}), volume), KeyMount::Absent);
        let others = json!({"name": "v", "configMap": {"name": "conf", "items": [{"key": "a", "path": "a"}]}});
        assert_eq!(seen(directory.clone(), others), KeyMount::Absent);
        let projected = json!({"name": "v", "projected": {"sources": [{"configMap": {
            "name": "conf", "items": [{"key": "howdah.conf", "path": "90-howdah.conf"}]}}]}});
        assert_eq!(seen(directory, projected), KeyMount::File("/etc/conf.d/90-howdah.conf".into()));
    }
}
