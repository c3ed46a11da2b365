//! What a benchmark run is asked to do, and when it is ended early.

use serde::{Deserialize, Serialize};

use super::crd::Builtin;

/// Share of the data volume that databases may take when a session begins.
pub const FULL: f64 = 0.8;
/// Bytes of pgbench's own tables with their indexes for each unit of scale, and half of that for what updates leave.
const SCALE_BYTES: i64 = 24 << 20;

/// Bytes that pgbench's own tables have yet to take where the benchmark's database has so many. How much a script of the
/// user's fills is not known.
pub fn growth(scale: i32, own_tables: bool, taken: i64) -> i64 {
    let wanted = if own_tables { i64::from(scale) * SCALE_BYTES } else { 0 };
    (wanted - taken).max(0)
}

/// One benchmark run. It travels to the benchmark's Job as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BenchmarkRequest {
    /// Scale factor of the benchmark's tables, and `:scale` in the user's scripts.
    pub scale: u32,
    /// Concurrent connections.
    pub clients: u32,
    /// Threads of pgbench.
    pub threads: u32,
    /// One of pgbench's own scripts, where `scripts` is empty.
    #[serde(default)]
    pub builtin: Builtin,
    /// The user's scripts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<ScriptFile>,
    /// Path of the SQL script that prepares the benchmark's database; without it, pgbench's own tables are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_script: Option<String>,
    /// Seconds of load before the measurement.
    pub warmup_seconds: u32,
    /// Seconds of the measurement.
    pub measure_seconds: u32,
    /// Transactions per second at which latency is measured; without it, as fast as they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Seed of pgbench's random numbers.
    pub seed: u32,
    /// Ends the run early, censored, after three windows in a row with fewer transactions per second than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandon_below_tps: Option<f64>,
    /// Fails the run after three windows in a row with a 99th percentile above this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_above_p99_ms: Option<f64>,
    /// Memory that the server may use in bytes, where known: context of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,
    /// Thousandths of a core that the server may use, where known: context of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<i64>,
}

/// A script of the user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScriptFile {
    /// Its path in the benchmark's container.
    pub path: String,
    /// Its share of the transactions.
    pub weight: u32,
}

/// Windows in a row that must be beyond a bound before a run is ended: one slow window may be a checkpoint's.
const WINDOWS_IN_A_ROW: u32 = 3;

/// Watches a run in windows of a tenth of its measured time, at least a second.
#[derive(Clone, Debug)]
pub struct Watch {
    window_seconds: f64,
    abandon_below_tps: Option<f64>,
    abort_above_p99_ms: Option<f64>,
    seconds: f64,
    transactions: f64,
    latencies_us: Vec<u32>,
    slow_windows: u32,
    late_windows: u32,
}

/// What a watched run deserves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It is clearly too slow: ending it early loses nothing.
    Abandon,
    /// Its latency has tripped the guardrail.
    Abort {
        /// 99th percentile of the last window in milliseconds.
        p99_ms: f64,
        /// The bound that it crossed.
        bound_ms: f64,
    },
}

impl Watch {
    /// Watches the measured part of a run.
    pub fn new(request: &BenchmarkRequest) -> Self {
        Self {
            window_seconds: (f64::from(request.measure_seconds) / 10.0).max(1.0),
            abandon_below_tps: request.abandon_below_tps,
            abort_above_p99_ms: request.abort_above_p99_ms,
            seconds: 0.0,
            transactions: 0.0,
            latencies_us: Vec::new(),
            slow_windows: 0,
            late_windows: 0,
        }
    }

    /// Takes note of the next `seconds` of the run: transactions per second, and the latencies that were logged in them
    /// (the log is written in chunks, so there may be none; such a window says nothing about latency).
    pub fn add(&mut self, seconds: f64, tps: f64, latencies_us: &[u32]) -> Verdict {
        self.seconds += seconds;
        self.transactions += seconds * tps;
        self.latencies_us.extend_from_slice(latencies_us);
        // Progress lines come a few milliseconds early or late.
        if self.seconds < self.window_seconds - 0.1 {
            return Verdict::Continue;
        }
        let window_tps = self.transactions / self.seconds;
        let p99_ms = percentile_ms(&mut self.latencies_us, 0.99);
        (self.seconds, self.transactions) = (0.0, 0.0);
        self.latencies_us.clear();

        let in_a_row = |so_far: u32, beyond: bool| if beyond { so_far + 1 } else { 0 };
        self.slow_windows = in_a_row(self.slow_windows, self.abandon_below_tps.is_some_and(|bound| window_tps < bound));
        if let Some((p99_ms, bound_ms)) = p99_ms.zip(self.abort_above_p99_ms) {
            self.late_windows = in_a_row(self.late_windows, p99_ms > bound_ms);
            if self.late_windows >= WINDOWS_IN_A_ROW {
                return Verdict::Abort { p99_ms, bound_ms };
            }
        }
        if self.slow_windows >= WINDOWS_IN_A_ROW { Verdict::Abandon } else { Verdict::Continue }
    }
}

