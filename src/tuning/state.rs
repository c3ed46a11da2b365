//! What a run says of the server: the features that a policy sees, raw. Normalising them is the learner's.

use crate::postgres::counters::{Counters, WaitSamples, growth};

use super::measurement::Measurement;

/// The features' names, in the order of [`vector`].
///
/// Shares are from 0 to 1. Whatever a version or a container does not tell is 0, always: the learner then sees a
/// constant, which carries no information. The knobs' own positions are not among them: whoever proposes knows them.
pub const FEATURES: &[&str] = &[
    "tps",
    "latency_mean_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "failed_share",
    "rollbacks_per_transaction",
    "cache_hit_share",
    "blocks_read_per_transaction",
    "temp_bytes_per_transaction",
    "deadlocks_per_second",
    "wal_bytes_per_transaction",
    "wal_full_page_images_per_transaction",
    "wal_buffers_full_per_second",
    "wal_write_share",
    "wal_sync_share",
    "checkpoints_timed_per_minute",
    "checkpoints_requested_per_minute",
    "checkpoint_write_share",
    "checkpoint_sync_share",
    "buffers_checkpointer_per_second",
    "buffers_background_writer_per_second",
    "buffers_backend_per_second",
    "buffers_allocated_per_second",
    "running_share",
    "waiting_for_io_share",
    "waiting_for_lock_share",
    "waiting_for_lwlock_share",
    "active_backends",
    "cpu_share",
    "memory_share",
    "clients",
    "data_to_memory_ratio",
];

/// What the server did in the measured time.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// Statistics when the measured time began.
    pub before: Counters,
    /// Statistics when it ended.
    pub after: Counters,
    /// What the sessions were waiting for.
    pub waits: WaitSamples,
    /// CPU time that the container used, in seconds, where known.
    pub cpu_seconds: Option<f64>,
}

/// What the run took place in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    /// Concurrent connections of the load.
    pub clients: u32,
    /// Cores that the server may use, where known.
    pub cores: Option<f64>,
    /// Memory that the server may use in bytes, where known.
    pub memory_bytes: Option<f64>,
    /// Bytes of the server's databases.
    pub data_bytes: f64,
}

/// The features of a run, in the order of [`FEATURES`]. Every one is finite, whatever was measured.
pub fn vector(measured: &Measurement, activity: &Activity, context: &Context) -> Vec<f64> {
    let grown = |name: &str| growth(&activity.before, &activity.after, name);
    let seconds = measured.seconds.0;
    let transactions = measured.transactions as f64;
    let failed = measured.failed_transactions as f64;
    let per_transaction = |name: &str| ratio(grown(name), transactions);
    let per_second = |name: &str| ratio(grown(name), seconds);
    let per_minute = |name: &str| ratio(grown(name), seconds / 60.0);
    let busy_share = |name: &str| ratio(grown(name) / 1e3, seconds);
    let memory = context.memory_bytes.unwrap_or(0.0);
    let features = [
        measured.tps.0,
        measured.latency_mean_ms.0,
        measured.latency_p95_ms.0,
        measured.latency_p99_ms.0,
        ratio(failed, transactions + failed),
        per_transaction("transactions_rolled_back"),
        ratio(grown("blocks_hit"), grown("blocks_hit") + grown("blocks_read")),
        per_transaction("blocks_read"),
        per_transaction("temp_bytes"),
        per_second("deadlocks"),
        per_transaction("wal_bytes"),
        per_transaction("wal_full_page_images"),
        per_second("wal_buffers_full"),
        busy_share("wal_write_ms"),
        busy_share("wal_sync_ms"),
        per_minute("checkpoints_timed"),
        per_minute("checkpoints_requested"),
        busy_share("checkpoint_write_ms"),
        busy_share("checkpoint_sync_ms"),
        per_second("buffers_checkpointer"),
        per_second("buffers_background_writer"),
        per_second("buffers_backend"),
        per_second("buffers_allocated"),
        activity.waits.share(WaitSamples::RUNNING),
        activity.waits.share("IO"),
        activity.waits.share("Lock"),
        activity.waits.share("LWLock"),
        activity.waits.active(),
        ratio(activity.cpu_seconds.unwrap_or(0.0), seconds * context.cores.unwrap_or(0.0)),
        ratio(measured.memory_peak_bytes.unwrap_or(0) as f64, memory),
        f64::from(context.clients),
        ratio(context.data_bytes, memory),
    ];
    features.map(bounded).to_vec()
}

