//! An API server that keeps one detector, its Job, the operator's pod and an instance whose settings change, and the
//! receivers of alarms. It answers what the room asks, as the real one would; everything else is not found.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use k8s_openapi::jiff::Timestamp;
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub const UID: &str = "7d1c9a52-0000-4000-8000-000000000001";

#[derive(Default)]
struct Kept {
    detector: Value,
    job: Option<Value>,
    pod_of_job: Option<Value>,
    received: Vec<(String, Value)>,
    progress: Option<String>,
}

pub struct Cluster {
    url: String,
    kept: Arc<Mutex<Kept>>,
    directory: TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(answer).with_state(kept.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        let directory = TempDir::new().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": url}}],
            "users": [{"name": "it", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        std::fs::write(directory.path().join("kubeconfig"), config.to_string()).unwrap();
        Self { url, kept, directory }
    }

    pub fn client(&self) -> Client {
        Client::try_from(Config::new(self.url.parse().unwrap())).unwrap()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Base URL of the receivers.
    pub fn receivers(&self) -> String {
        self.url.clone()
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
    pub fn end_job(&self, message: &str, succeeded: bool) {
        let mut kept = self.kept.lock().unwrap();
        let kind = if succeeded { "Complete" } else { "Failed" };
        if let Some(job) = &mut kept.job {
            job["status"] = json!({"conditions": [{"type": kind, "status": "True"}]});
        }
        kept.pod_of_job = Some(json!({
            "metadata": {"name": "training"},
            "status": {"containerStatuses": [{
                "name": "training", "ready": false, "restartCount": 0, "image": "i", "imageID": "i",
                "state": {"terminated": {"exitCode": i32::from(!succeeded), "message": message}},
            }]},
        }));
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

fn document(status: StatusCode, document: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

fn list(kind: &str, items: &[Value]) -> Response {
    let version = if kind == "PodList" { "v1" } else { "howdah.dev/v1alpha1" };
    document(StatusCode::OK, &json!({"apiVersion": version, "kind": kind, "metadata": {}, "items": items}))
}

fn found(object: Option<Value>) -> Response {
    let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not found"});
    match object {
        Some(object) => document(StatusCode::OK, &object),
        None => document(StatusCode::NOT_FOUND, &missing),
    }
}

async fn answer(State(kept): State<Arc<Mutex<Kept>>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let mut kept = kept.lock().unwrap();
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = uri.path();
    let (detectors, jobs) = (
        "/apis/howdah.dev/v1alpha1/namespaces/shop/anomalydetectors/orders",
        "/apis/batch/v1/namespaces/howdah-system/jobs",
    );
    match (method.as_str(), path) {
        ("POST", "/api/v2/alerts" | "/hook") => {
            kept.received.push((path.to_owned(), sent));
            StatusCode::OK.into_response()
        }
        ("GET", _) if path == detectors => found(Some(kept.detector.clone())),
        ("PATCH", _) if path == detectors => {
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
