//! Everything that is known of an instance. No secrets: a recorded decision can be shown to anyone.

use serde::{Deserialize, Serialize};

use super::crd::{ConfigMapKeyReference, PostgresInstanceSpec};
use super::reason::Reason;
use crate::kubernetes::pod::PodFacts;
use crate::kubernetes::workload::WorkloadFacts;
use crate::postgres::server::{ContainerUse, Rights, ServerFacts};
use crate::postgres::setting::{FileSetting, Settings, file_name};

/// Why something could not be seen or done.
pub type Trouble = crate::control::reason::Trouble<Reason>;

/// What is known of an instance: each source on its own, seen or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceFacts {
    /// Name of the instance.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The generation of the spec.
    pub generation: Option<i64>,
    /// What was declared.
    pub spec: PostgresInstanceSpec,
    /// What the server says.
    pub server: Result<Server, Trouble>,
    /// The workload and its pod; absent when the spec names none.
    pub workload: Option<Result<Workload, Trouble>>,
    /// Our key of the ConfigMap; absent with `ALTER SYSTEM`.
    pub configuration: Option<Result<ConfigurationKey, Trouble>>,
}

/// What the server says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// What it is.
    pub facts: ServerFacts,
    /// What the role lacks.
    pub rights: Rights,
    /// Its settings.
    pub settings: Settings,
    /// The lines of its configuration files; absent where the role may not read them (`rights` says so).
    pub file_settings: Option<Vec<FileSetting>>,
    /// Its container's cgroup, where the role may read it.
    pub container: Option<ContainerUse>,
}

/// The workload and the pod that runs the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// The workload.
    pub facts: WorkloadFacts,
    /// The pod with the server's address; where that is not known, the one that had it last, else the newest. One that is
    /// being deleted only where there is no other. Absent when it has none.
    pub pod: Option<PodFacts>,
}

/// Our key of the ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationKey {
    /// Its text; absent when the ConfigMap has no such key.
    pub text: Option<String>,
    /// Field managers other than ours that own the key.
    pub other_owners: Vec<String>,
}

impl InstanceFacts {
    /// The pod that runs the server, where it is known.
    pub fn pod(&self) -> Option<&PodFacts> {
        self.workload.as_ref()?.as_ref().ok()?.pod.as_ref()
    }

    /// Name of the file that the server reads our ConfigMap key from: the key's own, unless the pod's volume gives it
    /// another. Absent with `ALTER SYSTEM`.
    pub fn configuration_file(&self) -> Option<&str> {
        let ConfigMapKeyReference { name, key } = self.spec.configuration.config_map.as_ref()?;
        let mounted = self.pod().and_then(|pod| pod.key_file(name, key));
        Some(file_name(mounted.map_or(key, |(_, file)| file)))
    }
}