/// A quotient; 0 where there is nothing to divide by.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Six significant digits, which is more than a measurement carries, between a billionth and a quadrillion, so that a
/// feature is finite and short as text.
fn bounded(value: f64) -> f64 {
    const LARGEST: f64 = 1e15;
    const SMALLEST: f64 = 1e-9;
    if value.is_nan() || value.abs() < SMALLEST {
        return 0.0;
    }
    let digits = 5 - value.abs().min(LARGEST).log10().floor() as i32;
    let scale = 10f64.powi(digits);
    (value.clamp(-LARGEST, LARGEST) * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decimal::Decimal;
    use crate::postgres::counters::NAMES;

    fn feature(vector: &[f64], name: &str) -> f64 {
        vector[FEATURES.iter().position(|known| *known == name).unwrap()]
    }

    #[test]
    fn features_are_rates_and_shares() {
        let reading = |hit: f64, read: f64, sync_ms: f64| {
            Counters::from([
                ("blocks_hit".to_owned(), hit),
                ("blocks_read".to_owned(), read),
                ("wal_sync_ms".to_owned(), sync_ms),
            ])
        };
        let activity =
            Activity { before: reading(100.0, 0.0, 0.0), after: reading(190.0, 10.0, 5000.0), ..Activity::default() };
        let measured = Measurement { transactions: 20, seconds: Decimal(10.0), ..Measurement::default() };
        let vector = vector(&measured, &activity, &Context { clients: 4, ..Context::default() });
        assert_eq!(feature(&vector, "cache_hit_share"), 0.9);
        assert_eq!(feature(&vector, "blocks_read_per_transaction"), 0.5);
        assert_eq!(feature(&vector, "wal_sync_share"), 0.5);
        assert_eq!(feature(&vector, "clients"), 4.0);
    }

    #[test]
    fn rounding_keeps_six_digits() {
        assert_eq!(bounded(0.000_123_456_78), 0.000_123_457);
        assert_eq!(bounded(-1_234_567.8), -1_234_570.0);
        assert_eq!((bounded(f64::INFINITY), bounded(1e-12)), (1e15, 0.0));
    }

    proptest! {
        #[test]
        fn every_feature_is_finite(
            before in prop::collection::vec(any::<f64>(), NAMES.len()),
            after in prop::collection::vec(any::<f64>(), NAMES.len()),
            known in 0..=NAMES.len(),
            numbers in prop::collection::vec(any::<f64>(), 6),
            transactions in any::<i64>(),
            clients in any::<u32>(),
            waits in 0u64..100,
        ) {
            let counters = |values: &[f64]| -> Counters {
                NAMES.iter().zip(values).take(known).map(|(name, value)| ((*name).to_owned(), *value)).collect()
            };
            let mut activity = Activity { before: counters(&before), after: counters(&after), ..Activity::default() };
            activity.waits.add([("IO".to_owned(), waits)]);
            activity.cpu_seconds = Some(numbers[0]);
            let measured = Measurement {
                transactions,
                failed_transactions: transactions / 2,
                seconds: Decimal(numbers[1]),
                tps: Decimal(numbers[2]),
                memory_peak_bytes: Some(transactions),
                ..Measurement::default()
            };
            let context = Context {
                clients,
                cores: Some(numbers[3]),
                memory_bytes: Some(numbers[4]),
                data_bytes: numbers[5],
            };
            let vector = vector(&measured, &activity, &context);
            prop_assert_eq!(vector.len(), FEATURES.len());
            prop_assert!(vector.iter().all(|feature| feature.is_finite()), "{:?}", vector);
        }
    }
}
