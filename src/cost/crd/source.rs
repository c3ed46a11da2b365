//! Where a query log is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::anomaly::crd::SecretReference;
use crate::tuning::crd::InstanceReference;

/// Where the log is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.instanceRef) != has(self.files)",
    "message": "source needs exactly one of instanceRef and files"
}]))]
pub struct Source {
    /// A PostgresInstance in the same namespace, whose server's jsonlog or csvlog is read. Its role must be a member of
    /// `pg_monitor` and `pg_read_server_files`, and allowed to execute `pg_read_binary_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_ref: Option<InstanceReference>,
    /// Files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// How far back statements are read, where the log has times (`90d`).
    #[serde(default = "default_window")]
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h|d))+$"), length(max = 16))]
    pub window: String,
}

fn default_window() -> String {
    "90d".into()
}

/// Files of a query log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.secretRef) || self.url.startsWith('s3://')",
    "message": "files.secretRef has the credentials of a bucket: files.url must begin with s3://"
}]))]
pub struct Files {
    /// `s3://bucket/prefix`, or `file:///logs/CLAIM/path` on a PersistentVolumeClaim that the operator's pod mounts. Without
    /// `secretRef` it is read with the operator's own rights, and must be granted to this namespace (`queryLogs` of the
    /// chart).
    #[schemars(regex(pattern = r"^(s3://|file:///)[^/]+"), length(max = 1024))]
    pub url: String,
    /// A Secret in the same namespace with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and where needed
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP` and `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// How the files are written; without it, by each file's name and beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// Where a table has what. PostgreSQL's own logs need no columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<LogColumns>,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogFormat {
    /// A table with a header line.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
    /// PostgreSQL's csvlog.
    PostgresCsvLog,
    /// PostgreSQL's jsonlog.
    PostgresJsonLog,
}

/// Where a table has what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogColumns {
    /// The statement's text.
    #[schemars(length(min = 1, max = 253))]
    pub query: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub time: Option<String>,
    /// Whether it failed or was cancelled: what it cost until then is a lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub failed: Option<String>,
    /// How many statements of the server a row stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub weight: Option<String>,
    /// PostgreSQL's estimates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanColumns>,
    /// Costs, by name of the target; one that is not named has the target's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, String>,
}

/// Columns with PostgreSQL's estimates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanColumns {
    /// Total cost.
    #[schemars(length(min = 1, max = 253))]
    pub cost: String,
    /// Rows.
    #[schemars(length(min = 1, max = 253))]
    pub rows: String,
}
