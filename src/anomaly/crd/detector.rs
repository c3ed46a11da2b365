//! `AnomalyDetector`: the specification.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{AnomalyDetectorStatus, Features, Notify, PrometheusSource};
use crate::decimal::Decimal;
use crate::duration;
use crate::tuning::crd::InstanceReference;

/// Watches one PostgreSQL instance through Prometheus and says when it is unwell, since when, and what moved.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "howdah.dev",
    version = "v1alpha1",
    kind = "AnomalyDetector",
    plural = "anomalydetectors",
    shortname = "pgad",
    category = "howdah",
    namespaced,
    status = "AnomalyDetectorStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Score","type":"string","jsonPath":".status.score"}"#,
    printcolumn = r#"{"name":"Since","type":"date","jsonPath":".status.since"}"#,
    printcolumn = r#"{"name":"Top metric","type":"string","jsonPath":".status.topMetric"}"#,
    printcolumn = r#"{"name":"Cause","type":"string","jsonPath":".status.cause"}"#,
    printcolumn = r#"{"name":"Model age","type":"date","jsonPath":".status.model.trainedAt"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.mode) || self.mode != 'Alert' || (has(self.notify) && (has(self.notify.alertmanager) || has(self.notify.webhook)))",
        "message": "mode Alert needs a receiver: set notify.alertmanager or notify.webhook"
    },
    {
        "rule": "!has(self.features) || !has(self.features.packs) || size(self.features.packs) > 0 || (has(self.features.extra) && size(self.features.extra) > 0)",
        "message": "there is nothing to watch: name a pack in features.packs or a query in features.extra"
    }
]))]
pub struct AnomalyDetectorSpec {
    /// The PostgresInstance that the metrics belong to, in the same namespace: its settings, pods, rollouts and tunings
    /// are then watched for coincidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_ref: Option<InstanceReference>,
    /// Where the metrics are.
    pub prometheus: PrometheusSource,
    /// What is watched.
    #[serde(default)]
    pub features: Features,
    /// Time between two rows (`15s`); as long as Prometheus scrapes, or a multiple of it.
    #[serde(default = "default_step")]
    #[schemars(regex(pattern = r"^[0-9]{1,3}(s|m)$"), length(max = 4), extend("x-kubernetes-validations" = [{
        "rule": "duration(self) >= duration('1s') && duration(self) <= duration('10m')",
        "message": "step must be between 1s and 10m"
    }]))]
    pub step: String,
    /// What normal is learnt from, and when.
    #[serde(default)]
    pub training: Training,
    /// What learns it.
    #[serde(default)]
    pub model: ModelSpec,
    /// When a departure from normal is an alarm.
    #[serde(default)]
    pub detection: Detection,
    /// Who is told of alarms, beside the status, the Events and the metrics.
    #[serde(default)]
    pub notify: Notify,
    /// Whether `notify` is used.
    #[serde(default)]
    pub mode: Mode,
    /// Stops scoring and training; an open incident is closed.
    #[serde(default)]
    pub suspend: bool,
    /// Resources of the training's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_resources: Option<ResourceRequirements>,
}

fn default_step() -> String {
    "15s".into()
}

/// No history is longer than this: ten years.
const LONGEST_SECONDS: i64 = 3650 * 86_400;

/// What normal is learnt from, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Training {
    /// How far back the history is read (`14d`).
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h|d))+$"), length(max = 16))]
    pub window: String,
    /// Times that are not normal and are left out: maintenance, load tests. Incidents and tuning trials are left out
    /// anyway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub exclude: Vec<TimeRange>,
    /// History that must be there before the first training (`24h`).
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h|d))+$"), length(max = 16))]
    pub min_history: String,
    /// When to train anew, as five fields of cron in UTC (`0 3 * * *`), put off by up to an hour so that
    /// not all train at once; without it, only when this specification changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = r"^\S+( +\S+){4}$"))]
    pub schedule: Option<String>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            window: "14d".into(),
            exclude: Vec::new(),
            min_history: "24h".into(),
            schedule: Some("0 3 * * *".into()),
        }
    }
}

