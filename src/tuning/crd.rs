//! `PostgresTuning` and `TuningTrial`: the specification and the record of a tuning.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measurement::{Measurement, Parameters};
use crate::decimal::Decimal;

/// A search for a better configuration of one PostgresInstance.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "howdah.dev",
    version = "v1alpha1",
    kind = "PostgresTuning",
    plural = "postgrestunings",
    shortname = "pgt",
    category = "howdah",
    namespaced,
    status = "PostgresTuningStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Instance","type":"string","jsonPath":".spec.instanceRef.name"}"#,
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Trial","type":"string","jsonPath":".status.progress"}"#,
    printcolumn = r#"{"name":"Gain %","type":"string","jsonPath":".status.bestGainPercent"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct PostgresTuningSpec {
    /// The PostgresInstance to tune, in the same namespace.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf", "message": "instanceRef can't be changed: create another PostgresTuning for the other instance"
    }]))]
    pub instance_ref: InstanceReference,
    /// What is done with a verified recommendation.
    #[serde(default)]
    pub mode: Mode,
    /// Whether the server may be restarted. With `Never`, knobs that need a restart are left out of the search.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// What is to become better, and from which gain on it is worth recommending.
    #[serde(default)]
    pub objective: Objective,
    /// The load that the configuration is measured with.
    pub workload: Workload,
    /// Which knobs may be turned, and how far.
    #[serde(default)]
    pub knobs: KnobSelection,
    /// How the search proposes configurations.
    #[serde(default)]
    pub optimizer: OptimizerSpec,
    /// How much the search may cost.
    #[serde(default)]
    pub budget: Budget,
    /// Bounds that no configuration crosses.
    #[serde(default)]
    pub safety: Safety,
    /// Pauses the tuning and restores the baseline; set it back to continue.
    #[serde(default)]
    pub suspend: bool,
    /// What happens to an applied recommendation when the tuning is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Resources of the benchmark's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benchmark_resources: Option<ResourceRequirements>,
}

/// A PostgresInstance in the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceReference {
    /// Name of the PostgresInstance.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What is done with a verified recommendation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It is written to the status; the baseline is restored.
    #[default]
    Recommend,
    /// It is applied once the annotation `howdah.dev/approve: <hash>` names it.
    RequireApproval,
    /// It is applied at once.
    Apply,
}

/// Whether the server may be restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartPolicy {
    /// Never: only knobs that a reload applies are turned.
    #[default]
    Never,
    /// Whenever a knob needs it, through the workload, as rarely as the search allows.
    Always,
}

/// What happens to an applied recommendation when the tuning is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The baseline is restored.
    #[default]
    Revert,
    /// An applied recommendation stays. An unfinished search restores the baseline all the same.
    Retain,
}

/// What is to become better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Objective {
    /// The quantity.
    pub metric: ObjectiveMetric,
    /// The lower bound of the verified gain's 95 % interval must reach this, or nothing is recommended.
    #[schemars(range(min = 0, max = 100))]
    pub min_improvement_percent: i32,
}

impl Default for Objective {
    fn default() -> Self {
        Self { metric: ObjectiveMetric::default(), min_improvement_percent: 2 }
    }
}

/// The quantity that is to become better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ObjectiveMetric {
    /// Transactions per second, with the closing checkpoint charged.
    #[default]
    Throughput,
    /// The 95th percentile of the latency.
    Latency,
    /// Both, with equal weight.
    Balanced,
}

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
    {"rule": "!has(self.initScript) || has(self.scripts)", "message": "workload.pgbench.initScript goes with workload.pgbench.scripts"},
    {"rule": "!has(self.threads) || !has(self.clients) || self.threads <= self.clients", "message": "workload.pgbench.threads can't exceed workload.pgbench.clients"}
]))]
pub struct Pgbench {
    /// Scale factor: 1 is 100,000 accounts, about 15 MB.
    #[schemars(range(min = 1, max = 100_000))]
    pub scale: i32,
    /// Concurrent connections.
    #[schemars(range(min = 1, max = 1000))]
    pub clients: i32,
    /// Threads of pgbench.
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

/// Which knobs may be turned, and how far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KnobSelection {
    /// The set to start from.
    pub profile: Profile,
    /// Knobs to add to the profile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub include: Vec<String>,
    /// Knobs to take out of the profile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub exclude: Vec<String>,
    /// Narrower ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub ranges: Vec<KnobRange>,
}

