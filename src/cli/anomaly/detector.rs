//! `howdah anomaly train --detector NAMESPACE/NAME`: trains a detector's model, as its Job executes it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::anomaly::answer::Rows;
use crate::anomaly::coincidence;
use crate::anomaly::crd::{AnomalyDetector, AnomalyDetectorSpec, Backtest, FeatureKind, ModelRow, ModelType, Pack};
use crate::anomaly::facts::{SETTLE_MS, Trouble};
use crate::anomaly::features::{Watched, data_hash, kind, scrapes, spec_hash, watched};
use crate::anomaly::fetch::beside::trials;
use crate::anomaly::matrix::{Column, Matrix};
use crate::anomaly::model_path;
use crate::anomaly::packs;
use crate::anomaly::reason::Reason;
use crate::anomaly::rows::is_missing;
use crate::anomaly::train::{Options, Summary, TrainError, train};
use crate::anomaly::training::{TrainedModel, TrainingResult};
use crate::anomaly::{alarm, fetch, model};
use crate::cli::{cluster, job_progress, termination};
use crate::decimal::Decimal;
use crate::duration;
use crate::learn::torch::autoencoder;
use crate::learn::worker::Worker;
use crate::tuning::crd::TuningTrial;
use crate::world::store::Store;

/// The history may begin this part of the window before the first row of a coarse look at it.
const COARSE: i64 = 300;
/// Longest time after an incident in which another one is the same.
const LONGEST_MERGE_MS: i64 = 3_600_000;

/// What is trained, and where to.
#[derive(Debug, Args)]
pub struct TrainDetector {
    /// The AnomalyDetector, as NAMESPACE/NAME.
    #[arg(long)]
    detector: String,
    /// Name of the model in the store, which is that of the Job.
    #[arg(long, default_value = "by-hand")]
    model_name: String,
    /// Where models are kept: `file:///directory` or `s3://bucket/prefix`.
    #[arg(long, env = "HOWDAH_MODEL_STORE")]
    model_store: String,
    /// The Job's namespace, where progress is told in an annotation of the Job.
    #[arg(long, env = "POD_NAMESPACE")]
    job_namespace: Option<String>,
    /// The file that receives the result.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_log: PathBuf,
}

