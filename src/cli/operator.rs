//! `howdah operator`: reconciles every kind for as long as this replica leads.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::control::Options;
use crate::control::lease::LeaderLease;
use crate::control::metrics::Metrics;
use crate::control::readiness::{Readiness, watch_kinds};
use crate::control::scope::Scope;
use crate::control::shutdown::Shutdown;
use crate::control::telemetry::{self, LogFormat};
use crate::cost::grants::Grants;
use crate::kinds::{self, Surroundings};
use crate::learn::worker::Worker;
use crate::serve::{self, Served};
use crate::world::kubernetes::pod::OwnPod;
use crate::world::store::Store;

/// Running reconciles get this long to finish after the shutdown was requested. What is cut short goes on under the
/// next leader from where it is.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// How the operator runs.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Address of the probes and metrics.
    #[arg(long, env = "HOWDAH_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// The one namespace to watch; without it, all.
    #[arg(long, env = "HOWDAH_NAMESPACE")]
    namespace: Option<String>,
    /// Namespace of the leader election's Lease; without it, the operator's own.
    #[arg(long, env = "HOWDAH_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// Name of the leader election's Lease: of each installation in one namespace that watches another one.
    #[arg(long, env = "HOWDAH_LEASE_NAME", default_value = "howdah-operator")]
    lease_name: String,
    /// Where learned models are kept: `file:///directory` or `s3://bucket/prefix`.
    #[arg(long, env = "HOWDAH_MODEL_STORE", default_value = "file:///var/lib/howdah/models")]
    model_store: String,
    /// Image of the benchmark's Jobs: one that holds `howdah` and pgbench.
    #[arg(long, env = "HOWDAH_BENCHMARK_IMAGE", default_value = concat!("howdah:", env!("CARGO_PKG_VERSION")))]
    benchmark_image: String,
    /// Query logs that query cost models may read with the operator's own rights: `NAMESPACE=URL,…`, `*` for every
    /// namespace. Without it, only buckets whose credentials they bring.
    #[arg(long, env = "HOWDAH_QUERY_LOGS", default_value = "", value_name = "GRANTS")]
    query_logs: Grants,
    /// The operator's own pod, after which a training's Job is made; without it, nothing is trained.
    #[arg(long, env = "POD_NAME")]
    pod_name: Option<String>,
    /// Namespace of the operator's own pod.
    #[arg(long, env = "POD_NAMESPACE")]
    pod_namespace: Option<String>,
    /// Reconciles of one kind that may run at once.
    #[arg(long, env = "HOWDAH_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// How log lines are written.
    #[arg(long, env = "HOWDAH_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the operator can't start, or loses the lease: another replica may be reconciling then.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    super::choose_tls_provider();
    let _telemetry = telemetry::start(arguments.log_format).context("logging could not be started")?;
    super::give_back_pages();
    let models = Arc::new(Store::open(&arguments.model_store)?);
    let shutdown = Shutdown::on_signals().context("signals can't be listened for")?;
    let client = super::cluster::connect().await?;
    let served = Served { metrics: Arc::new(Metrics::default()), readiness: Readiness::default() };
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(arguments.listen, served.clone()));
    let (sender, served_kinds) = watch::channel(BTreeSet::new());
    let kinds = kinds::all().into_iter().map(|entry| entry.kind).collect();
    let readiness = watch_kinds(client.clone(), kinds, served.readiness.clone(), sender);
    tasks.spawn(async {
        readiness.await;
        Ok(())
    });

    let identity = identity();
    let namespace = arguments.lease_namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let mut lease = LeaderLease::new(client.clone(), &namespace, &arguments.lease_name, &identity);
    tokio::select! {
        () = lease.acquire() => {}
        () = shutdown.clone().requested() => return Ok(()),
        failed = tasks.join_next() => return ended(failed),
    }
    let surroundings = Surroundings {
        scope: Scope { client, namespace: arguments.namespace },
        options: Options {
            concurrency: arguments.concurrency,
            metrics: served.metrics,
            shutdown: shutdown.clone(),
            identity,
        },
        models,
        query_logs: arguments.query_logs,
        model_store: arguments.model_store,
        own_pod: Arc::new(OwnPod::new(arguments.pod_namespace.zip(arguments.pod_name))),
        scorer: Worker::spawn("scorer").context("the scorer can't start its thread")?,
        learner: Worker::spawn("learner").context("the learner can't start its thread")?,
        benchmark_image: arguments.benchmark_image,
    };
    let mut loops = start_loops(&surroundings, &served_kinds);
    tokio::select! {
        () = lease.hold() => bail!("the lease {namespace}/{} was lost; another replica leads", arguments.lease_name),
        () = shutdown.requested() => {}
        failed = tasks.join_next() => return ended(failed),
        Some(Err(panic)) = loops.join_next() => return Err(panic).context("a reconcile loop ended"),
    }
    if tokio::time::timeout(FINISH_WITHIN, async { while loops.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(
            "reconciles were still running after {} s; they continue where they are next time",
            FINISH_WITHIN.as_secs()
        );
    }
    loops.shutdown().await;
    if let Err(error) = lease.release().await {
        tracing::warn!(error, "the lease could not be released; it runs out by itself");
    }
    Ok(())
}

async fn serve(address: SocketAddr, served: Served) -> anyhow::Result<()> {
    serve::listen(address, served).await.with_context(|| format!("{address} can't be listened on"))
}

/// A task that should run as long as the process has ended.
fn ended(result: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Result<()> {
    match result {
        Some(Ok(Err(error))) => Err(error),
        Some(Err(panic)) => Err(panic).context("a task of the operator ended"),
        Some(Ok(Ok(()))) | None => bail!("a task of the operator ended"),
    }
}

/// Starts each kind's loop once the API server serves the kind.
fn start_loops(surroundings: &Surroundings, served: &watch::Receiver<BTreeSet<String>>) -> JoinSet<()> {
    let mut loops = JoinSet::new();
    for entry in kinds::all() {
        let Some(start) = entry.start else { continue };
        let plural = entry.kind.crd.spec.names.plural;
        let (surroundings, mut served) = (surroundings.clone(), served.clone());
        loops.spawn(async move {
            tokio::select! {
                Ok(_) = served.wait_for(|kinds| kinds.contains(&plural)) => {}
                () = surroundings.options.shutdown.clone().requested() => return,
            }
            start(surroundings).await;
        });
    }
    loops
}

/// The pod's name, which is the host's, and a part of its own: a restarted container is another replica.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "howdah".into());
    format!("{host}_{:08x}", rand::random::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::lease::RETRY_EVERY;

    #[test]
    fn a_standby_leads_within_three_seconds_of_a_shutdown() {
        assert!(FINISH_WITHIN + RETRY_EVERY <= Duration::from_secs(3));
    }
}