/// A set of knobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Profile {
    /// Six memory, planner and checkpoint knobs.
    Classic,
    /// `Classic` with WAL, background writer and I/O knobs, and the shared buffers where restarts are allowed.
    #[default]
    Oltp,
    /// `Oltp` with parallelism and planner knobs.
    Olap,
}

/// A narrower range for one knob, in PostgreSQL's own notation (`4MB`, `30s`, `0.9`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.min) || has(self.max)", "message": "a range needs min, max or both"}
]))]
pub struct KnobRange {
    /// Name of the knob.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Smallest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub min: Option<String>,
    /// Largest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub max: Option<String>,
}

/// How the search proposes configurations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OptimizerSpec {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Seed of everything random: the same seed and the same measurements propose the same configurations.
    #[schemars(range(min = 0))]
    pub seed: i64,
    /// Hyperparameters of `DDPG`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ddpg: Option<DdpgSpec>,
}

/// Algorithms of the search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// Deep deterministic policy gradient with a heuristic warm start and local refinement.
    #[default]
    DDPG,
    /// Latin hypercube samples.
    LHS,
    /// Uniform samples.
    Random,
    /// Only the pgtune formulas: measured and verified, nothing searched.
    Heuristic,
}

/// Hyperparameters of DDPG. The defaults are meant to be left alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DdpgSpec {
    /// Gradient steps after each new measurement.
    #[schemars(range(min = 1, max = 1000))]
    pub updates_per_trial: i32,
    /// Samples in a gradient step.
    #[schemars(range(min = 4, max = 1024))]
    pub batch_size: i32,
    /// Discount in thousandths: 0 makes each trial a decision of its own.
    #[schemars(range(min = 0, max = 999))]
    pub gamma_milli: i32,
    /// Standard deviation of the exploration noise at the start, in thousandths of a knob's range.
    #[schemars(range(min = 0, max = 1000))]
    pub noise_start_milli: i32,
    /// The same at the end of the budget.
    #[schemars(range(min = 0, max = 1000))]
    pub noise_end_milli: i32,
    /// The reward.
    pub reward: RewardKind,
}

impl Default for DdpgSpec {
    fn default() -> Self {
        Self {
            updates_per_trial: 40,
            batch_size: 32,
            gamma_milli: 0,
            noise_start_milli: 250,
            noise_end_milli: 50,
            reward: RewardKind::default(),
        }
    }
}

/// Reward of a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RewardKind {
    /// Log ratio to the nearest baseline.
    #[default]
    LogRatio,
    /// CDBTune's published reward, for comparison: it turns measurement noise into large rewards.
    Cdbtune,
}

/// How much the search may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Budget {
    /// Trials of the search, baselines and the heuristic included, verification not.
    #[schemars(range(min = 3, max = 1000))]
    pub trials: i32,
    /// The search ends, and verification begins, after this time (`6h`, `90m`).
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    pub max_duration: String,
    /// The search ends after this many proposals without a better incumbent.
    #[schemars(range(min = 1, max = 1000))]
    pub patience: i32,
    /// Pairs of the final verification.
    #[schemars(range(min = 2, max = 50))]
    pub verification_pairs: i32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { trials: 40, max_duration: "6h".into(), patience: 15, verification_pairs: 5 }
    }
}

/// Bounds that no configuration crosses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Safety {
    /// Share of the memory limit that the memory model may plan for.
    #[schemars(range(min = 10, max = 95))]
    pub memory_limit_percent: i32,
    /// Estimated time of crash recovery that a configuration may cause.
    #[schemars(range(min = 10, max = 86_400))]
    pub max_recovery_seconds: i32,
    /// Failed trials in a row after which the tuning stops.
    #[schemars(range(min = 1, max = 20))]
    pub max_consecutive_failures: i32,
    /// A trial whose 99th percentile exceeds this multiple of the baseline's, in percent, trips the guardrail.
    #[schemars(range(min = 110, max = 100_000))]
    pub max_latency_percent: i32,
    /// Allows `synchronous_commit` to be listed in `knobs.include`: a crash may then lose acknowledged transactions.
    pub durability: Durability,
}

