//! What a server may use: declared, else its container's limits, else its cgroup. Of memory never more than these allow.

use serde::{Deserialize, Serialize};

use super::crd::DeclaredResources;
use super::facts::{InstanceFacts, Trouble};
use super::reason::Reason;
use crate::kubernetes::quantity;

/// What a server may use, where known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Memory in bytes.
    pub memory_bytes: Option<i64>,
    /// CPU in thousandths of a core.
    pub cpu_millis: Option<i64>,
    /// Size of the volume that holds the data directory, in bytes.
    pub data_volume_bytes: Option<i64>,
}

impl Resources {
    /// As the status shows them.
    pub fn shown(&self) -> DeclaredResources {
        DeclaredResources {
            memory: self.memory_bytes.map(quantity::from_bytes),
            cpu: self.cpu_millis.map(quantity::from_millicores),
            data_volume: self.data_volume_bytes.map(quantity::from_bytes),
        }
    }
}

/// What the server may use. What is declared wins over the container's limits, and those over its cgroup.
///
/// # Errors
/// `InvalidResources` when a declared quantity can't be read.
pub fn resources(facts: &InstanceFacts) -> Result<Resources, Trouble> {
    let declared = facts.spec.resources.clone().unwrap_or_default();
    let read = |field: &str, text: Option<String>, parse: fn(&str) -> Option<i64>| match text {
        None => Ok(None),
        Some(text) => match parse(&text).filter(|amount| *amount > 0) {
            Some(amount) => Ok(Some(amount)),
            None => Err(Trouble::new(
                Reason::InvalidResources,
                format!("spec.resources.{field} {text:?} is not a positive Kubernetes quantity; write 2Gi or 1500m"),
            )),
        },
    };
    let pod = facts.pod();
    let cgroup = facts.server.as_ref().ok().and_then(|server| server.container);
    Ok(Resources {
        // What was declared once does not lift a limit that is lower by now.
        memory_bytes: [
            read("memory", declared.memory, quantity::bytes)?,
            pod.and_then(|pod| pod.memory_bytes).or(cgroup.and_then(|cgroup| cgroup.memory_limit_bytes)),
        ]
        .into_iter()
        .flatten()
        .min(),
        cpu_millis: read("cpu", declared.cpu, quantity::millicores)?
            .or(pod.and_then(|pod| pod.cpu_millis))
            .or(cgroup.and_then(|cgroup| cgroup.cpu_limit_millis)),
        data_volume_bytes: read("dataVolume", declared.data_volume, quantity::bytes)?,
    })
}
