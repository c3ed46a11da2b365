//! Changes an instance's server: its configuration, a reload, a restart. Nothing here chooses.

use std::collections::BTreeMap;

use kube::{Client, ResourceExt};

use super::crd::{PostgresInstance, WorkloadReference};
use super::facts::Trouble;
use super::observe::{cluster_trouble, query_trouble};
use super::reason::Reason;

use crate::world::kubernetes::{config_map, workload};
use crate::world::postgres::{self, configuration};

/// A configuration to bring into the server's files.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Text of our ConfigMap key; `None` removes the key.
    pub text: Option<&'a str>,
    /// What names this configuration.
    pub marker: &'a str,
    /// With `ALTER SYSTEM`: the parameters to set.
    pub set: &'a BTreeMap<String, String>,
    /// With `ALTER SYSTEM`: the parameters to reset.
    pub reset: &'a [String],
}

/// Writes the configuration the way that the instance declares, without reloading. With a ConfigMap, `pod` is touched
/// so that its file changes within seconds; the server sees it once the kubelet has synced and it is reloaded.
///
/// # Errors
/// `FieldConflict`, `ConfigMapMissing`, `Forbidden`, `MissingRights` and the like.
pub async fn write_configuration(
    client: &Client,
    server: &postgres::Client,
    instance: &PostgresInstance,
    pod: Option<&str>,
    wanted: Wanted<'_>,
) -> Result<(), Trouble> {
    let Some(reference) = &instance.spec.configuration.config_map else {
        let set = configuration::alter_system(server, wanted.set).await;
        set.map_err(|error| query_trouble(&error))?;
        let reset = configuration::alter_system_reset(server, wanted.reset).await;
        return reset.map_err(|error| query_trouble(&error));
    };
    let namespace = instance.namespace().unwrap_or_default();
    config_map::apply_configuration_key(client, &namespace, &reference.name, &reference.key, wanted.text)
        .await
        .map_err(|error| cluster_trouble(error, Reason::ConfigMapMissing))?;
    touch(client, instance, pod, wanted.marker).await
}

/// Has the kubelet sync the pod's volumes at once.
///
/// # Errors
/// `PodMissing` or `Forbidden`. Without a pod there is nothing to touch.
pub async fn touch(
    client: &Client,
    instance: &PostgresInstance,
    pod: Option<&str>,
    marker: &str,
) -> Result<(), Trouble> {
    let Some(pod) = pod else { return Ok(()) };
    let touched = config_map::touch_pod(client, &instance.namespace().unwrap_or_default(), pod, marker).await;
    touched.map_err(|error| cluster_trouble(error, Reason::PodMissing))
}

/// Has the server read its configuration files again.
///
/// # Errors
/// `MissingRights`, `Unreachable` or `QueryFailed`.
pub async fn reload(server: &postgres::Client) -> Result<(), Trouble> {
    configuration::reload(server).await.map_err(|error| query_trouble(&error))
}

/// Restarts the server through its workload, once for each marker.
///
/// # Errors
/// `WorkloadMissing` when the instance names none or it does not exist, `Forbidden`.
pub async fn restart(client: &Client, instance: &PostgresInstance, marker: &str) -> Result<(), Trouble> {
    let Some(WorkloadReference { kind, name, .. }) = &instance.spec.workload else {
        let message = "the instance names no workload to restart; set spec.workload";
        return Err(Trouble::new(Reason::WorkloadMissing, message));
    };
    let namespace = instance.namespace().unwrap_or_default();
    let restarted = workload::restart_workload(client, &namespace, *kind, name, marker).await;
    restarted.map_err(|error| cluster_trouble(error, Reason::WorkloadMissing))
}