impl Default for Safety {
    fn default() -> Self {
        Self {
            memory_limit_percent: 85,
            max_recovery_seconds: 300,
            max_consecutive_failures: 3,
            max_latency_percent: 1000,
            durability: Durability::default(),
        }
    }
}

/// Whether acknowledged transactions may be put at risk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    /// `synchronous_commit` is never tuned.
    #[default]
    Strict,
    /// `synchronous_commit` may be listed.
    AllowAsynchronousCommit,
}

/// What the tuning has done, found and recommends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresTuningStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled`, `Improved`, `Applied` and `Suspended`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Trials done and planned, e.g. `12/40`, or what follows them, e.g. `verify 3/10`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Gain of the incumbent while searching, of the recommendation once verified, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_gain_percent: Option<String>,
    /// What was found and kept before the first change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionRecord>,
    /// The configuration before the first change, and its throughput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Evaluated>,
    /// The pgtune formulas' configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heuristic: Option<Evaluated>,
    /// The best configuration so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incumbent: Option<Evaluated>,
    /// The verified recommendation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<Recommendation>,
    /// The last trials, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
}

/// The facts that a session froze before its first change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionRecord {
    /// Short name of the session: part of its trials' names. A changed search begins another session.
    pub name: String,
    /// When it began.
    pub started_at: Time,
    /// Values of every knob of the search before the first change.
    pub baseline_parameters: Parameters,
    /// Text of our configuration key before the first change; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_configuration: Option<String>,
    /// What `ALTER SYSTEM` had set of these knobs before the first change, where that is how they are changed.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub baseline_alter_system: Parameters,
    /// The knobs of the search with their ranges.
    pub knobs: Vec<SessionKnob>,
    /// What the server may use, in bytes and thousandths of a core.
    pub resources: SessionResources,
    /// The session has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<SessionOutcome>,
    /// The configuration that the ended session left in effect: `baseline`, or the recommendation's hash. It is brought
    /// into effect once; what others change afterwards is theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionOutcome {
    /// A configuration was verified to be better.
    Improved,
    /// No configuration was verified to be better.
    NoSignificantGain,
    /// Too many trials failed in a row.
    TooManyFailures,
}

/// A knob of the search, as frozen by the session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionKnob {
    /// Its name.
    pub name: String,
    /// Its value before the first change, as `SHOW` prints it.
    pub baseline: String,
    /// Smallest value, in the server's own unit; absent for enumerations and booleans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Decimal>,
    /// Largest value, in the server's own unit; absent for enumerations and booleans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Decimal>,
    /// How the range is divided.
    #[serde(default)]
    pub scale: KnobScale,
    /// Only whole numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub integer: bool,
    /// Values with a meaning of their own (0, -1) outside the range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub special: Vec<Decimal>,
    /// The values of an enumeration or a boolean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Unit of the server (`8kB`, `ms`), empty where it has none.
    #[serde(default)]
    pub unit: String,
    /// A restart applies it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
}

/// How the range of a knob is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KnobScale {
    /// In equal steps.
    #[default]
    Linear,
    /// In equal ratios.
    Log,
}

/// What the server may use, as frozen by the session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionResources {
    /// Memory limit in bytes.
    pub memory_bytes: i64,
    /// CPU limit in thousandths of a core.
    pub cpu_millis: i64,
    /// Size of the data volume in bytes, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_volume_bytes: Option<i64>,
    /// `max_connections` of the server.
    pub max_connections: i64,
}

/// A configuration with what was measured of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evaluated {
    /// The trial that measured it (of several, the last).
    pub trial: String,
    /// Mean transactions per second.
    pub tps: Decimal,
    /// Mean of the 95th percentile of the latency in milliseconds.
    pub latency_p95_ms: Decimal,
    /// Gain over the nearest baselines in percent.
    pub gain_percent: Decimal,
    /// Knobs that differ from the baseline.
    #[serde(default)]
    pub parameters: Parameters,
}

