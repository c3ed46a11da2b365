//! One benchmark run, from the database's preparation to the closing checkpoint.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::benchmark::{BenchmarkRequest, Latency, Verdict, Watch};
use super::crd::Builtin;
use super::measurement::Measurement;
use super::state::{self, Activity, Context};
use crate::decimal::Decimal;
use crate::postgres::counters::{Counters, growth};
use crate::postgres::error::{ConnectError, QueryError};
use crate::postgres::server::ContainerUse;
use crate::postgres::uri::Uri;
use crate::world::pgbench::database::{self, Content, DATABASE, PrepareError};
use crate::world::pgbench::log::Transaction;
use crate::world::pgbench::run::{Load, Run, Script};
use crate::world::pgbench::{PgbenchError, Program};
use crate::world::postgres::container::{self, Cgroup};
use crate::world::postgres::{Client, configuration, connect, server, statistics};

/// Why a run gave no measurement.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The server can't be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server is a standby.
    #[error("the server is a standby or still recovers, so no benchmark can write to it; give the URI of the primary")]
    Standby,
    /// The benchmark's database could not be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A statement failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// pgbench failed.
    #[error(transparent)]
    Pgbench(#[from] PgbenchError),
    /// A script of the request can't be read.
    #[error("the script {path} can't be read: {message}")]
    Script {
        /// Its path.
        path: String,
        /// The operating system's message.
        message: String,
    },
    /// The latency tripped the guardrail.
    #[error("the 99th percentile of the latency stayed at {p99_ms:.1} ms, above the guardrail of {bound_ms:.1} ms")]
    LatencyGuardrail {
        /// 99th percentile of the last window.
        p99_ms: f64,
        /// The request's bound.
        bound_ms: f64,
    },
    /// Nothing was completed in the measured time.
    #[error("no transaction was completed in the measured time; measure for longer or look for locks in the scripts")]
    NoTransactions,
    /// pgbench did not end.
    #[error("pgbench did not end within {0} s after its time; the server does not finish its last transactions")]
    Stuck(u64),
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// The benchmark's database is being prepared.
    Preparing,
    /// A second of the warm-up has passed.
    WarmingUp(Second),
    /// A second of the measured time has passed.
    Measuring(Second),
    /// The closing checkpoint is being written.
    Checkpointing,
}

/// A second of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Second {
    /// Seconds since the load began, warm-up included.
    pub elapsed: f64,
    /// Transactions per second in it.
    pub tps: f64,
    /// Their mean latency in milliseconds; absent where there were none.
    pub latency_ms: Option<f64>,
}

/// How often the server is asked what its sessions wait for and how much memory it uses.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// Time that pgbench gets for its last transactions.
const GRACE: Duration = Duration::from_secs(120);

/// Measures the server in its present configuration. `ca` is a PEM bundle for `sslmode=verify-ca` and `verify-full`.
///
/// A checkpoint stands before the load and one behind it, which is timed and charged. Statistics are read when the
/// measured time begins and when it ends; they are not reset, because differences say the same and the user's own
/// monitoring reads them too. Dropping the future kills pgbench.
pub async fn measure(
    uri: &Uri,
    ca: Option<&[u8]>,
    request: &BenchmarkRequest,
    mut progress: impl FnMut(Progress),
) -> Result<Measurement, MeasureError> {
    let program = Program::find().await?;
    let client = connect(uri, ca, Duration::from_secs(10)).await?;
    let facts = server::server_facts(&client).await?;
    if facts.in_recovery {
        return Err(MeasureError::Standby);
    }
    progress(Progress::Preparing);
    let init_script = match &request.init_script {
        Some(path) => Some(read_script(path).await?),
        None => None,
    };
    let content = match &init_script {
        Some(sql) => Content::Script { sql },
        None => Content::Tables { scale: request.scale },
    };
    database::prepare(uri, ca, &program, &content).await?;
    configuration::checkpoint(&client).await?;

    let observer =
        Observer { cgroup: container::find(&client).await?, version_num: facts.version_num, client: &client };
    let start = || Run::start(&program, &uri.with_database(DATABASE), ca, &load(request));
    let seen = observer.follow(start, request, &mut progress).await?;

    progress(Progress::Checkpointing);
    let checkpoint_seconds = configuration::checkpoint(&client).await?;
    let closed = observer.counters().await?;
    let facts = server::server_facts(&client).await?;

    let mut measurement = summarise(&seen, checkpoint_seconds)?;
    measurement.wal_bytes = growth(&seen.activity.before, &closed, "wal_bytes") as i64;
    measurement.configuration = facts.marker;
    let context = Context {
        clients: request.clients,
        cores: request.cpu_millis.map(|millis| millis as f64 / 1e3),
        memory_bytes: request.memory_bytes.map(|bytes| bytes as f64),
        data_bytes: facts.database_bytes as f64,
    };
    let features = state::vector(&measurement, &seen.activity, &context);
    measurement.state = features.into_iter().map(Decimal).collect();
    Ok(measurement)
}

