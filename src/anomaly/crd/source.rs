//! Where metrics come from and where alarms go.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Prometheus server, or what speaks its HTTP API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusSource {
    /// Its base URL (`http://prometheus.monitoring:9090`), without `/api`.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^https?://[^\s]+$"))]
    pub url: String,
    /// A Secret in the same namespace with the key `token` (bearer), or `username` and `password` (basic).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// A Secret in the same namespace with `ca.crt` (who is trusted) and, for mutual TLS, `tls.crt` and `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<SecretReference>,
    /// Labels that select the instance's series; they are put into every expression of the packs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub selector: BTreeMap<String, String>,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Who is told of alarms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Notify {
    /// An Alertmanager (`http://alertmanager.monitoring:9093`): alerts fire and resolve by its API v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<Receiver>,
    /// A URL that gets a JSON document for each transition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Receiver>,
}

/// A receiver of alarms over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receiver {
    /// Its URL.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^https?://[^\s]+$"))]
    pub url: String,
    /// A Secret in the same namespace with the key `token` (bearer), or `username` and `password` (basic).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// A Secret in the same namespace with `ca.crt` (who is trusted) and, for mutual TLS, `tls.crt` and `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<SecretReference>,
}
