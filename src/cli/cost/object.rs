//! `howdah cost train-object`: trains the model of a QueryCostModel, as its Job executes it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{cluster, job_progress, termination};
use crate::cost::answer::Novelty;
use crate::cost::classes::class;
use crate::cost::crd::{DriftStatus, QueryCostModel};
use crate::cost::evaluation::html;
use crate::cost::evaluation::report::Report;
use crate::cost::facts::Trouble;
use crate::cost::fetch::{open, statistics, store_model, stored_model};
use crate::cost::grants::Grants;
use crate::cost::log::{Log, Statement};
use crate::cost::model::CostModel;
use crate::cost::reason::Reason;
use crate::cost::train::{COMPARED, Progress, Rival, TrainError, Trained, train};
use crate::cost::training::{self, TrainingResult};
use crate::cost::{REPORT, model_path};
use crate::decimal::Decimal;
use crate::world::store::{Store, StoreError};

/// What is trained, and where to.
#[derive(Debug, Args)]
pub struct TrainObject {
    /// The QueryCostModel, as NAMESPACE/NAME.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    object: String,
    /// Name of the model in the store, which is that of the Job.
    #[arg(long)]
    model_name: String,
    /// Where models are kept: `file:///directory` or `s3://bucket/prefix`.
    #[arg(long, env = "HOWDAH_MODEL_STORE")]
    model_store: String,
    /// Files that may be read with this process's own rights: `NAMESPACE=URL,…`.
    #[arg(long, env = "HOWDAH_QUERY_LOGS", default_value = "", value_name = "GRANTS")]
    query_logs: Grants,
    /// The Job's namespace, where progress is told in an annotation of the Job.
    #[arg(long, env = "POD_NAMESPACE")]
    job_namespace: Option<String>,
    /// The file that receives the result.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_log: PathBuf,
}

/// Trains, stores the model with its report, and writes the result. Succeeds if there is a model.
pub async fn run(arguments: TrainObject) -> Result<ExitCode> {
    crate::cli::choose_tls_provider();
    let result = match ended(&arguments).await {
        Ok(result) => result,
        Err(Trouble { reason, message }) => {
            eprintln!("howdah cost train-object: {reason}: {message}");
            TrainingResult::failed(reason, &message)
        }
    };
    termination::write(&arguments.termination_log, &result)?;
    Ok(match result {
        TrainingResult::Trained { .. } => ExitCode::SUCCESS,
        TrainingResult::Failed { .. } => ExitCode::FAILURE,
    })
}

fn broken(error: &anyhow::Error) -> Trouble {
    Trouble::new(Reason::TrainingFailed, format!("{error:#}"))
}

fn kept(error: &StoreError) -> Trouble {
    Trouble::new(Reason::ModelStoreUnavailable, error.to_string())
}

async fn ended(arguments: &TrainObject) -> Result<TrainingResult, Trouble> {
    // As the first process of a container it would not be ended by a signal that it does not handle.
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| broken(&error.into()))?;
    tokio::select! {
        result = learn(arguments) => result,
        _ = terminated.recv() => Err(broken(&anyhow!(
            "the training was stopped, by a node that is drained say, or after the two hours that its Job may take"
        ))),
    }
}

async fn learn(arguments: &TrainObject) -> Result<TrainingResult, Trouble> {
    let store = Store::open(&arguments.model_store).map_err(|error| kept(&error))?;
    let client = cluster::connect().await.map_err(|error| broken(&error))?;
    let model: QueryCostModel = cluster::read(&client, &arguments.object).await.map_err(|error| broken(&error))?;
    let (sender, progress) = watch::channel("the log is brought".to_owned());
    let telling = tokio::spawn(job_progress::tell(
        client.clone(),
        arguments.job_namespace.clone(),
        arguments.model_name.clone(),
        progress,
    ));
    let directory = tempfile::tempdir().context("there is no room for the log").map_err(|error| broken(&error))?;
    let log = Arc::new(open(&client, &model, &arguments.query_logs, directory.path()).await?);
    // The log is what is learnt from; without this beside it the model is only less complete.
    let counted = statistics(&client, &model).await.unwrap_or_else(|Trouble { message, .. }| {
        eprintln!("howdah cost train-object: nothing is known beside the log: {message}");
        Vec::new()
    });
    let invalid = |message: String| Trouble::new(Reason::InvalidSpecification, message);
    let specs = training::targets(&model.spec).map_err(invalid)?;
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let mut options = training::options(&model.spec, threads).map_err(invalid)?;
    let uid = model.uid().unwrap_or_default();
    let path = |name: &str| model_path(&model.namespace().unwrap_or_default(), &uid, Some(name));
    let served = served(&store, &model, path).await;
    // The status keeps times to the second.
    options.new_from_ms = served.as_ref().map(|(_, _, to)| to + 1000);

    let computed = tokio::task::spawn_blocking(move || {
        let trained = train(&*log, &specs, &options, &mut |progress| {
            let text = match progress {
                Progress::Reading(rows) => format!("{rows} statements are read"),
                Progress::Counting => "features are counted".to_owned(),
                Progress::Fitting { what, done, of } => format!("{what} ({}/{of})", done + 1),
            };
            // Nobody may be left to hear it: that is no reason to stop.
            let _ = sender.send(text);
        })?;
        let compared = served.as_ref().zip(trained.rival.as_ref());
        let drift = compared.and_then(|((name, served, _), rival)| drift(&*log, name, served, rival));
        Ok::<(Trained, Option<DriftStatus>), TrainError>((trained, drift))
    });
    let computed = computed.await.map_err(|gone| broken(&gone.into()))?;
    let (mut trained, drift) = computed.map_err(|error| untrained(&error))?;
    telling.abort();
    let priors = trained.model.add_priors(&counted);
    let report = Report::of(&trained).with_priors(priors);
    println!("{}", report.table());
    let path = path(&arguments.model_name);
    let json = serde_json::to_vec(&report).map_err(|error| broken(&error.into()))?;
    store.put(&format!("{path}/{REPORT}"), json).await.map_err(|error| kept(&error))?;
    store.put(&format!("{path}/report.html"), html::page(&report).into_bytes()).await.map_err(|error| kept(&error))?;
    store_model(&store, &path, &trained.model).await.map_err(|error| kept(&error))?;
    // To the second, as Kubernetes keeps times.
    let at = Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH));
    Ok(TrainingResult::Trained { at, spec_hash: Some(training::spec_hash(&model.spec)), drift })
}