/// A verified recommendation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// Names this recommendation: the value of the annotation `howdah.dev/approve`.
    pub hash: String,
    /// The knobs to change.
    pub parameters: Vec<ParameterChange>,
    /// Mean gain over the baseline in the verification's pairs, in percent.
    pub gain_percent: Decimal,
    /// Lower end of the gain's 95 % interval.
    pub gain_low_percent: Decimal,
    /// Upper end of the gain's 95 % interval.
    pub gain_high_percent: Decimal,
    /// Gain over the pgtune formulas in the same verification, where they were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain_over_heuristic_percent: Option<Decimal>,
    /// Change of the 95th percentile of the latency in percent; negative is better.
    pub latency_p95_change_percent: Decimal,
    /// Mean transactions per second in the verification.
    pub tps: Decimal,
    /// Mean of the 95th percentile of the latency in the verification, in milliseconds.
    pub latency_p95_ms: Decimal,
    /// Pairs that were measured.
    pub pairs: i32,
    /// Applying it needs a restart.
    pub requires_restart: bool,
}

/// A knob's old and new value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterChange {
    /// The knob.
    pub name: String,
    /// Its value in the baseline.
    pub old: String,
    /// Its recommended value.
    pub new: String,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Number of the trial.
    pub number: i32,
    /// Kind of the trial.
    pub kind: TrialKind,
    /// State of the trial.
    pub state: TrialState,
    /// Transactions per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tps: Option<Decimal>,
    /// Gain over the nearest baselines in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain_percent: Option<Decimal>,
}

/// One measured configuration of a tuning. The controller creates it; nobody else needs to.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "howdah.dev",
    version = "v1alpha1",
    kind = "TuningTrial",
    plural = "tuningtrials",
    shortname = "trial",
    shortname = "trials",
    category = "howdah",
    namespaced,
    status = "TuningTrialStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Tuning","type":"string","jsonPath":".spec.tuning"}"#,
    printcolumn = r#"{"name":"Kind","type":"string","jsonPath":".spec.kind"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"TPS","type":"string","jsonPath":".status.measurement.tps"}"#,
    printcolumn = r#"{"name":"P95 ms","type":"string","jsonPath":".status.measurement.latencyP95Ms"}"#,
    printcolumn = r#"{"name":"Gain %","type":"string","jsonPath":".status.gainPercent"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "a trial is a record: its spec can't be changed"}]))]
pub struct TuningTrialSpec {
    /// The tuning that it belongs to.
    pub tuning: String,
    /// The session of the tuning.
    pub session: String,
    /// Its number in the session, from 1.
    pub number: i32,
    /// What it is for.
    pub kind: TrialKind,
    /// In a verification: which configuration this run measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<Arm>,
    /// Knobs that differ from the baseline; empty for the baseline itself.
    #[serde(default)]
    pub parameters: Parameters,
    /// The same configuration as a point of the unit cube over the session's knobs.
    #[serde(default)]
    pub point: Vec<Decimal>,
    /// Marker that the server shows when the configuration is in effect.
    pub marker: String,
    /// What the safety kernel changed in the proposal, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<String>,
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TrialKind {
    /// The configuration before the first change.
    Baseline,
    /// The pgtune formulas.
    Heuristic,
    /// A sample that covers the space.
    Explore,
    /// A proposal of the policy.
    Policy,
    /// A step from the incumbent.
    Refine,
    /// A run of the paired verification.
    Verify,
}

/// Configurations that a verification compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Arm {
    /// The configuration before the first change.
    Baseline,
    /// The pgtune formulas.
    Heuristic,
    /// The best of the search.
    Incumbent,
    /// The winner without the knobs that showed no effect.
    Pruned,
}

/// Where a trial is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TrialState {
    /// Its configuration is being brought into effect.
    #[default]
    Applying,
    /// The server is being restarted.
    Restarting,
    /// The benchmark is running.
    Measuring,
    /// Measured.
    Observed,
    /// Not measured: the benchmark or the configuration failed.
    Failed,
    /// Ended by a guardrail, a suspension or a deletion.
    Aborted,
}

impl TrialState {
    /// No further step follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Observed | Self::Failed | Self::Aborted)
    }
}

/// What a trial observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TuningTrialStatus {
    /// Where it is.
    pub state: TrialState,
    /// Why it is there, when that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reason in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// UID of the benchmark's Job, so that no benchmark runs twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// When the state was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When the server that is measured was started, in milliseconds since 1970: another start ends the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_started_at_ms: Option<i64>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<Measurement>,
    /// Gain over the baseline measured before it, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain_percent: Option<Decimal>,
    /// Reward that the learner was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<Decimal>,
}