async fn read_script(path: &str) -> Result<String, MeasureError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|error| MeasureError::Script { path: path.to_owned(), message: error.to_string() })
}

fn load(request: &BenchmarkRequest) -> Load {
    let script = if request.scripts.is_empty() {
        Script::Builtin(match request.builtin {
            Builtin::TpcB => "tpcb-like",
            Builtin::SimpleUpdate => "simple-update",
            Builtin::SelectOnly => "select-only",
        })
    } else {
        let files = request.scripts.iter().map(|script| (PathBuf::from(&script.path), script.weight));
        Script::Files { files: files.collect(), scale: request.scale }
    };
    Load {
        script,
        clients: request.clients,
        threads: request.threads,
        seconds: load_seconds(request),
        rate: request.rate,
        seed: request.seed,
    }
}

/// Length of the load: warm-up and measured time are one run, so that there is no gap between them.
fn load_seconds(request: &BenchmarkRequest) -> u32 {
    request.warmup_seconds.saturating_add(request.measure_seconds)
}

/// Looks at the server while pgbench runs.
struct Observer<'a> {
    client: &'a Client,
    version_num: i32,
    cgroup: Option<Cgroup>,
}

/// What was seen of a run.
#[derive(Default)]
struct Seen {
    /// When the measured time began, in microseconds since 1970.
    began_us: u64,
    /// Transactions of the whole run, warm-up included.
    transactions: Vec<Transaction>,
    activity: Activity,
    memory_peak_bytes: Option<i64>,
    censored: bool,
}

impl Observer<'_> {
    async fn counters(&self) -> Result<Counters, QueryError> {
        statistics::counters(self.client, self.version_num, DATABASE).await
    }

    async fn container(&self) -> Result<Option<ContainerUse>, QueryError> {
        match self.cgroup {
            Some(cgroup) => container::read(self.client, cgroup).await,
            None => Ok(None),
        }
    }

    async fn cpu_seconds(&self) -> Result<Option<f64>, QueryError> {
        Ok(self.container().await?.map(|used| used.cpu_seconds))
    }

    /// Takes a sample of the waits and of the memory in use.
    async fn sample(&self, seen: &mut Seen) -> Result<(), QueryError> {
        statistics::sample_waits(self.client, DATABASE, &mut seen.activity.waits).await?;
        let memory = self.container().await?.map(|used| used.memory_bytes);
        seen.memory_peak_bytes = seen.memory_peak_bytes.max(memory);
        Ok(())
    }

    /// Starts the load and follows it to its end, or ends it when the request's bounds are crossed.
    async fn follow(
        &self,
        start: impl FnOnce() -> Result<Run, PgbenchError>,
        request: &BenchmarkRequest,
        progress: &mut impl FnMut(Progress),
    ) -> Result<Seen, MeasureError> {
        let warmup = f64::from(request.warmup_seconds);
        let mut seen = Seen::default();
        let mut watch = Watch::new(request);
        seen.activity.before = self.counters().await?;
        let mut cpu_before = self.cpu_seconds().await?;
        // The second of the run with which the measured time begins, once it has begun.
        let mut measured_from = (request.warmup_seconds == 0).then_some(0.0);
        let mut last_second = 0.0;

        let mut run = start()?;
        let deadline = Instant::now() + Duration::from_secs(load_seconds(request).into()) + GRACE;
        let mut samples = interval(SAMPLE_EVERY);
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let line = tokio::select! {
                line = run.progress() => line?,
                _ = samples.tick(), if measured_from.is_some() => {
                    self.sample(&mut seen).await?;
                    continue;
                }
                () = sleep_until(deadline) => return Err(MeasureError::Stuck(GRACE.as_secs())),
            };
            let Some(line) = line else { break };
            let logged = run.transactions()?;
            let latencies: Vec<u32> = logged.iter().filter_map(|transaction| transaction.latency_us).collect();
            seen.transactions.extend(logged);
            let seconds = line.seconds - std::mem::replace(&mut last_second, line.seconds);
            let second = Second { elapsed: line.seconds, tps: line.tps, latency_ms: line.latency_ms };
            if measured_from.is_none() {
                progress(Progress::WarmingUp(second));
                // Lines come a few milliseconds early or late.
                if line.seconds > warmup - 0.1 {
                    seen.activity.before = self.counters().await?;
                    cpu_before = self.cpu_seconds().await?;
                    measured_from = Some(line.seconds);
                }
                continue;
            }
            progress(Progress::Measuring(second));
            match watch.add(seconds, line.tps, &latencies) {
                Verdict::Continue => {}
                Verdict::Abandon => {
                    seen.censored = true;
                    run.kill().await?;
                    break;
                }
                Verdict::Abort { p99_ms, bound_ms } => return Err(MeasureError::LatencyGuardrail { p99_ms, bound_ms }),
            }
        }
        seen.activity.after = self.counters().await?;
        seen.activity.cpu_seconds = self.cpu_seconds().await?.zip(cpu_before).map(|(after, before)| after - before);
        seen.transactions.extend(run.transactions()?);
        let (began_us, from) = run.began_us().zip(measured_from).ok_or(MeasureError::NoTransactions)?;
        seen.began_us = began_us + (from * 1e6) as u64;
        Ok(seen)
    }
}

