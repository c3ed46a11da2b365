//! `howdah cost serve`: a model's answers over REST and gRPC.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use tokio::net::TcpListener;

use super::model_dir;
use crate::control::shutdown::Shutdown;
use crate::control::telemetry::{self, LogFormat};
use crate::cost::fetch::{Explain, stored_model};
use crate::cost::model::CostModel;
use crate::postgres::uri::Uri;
use crate::serve::cost::{Groups, Limits, Serving, grpc, rest};
use crate::world::store::Store;

/// Streams of a gRPC connection beside its requests: health, reflection.
const OTHER_STREAMS: usize = 16;
/// Requests that are under way when the process is to end have so long.
const FINISH_WITHIN: Duration = Duration::from_secs(20);

/// Answers over REST and gRPC.
#[derive(Debug, Args)]
pub struct Serve {
    /// The directory of the model.
    #[arg(long, value_name = "MODEL_DIR", required_unless_present = "model_name", conflicts_with = "model_name")]
    model: Option<PathBuf>,
    /// Where models are kept: `file:///directory` or `s3://bucket/prefix`.
    #[arg(long, env = "HOWDAH_MODEL_STORE", value_name = "URL")]
    model_store: Option<String>,
    /// The model's path in the model store.
    #[arg(long, requires = "model_store", value_name = "PATH")]
    model_name: Option<String>,
    /// The QueryCostModel that it is served for, as NAMESPACE/NAME: a label of the metrics.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    served_for: Option<String>,
    /// Address of the REST API, of probes and metrics.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// Address of the gRPC API; without it there is none.
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<SocketAddr>,
    /// Groups of clusters for the classes of a target, from the cheapest: what /v1/route answers.
    #[arg(long, value_name = "TARGET=GROUP,GROUP…")]
    route: Option<String>,
    /// A PostgreSQL server that plans statements (EXPLAIN, never ANALYZE) where the text is in doubt and the model has
    /// learnt plans: a URI with a role that may only read.
    #[arg(long, env = "HOWDAH_EXPLAIN_URI", hide_env_values = true, value_name = "URI")]
    explain_uri: Option<Uri>,
    /// CA certificates in PEM for sslmode=verify-full: a text, or @FILE.
    #[arg(long, env = "HOWDAH_EXPLAIN_CA", requires = "explain_uri", value_name = "PEM")]
    explain_ca: Option<String>,
    /// Milliseconds for a plan.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    explain_milliseconds: u64,
    /// Bytes of a request at the most.
    #[arg(long, default_value_t = Limits::default().body_bytes)]
    max_body_bytes: usize,
    /// Statements of a request at the most.
    #[arg(long, default_value_t = Limits::default().queries)]
    max_queries: usize,
    /// Requests that are answered at once; more are refused and told to come again.
    #[arg(long, default_value_t = Limits::default().concurrency)]
    max_concurrency: usize,
    /// Seconds for a request.
    #[arg(long, default_value_t = Limits::default().timeout.as_secs())]
    timeout_seconds: u64,
    /// When the process is to end, it says for so many seconds that it is not ready and answers all the same, so that
    /// callers go elsewhere first.
    #[arg(long, default_value_t = 5)]
    drain_seconds: u64,
    /// How log lines are written.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

impl Serve {
    fn planner(&self) -> Result<Option<Explain>> {
        let Some(uri) = &self.explain_uri else { return Ok(None) };
        let read = |text: &String| match text.strip_prefix('@') {
            Some(file) => std::fs::read(file).with_context(|| format!("{file} can't be read")),
            None => Ok(text.clone().into_bytes()),
        };
        let ca = self.explain_ca.as_ref().map(read).transpose()?;
        Ok(Some(Explain::new(uri.clone(), ca, Duration::from_millis(self.explain_milliseconds))))
    }

    async fn load(&self) -> Result<CostModel> {
        if let Some(directory) = &self.model {
            return model_dir::read(directory);
        }
        let (Some(url), Some(path)) = (&self.model_store, &self.model_name) else {
            bail!("name a model: --model MODEL_DIR, or --model-store URL with --model-name PATH");
        };
        stored_model(&Store::open(url)?, path).await.map_err(|sentence| anyhow!(sentence))
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// The model can't be read, the groups do not fit it, or an address can't be listened on.
pub async fn run(arguments: Serve) -> Result<()> {
    crate::cli::choose_tls_provider();
    let _telemetry = telemetry::start(arguments.log_format).context("logging could not be started")?;
    crate::cli::give_back_pages();
    let shutdown = Shutdown::on_signals().context("signals can't be listened for")?;
    let model = arguments.load().await?.for_answers();
    let groups = arguments.route.as_ref().map(|text| Groups::read(text, &model)).transpose();
    let groups = groups.map_err(|sentence| anyhow!("--route: {sentence}"))?;
    let limits = Limits {
        body_bytes: arguments.max_body_bytes,
        queries: arguments.max_queries,
        concurrency: arguments.max_concurrency,
        timeout: Duration::from_secs(arguments.timeout_seconds),
    };
    let (timeout, streams) = (limits.timeout, limits.concurrency);
    let object = arguments.served_for.as_deref().and_then(|object| object.split_once('/'));
    let version = model.version.clone();
    let mut serving = Serving::new(Arc::new(model), object, groups, limits);
    if let Some(planner) = arguments.planner()? {
        serving = serving.with_planner(Arc::new(planner));
    }
    let serving = Arc::new(serving);
    let listener = bind(arguments.listen).await?;
    tracing::info!(version, address = %listener.local_addr()?, "serving the REST API");
    let (grpc, reporter) = grpc::routes(serving.clone()).await.context("the gRPC API can't be described")?;
    let grpc_listener = match arguments.grpc_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let (drained, wait) = tokio::sync::watch::channel(false);
    let over = |mut wait: tokio::sync::watch::Receiver<bool>| async move {
        // An error means that the sender is gone, which ends the process too.
        let _ = wait.wait_for(|over| *over).await;
    };
    let rest = axum::serve(listener, rest::routes(serving.clone())).with_graceful_shutdown(over(wait.clone()));
    let rest = tokio::spawn(rest.into_future());
    let grpc = async {
        let Some(listener) = grpc_listener else { return Ok(()) };
        tracing::info!(address = %listener.local_addr().map_err(anyhow::Error::from)?, "serving the gRPC API");
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        // A call may not take longer to come in than one of the REST API.
        let server = tonic::transport::Server::builder()
            .timeout(2 * timeout)
            .max_concurrent_streams(u32::try_from(streams + OTHER_STREAMS).ok())
            .add_routes(grpc);
        server.serve_with_incoming_shutdown(incoming, over(wait.clone())).await.context("the gRPC API ended")
    };
    let drain = async {
        shutdown.requested().await;
        serving.drain();
        grpc::drain(&reporter).await;
        tracing::info!(seconds = arguments.drain_seconds, "not ready any more");
        tokio::time::sleep(Duration::from_secs(arguments.drain_seconds)).await;
        drained.send_replace(true);
        tokio::time::sleep(FINISH_WITHIN).await;
        tracing::warn!("requests were still under way after {} s", FINISH_WITHIN.as_secs());
    };
    let served = async {
        let (rest, grpc) = tokio::join!(rest, grpc);
        rest.context("the REST API ended")?.context("the REST API ended")?;
        grpc
    };
    tokio::select! {
        result = served => result,
        () = drain => Ok(()),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{address} can't be listened on"))
}