/// Latencies of a run in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// Mean.
    pub mean_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Standard deviation.
    pub stddev_ms: f64,
}

impl Latency {
    /// Of transactions' latencies in microseconds, in any order; `None` where there are none.
    pub fn of(latencies_us: &mut [u32]) -> Option<Self> {
        let count = latencies_us.len() as f64;
        let mean = latencies_us.iter().copied().map(f64::from).sum::<f64>() / count;
        let variance = latencies_us.iter().map(|latency| (f64::from(*latency) - mean).powi(2)).sum::<f64>() / count;
        Some(Self {
            p95_ms: percentile_ms(latencies_us, 0.95)?,
            p99_ms: percentile_ms(latencies_us, 0.99)?,
            mean_ms: mean / 1e3,
            stddev_ms: variance.sqrt() / 1e3,
        })
    }
}

/// The nearest-rank percentile in milliseconds; `None` where there are no latencies. Reorders them.
fn percentile_ms(latencies_us: &mut [u32], share: f64) -> Option<f64> {
    let rank = (latencies_us.len() as f64 * share).ceil() as usize;
    let index = rank.saturating_sub(1);
    if latencies_us.is_empty() {
        return None;
    }
    let (_, value, _) = latencies_us.select_nth_unstable(index);
    Some(f64::from(*value) / 1e3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(abandon_below_tps: Option<f64>, abort_above_p99_ms: Option<f64>) -> BenchmarkRequest {
        BenchmarkRequest {
            scale: 1,
            clients: 2,
            threads: 1,
            builtin: Builtin::TpcB,
            scripts: vec![],
            init_script: None,
            warmup_seconds: 0,
            measure_seconds: 20,
            rate: None,
            seed: 1,
            abandon_below_tps,
            abort_above_p99_ms,
            memory_bytes: None,
            cpu_millis: None,
        }
    }

    #[test]
    fn a_request_travels_as_json() {
        let request = request(Some(700.0), None);
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<BenchmarkRequest>(&json).unwrap(), request);
    }

    #[test]
    fn three_slow_windows_in_a_row_abandon_a_run() {
        let mut watch = Watch::new(&request(Some(70.0), None));
        let mut seconds = |tps: &[f64]| tps.iter().map(|tps| watch.add(1.0, *tps, &[])).collect::<Vec<_>>();
        // Windows are two seconds long: 60, 60, 100 tps, then 60 three times.
        let verdicts = seconds(&[60.0, 60.0, 60.0, 60.0, 100.0, 100.0, 60.0, 60.0, 60.0, 60.0, 60.0]);
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Continue));
        assert_eq!(seconds(&[60.0]), [Verdict::Abandon]);
    }

    #[test]
    fn three_late_windows_abort_a_run_and_windows_without_a_log_say_nothing() {
        let mut watch = Watch::new(&request(None, Some(10.0)));
        let late = [20_000_u32; 5];
        assert_eq!(watch.add(2.0, 5.0, &late), Verdict::Continue);
        assert_eq!(watch.add(2.0, 5.0, &[]), Verdict::Continue);
        assert_eq!(watch.add(2.0, 5.0, &late), Verdict::Continue);
        assert_eq!(watch.add(2.0, 5.0, &late), Verdict::Abort { p99_ms: 20.0, bound_ms: 10.0 });
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut latencies: Vec<u32> = (1..=100).rev().map(|ms| ms * 1000).collect();
        let latency = Latency::of(&mut latencies).unwrap();
        assert_eq!((latency.mean_ms, latency.p95_ms, latency.p99_ms), (50.5, 95.0, 99.0));
        assert!((latency.stddev_ms - 28.866).abs() < 1e-3);
        assert_eq!(Latency::of(&mut []), None);
    }

    proptest! {
        #[test]
        fn percentiles_lie_among_the_latencies(mut latencies in prop::collection::vec(any::<u32>(), 1..200)) {
            let latency = Latency::of(&mut latencies).unwrap();
            let largest = f64::from(*latencies.iter().max().unwrap()) / 1e3;
            prop_assert!(latency.p95_ms <= latency.p99_ms && latency.p99_ms <= largest);
            prop_assert!(latency.mean_ms <= largest && latency.stddev_ms <= largest);
        }
    }
}