impl Training {
    /// How far back the history is read, in seconds.
    pub fn window_seconds(&self) -> i64 {
        duration::seconds(&self.window).min(LONGEST_SECONDS)
    }

    /// History that must be there before the first training, in seconds.
    pub fn min_history_seconds(&self) -> i64 {
        duration::seconds(&self.min_history).min(LONGEST_SECONDS)
    }
}

/// A time that is left out of the training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "self.from < self.to", "message": "from must be before to"}]))]
pub struct TimeRange {
    /// Its begin.
    pub from: Time,
    /// Its end.
    pub to: Time,
}

/// What learns normal behaviour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelSpec {
    /// The kind of model. Every training prints the PCA's numbers beside it.
    #[serde(rename = "type")]
    pub kind: ModelType,
    /// Seed of everything random: the same seed and the same rows train the same model.
    #[schemars(range(min = 0))]
    pub seed: i64,
    /// Hyperparameters of `Autoencoder`.
    pub autoencoder: AutoencoderSpec,
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self { kind: ModelType::default(), seed: 7, autoencoder: AutoencoderSpec::default() }
    }
}

/// Kinds of model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ModelType {
    /// Input, dense, bottleneck, dense, linear output; trained to reproduce normal rows.
    #[default]
    Autoencoder,
    /// Principal components: as good on many servers, and trained in a second.
    #[serde(rename = "PCA")]
    Pca,
}

/// Hyperparameters of the autoencoder. The defaults are meant to be left alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.bottleneck <= self.hidden", "message": "model.autoencoder.bottleneck can't exceed model.autoencoder.hidden"}
]))]
pub struct AutoencoderSpec {
    /// Units of the dense layers before and after the bottleneck.
    #[schemars(range(min = 2, max = 1024))]
    pub hidden: i32,
    /// Units of the bottleneck.
    #[schemars(range(min = 1, max = 512))]
    pub bottleneck: i32,
    /// Passes over the training rows at most.
    #[schemars(range(min = 1, max = 2000))]
    pub epochs: i32,
    /// Training stops after this many passes without a lower validation loss.
    #[schemars(range(min = 1, max = 200))]
    pub patience: i32,
}

impl Default for AutoencoderSpec {
    fn default() -> Self {
        Self { hidden: 64, bottleneck: 12, epochs: 200, patience: 10 }
    }
}

/// When a departure from normal is an alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Detection {
    /// The alarm budget: so many false alarms a week are acceptable, a whole number or a fraction as text (`"0.5"`). The
    /// threshold follows from it.
    #[schemars(schema_with = "positive")]
    pub false_alarms_per_week: Decimal,
    /// How many of the last rows must be above the threshold.
    pub raise: Raise,
    /// An anomaly that is shorter is no alarm (`1m`).
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h|d))+$"), length(max = 16))]
    pub min_duration: String,
    /// After an alarm, this long no other is raised: what comes back belongs to it (`10m`).
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h|d))+$"), length(max = 16))]
    pub cooldown: String,
}

/// A positive number: a whole one as it is, a fraction as text, since the API has no floats.
fn positive(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "nullable": false,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? self > 0 : self.matches('^[0-9]+([.][0-9]+)?$')",
            "message": "detection.falseAlarmsPerWeek must be a positive number: 2, or \"0.5\"",
        }],
    })
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            false_alarms_per_week: Decimal(2.0),
            raise: Raise::default(),
            min_duration: "1m".into(),
            cooldown: "10m".into(),
        }
    }
}

/// How many of the last rows must be above the threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.atLeast <= self.of", "message": "detection.raise.atLeast can't exceed detection.raise.of"}
]))]
pub struct Raise {
    /// Rows that are looked at.
    #[schemars(range(min = 1, max = 60))]
    pub of: i32,
    /// Rows that must be above the threshold.
    #[schemars(range(min = 1, max = 60))]
    pub at_least: i32,
}

impl Default for Raise {
    fn default() -> Self {
        Self { of: 5, at_least: 3 }
    }
}

/// Whether receivers are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Alarms are shown in the status, as Events and as metrics.
    #[default]
    Observe,
    /// They are sent to the receivers of `notify`, too.
    Alert,
}
