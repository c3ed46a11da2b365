//! What is watched.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is watched: shipped packs, the user's own queries, and what is left out of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Features {
    /// Shipped sets of features. What an exporter does not have is told in `status.features.missing`.
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub packs: Vec<Pack>,
    /// Queries of your own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub extra: Vec<ExtraFeature>,
    /// Names of features that are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "set"))]
    pub exclude: Vec<String>,
}

impl Default for Features {
    fn default() -> Self {
        Self { packs: vec![Pack::PostgresExporter, Pack::NodeExporter], extra: Vec::new(), exclude: Vec::new() }
    }
}

/// A shipped set of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Pack {
    /// prometheus-community/postgres_exporter: transactions, tuples, blocks, sessions, locks, checkpoints, settings.
    PostgresExporter,
    /// node_exporter: CPU, memory, disks, network, pressure.
    NodeExporter,
    /// CloudNativePG's own exporter (`cnpg_*`).
    #[serde(rename = "CloudNativePG")]
    CloudNativePg,
}

/// A query of the user's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtraFeature {
    /// Its name, which must not be that of a pack's feature.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub name: String,
    /// How its values behave.
    pub kind: FeatureKind,
    /// A PromQL expression that gives one series, with its own selectors; aggregate where there may be more.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
}

/// How a feature's values behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FeatureKind {
    /// It only grows, but for resets: its rate is watched.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It lies between 0 and 1.
    Ratio,
    /// A setting: it stays as it is, and any change is evidence.
    Config,
}
