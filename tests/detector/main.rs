//! A detector from its first look to an alarm and back: a real Prometheus with eight hours of history, the training as a
//! process of its own, and an API server that keeps a few objects.

#[path = "../api_server/mod.rs"]
mod api_server;
mod cluster;
mod history;
mod operator;

use std::fs;
use std::path::Path;
use std::process::Command;

use howdah::anomaly::crd::State;
use howdah::anomaly::decide::Step;
use howdah::control::training::TrainingState;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use history::Prometheus;
use operator::Operator;

fn spec(prometheus: &Prometheus, receivers: &str) -> Value {
    let began = prometheus.fault_began;
    let at = |second: i64| Timestamp::from_second(second).unwrap().to_string();
    json!({
        "instanceRef": {"name": "shop"},
        "prometheus": {"url": prometheus.url, "selector": {"instance": "shop"}},
        "features": {"packs": ["PostgresExporter"]},
        "step": "15s",
        // The fault is no history of normal behaviour.
        "training": {"window": "14d", "minHistory": "2h", "exclude": [{"from": at(began - 60), "to": at(began + 86_400)}]},
        "model": {"type": "Autoencoder", "seed": 7, "autoencoder": {"hidden": 24, "bottleneck": 4, "epochs": 40, "patience": 10}},
        "detection": {"minDuration": "30s"},
        "mode": "Alert",
        "notify": {"alertmanager": {"url": receivers}, "webhook": {"url": format!("{receivers}/hook")}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detector_learns_alarms_survives_and_goes() {
    let mut operator = Operator::start().await;
    let mut prometheus = Prometheus::start().await;
    operator.cluster.create(spec(&prometheus, &operator.cluster.receivers()));

    // It is trained: recorded as due, then the Job, whose name the record has.
    let (finalizer, ..) = operator.look().await;
    assert_eq!(finalizer.steps, [Step::AddFinalizer]);
    operator.look().await;
    let due = operator.detector().status.unwrap().training.unwrap();
    assert_eq!((due.state, operator.cluster.job()), (TrainingState::Due, None), "{}", operator.condition("Ready"));
    operator.restart();
    operator.look().await;
    assert_eq!(operator.cluster.job().unwrap()["metadata"]["name"], json!(due.job));
    let result = operator.run_job();
    assert!(result["trained"]["rows"].as_i64().unwrap() > 1000, "{result}");
    operator.look().await;
    assert!(operator.condition("Trained").starts_with("True Trained"), "{}", operator.condition("Trained"));
    assert!(
        operator.cluster.progress().is_some_and(|text| text.contains("epoch")),
        "{:?}",
        operator.cluster.progress()
    );

    // The fault is found in the rows that were read back, told once, and to everyone.
    let (_, report, _) = operator.look().await;
    assert!(operator.condition("Scoring").starts_with("True"), "{}", operator.condition("Scoring"));
    let status = operator.detector().status.unwrap();
    let open = status.incidents.iter().find(|incident| incident.until.is_none());
    let incident = open.unwrap_or_else(|| panic!("no incident: {}", operator.condition("Anomalous")));
    // A threshold from a few hours may raise a false alarm shortly before, which then goes on.
    let late = incident.since.0.as_second() - prometheus.fault_began;
    assert!(late <= 60, "{late} s late: {}", incident.message);
    let metrics: Vec<&str> = incident.contributors.iter().map(|one| one.metric.as_str()).collect();
    let evidence = ["seq_tup_read", "idx_scan"];
    assert!(metrics.iter().take(3).any(|name| evidence.contains(name)), "{metrics:?}: {}", incident.message);
    assert!(incident.coincidences.iter().any(|what| what.contains("work_mem=64MB")), "{:?}", incident.coincidences);
    let told: Vec<&str> = report.events.iter().map(|(reason, ..)| *reason).collect();
    assert_eq!(told.iter().filter(|reason| **reason == "AnomalyDetected").count(), 1, "{told:?}");
    let incidents = status.incidents.len();
    let features = status.features.unwrap();
    assert!(
        features.constant.contains(&"shared_buffers".to_owned()) && features.missing.contains(&"deadlocks".to_owned())
    );
    let alert = operator.cluster.received("/api/v2/alerts").pop().unwrap();
    assert_eq!(
        (alert[0]["labels"]["alertname"].as_str(), alert[0]["labels"]["detector"].as_str()),
        (Some("HowdahAnomaly"), Some("orders"))
    );
    assert_eq!(operator.cluster.received("/hook").pop().unwrap()["state"], "Firing");
    let text = operator.room.0.metrics.text().unwrap();
    assert!(
        text.contains("howdah_anomaly_state{namespace=\"shop\",detector=\"orders\",state=\"Anomalous\"} 1"),
        "{text}"
    );

    // People look rather than read.
    let picture = operator.models.path().join("incident.svg");
    let store = format!("file://{}", operator.models.path().display());
    let kubeconfig = operator.cluster.server.kubeconfig();
    let drawn = howdah(
        &["anomaly", "explain", "shop/orders", "--model-store", &store, "--incident", &incident.id, "--out"],
        &[&picture],
        Some(&kubeconfig),
    );
    assert!(drawn.contains("Anomaly ") && drawn.contains("idx_scan"), "{drawn}");
    assert!(fs::read_to_string(&picture).unwrap().contains("<svg"));
    fs::remove_file(picture).unwrap();

    // Killed, it sees the same and tells nothing twice; the same row again writes nothing.
    operator.restart();
    let (_, report, _) = operator.look().await;
    assert!(report.events.is_empty(), "{:?}", report.events);
    assert_eq!(operator.detector().status.unwrap().incidents.len(), incidents);
    assert_eq!(operator.cluster.received("/hook").len(), 1);
    let (decision, _, written) = operator.look().await;
    assert!(decision.steps.is_empty() && !written);

    // A receiver that is down is not posted to with every row.
    operator.cluster.receivers_refuse(true);
    operator.restart();
    let (tried, ..) = operator.look().await;
    assert!(matches!(&tried.steps[..], [Step::Notify(_)]), "{:?}", tried.steps);
    let (held, ..) = operator.look().await;
    assert!(held.steps.is_empty(), "{:?}", held.steps);
    assert!(operator.condition("Ready").starts_with("False NotDelivered"), "{}", operator.condition("Ready"));
    operator.cluster.receivers_refuse(false);
    operator.restart();

    // Blind, it says so, and the incident stays.
    prometheus.stop();
    operator.look().await;
    assert!(operator.condition("DataAvailable").starts_with("False PrometheusUnreachable"));
    assert!(operator.condition("Anomalous").starts_with("True AnomalyDetected"));
    let text = operator.room.0.metrics.text().unwrap();
    assert!(!text.contains("howdah_anomaly_score{"), "{text}");
    let state = "howdah_anomaly_state{namespace=\"shop\",detector=\"orders\",state=\"Anomalous\"} 1";
    assert!(text.contains(state), "{text}");

    // Deleted, it resolves what it told of and leaves nothing.
    operator.cluster.delete();
    operator.look().await;
    assert_eq!(operator.cluster.received("/hook").pop().unwrap()["state"], "Resolved");
    assert_eq!((operator.models_kept(), operator.detector().metadata.finalizers), (0, Some(vec![])));
    assert!(!operator.room.0.metrics.text().unwrap().contains("orders"));
}

/// Runs a command of howdah to its end.
fn howdah(arguments: &[&str], files: &[&Path], kubeconfig: Option<&Path>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_howdah"));
    command.args(arguments).args(files);
    if let Some(path) = kubeconfig {
        command.env("KUBECONFIG", path);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    format!("{}{said}", String::from_utf8_lossy(&output.stdout))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_fetched_train_without_a_cluster() {
    let prometheus = Prometheus::start().await;
    let directory = TempDir::new().unwrap();
    let (rows, model) = (directory.path().join("rows.csv"), directory.path().join("model"));
    let from = Timestamp::from_second(prometheus.fault_began - 3 * 3600).unwrap().to_string();
    let to = Timestamp::from_second(prometheus.fault_began - 60).unwrap().to_string();
    let fetch = ["anomaly", "fetch", "--prometheus", &prometheus.url, "--pack", "PostgresExporter"];
    let range = ["--selector", "instance=shop", "--from", &from, "--to", &to, "--output"];
    let fetched = howdah(&[fetch.as_slice(), range.as_slice()].concat(), &[&rows], None);
    assert!(fetched.contains("rows of 12 features") && fetched.contains("deadlocks"), "{fetched}");
    let header = fs::read_to_string(&rows).unwrap().lines().next().unwrap().to_owned();
    assert!(
        header.starts_with("time,")
            && header.contains("xact_commit:counter,")
            && header.contains("shared_buffers:config"),
        "{header}"
    );
    let train = ["anomaly", "train", "--model", "pca", "--input"];
    let trained = howdah(&train, &[&rows, Path::new("--output"), &model], None);
    assert!(trained.contains("11 metrics are features") && trained.contains("shared_buffers"), "{trained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_model_is_trained_anew_and_a_secret_that_is_missing_is_told() {
    let operator = Operator::start().await;
    let prometheus = Prometheus::start().await;
    let mut spec = spec(&prometheus, &operator.cluster.receivers());
    spec["model"] = json!({"type": "PCA"});
    spec["training"]["minHistory"] = json!("24h");
    operator.cluster.create(spec.clone());
    operator.look().await;
    operator.look().await;
    let early = operator.condition("Ready");
    assert!(early.starts_with("False TooLittleHistory") && early.contains("wait 16 h longer"), "{early}");
    spec["training"]["minHistory"] = json!("2h");
    operator.cluster.set_spec(spec.clone());
    for _ in 0..2 {
        operator.look().await;
    }
    operator.run_job();
    operator.look().await;
    operator.look().await;
    assert!(operator.condition("Ready").starts_with("True Scoring"), "{}", operator.condition("Ready"));

    // Rows of another instance are no business of this model.
    spec["prometheus"]["selector"] = json!({"instance": "other"});
    operator.cluster.set_spec(spec.clone());
    operator.look().await;
    let told = operator.condition("Scoring");
    assert!(told.starts_with("False ModelUnusable") && told.contains("prometheus.selector"), "{told}");
    spec["prometheus"]["selector"] = json!({"instance": "shop"});
    operator.cluster.set_spec(spec.clone());
    operator.look().await;
    assert!(operator.condition("Scoring").starts_with("True"), "{}", operator.condition("Scoring"));

    let status = operator.detector().status.unwrap();
    let path = format!("anomaly/shop/{}/{}", cluster::UID, status.model.unwrap().name);
    fs::write(operator.models.path().join(path), b"no model").unwrap();
    let mut restarted = operator;
    restarted.restart();
    restarted.look().await;
    assert!(restarted.condition("Scoring").starts_with("False ModelUnusable"), "{}", restarted.condition("Scoring"));
    assert_eq!(restarted.detector().status.unwrap().training.unwrap().state, TrainingState::Due);

    spec["prometheus"]["secretRef"] = json!({"name": "absent"});
    restarted.cluster.set_spec(spec);
    restarted.look().await;
    let told = restarted.condition("DataAvailable");
    assert!(told.starts_with("False SecretMissing") && told.contains("Secret shop/absent does not exist"), "{told}");
    // That nothing is seen any more is no sign of health.
    assert_eq!(restarted.detector().status.unwrap().state, Some(State::Anomalous));
}
