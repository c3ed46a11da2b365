//! The status of a tuning: what it has done, found and recommends.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TrialKind, TrialState};
use crate::decimal::Decimal;
use crate::instance::crd::PostgresInstanceSpec;
use crate::tuning::measurement::Parameters;

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
    /// Trials done and planned, e.g. `12/40`, and the runs of the verification that follows them: `12/40 verify 3`.
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
    /// Short name of the session: part of its trials' names.
    pub name: String,
    /// Short name of the search that was asked for: a tuning with another one begins another session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// When it began.
    pub started_at: Time,
    /// `spec.budget.verificationPairs` as it was then: runs of a verification that has begun are matched to their places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_pairs: Option<i32>,
    /// Values of every knob of the search before the first change.
    pub baseline_parameters: Parameters,
    /// Text of our configuration key before the first change; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_configuration: Option<String>,
    /// What `ALTER SYSTEM` had set of these knobs before the first change, where that is how they are changed.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub baseline_alter_system: Parameters,
    /// The instance as the session found it: what is changed there is restored there, also when the object is deleted or
    /// points elsewhere by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<PostgresInstanceSpec>,
    /// What was there before an earlier session, where this one began with that one's recommendation in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalConfiguration>,
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
    /// The timeline of the server's write-ahead log when it began: another one tells that another server is the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<i64>,
    /// Since when the recommendation has been on its way into effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applying_since: Option<Time>,
    /// The recommendation with which the server did not come up in time: it is not applied again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What it had left in effect before it takes that back or brings something else into effect: all that it may replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

impl SessionRecord {
    /// What this session found.
    pub fn found(&self) -> OriginalConfiguration {
        OriginalConfiguration {
            parameters: self.baseline_parameters.clone(),
            configuration: self.baseline_configuration.clone(),
            alter_system: self.baseline_alter_system.clone(),
        }
    }

    /// What was there before the first of the sessions that built on each other: of what the earlier ones changed, what
    /// they found; of the rest, what this one found.
    pub fn first(&self) -> OriginalConfiguration {
        let found = self.found();
        let Some(before) = &self.original else { return found };
        let mut first = OriginalConfiguration { configuration: before.configuration.clone(), ..found };
        first.alter_system.retain(|name, _| !before.parameters.contains_key(name));
        first.alter_system.extend(before.alter_system.clone());
        first.parameters.extend(before.parameters.clone());
        first
    }
}

/// What was there before the first of several sessions, each of which began with the recommendation of the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OriginalConfiguration {
    /// Values of every knob of that session's search.
    pub parameters: Parameters,
    /// Text of our configuration key; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// What `ALTER SYSTEM` had set of these knobs, where that is how they are changed.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub alter_system: Parameters,
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
    /// Bytes of the databases on it that the role may look into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_bytes: Option<i64>,
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
    /// Lower end of the gain's 95 % interval, once verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain_low_percent: Option<Decimal>,
    /// Upper end of the gain's 95 % interval, once verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain_high_percent: Option<Decimal>,
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

impl Recommendation {
    /// The knobs that it changes, with their recommended values.
    pub fn recommended(&self) -> Parameters {
        self.parameters.iter().map(|change| (change.name.clone(), change.new.clone())).collect()
    }
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