/// The numbers of the measured time; WAL, marker and state are not among them.
fn summarise(seen: &Seen, checkpoint_seconds: f64) -> Result<Measurement, MeasureError> {
    let measured = || seen.transactions.iter().filter(|transaction| transaction.ended_us > seen.began_us);
    let mut latencies: Vec<u32> = measured().filter_map(|transaction| transaction.latency_us).collect();
    let ended_us = measured().map(|transaction| transaction.ended_us).max().ok_or(MeasureError::NoTransactions)?;
    let latency = Latency::of(&mut latencies).ok_or(MeasureError::NoTransactions)?;
    let seconds = (ended_us - seen.began_us) as f64 / 1e6;
    Ok(Measurement {
        transactions: latencies.len() as i64,
        failed_transactions: (measured().count() - latencies.len()) as i64,
        seconds: Decimal::rounded(seconds),
        checkpoint_seconds: Decimal::rounded(checkpoint_seconds),
        tps: Decimal::rounded(latencies.len() as f64 / (seconds + checkpoint_seconds)),
        latency_mean_ms: Decimal::rounded(latency.mean_ms),
        latency_p95_ms: Decimal::rounded(latency.p95_ms),
        latency_p99_ms: Decimal::rounded(latency.p99_ms),
        latency_stddev_ms: Decimal::rounded(latency.stddev_ms),
        memory_peak_bytes: seen.memory_peak_bytes,
        censored: seen.censored,
        ..Measurement::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_measured_time_counts_and_the_checkpoint_is_charged() {
        let ended = |ended_us, latency_us| Transaction { ended_us, latency_us };
        let seen = Seen {
            began_us: 1_000_000,
            transactions: vec![
                ended(999_999, Some(90_000)),
                ended(2_000_000, Some(1_000)),
                ended(2_500_000, None),
                ended(5_000_000, Some(3_000)),
            ],
            ..Seen::default()
        };
        let measurement = summarise(&seen, 1.0).unwrap();
        assert_eq!((measurement.transactions, measurement.failed_transactions), (2, 1));
        assert_eq!((measurement.seconds, measurement.tps), (Decimal(4.0), Decimal(0.4)));
        assert_eq!((measurement.latency_mean_ms, measurement.latency_p99_ms), (Decimal(2.0), Decimal(3.0)));
    }

    #[test]
    fn without_a_transaction_there_is_no_measurement() {
        assert!(matches!(summarise(&Seen::default(), 0.0), Err(MeasureError::NoTransactions)));
    }
}
