//! What a benchmark run measured, as it travels in a Job's termination message (at most 4,096 bytes) and stands
//! in a trial's status.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;

/// Knobs and their values in PostgreSQL's own display form (`shared_buffers: 128MB`, `jit: off`), as `SHOW` prints them.
pub type Parameters = BTreeMap<String, String>;

/// The result of one benchmark run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// Transactions that were completed in the measured time.
    pub transactions: i64,
    /// Transactions that failed in the measured time.
    #[serde(default)]
    pub failed_transactions: i64,
    /// Length of the measured time in seconds, without warm-up and closing checkpoint.
    pub seconds: Decimal,
    /// Seconds that the closing checkpoint took. They are charged to the trial.
    pub checkpoint_seconds: Decimal,
    /// Transactions per second with the closing checkpoint charged: transactions / (seconds + checkpoint seconds).
    pub tps: Decimal,
    /// Mean latency in milliseconds.
    pub latency_mean_ms: Decimal,
    /// 95th percentile of the latency in milliseconds.
    pub latency_p95_ms: Decimal,
    /// 99th percentile of the latency in milliseconds.
    pub latency_p99_ms: Decimal,
    /// Standard deviation of the latency in milliseconds.
    pub latency_stddev_ms: Decimal,
    /// WAL written in the measured time and by the closing checkpoint, in bytes.
    #[serde(default)]
    pub wal_bytes: i64,
    /// Highest memory use that was seen in the server's container, in bytes; absent where it can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<i64>,
    /// The run ended early because it was clearly worse than the incumbent: its numbers are an upper bound of its worth.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub censored: bool,
    /// The configuration marker (`howdah.configuration`) that the server showed at the end of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// The state vector: raw features in the order of `state::FEATURES`, before normalisation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<Decimal>,
}

/// What a benchmark Job leaves in its termination message: a measurement, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BenchmarkResult {
    /// The run completed.
    Measured(Box<Measurement>),
    /// The run failed; `message` says what to do in a sentence.
    Failed {
        /// Why, in one sentence, with the first lines of pgbench's own error output where it has any.
        message: String,
    },
    /// The run was ended because its latency tripped the guardrail.
    LatencyGuardrail {
        /// The percentile and the bound, in one sentence.
        message: String,
    },
}
