//! Cumulative statistics of a server under one set of names for all versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Cumulative statistics by canonical name ([`NAMES`]). What a version does not have is absent.
pub type Counters = BTreeMap<String, f64>;

/// The canonical names. `*_ms` are milliseconds, `buffers_*` are blocks; each only grows until a statistics reset.
pub const NAMES: &[&str] = &[
    "transactions_committed",
    "transactions_rolled_back",
    "blocks_hit",
    "blocks_read",
    "temp_bytes",
    "deadlocks",
    "checkpoints_timed",
    "checkpoints_requested",
    "checkpoint_write_ms",
    "checkpoint_sync_ms",
    "buffers_checkpointer",
    "buffers_background_writer",
    "buffers_backend",
    "buffers_allocated",
    "wal_bytes",
    "wal_full_page_images",
    "wal_buffers_full",
    "wal_write_ms",
    "wal_sync_ms",
];

/// Growth of a counter between two readings: 0 where a version does not have it, and where it was reset in between.
pub fn growth(before: &Counters, after: &Counters, name: &str) -> f64 {
    match (before.get(name), after.get(name)) {
        (Some(before), Some(after)) => (after - before).max(0.0),
        _ => 0.0,
    }
}

/// What sampled backends were waiting for: how often each `wait_event_type` was seen in an active backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WaitSamples {
    /// How often the server was sampled.
    pub samples: u64,
    /// Active backends seen in all samples, by `wait_event_type`; those that did not wait are under [`WaitSamples::RUNNING`].
    pub seen: BTreeMap<String, u64>,
}

impl WaitSamples {
    /// A backend that did not wait: it ran, or was ready to run.
    pub const RUNNING: &'static str = "Running";

    /// Adds one sample: active backends by `wait_event_type`.
    pub fn add(&mut self, sample: impl IntoIterator<Item = (String, u64)>) {
        self.samples += 1;
        for (kind, backends) in sample {
            *self.seen.entry(kind).or_default() += backends;
        }
    }

    /// Share of the active backends that were seen waiting for this, from 0 to 1; 0 where none was seen.
    pub fn share(&self, kind: &str) -> f64 {
        let all: u64 = self.seen.values().sum();
        if all == 0 { 0.0 } else { self.seen.get(kind).copied().unwrap_or(0) as f64 / all as f64 }
    }

    /// Mean number of active backends in a sample.
    pub fn active(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { self.seen.values().sum::<u64>() as f64 / self.samples as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_zero_for_what_is_absent_or_was_reset() {
        let reading = |value| Counters::from([("wal_bytes".to_owned(), value)]);
        assert_eq!(growth(&reading(5.0), &reading(7.0), "wal_bytes"), 2.0);
        assert_eq!(growth(&reading(7.0), &reading(5.0), "wal_bytes"), 0.0);
        assert_eq!(growth(&Counters::new(), &reading(5.0), "wal_bytes"), 0.0);
    }

    #[test]
    fn shares_are_of_all_active_backends() {
        let mut waits = WaitSamples::default();
        assert_eq!((waits.share("IO"), waits.active()), (0.0, 0.0));
        waits.add([("IO".to_owned(), 3), (WaitSamples::RUNNING.to_owned(), 1)]);
        waits.add([]);
        assert_eq!((waits.share("IO"), waits.share("Lock"), waits.active()), (0.75, 0.0, 2.0));
    }
}
