//! The load of a tuning.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The load that the configuration is measured with: exactly one of the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// pgbench, in a database of its own that never touches the user's tables.
    pub pgbench: Pgbench,
}

/// A pgbench run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.scripts) && has(self.builtin))", "message": "set one of workload.pgbench.builtin and workload.pgbench.scripts"},
    {"rule": "!has(self.initScript) || has(self.scripts)", "message": "workload.pgbench.initScript goes with workload.pgbench.scripts"}
]))]
pub struct Pgbench {
    /// Scale factor: 1 is 100,000 accounts, about 15 MB.
    #[schemars(range(min = 1, max = 100_000))]
    pub scale: i32,
    /// Concurrent connections.
    #[schemars(range(min = 1, max = 1000))]
    pub clients: i32,
    /// Threads of pgbench, at most one for each client.
    #[schemars(range(min = 1, max = 64))]
    pub threads: i32,
    /// One of pgbench's own scripts; without `scripts`, `TpcB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builtin: Option<Builtin>,
    /// The user's own scripts, by weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub scripts: Option<Vec<Script>>,
    /// SQL that prepares the benchmark database for `scripts`; without it, pgbench's own tables are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_script: Option<ConfigMapKeySelector>,
    /// Seconds of load before the measurement.
    #[schemars(range(min = 0, max = 3600))]
    pub warmup_seconds: i32,
    /// Seconds of the measurement.
    #[schemars(range(min = 5, max = 7200))]
    pub measure_seconds: i32,
    /// Transactions per second at which latency is measured (`--rate`); without it, as fast as they go.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rate: Option<i32>,
}

impl Default for Pgbench {
    fn default() -> Self {
        Self {
            scale: 50,
            clients: 16,
            threads: 2,
            builtin: None,
            scripts: None,
            init_script: None,
            warmup_seconds: 15,
            measure_seconds: 60,
            rate: None,
        }
    }
}

/// pgbench's own scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Builtin {
    /// `tpcb-like`: three updates, a select and an insert.
    #[default]
    TpcB,
    /// `simple-update`: without the contended branch and teller rows.
    SimpleUpdate,
    /// `select-only`.
    SelectOnly,
}

/// A script of the user's, in a ConfigMap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Script {
    /// Where the script is.
    pub config_map_key_ref: ConfigMapKeySelector,
    /// Its share of the transactions.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: i32,
}

fn one() -> i32 {
    1
}

/// One key of a ConfigMap in the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeySelector {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
