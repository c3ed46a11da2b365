//! `howdah tune`: the same session without Kubernetes, by `ALTER SYSTEM`.

pub mod local_server;
mod report;
mod session;
pub mod target;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::learn::worker::Worker;
use crate::postgres::uri::Uri;
use crate::tuning::benchmark::ScriptFile;
use crate::tuning::crd::{
    Algorithm, Budget, Builtin, InstanceReference, KnobSelection, Objective, ObjectiveMetric, OptimizerSpec, Pgbench,
    PostgresTuningSpec, Profile, RestartPolicy, Safety, SessionOutcome, Workload,
};
use session::Session;
use target::Target;

/// Tune a PostgreSQL server without Kubernetes. Its settings are changed by ALTER SYSTEM and always restored, unless
/// --apply keeps a verified recommendation. The load runs in a database of its own (howdah_bench).
#[derive(Debug, Args)]
pub struct Tune {
    /// Connection URI of the server (postgresql://user:password@host:port/database); the role must be a superuser.
    #[arg(long, env = "PGURI", hide_env_values = true)]
    dsn: String,
    /// CA certificates in PEM, for sslmode=verify-ca and verify-full.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The server's data directory: with --allow-restart, the server is restarted there by pg_ctl.
    #[arg(long, value_name = "DIR")]
    pgdata: Option<PathBuf>,
    /// A pgbench script and its weight; may be given several times.
    #[arg(long = "script", value_name = "FILE@WEIGHT", value_parser = script, conflicts_with = "builtin")]
    scripts: Vec<ScriptFile>,
    /// SQL that prepares the benchmark's database for the scripts.
    #[arg(long, value_name = "FILE", requires = "scripts")]
    init: Option<String>,
    /// One of pgbench's own scripts.
    #[arg(long, value_enum, default_value_t = BuiltinArgument::Tpcb)]
    builtin: BuiltinArgument,
    /// Scale factor: 1 is 100,000 accounts, about 15 MB.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    scale: i32,
    /// Concurrent connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=1000))]
    clients: i32,
    /// Threads of pgbench.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(i32).range(1..=64))]
    threads: i32,
    /// Trials of the search.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i32).range(3..=1000))]
    trials: i32,
    /// Seconds of load before each measurement.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(0..=3600))]
    warmup_seconds: i32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(i32).range(2..=7200))]
    measure_seconds: i32,
    /// Pairs of the final verification.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i32).range(2..=50))]
    verification_pairs: i32,
    /// The search ends after this many proposals without a better configuration. The samples that DDPG begins with do
    /// not count.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(i32).range(1..=1000))]
    patience: i32,
    /// The lower end of the verified gain's interval must reach this, in percent.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(i32).range(0..=100))]
    min_improvement_percent: i32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(i64).range(0..))]
    seed: i64,
    /// How configurations are proposed.
    #[arg(long, value_enum, default_value_t = AlgorithmArgument::Ddpg)]
    algorithm: AlgorithmArgument,
    /// What is to become better.
    #[arg(long, value_enum, default_value_t = MetricArgument::Throughput)]
    metric: MetricArgument,
    /// The set of knobs.
    #[arg(long, value_enum, default_value_t = ProfileArgument::Oltp)]
    profile: ProfileArgument,
    /// Also turn knobs that need a restart; needs --pgdata.
    #[arg(long, requires = "pgdata")]
    allow_restart: bool,
    /// Memory that the server may use (2GB); without it, the container's limit or, for a local server, the machine's.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Cores that the server may use; without it, the container's limit or, for a local server, the machine's.
    #[arg(long)]
    cpu: Option<f64>,
    /// Size of the volume with the data directory (20GB); without it, --pgdata's file system where given.
    #[arg(long, value_name = "SIZE")]
    data_volume: Option<String>,
    /// Leave a verified recommendation in effect.
    #[arg(long)]
    apply: bool,
    /// Write every trial and the result as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BuiltinArgument {
    Tpcb,
    SimpleUpdate,
    SelectOnly,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AlgorithmArgument {
    Ddpg,
    Lhs,
    Random,
    Heuristic,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MetricArgument {
    Throughput,
    Latency,
    Balanced,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileArgument {
    Classic,
    Oltp,
    Olap,
}

fn script(text: &str) -> Result<ScriptFile, String> {
    let (path, weight) = text.rsplit_once('@').unwrap_or((text, "1"));
    let weight =
        weight.parse().ok().filter(|w| *w > 0).ok_or_else(|| format!("{weight:?} is not a positive weight"))?;
    Ok(ScriptFile { path: path.to_owned(), weight })
}

impl Tune {
    /// The specification that a PostgresTuning with the same options would have.
    pub fn spec(&self) -> PostgresTuningSpec {
        PostgresTuningSpec {
            instance_ref: InstanceReference { name: "local".into() },
            mode: crate::tuning::crd::Mode::default(),
            restart_policy: if self.allow_restart { RestartPolicy::Always } else { RestartPolicy::Never },
            objective: Objective {
                metric: match self.metric {
                    MetricArgument::Throughput => ObjectiveMetric::Throughput,
                    MetricArgument::Latency => ObjectiveMetric::Latency,
                    MetricArgument::Balanced => ObjectiveMetric::Balanced,
                },
                min_improvement_percent: self.min_improvement_percent,
            },
            workload: Workload {
                pgbench: Pgbench {
                    scale: self.scale,
                    clients: self.clients,
                    threads: self.threads.min(self.clients),
                    builtin: Some(match self.builtin {
                        BuiltinArgument::Tpcb => Builtin::TpcB,
                        BuiltinArgument::SimpleUpdate => Builtin::SimpleUpdate,
                        BuiltinArgument::SelectOnly => Builtin::SelectOnly,
                    }),
                    warmup_seconds: self.warmup_seconds,
                    measure_seconds: self.measure_seconds,
                    ..Pgbench::default()
                },
            },
            knobs: KnobSelection {
                profile: match self.profile {
                    ProfileArgument::Classic => Profile::Classic,
                    ProfileArgument::Oltp => Profile::Oltp,
                    ProfileArgument::Olap => Profile::Olap,
                },
                ..KnobSelection::default()
            },
            optimizer: OptimizerSpec {
                algorithm: match self.algorithm {
                    AlgorithmArgument::Ddpg => Algorithm::DDPG,
                    AlgorithmArgument::Lhs => Algorithm::LHS,
                    AlgorithmArgument::Random => Algorithm::Random,
                    AlgorithmArgument::Heuristic => Algorithm::Heuristic,
                },
                seed: self.seed,
                ddpg: None,
            },
            budget: Budget {
                trials: self.trials,
                max_duration: "24h".into(),
                patience: self.patience,
                verification_pairs: self.verification_pairs,
            },
            safety: Safety::default(),
            suspend: false,
            deletion_policy: crate::tuning::crd::DeletionPolicy::default(),
            benchmark_resources: None,
        }
    }
}

/// Tunes, prints the result, and restores. Exit code 0 also when the current configuration turns out to be as good.
///
/// # Errors
/// When the server can't be reached or tuned; its settings are restored all the same.
pub async fn run(tune: Tune) -> Result<ExitCode> {
    let uri: Uri = tune.dsn.parse()?;
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("{} can't be read", path.display()));
    let ca = tune.ca.as_ref().map(read).transpose()?;
    let spec = tune.spec();
    let target = Target::open(uri, ca, &tune, &spec).await?;
    let session = Session {
        tune: &tune,
        spec: &spec,
        target: &target,
        worker: Worker::spawn("learner").context("the learner can't start its thread")?,
    };

    let searched = tokio::select! {
        // A panic, at the latest that of a line which nobody reads any more, leaves nothing behind either.
        result = AssertUnwindSafe(session.run()).catch_unwind() => {
            result.unwrap_or_else(|_| Err(anyhow::anyhow!("the session panicked; the lines above say where")))
        }
        signal = ended_by_signal() => Err(anyhow::anyhow!("ended by {signal}")),
    };
    let kept = match &searched {
        Ok(finished) if tune.apply => finished.recommended(),
        _ => None,
    };
    let settled = match &kept {
        Some(parameters) => target.apply(parameters).await,
        None => target.restore().await,
    };
    let finished = match searched {
        Ok(finished) => finished,
        Err(error) => {
            settled.with_context(|| format!("{error:#}"))?;
            return Err(error.context("the original settings are restored"));
        }
    };
    finished.print(&session);
    let written = tune.report.as_ref().map(|path| report::write(path, &session, &finished).map(|()| path));
    // That the settings are not back is the first thing to know.
    settled?;
    if let Some(path) = written.transpose()? {
        println!("\nreport: {}", path.display());
    }
    println!(
        "\n{}",
        if kept.is_some() { "The recommendation is in effect." } else { "The original settings are in effect." }
    );
    let failed = finished.conclusion.outcome == SessionOutcome::TooManyFailures;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Completes with the signal that is to end the process. Later ones do not cut short what is then restored.
async fn ended_by_signal() -> &'static str {
    let caught = async |kind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    let ignored = ignores_hangup();
    tokio::select! {
        () = caught(SignalKind::interrupt()) => "SIGINT",
        () = caught(SignalKind::terminate()) => "SIGTERM",
        () = caught(SignalKind::hangup()), if !ignored => "SIGHUP",
    }
}

/// Whether the process was started so that it survives its terminal (`nohup`).
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Bit 0 is the first signal, SIGHUP.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// How long a restarted server may take to answer.
const RESTART_LIMIT: Duration = Duration::from_secs(420);
