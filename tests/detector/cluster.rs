//! An API server that keeps one detector (and shows it under any other name, too), its Job, the operator's pod and an
//! instance whose settings change, and the receivers of alarms. It answers what the room asks, as the real one would; everything else is not found.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::api_server::{ApiServer, Ended, document, refused};

const NAME: &str = "orders";
pub const UID: &str = "7d1c9a52-0000-4000-8000-000000000001";

#[derive(Default)]
struct Kept {
    detector: Value,
    job: Option<Value>,
    pod_of_job: Option<Value>,
    received: Vec<(String, Value)>,
    progress: Option<String>,
    refuses: bool,
}

pub struct Cluster {
    pub server: ApiServer,
    kept: Arc<Mutex<Kept>>,
}

impl Cluster {
    pub async fn start() -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let server = ApiServer::start(Router::new().fallback(answer).with_state(kept.clone())).await;
        Self { server, kept }
    }

    /// Base URL of the receivers.
    pub fn receivers(&self) -> String {
        self.server.url.clone()
    }

    pub fn create(&self, spec: Value) {
        self.kept.lock().unwrap().detector = json!({
            "apiVersion": "howdah.dev/v1alpha1", "kind": "AnomalyDetector",
            "metadata": {"name": "orders", "namespace": "shop", "uid": UID, "generation": 1, "resourceVersion": "1"},
            "spec": spec,
        });
    }

    pub fn detector(&self) -> Value {
        self.kept.lock().unwrap().detector.clone()
    }

    pub fn set_spec(&self, spec: Value) {
        self.kept.lock().unwrap().detector["spec"] = spec;
    }

    pub fn set_status(&self, status: Value) {
        self.kept.lock().unwrap().detector["status"] = status;
    }

    pub fn delete(&self) {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        self.kept.lock().unwrap().detector["metadata"]["deletionTimestamp"] = json!(now.to_string());
    }

    pub fn job(&self) -> Option<Value> {
        self.kept.lock().unwrap().job.clone()
    }

    pub fn progress(&self) -> Option<String> {
        self.kept.lock().unwrap().progress.clone()
    }

    /// The Job's pod has ended.
    pub fn end_job(&self, ended: &Ended) {
        let mut kept = self.kept.lock().unwrap();
        if let Some(job) = &mut kept.job {
            job["status"] = ended.job_status();
        }
        kept.pod_of_job = Some(ended.pod("training"));
    }

    /// From now on receivers take nothing, or everything.
    pub fn receivers_refuse(&self, refuse: bool) {
        self.kept.lock().unwrap().refuses = refuse;
    }

    /// What was posted to a receiver's path.
    pub fn received(&self, path: &str) -> Vec<Value> {
        let kept = self.kept.lock().unwrap();
        kept.received.iter().filter(|(to, _)| to == path).map(|(_, document)| document.clone()).collect()
    }
}

/// The pod that the operator says it runs in, with a volume that a Job can share.
fn operator_pod() -> Value {
    json!({
        "metadata": {"name": "howdah-0", "namespace": "howdah-system"},
        "spec": {
            "containers": [{"name": "operator", "image": "howdah", "volumeMounts": [{"name": "models", "mountPath": "/tmp"}]}],
            "volumes": [{"name": "models", "hostPath": {"path": "/tmp"}}],
        },
    })
}

/// A trial that began a little before the fault, as a tuning of the instance leaves it.
fn trial() -> Value {
    let began =
        Timestamp::from_second(Timestamp::now().as_second() - super::history::FAULT_BEGAN_SECONDS_AGO - 20).unwrap();
    json!({
        "apiVersion": "howdah.dev/v1alpha1", "kind": "TuningTrial",
        "metadata": {"name": "work_mem-trial", "namespace": "shop", "creationTimestamp": began.to_string()},
        "spec": {
            "tuning": "demo", "session": "s", "number": 4, "kind": "Explore", "marker": "m",
            "parameters": {"work_mem": "64MB"},
        },
        "status": {"state": "Measuring"},
    })
}

fn tuning() -> Value {
    json!({
        "apiVersion": "howdah.dev/v1alpha1", "kind": "PostgresTuning",
        "metadata": {"name": "demo", "namespace": "shop"},
        "spec": {"instanceRef": {"name": "shop"}, "workload": {"pgbench": {}}},
    })
}

fn list(kind: &str, items: &[Value]) -> Response {
    let version = if kind == "PodList" { "v1" } else { "howdah.dev/v1alpha1" };
    document(StatusCode::OK, &json!({"apiVersion": version, "kind": kind, "metadata": {}, "items": items}))
}

/// The detector under another name, with another uid.
fn twin(detector: &Value, name: &str) -> Value {
    let mut twin = detector.clone();
    (twin["metadata"]["name"], twin["metadata"]["uid"]) = (json!(name), json!(uid(name)));
    twin
}

/// The uid of the detector of this name.
pub fn uid(name: &str) -> String {
    if name == NAME { UID.to_owned() } else { format!("{UID}-{name}") }
}

fn found(object: Option<Value>) -> Response {
    match object {
        Some(object) => document(StatusCode::OK, &object),
        None => refused(StatusCode::NOT_FOUND, "NotFound"),
    }
}

async fn answer(State(kept): State<Arc<Mutex<Kept>>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let mut kept = kept.lock().unwrap();
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = uri.path();
    let detector = path.strip_prefix("/apis/howdah.dev/v1alpha1/namespaces/shop/anomalydetectors/");
    let jobs = "/apis/batch/v1/namespaces/howdah-system/jobs";
    match (method.as_str(), path) {
        ("GET", _) if detector.is_some_and(|name| name != NAME) => {
            found(detector.map(|name| twin(&kept.detector, name)))
        }
        ("POST", "/api/v2/alerts" | "/hook") if kept.refuses => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        ("POST", "/api/v2/alerts" | "/hook") => {
            kept.received.push((path.to_owned(), sent));
            StatusCode::OK.into_response()
        }
        ("GET", _) if detector.is_some() => found(Some(kept.detector.clone())),
        ("PATCH", _) if detector.is_some() => {
            kept.detector["metadata"]["finalizers"] = sent["metadata"]["finalizers"].clone();
            found(Some(kept.detector.clone()))
        }
        ("POST", _) if path == jobs => {
            kept.job = Some(sent.clone());
            found(Some(sent))
        }
        ("GET", _) if path.starts_with(jobs) => found(kept.job.clone()),
        ("PATCH", _) if path.starts_with(jobs) => {
            kept.progress = sent["metadata"]["annotations"]["howdah.dev/progress"].as_str().map(str::to_owned);
            let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {}});
            found(Some(object))
        }
        ("GET", "/api/v1/namespaces/howdah-system/pods") if uri.query().unwrap_or_default().contains("job-name") => {
            list("PodList", kept.pod_of_job.as_slice())
        }
        ("GET", "/api/v1/namespaces/howdah-system/pods") => list("PodList", &[operator_pod()]),
        ("GET", "/apis/howdah.dev/v1alpha1/namespaces/shop/postgrestunings") => list("PostgresTuningList", &[tuning()]),
        ("GET", "/apis/howdah.dev/v1alpha1/namespaces/shop/tuningtrials") => list("TuningTrialList", &[trial()]),
        _ => found(None),
    }
}