/// The model that is served, with its name and the time of the newest statement that it learnt from. It is looked at for
/// comparison only: where it can't be read, or has other targets, there is none.
async fn served(
    store: &Store,
    model: &QueryCostModel,
    path: impl Fn(&str) -> String,
) -> Option<(String, CostModel, i64)> {
    let status = model.status.as_ref()?.model.as_ref().filter(|served| training::has_targets(served, &model.spec))?;
    let to = status.log.to.as_ref()?.0.as_millisecond();
    match stored_model(store, &path(&status.name)).await {
        Ok(served) => Some((status.name.clone(), served, to)),
        Err(message) => {
            eprintln!("howdah cost train-object: the served model is not compared: {message}");
            None
        }
    }
}

/// How a served model does on statements that are newer than it, and how the other one does on the same.
fn drift(log: &dyn Log, name: &str, served: &CostModel, rival: &Rival) -> Option<DriftStatus> {
    let retrained = rival.model.as_ref().inspect_err(|error| {
        eprintln!("howdah cost train-object: nothing is compared with the served model: {error}");
    });
    let (mut rows, mut unknown) = (0_usize, 0_usize);
    let mut right = Right::of(served, log);
    let mut right_anew = retrained.ok().map(|model| (model, Right::of(model, log)));
    let read = log.read(&mut |statement| {
        if statement.time_ms.is_none_or(|time| time < rival.from_ms) {
            return;
        }
        rows += 1;
        unknown += usize::from(right.count(served, &statement).fingerprint);
        if let Some((model, right)) = &mut right_anew {
            right.count(model, &statement);
        }
    });
    (read.is_ok() && right.is_enough()).then(|| DriftStatus {
        name: name.to_owned(),
        rows: i64::try_from(rows).unwrap_or(i64::MAX),
        accuracy: right.accuracy(),
        retrained_accuracy: right_anew.filter(|(_, right)| right.is_enough()).map(|(_, right)| right.accuracy()),
        unknown_fingerprints: Decimal::rounded(unknown as f64 / rows.max(1) as f64),
    })
}

/// How often a model is right about statements of a log.
struct Right {
    /// Of each of its targets: its place among the log's, statements with a class, and those that it was right about.
    targets: Vec<(Option<usize>, usize, usize)>,
}

impl Right {
    fn of(model: &CostModel, log: &dyn Log) -> Self {
        let place = |name: &String| log.targets().iter().position(|target| target == name);
        Self { targets: model.infos.iter().map(|info| (place(&info.name), 0, 0)).collect() }
    }

    /// Counts a statement, and says what is new about it to the model.
    fn count(&mut self, model: &CostModel, statement: &Statement) -> Novelty {
        let (novelty, said) = model.judge(&statement.query, statement.plan);
        for ((info, said), (place, judged, right)) in model.infos.iter().zip(said).zip(&mut self.targets) {
            let cost = place.and_then(|place| statement.costs.get(place)).copied().unwrap_or_default();
            if let Some(truth) = class(&info.bounds, cost) {
                *judged += 1;
                *right += usize::from(said.class == truth);
            }
        }
        novelty
    }

    /// Every target was judged by enough statements: of many the class may not be known.
    fn is_enough(&self) -> bool {
        self.targets.iter().all(|(_, judged, _)| *judged >= COMPARED)
    }

    /// The mean over the targets.
    fn accuracy(&self) -> Decimal {
        let share = |(_, judged, right): &(Option<usize>, usize, usize)| *right as f64 / (*judged).max(1) as f64;
        let shares: Vec<f64> = self.targets.iter().map(share).collect();
        Decimal::rounded(shares.iter().sum::<f64>() / shares.len().max(1) as f64)
    }
}

fn untrained(error: &TrainError) -> Trouble {
    let reason = match error {
        TrainError::Log(_) => Reason::SourceUnreadable,
        TrainError::Empty { .. } | TrainError::Classes(_) | TrainError::OneSided { .. } | TrainError::TooFew { .. } => {
            Reason::TooLittleData
        }
        TrainError::NoTimes => Reason::InvalidSpecification,
        TrainError::Boost(_) => Reason::TrainingFailed,
    };
    Trouble::new(reason, error.to_string())
}
