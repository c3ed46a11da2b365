//! An API server that keeps whatever objects it is given, by their paths, as far as the room asks for it: creation,
//! server-side apply (the object is then as it was sent), merge patches of metadata, deletion, and pods by a Job's name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use crate::api_server::{ApiServer, Ended, document, refused};

const PODS: &str = "/api/v1/namespaces/howdah-system/pods";

type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

pub struct Cluster {
    pub server: ApiServer,
    objects: Objects,
}

impl Cluster {
    pub async fn start() -> Self {
        let objects = Objects::default();
        let server = ApiServer::start(Router::new().fallback(answer).with_state(objects.clone())).await;
        Self { server, objects }
    }

    pub fn put(&self, path: &str, object: Value) {
        self.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.objects.lock().unwrap().get(path).cloned()
    }

    pub fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        change(self.objects.lock().unwrap().get_mut(path).unwrap_or_else(|| panic!("there is no {path}")));
    }

    /// Paths below another one.
    pub fn below(&self, path: &str) -> Vec<String> {
        self.objects.lock().unwrap().keys().filter(|key| key.starts_with(path)).cloned().collect()
    }

    /// A Job's pod has ended.
    pub fn end_job(&self, job: &str, ended: &Ended) {
        self.change(job, |job| job["status"] = ended.job_status());
        let name = job.rsplit('/').next().unwrap();
        self.put(&format!("{PODS}/{name}"), ended.pod(name));
    }
}

/// RFC 7396, but for removals, which nobody asks for here.
fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            patch.iter().for_each(|(key, value)| merge(into.entry(key.clone()).or_insert(Value::Null), value));
        }
        (into, patch) => *into = patch.clone(),
    }
}

async fn answer(State(objects): State<Objects>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut objects = objects.lock().unwrap();
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = uri.path().to_owned();
    match method.as_str() {
        "GET" if path == PODS => {
            // By a field (metadata.name=…) or a label (job-name=…): the name comes last.
            let query = uri.query().unwrap_or_default().trim_end_matches('&').to_owned();
            let wanted = |name: &str| query.ends_with(&format!("%3D{name}")) || query.ends_with(&format!("={name}"));
            let pods = objects.iter().filter(|(key, _)| key.strip_prefix(&format!("{PODS}/")).is_some_and(wanted));
            let items: Vec<&Value> = pods.map(|(_, pod)| pod).collect();
            document(StatusCode::OK, &json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}))
        }
        "POST" => {
            let path = format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap_or_default());
            if objects.contains_key(&path) {
                return refused(StatusCode::CONFLICT, "AlreadyExists");
            }
            objects.insert(path, sent.clone());
            document(StatusCode::CREATED, &sent)
        }
        "PATCH" if headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply")) => {
            objects.insert(path, sent.clone());
            document(StatusCode::OK, &sent)
        }
        "PATCH" => match objects.get_mut(&path) {
            Some(object) => {
                merge(object, &sent);
                document(StatusCode::OK, object)
            }
            None => refused(StatusCode::NOT_FOUND, "NotFound"),
        },
        "DELETE" if objects.remove(&path).is_some() => {
            document(StatusCode::OK, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
        }
        "GET" if objects.contains_key(&path) => document(StatusCode::OK, &objects[&path]),
        _ => refused(StatusCode::NOT_FOUND, "NotFound"),
    }
}
