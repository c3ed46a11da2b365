//! The search of a tuning: its knobs, its optimizer, what it may cost, and its bounds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// The search ends, and verification begins, after this time (`6h`, `90m`), also of a session that was
    /// suspended in between.
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    pub max_duration: String,
    /// The search ends after this many proposals without a better incumbent. The samples that DDPG begins with do not
    /// count.
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
