//! `QueryCostModel`: the specification.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{QueryCostModelStatus, Source};
use crate::decimal::Decimal;
use crate::instance::crd::SecretKeyReference;
use crate::tuning::crd::InstanceReference;

/// Learns from a query log what statements cost, and serves its answers over REST and gRPC.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "howdah.dev",
    version = "v1alpha1",
    kind = "QueryCostModel",
    plural = "querycostmodels",
    shortname = "qcm",
    category = "howdah",
    namespaced,
    status = "QueryCostModelStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".status.model.version"}"#,
    printcolumn = r#"{"name":"Accuracy","type":"string","jsonPath":".status.model.accuracy"}"#,
    printcolumn = r#"{"name":"Rows","type":"integer","jsonPath":".status.model.log.statements"}"#,
    printcolumn = r#"{"name":"Endpoint","type":"string","jsonPath":".status.endpoint"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.serving) || !has(self.serving.routing) || self.targets.exists(t, t.name == self.serving.routing.target)",
    "message": "serving.routing.target must be one of the targets"
}]))]
pub struct QueryCostModelSpec {
    /// What is learnt from.
    pub source: Source,
    /// What is predicted. PostgreSQL's own logs have `duration` and `cpu` (seconds) and `spill` (bytes of temporary files),
    /// which may be named `memory`, too.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub targets: Vec<TargetDeclaration>,
    /// What a text is to the model.
    #[serde(default)]
    pub features: FeaturesSpec,
    /// Whether a server's plan is asked for where the text is in doubt.
    #[serde(default)]
    pub explain: Explain,
    /// How the model is learnt and judged, and when.
    #[serde(default)]
    pub training: TrainingSpec,
    /// How it is served.
    #[serde(default)]
    pub serving: Serving,
    /// When a retrained model takes the place of the one before.
    #[serde(default)]
    pub promotion: Promotion,
    /// Stops trainings. The model that is served goes on.
    #[serde(default)]
    pub suspend: bool,
}

/// What is predicted, and where its classes part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.bounds) && size(self.bounds) > 0) != (has(self.quantiles) && size(self.quantiles) > 0)",
    "message": "a target needs either bounds or quantiles"
}]))]
pub struct TargetDeclaration {
    /// Its name: a path of the REST API (`/v1/cpu`).
    #[schemars(regex(pattern = r"^[a-zA-Z][a-zA-Z0-9_-]*$"), length(max = 63))]
    pub name: String,
    /// Its unit, for people (`seconds`, `bytes`).
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub unit: String,
    /// Inner bounds of the classes, ascending: `["30", "18000"]` parts below 30, below 18000, and above. With units, too:
    /// `5ms`, `2h`, `1Mi`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 15), inner(length(max = 32)))]
    pub bounds: Vec<String>,
    /// Instead: shares of the log's statements that lie below (`"0.9"`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 15))]
    pub quantiles: Vec<Decimal>,
}

/// What a text is to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FeaturesSpec {
    /// Which features.
    pub mode: FeatureMode,
    /// Columns at the most.
    #[schemars(range(min = 10, max = 200_000))]
    pub max_features: i32,
    /// Longest n-gram of words.
    #[schemars(range(min = 1, max = 5))]
    pub ngrams: i32,
}

impl Default for FeaturesSpec {
    fn default() -> Self {
        Self { mode: FeatureMode::default(), max_features: 20_000, ngrams: 3 }
    }
}

/// Which features a text has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FeatureMode {
    /// Two views: words without literals, and columns with operators and literals.
    #[default]
    Lexed,
    /// The plain bag of words of the paper.
    Paper,
}

