//! Changes an instance's server: its configuration, a reload, a restart. Nothing here chooses.

use std::collections::BTreeMap;

use kube::{Client, ResourceExt};

use super::crd::{PostgresInstance, WorkloadReference};
use super::facts::Trouble;
use super::observe::{cluster_trouble, query_trouble};
use super::reason::Reason;
use crate::postgres::error::QueryError;
use crate::world::kubernetes::{config_map, workload};
use crate::world::pgbench::database::DATABASE;
use crate::world::postgres::rights::{Needs, rights};
use crate::world::postgres::{self, configuration};

/// Sets our ConfigMap key to `text`, or removes it. The server sees it once the kubelet has synced and it is reloaded.
///
/// # Errors
/// `FieldConflict`, `ConfigMapMissing`, `Forbidden` and the like.
pub async fn write_key(client: &Client, instance: &PostgresInstance, text: Option<&str>) -> Result<(), Trouble> {
    let Some(reference) = &instance.spec.configuration.config_map else {
        return Err(Trouble::new(Reason::ConfigMapMissing, "the instance names no ConfigMap; set spec.configuration"));
    };
    let namespace = instance.namespace().unwrap_or_default();
    config_map::apply_configuration_key(client, &namespace, &reference.name, &reference.key, text)
        .await
        .map_err(|error| cluster_trouble(error, Reason::ConfigMapMissing))
}

/// Sets and resets parameters by `ALTER SYSTEM`, without reloading. Where the role may not, it hears of every one of
/// `knobs` that it may not: these are what comes next.
///
/// # Errors
/// `MissingRights`, `Unreachable` or `QueryFailed`.
pub async fn alter_system(
    server: &postgres::Client,
    set: &BTreeMap<String, String>,
    reset: &[String],
    knobs: &[String],
) -> Result<(), Trouble> {
    let altered = async {
        configuration::alter_system(server, set).await?;
        configuration::alter_system_reset(server, reset).await
    };
    let Err(error) = altered.await else { return Ok(()) };
    let mut trouble = query_trouble(&error);
    if let QueryError::Denied { doing, .. } = &error
        && let Ok(lacking) = rights(server, &Needs { alter_system: knobs, benchmark_database: DATABASE }).await
        && !lacking.missing.is_empty()
    {
        trouble.message = format!("{doing} is not allowed; as a superuser, run: {}", lacking.missing.join("; "));
    }
    Err(trouble)
}

/// Has the kubelet sync the pod's volumes at once.
///
/// # Errors
/// `PodMissing` or `Forbidden`.
pub async fn touch(client: &Client, instance: &PostgresInstance, pod: &str, value: &str) -> Result<(), Trouble> {
    let touched = config_map::touch_pod(client, &instance.namespace().unwrap_or_default(), pod, value).await;
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
