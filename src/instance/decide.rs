//! Whether an instance is ready, and if not, what stands in the way first.

use serde::{Deserialize, Serialize};

use super::crd::ConfigMapKeyReference;
use super::facts::{ConfigurationKey, InstanceFacts, Server, Trouble, Workload};
use super::reason::Reason;
use super::resources::{Resources, resources};
use crate::kubernetes::pod::{KeyMount, PodFacts};
use crate::postgres::setting::file_name;

/// The oldest PostgreSQL that Howdah knows.
pub(super) const OLDEST_MAJOR: i32 = 13;

/// What was concluded of an instance. There are no steps: this room only looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Because of what.
    pub reason: Reason,
    /// The sentence for people.
    pub message: String,
    /// What the server may use, as far as it is known.
    pub resources: Resources,
}

/// Decides whether the instance is ready.
pub fn decide(facts: &InstanceFacts) -> Decision {
    let resources = resources(facts);
    let known = resources.as_ref().copied().unwrap_or_default();
    let (reason, message) = match blocker(facts).or(resources.err()).or(unknown(&known)) {
        Some(Trouble { reason, message }) => (reason, message),
        None => (Reason::Ready, ready(facts)),
    };
    Decision { reason, message, resources: known }
}

/// What stands in the way of reading and configuring the server; of several things, the one to be mended first.
pub fn blocker(facts: &InstanceFacts) -> Option<Trouble> {
    let workload = facts.workload.as_ref().and_then(|seen| workload_trouble(seen, facts));
    let server = match &facts.server {
        Ok(server) => server,
        // A pod that is not there explains a server that does not answer.
        Err(trouble) if matches!(trouble.reason, Reason::Unreachable | Reason::StartingUp) => {
            return workload.or(Some(trouble.clone()));
        }
        Err(trouble) => return Some(trouble.clone()),
    };
    server_trouble(server).or(workload).or_else(|| configuration_trouble(facts, server))
}

fn server_trouble(server: &Server) -> Option<Trouble> {
    let facts = &server.facts;
    if facts.major() < OLDEST_MAJOR {
        let message = format!("the server is PostgreSQL {}; Howdah needs {OLDEST_MAJOR} or newer", facts.version);
        return Some(Trouble::new(Reason::UnsupportedVersion, message));
    }
    if facts.in_recovery {
        let message = "the server is in recovery; name the primary in the connection URI, or wait until it is one";
        return Some(Trouble::new(Reason::InRecovery, message));
    }
    if !server.rights.missing.is_empty() {
        let message = format!("the role lacks rights; run as a superuser: {}", server.rights.missing.join("; "));
        return Some(Trouble::new(Reason::MissingRights, message));
    }
    None
}

fn workload_trouble(seen: &Result<Workload, Trouble>, facts: &InstanceFacts) -> Option<Trouble> {
    let workload = match seen {
        Ok(workload) => workload,
        Err(trouble) => return Some(trouble.clone()),
    };
    let reference = facts.spec.workload.as_ref()?;
    let name = format!("{:?} {}", reference.kind, reference.name);
    let Some(pod) = &workload.pod else {
        let message = format!("{name} has no pod; it wants {} of them", workload.facts.replicas);
        return Some(Trouble::new(Reason::PodMissing, message));
    };
    if pod.container.is_none() {
        let container = reference.container.as_deref().unwrap_or_default();
        let message = format!("pod {} has no container {container:?}; correct spec.workload.container", pod.name);
        return Some(Trouble::new(Reason::ContainerMissing, message));
    }
    (!pod.ready).then(|| Trouble::new(Reason::PodNotReady, not_ready(pod)))
}

fn not_ready(pod: &PodFacts) -> String {
    let name = &pod.name;
    match (&pod.waiting, &pod.last_termination) {
        (Some(waiting), Some(ended)) => format!("pod {name} is not ready: {waiting}, its container ended with {ended}"),
        (Some(reason), None) | (None, Some(reason)) => format!("pod {name} is not ready: {reason}"),
        (None, None) => format!("pod {name} is not ready yet"),
    }
}

fn configuration_trouble(facts: &InstanceFacts, server: &Server) -> Option<Trouble> {
    let reference = facts.spec.configuration.config_map.as_ref()?;
    let key = match facts.configuration.as_ref()? {
        Ok(key) => key,
        Err(trouble) => return Some(trouble.clone()),
    };
    let ConfigMapKeyReference { name, key: key_name } = reference;
    if !key.other_owners.is_empty() {
        let owners = key.other_owners.join(", ");
        let message = format!(
            "key {key_name} of ConfigMap {name} belongs to the field manager {owners}; remove the key there, Howdah writes it"
        );
        return Some(Trouble::new(Reason::FieldConflict, message));
    }
    let pod = facts.pod()?;
    match pod.key_mount(name, key_name) {
        KeyMount::File(file) => not_included(&file, key, server),
        KeyMount::BySubPath => Some(Trouble::new(
            Reason::ConfigMapMountedBySubPath,
            format!(
                "ConfigMap {name} is mounted by subPath and would never change in the pod; mount it as a directory"
            ),
        )),
        KeyMount::Absent => Some(Trouble::new(
            Reason::ConfigMapNotMounted,
            format!(
                "key {key_name} of ConfigMap {name} is not mounted into the container of pod {}; mount the ConfigMap as a \
                 directory and include it in postgresql.conf",
                pod.name
            ),
        )),
    }
}

/// A file with settings that `pg_file_settings` does not know is not included. One without settings shows nothing.
/// Its marker in the server would mean that it was read before the kubelet took it away.
fn not_included(file: &str, key: &ConfigurationKey, server: &Server) -> Option<Trouble> {
    let sets_something =
        key.text.as_ref()?.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'));
    let lines = server.file_settings.as_ref()?;
    if !sets_something
        || server.facts.marker.is_some()
        || lines.iter().any(|line| file_name(&line.source_file) == file_name(file))
    {
        return None;
    }
    let directory = file.rsplit_once('/').map_or("", |(directory, _)| directory);
    let message = format!("the server does not read {file}; add include_dir = '{directory}' to postgresql.conf");
    Some(Trouble::new(Reason::NotIncluded, message))
}

fn unknown(resources: &Resources) -> Option<Trouble> {
    let missing: Vec<&str> = [("memory", resources.memory_bytes), ("cpu", resources.cpu_millis)]
        .into_iter()
        .filter_map(|(name, amount)| amount.is_none().then_some(name))
        .collect();
    (!missing.is_empty()).then(|| {
        let fields = missing.join(" and ");
        let message = format!("{fields} of the server unknown; set limits on its container or declare spec.resources");
        Trouble::new(Reason::ResourcesUnknown, message)
    })
}

fn ready(facts: &InstanceFacts) -> String {
    let Ok(server) = &facts.server else { return String::new() };
    let ready = format!("PostgreSQL {} is reachable and can be configured", server.facts.version);
    match server.rights.optional.as_slice() {
        [] => ready,
        grants => format!(
            "{ready}, but without the guardrail on its container's memory, which the role can't see; to have it, run as a \
             superuser: {}",
            grants.join("; ")
        ),
    }
}

#[cfg(test)]
mod tests;