/// Asks a PostgreSQL server for the plan of a statement (`EXPLAIN`, never `ANALYZE`) where history and text are in doubt.
/// It helps where the log has plans to learn from: plan columns, or `auto_explain`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.enabled) || !self.enabled || has(self.instanceRef) || has(self.secretRef)",
    "message": "explain needs a server: set explain.instanceRef or explain.secretRef"
}]))]
pub struct Explain {
    /// Whether it is asked.
    pub enabled: bool,
    /// The PostgresInstance that is asked, in the same namespace, with its own connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_ref: Option<InstanceReference>,
    /// The key of a Secret in the same namespace with the URI of a role that may only read (`GRANT pg_read_all_data`), and
    /// the server's CA in `ca.crt`. It takes the place of the instance's connection, whose role may not read the tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyReference>,
}

/// How the model is learnt and judged, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TrainingSpec {
    /// How the statements that judge it are found. The other splits are reported beside.
    pub split: SplitSpec,
    /// Percent of the statements that judge it.
    #[schemars(range(min = 1, max = 90))]
    pub test_percent: i32,
    /// Folds of the cross-validation.
    #[schemars(range(min = 2, max = 10))]
    pub folds: i32,
    /// What the cross-validation chooses from.
    pub grid: Grid,
    /// When to train anew, as five fields of cron in UTC (`0 4 * * 0`), put off by up to an hour so that
    /// not all train at once; without it, only when this specification changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = r"^\S+( +\S+){4}$"))]
    pub schedule: Option<String>,
    /// Seed of everything random: the same seed and the same log train the same model.
    #[schemars(range(min = 0))]
    pub seed: i64,
    /// Resources of the training's pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

impl Default for TrainingSpec {
    fn default() -> Self {
        Self {
            split: SplitSpec::default(),
            test_percent: 20,
            folds: 3,
            grid: Grid::default(),
            schedule: Some("0 4 * * 0".into()),
            seed: 7,
            resources: None,
        }
    }
}

/// How the statements that judge a model are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SplitSpec {
    /// The newest judge: what production sees.
    #[default]
    Time,
    /// Drawn at random.
    Random,
    /// Whole fingerprints judge: what a new query sees.
    Template,
}

/// What the cross-validation chooses from: every combination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Grid {
    /// Depths of the trees.
    #[schemars(length(min = 1, max = 4), inner(range(min = 1, max = 16)))]
    pub max_depth: Vec<i32>,
    /// Learning rates.
    #[schemars(length(min = 1, max = 4))]
    pub eta: Vec<Decimal>,
    /// Numbers of rounds.
    #[schemars(length(min = 1, max = 4), inner(range(min = 1, max = 2000)))]
    pub rounds: Vec<i32>,
}

impl Default for Grid {
    fn default() -> Self {
        Self { max_depth: vec![6, 10], eta: vec![Decimal(0.1), Decimal(0.3)], rounds: vec![200] }
    }
}

/// How a model is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Serving {
    /// Pods; with `autoscaling`, at the least.
    #[schemars(range(min = 1, max = 100))]
    pub replicas: i32,
    /// Resources of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Adds pods when their processors are busy; needs a metrics server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Groups of clusters that `/v1/route` answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutingGroups>,
}

impl Default for Serving {
    fn default() -> Self {
        Self { replicas: 2, resources: None, autoscaling: None, routing: None }
    }
}

/// Adds pods when their processors are busy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Pods at the most.
    #[schemars(range(min = 1, max = 1000))]
    pub max: i32,
}

/// Groups of clusters for the classes of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoutingGroups {
    /// The target.
    pub target: String,
    /// A group for each class, from the cheapest.
    #[schemars(length(min = 2, max = 16), inner(regex(pattern = r"^[^,\s]+$"), length(max = 253)))]
    pub groups: Vec<String>,
}

/// When a retrained model takes the place of the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Promotion {
    /// Percent points of accuracy by which it must be better. Negative ones let it be worse by as much.
    #[schemars(range(min = -100, max = 100))]
    pub min_accuracy_gain_percent: i32,
    /// Versions that the model store keeps.
    #[schemars(range(min = 1, max = 100))]
    pub keep_versions: i32,
}

impl Default for Promotion {
    fn default() -> Self {
        Self { min_accuracy_gain_percent: 0, keep_versions: 5 }
    }
}