/// Trains, stores the model and writes the result. Succeeds if there is a model.
pub async fn run(arguments: TrainDetector) -> ExitCode {
    super::super::choose_tls_provider();
    let result = match trained(&arguments).await {
        Ok(model) => {
            println!("{}", model.backtest.message);
            TrainingResult::Trained(Box::new(model))
        }
        Err(Trouble { reason, message }) => {
            eprintln!("howdah anomaly train: {reason}: {message}");
            TrainingResult::failed(reason, &message)
        }
    };
    match termination::write(&arguments.termination_log, &result) {
        Ok(()) if matches!(result, TrainingResult::Trained(_)) => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("howdah anomaly train: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn trained(arguments: &TrainDetector) -> Result<TrainedModel, Trouble> {
    let broken = |error: anyhow::Error| Trouble::new(Reason::TrainingFailed, format!("{error:#}"));
    // As the first process of a container it would not be ended by a signal that it does not handle.
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| broken(error.into()))?;
    tokio::select! {
        model = learn(arguments) => model,
        _ = terminated.recv() => Err(broken(anyhow!("the training was stopped"))),
    }
}

async fn learn(arguments: &TrainDetector) -> Result<TrainedModel, Trouble> {
    let broken = |error: anyhow::Error| Trouble::new(Reason::TrainingFailed, format!("{error:#}"));
    let store = Store::open(&arguments.model_store).map_err(|error| kept(&error))?;
    let client = cluster::connect().await.map_err(broken)?;
    let detector: AnomalyDetector = cluster::read(&client, &arguments.detector).await.map_err(broken)?;
    let spec = &detector.spec;
    let namespace = detector.namespace().unwrap_or_default();
    let (sender, progress) = watch::channel(format!("{} of rows are read", spec.training.window));
    let telling = tokio::spawn(job_progress::tell(
        client.clone(),
        arguments.job_namespace.clone(),
        arguments.model_name.clone(),
        progress,
    ));

    let step = duration::seconds(&spec.step).max(1);
    let invalid = |message: String| Trouble::new(Reason::InvalidSpecification, message);
    let features = watched(&spec.features, &spec.prometheus.selector, step).map_err(invalid)?;
    let access = fetch::source(&client, &namespace, &spec.prometheus).await?;
    let prometheus = fetch::open(&access)?;
    let now = prometheus.now().await.map_err(|error| fetch::trouble(&error))?;
    let to = (now - SETTLE_MS).div_euclid(step * 1000) * step * 1000;
    let window = spec.training.window_seconds();
    // Of two weeks without history Prometheus would evaluate every step.
    let begin = fetch::coarse(&prometheus, &features, to, window).await?.begin().unwrap_or(to);
    let from = begin.max(to - window * 1000) - window / COARSE * 1000;
    let from = from.div_euclid(step * 1000) * step * 1000;
    let scrapes = scrapes(&spec.features, &spec.prometheus.selector);
    let rows = fetch::rows(&prometheus, &features, &scrapes, (from, to), step).await?;
    let rows = rows.mostly_single().map_err(fetch::ambiguous)?.dense();
    println!("{} rows of {} features are read", rows.times.len(), features.len());
    if let Some(message) = unseen_pack(&spec.features.packs, &features, &rows) {
        return Err(Trouble::new(Reason::DataIncomplete, message));
    }
    let trials = match &spec.instance_ref {
        Some(instance) => {
            trials(&client, &namespace, &instance.name).await.context("the tunings' trials can't be read")
        }
        None => Ok(Vec::new()),
    };
    let exclude = excluded(&detector, &trials.map_err(broken)?, now);
    let data_hash = data_hash(&features, step);
    let matrix = matrix(rows, &features, step * 1000)?;

    let options = options(spec, exclude);
    // The second fit goes on counting.
    let epochs = 2 * options.autoencoder.epochs;
    let worker = Worker::spawn("training").map_err(|error| broken(error.into()))?;
    let computed = worker.run(move || {
        train(&matrix, &options, &mut |epoch, loss| {
            // Nobody may be left to hear it: that is no reason to stop.
            let _ = sender.send(format!("epoch {epoch} of at most {epochs}, loss {loss:.4}"));
        })
    });
    let (model, summary) = computed.await.map_err(|gone| broken(gone.into()))?.map_err(|error| untrained(&error))?;
    let bytes = model.save().map_err(|error| Trouble::new(Reason::TrainingFailed, error.to_string()))?;
    let path = model_path(&namespace, &detector.uid().unwrap_or_default(), Some(&arguments.model_name));
    store.put(&path, bytes).await.map_err(|error| kept(&error))?;
    telling.abort();
    Ok(told(spec_hash(&detector), data_hash, &summary))
}

/// Why nothing is learnt: a model would see nothing of the database itself, whose exporter is down, say. One that was
/// trained before goes on. A node without an exporter of its own may well be none.
fn unseen_pack(packs: &[Pack], features: &[Watched], rows: &Rows) -> Option<String> {
    // Settings are known for as long as they were read once.
    let moves = |pack: Pack, one: &Watched| {
        one.kind != FeatureKind::Config && packs::features(pack).iter().any(|shipped| shipped.name == one.name)
    };
    let unseen = |pack: &&Pack| {
        let mut columns = features.iter().zip(&rows.columns).filter(|(one, _)| moves(**pack, one)).peekable();
        **pack != Pack::NodeExporter && columns.peek().is_some() && columns.all(|(_, column)| is_missing(column))
    };
    packs.iter().find(unseen).map(|pack| {
        format!(
            "all features of {pack:?} are missing in most rows, or in most of the newest: see that Prometheus scrapes its target and that \
             prometheus.selector fits its labels, or take it out of features.packs"
        )
    })
}

fn kept(error: &crate::world::store::StoreError) -> Trouble {
    Trouble::new(Reason::ModelStoreUnavailable, error.to_string())
}

/// Times that are not normal: what the user says, incidents (however long) unless he calls them normal, and the trials of
/// tunings. Milliseconds since 1970.
fn excluded(detector: &AnomalyDetector, trials: &[TuningTrial], now: i64) -> Vec<(i64, i64)> {
    let ms = |time: &Time| time.0.as_millisecond();
    let mut ranges: Vec<(i64, i64)> =
        detector.spec.training.exclude.iter().map(|range| (ms(&range.from), ms(&range.to))).collect();
    if let Some(status) = &detector.status {
        let shown = status.incidents.iter().filter(|incident| !incident.is_normal());
        let shown = shown.map(|incident| (ms(&incident.since), incident.until.as_ref().map_or(now, ms)));
        let past = status.past_incidents.iter().map(|past| (ms(&past.from), ms(&past.to)));
        let trials = status.past_trials.iter().map(|past| (ms(&past.from), ms(&past.to)));
        ranges.extend(shown.chain(past).chain(trials));
    }
    ranges.extend(trials.iter().filter_map(|trial| coincidence::span(trial, now)));
    ranges
}

fn matrix(rows: Rows, features: &[Watched], step_ms: i64) -> Result<Matrix, Trouble> {
    let Rows { times, columns, .. } = rows;
    let column = |(feature, values): (&Watched, Vec<f64>)| Column {
        name: feature.name.clone(),
        kind: kind(feature.kind),
        values,
    };
    let columns = features.iter().zip(columns).map(column).collect();
    let groups = vec![0; times.len()];
    Matrix::new(step_ms, times, groups, columns)
        .map_err(|error| Trouble::new(Reason::TrainingFailed, error.to_string()))
}

/// The specification as the training wants it.
fn options(spec: &AnomalyDetectorSpec, exclude: Vec<(i64, i64)>) -> Options {
    let count = |number: i32| usize::try_from(number).unwrap_or(1);
    let ms = |text: &str| duration::seconds(text).saturating_mul(1000);
    let AnomalyDetectorSpec { model, detection, .. } = spec;
    let defaults = Options::default();
    let cooldown_ms = ms(&detection.cooldown);
    Options {
        model_type: match model.kind {
            ModelType::Autoencoder => model::ModelType::Autoencoder,
            ModelType::Pca => model::ModelType::Pca,
        },
        autoencoder: autoencoder::Settings {
            seed: model.seed.unsigned_abs(),
            hidden: count(model.autoencoder.hidden),
            bottleneck: count(model.autoencoder.bottleneck),
            epochs: model.autoencoder.epochs.unsigned_abs(),
            patience: model.autoencoder.patience.unsigned_abs(),
        },
        false_alarms_per_week: detection.false_alarms_per_week.0,
        alarm: alarm::Settings {
            of: count(detection.raise.of),
            at_least: count(detection.raise.at_least),
            min_duration_ms: ms(&detection.min_duration),
            cooldown_ms,
            // What comes back while no other is raised is the last one again: it is not lost. But not for hours: one that
            // lasts for days is taken for a new normal.
            merge_gap_ms: cooldown_ms.min(LONGEST_MERGE_MS),
        },
        exclude,
        min_history_ms: spec.training.min_history_seconds() * 1000,
        ..defaults
    }
}

fn untrained(error: &TrainError) -> Trouble {
    let reason = match error {
        TrainError::TooLittleHistory { .. } => Reason::TooLittleHistory,
        TrainError::Constant { .. } => Reason::ConstantHistory,
        TrainError::Missing(_) => Reason::NoSeries,
        TrainError::Budget(_) => Reason::InvalidSpecification,
    };
    Trouble::new(reason, error.to_string())
}

fn told(spec_hash: String, data_hash: String, summary: &Summary) -> TrainedModel {
    let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let outcome = &summary.outcome;
    let days = Decimal::rounded(summary.backtest_days);
    let held_out = duration::words((summary.backtest_days * 86_400.0) as i64);
    let message = format!(
        "would have raised {} alarms in the last {held_out} (principal components: {})",
        outcome.alarms, summary.pca.alarms
    );
    TrainedModel {
        // To the second, as Kubernetes keeps times.
        trained_at: Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)),
        spec_hash,
        data_hash: Some(data_hash),
        rows: whole(summary.rows_used),
        rows_left_out: whole(summary.rows_excluded + summary.rows_skipped + summary.rows_trimmed),
        features: number(summary.metrics_used.len()),
        epochs: i32::try_from(summary.epochs).unwrap_or(i32::MAX),
        loss: Decimal::rounded(outcome.loss),
        threshold: Decimal::rounded(outcome.threshold.score),
        threshold_method: format!(
            "{:?} of {} in {} rows",
            outcome.threshold.method, outcome.threshold.tail_points, outcome.threshold.scores
        ),
        backtest: Backtest { alarms: number(outcome.alarms), days, message },
        pca: Some(ModelRow { loss: Decimal::rounded(summary.pca.loss), alarms: number(summary.pca.alarms) }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::anomaly::crd::Features;

    #[test]
    fn the_longest_result_fits_into_a_termination_message() {
        let longest = usize::try_from(i64::MAX).unwrap();
        let mut summary = Summary { rows_used: longest, backtest_days: 1234.567, ..Summary::default() };
        summary.outcome.loss = -123_456_789_012.345;
        summary.outcome.alarms = longest;
        let model = told("f".repeat(10), "f".repeat(10), &summary);
        let directory = tempfile::tempdir().unwrap();
        termination::write(&directory.path().join("log"), &TrainingResult::Trained(Box::new(model))).unwrap();
    }

    #[test]
    fn incidents_trials_and_what_people_say_are_left_out_unless_it_is_called_normal() {
        let detector: AnomalyDetector = serde_json::from_value(json!({
            "metadata": {"name": "orders"},
            "spec": {
                "prometheus": {"url": "http://p"},
                "training": {"exclude": [{"from": "1970-01-01T00:00:01Z", "to": "1970-01-01T00:00:02Z"}]},
            },
            "status": {
                "incidents": [
                    {"id": "a", "since": "1970-01-01T00:00:03Z", "raised": "1970-01-01T00:00:03Z", "peak": "2", "message": ""},
                    {"id": "b", "since": "1970-01-01T00:00:02Z", "raised": "1970-01-01T00:00:02Z", "peak": "2", "message": "",
                     "label": "normal"},
                ],
                "pastIncidents": [
                    {"from": "1970-01-01T00:00:04Z", "to": "1970-01-01T00:00:05Z"},
                    {"from": "1970-01-01T00:00:04Z", "to": "1970-01-04T00:00:00Z"},
                ],
                "pastTrials": [{"from": "1970-01-01T00:00:05Z", "to": "1970-01-01T00:00:06Z"}],
            },
        }))
        .unwrap();
        let trial: TuningTrial = serde_json::from_value(json!({
            "metadata": {"name": "t", "creationTimestamp": "1970-01-01T00:00:06Z"},
            "spec": {"tuning": "demo", "session": "s", "number": 4, "kind": "Explore", "marker": "m", "parameters": {}},
        }))
        .unwrap();
        // A fault of a weekend is not the new normal on Monday.
        let expected = [(1000, 2000), (3000, 9000), (4000, 5000), (4000, 3 * 86_400_000), (5000, 6000), (6000, 9000)];
        assert_eq!(excluded(&detector, &[trial], 9000), expected);
    }

    #[test]
    fn nothing_is_learnt_without_the_database() {
        let both = [Pack::PostgresExporter, Pack::NodeExporter];
        let spec = Features { packs: both.to_vec(), ..Features::default() };
        let features = watched(&spec, &BTreeMap::from([("instance".into(), "shop".into())]), 15).unwrap();
        // Of a pack the first rows only, of another all; settings are known all the same.
        let rows = |pack: Pack, seen: usize| {
            let column = |one: &Watched| {
                let of_it = packs::features(pack).iter().any(|shipped| shipped.name == one.name);
                let until = if of_it && one.kind != FeatureKind::Config { seen } else { 100 };
                (0..100).map(|row| if row < until { 1.0 } else { f64::NAN }).collect()
            };
            Rows { times: (0..100).collect(), columns: features.iter().map(column).collect(), ..Rows::default() }
        };
        assert!(unseen_pack(&both, &features, &rows(Pack::PostgresExporter, 13)).unwrap().contains("PostgresExporter"));
        // Its rows are the older half: who learns without it now would know nothing of the database.
        assert!(unseen_pack(&both, &features, &rows(Pack::PostgresExporter, 60)).is_some());
        assert_eq!(unseen_pack(&both, &features, &rows(Pack::PostgresExporter, 97)), None);
        assert_eq!(unseen_pack(&both, &features, &rows(Pack::NodeExporter, 0)), None);
    }

    #[test]
    fn a_short_cooldown_does_not_take_the_next_anomaly_for_the_last_one() {
        let gap = |cooldown: &str| {
            let spec = json!({"prometheus": {"url": "http://p"}, "detection": {"cooldown": cooldown}});
            options(&serde_json::from_value(spec).unwrap(), vec![]).alarm.merge_gap_ms
        };
        assert_eq!((gap("10s"), gap("10m"), gap("12h")), (10_000, 600_000, LONGEST_MERGE_MS));
    }
}
