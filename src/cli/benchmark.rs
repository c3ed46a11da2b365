//! `howdah benchmark`: one benchmark run, as the benchmark's Job executes it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::termination;
use crate::postgres::uri::Uri;
use crate::tuning::benchmark::BenchmarkRequest;
use crate::tuning::measure::{MeasureError, Progress, Second, measure};
use crate::tuning::measurement::{BenchmarkResult, Measurement};

/// Measure a PostgreSQL server with pgbench and leave the result as a pod's termination message.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Connection URI of the server (postgresql://user:password@host:port/database).
    #[arg(long, env = "PGURI", hide_env_values = true)]
    uri: String,
    /// CA certificates in PEM, for sslmode=verify-ca and verify-full. The other modes do without, so it may be missing.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What to measure, as JSON.
    #[arg(long, env = "HOWDAH_BENCHMARK", value_name = "JSON")]
    request: String,
    /// The file that receives the result.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_log: PathBuf,
}

/// Characters of a failure's message that are kept: even if each is escaped in JSON, the message stays within the bound.
const FAILURE_CHARACTERS: usize = 600;

/// Measures, prints a line for each second, and writes the result. Succeeds if there is a measurement.
pub async fn run(args: Args) -> ExitCode {
    let result = match measured(&args).await {
        Ok(measurement) => BenchmarkResult::Measured(Box::new(measurement)),
        Err(error) => failure(&error),
    };
    let code = match &result {
        BenchmarkResult::Measured(measurement) => {
            println!("{} tps, p95 {} ms", measurement.tps, measurement.latency_p95_ms);
            ExitCode::SUCCESS
        }
        BenchmarkResult::Failed { message } | BenchmarkResult::LatencyGuardrail { message } => {
            eprintln!("howdah benchmark: {message}");
            ExitCode::FAILURE
        }
    };
    match termination::write(&args.termination_log, &result) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("howdah benchmark: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measured(args: &Args) -> Result<Measurement> {
    let uri: Uri = args.uri.parse()?;
    let request: BenchmarkRequest =
        serde_json::from_str(&args.request).context("the benchmark's request is not valid")?;
    let ca = match &args.ca {
        Some(path) if path.exists() => {
            Some(tokio::fs::read(path).await.with_context(|| format!("{} can't be read", path.display()))?)
        }
        _ => None,
    };
    // As the first process of a container it would not be ended by a signal that it does not handle.
    let mut terminated = signal(SignalKind::terminate()).context("signals can't be handled")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("signals can't be handled")?;
    tokio::select! {
        measurement = measure(&uri, ca.as_deref(), &request, |progress| println!("{}", line(progress))) => Ok(measurement?),
        _ = terminated.recv() => anyhow::bail!("the benchmark was stopped"),
        _ = interrupted.recv() => anyhow::bail!("the benchmark was stopped"),
    }
}

fn line(progress: Progress) -> String {
    let second = |phase: &str, Second { elapsed, tps, latency_ms }: Second| match latency_ms {
        Some(latency) => format!("{phase} {elapsed:.0} s: {tps:.1} tps, {latency:.3} ms"),
        None => format!("{phase} {elapsed:.0} s: {tps:.1} tps"),
    };
    match progress {
        Progress::Preparing => "preparing the benchmark's database".into(),
        Progress::WarmingUp(passed) => second("warm-up", passed),
        Progress::Measuring(passed) => second("measuring", passed),
        Progress::Checkpointing => "writing the closing checkpoint".into(),
    }
}

fn failure(error: &anyhow::Error) -> BenchmarkResult {
    let message = format!("{error:#}").chars().take(FAILURE_CHARACTERS).collect();
    match error.downcast_ref() {
        Some(MeasureError::LatencyGuardrail { .. }) => BenchmarkResult::LatencyGuardrail { message },
        _ => BenchmarkResult::Failed { message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decimal::Decimal;
    use crate::kubernetes::job::TERMINATION_MESSAGE_BYTES;
    use crate::tuning::state::{Activity, Context, FEATURES, vector};

    #[test]
    fn the_longest_result_fits_into_a_termination_message() {
        let longest = Decimal::rounded(-123_456_789_012.345);
        let mut measurement = Measurement {
            transactions: i64::MIN,
            failed_transactions: i64::MIN,
            seconds: longest,
            checkpoint_seconds: longest,
            tps: longest,
            latency_mean_ms: longest,
            latency_p95_ms: longest,
            latency_p99_ms: longest,
            latency_stddev_ms: longest,
            wal_bytes: i64::MIN,
            memory_peak_bytes: Some(i64::MIN),
            censored: true,
            configuration: Some("f".repeat(64)),
            state: vec![],
        };
        // The state vector rounds what it is given; these are its longest numbers.
        let context = Context { data_bytes: 1.234_567_89e-9, memory_bytes: Some(1.0), ..Context::default() };
        let longest_feature = *vector(&measurement, &Activity::default(), &context).last().unwrap();
        measurement.state = vec![Decimal(-longest_feature); FEATURES.len()];
        let json = serde_json::to_string(&BenchmarkResult::Measured(Box::new(measurement))).unwrap();
        assert!(json.len() <= TERMINATION_MESSAGE_BYTES, "{} bytes: {json}", json.len());
        let failed = serde_json::to_string(&failure(&anyhow::Error::msg("\u{1}".repeat(5000)))).unwrap();
        assert!(failed.len() <= TERMINATION_MESSAGE_BYTES, "{} bytes", failed.len());
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert!(termination::write(&path, &BenchmarkResult::Failed { message: "x".repeat(5000) }).is_err());
        assert!(!path.exists());
        termination::write(&path, &failure(&anyhow::Error::msg("broken"))).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), r#"{"failed":{"message":"broken"}}"#);
    }
}
