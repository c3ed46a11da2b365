//! `PostgresInstance`: where a database is and how it is configured.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::kubernetes::workload::WorkloadKind;

/// A PostgreSQL server that Howdah may watch and configure.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "howdah.dev",
    version = "v1alpha1",
    kind = "PostgresInstance",
    plural = "postgresinstances",
    shortname = "pgi",
    category = "howdah",
    namespaced,
    status = "PostgresInstanceStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.serverVersion"}"#,
    printcolumn = r#"{"name":"Memory","type":"string","jsonPath":".status.resources.memory"}"#,
    printcolumn = r#"{"name":"CPU","type":"string","jsonPath":".status.resources.cpu"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct PostgresInstanceSpec {
    /// How to reach the server.
    pub connection: Connection,
    /// How its settings are changed: exactly one way.
    pub configuration: Configuration,
    /// The workload that runs the server: its resources, its readiness, and how it is restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadReference>,
    /// Only what can't be discovered from the workload's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<DeclaredResources>,
}

/// How to reach the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The key of a Secret in the same namespace that holds a libpq URI
    /// (`postgresql://user:password@host:5432/database?sslmode=verify-full`). With `sslmode=verify-ca` or
    /// `verify-full` the CA certificate is read from the key `ca.crt` of the same Secret.
    pub secret_ref: SecretKeyReference,
}

/// One key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret.
    #[serde(default = "default_uri_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_uri_key() -> String {
    "uri".into()
}

/// How the server's settings are changed: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.configMap) != has(self.alterSystem)",
    "message": "set exactly one of configuration.configMap and configuration.alterSystem"
}]))]
pub struct Configuration {
    /// A key of a ConfigMap that is mounted as a directory and included by `postgresql.conf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapKeyReference>,
    /// `ALTER SYSTEM`, where there is no ConfigMap volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alter_system: Option<AlterSystem>,
}

/// One key of a ConfigMap in the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyReference {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the ConfigMap, which is the file's name in the mounted directory. Howdah owns this key and no other.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// `ALTER SYSTEM` has no options yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlterSystem {}

/// The workload that runs the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadReference {
    /// Kind of the workload.
    #[serde(default)]
    pub kind: WorkloadKind,
    /// Name of the workload, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The container that runs PostgreSQL; without it, the pod's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

/// Resources that the user declares because they can't be discovered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredResources {
    /// Memory that PostgreSQL may use, as a Kubernetes quantity (`2Gi`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Cores that PostgreSQL may use, as a Kubernetes quantity (`2`, `1500m`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Size of the volume that holds the data directory, as a Kubernetes quantity (`20Gi`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_volume: Option<String>,
}

/// What Howdah saw of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresInstanceStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling` and `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Version of the server, e.g. `15.18`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// What the server may use, as declared or discovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<DeclaredResources>,
    /// The pod that runs the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}
