//! An API server on loopback with whatever routes a test gives it, and the kubelet's part of a Job: what the tests that need
//! no cluster stand on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub struct ApiServer {
    pub url: String,
    directory: TempDir,
}

impl ApiServer {
    pub async fn start(routes: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, routes).into_future());
        let directory = TempDir::new().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": url}}],
            "users": [{"name": "it", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        fs::write(directory.path().join("kubeconfig"), config.to_string()).unwrap();
        Self { url, directory }
    }

    pub fn client(&self) -> Client {
        Client::try_from(Config::new(self.url.parse().unwrap())).unwrap()
    }

    /// For a command of howdah run as a person would.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Runs a Job as a kubelet would: its own arguments, in a process of its own.
    pub fn run(&self, job: &Value, directory: &Path) -> Ended {
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        let arguments: Vec<&str> = container["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let log = directory.join("termination-log");
        let output = Command::new(env!("CARGO_BIN_EXE_howdah"))
            .args(&arguments)
            .arg("--termination-log")
            .arg(&log)
            .env("KUBECONFIG", self.kubeconfig())
            .env("POD_NAMESPACE", "howdah-system")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let message = fs::read_to_string(&log).unwrap_or_else(|error| panic!("{error}: {said}"));
        fs::remove_file(&log).unwrap();
        assert!(message.len() <= 4096, "{} bytes", message.len());
        Ended { message, succeeded: output.status.success() }
    }
}

/// How a Job's process ended.
pub struct Ended {
    /// What it left in its termination log.
    pub message: String,
    succeeded: bool,
}

impl Ended {
    /// Status of the Job.
    pub fn job_status(&self) -> Value {
        let kind = if self.succeeded { "Complete" } else { "Failed" };
        json!({"conditions": [{"type": kind, "status": "True"}]})
    }

    /// The Job's pod.
    pub fn pod(&self, name: &str) -> Value {
        let state = json!({"terminated": {"exitCode": i32::from(!self.succeeded), "message": self.message}});
        let container = json!({
            "name": "training", "ready": false, "restartCount": 0, "image": "i", "imageID": "i", "state": state});
        json!({"metadata": {"name": name}, "status": {"containerStatuses": [container]}})
    }
}

pub fn document(status: StatusCode, document: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

pub fn refused(status: StatusCode, reason: &str) -> Response {
    let code = status.as_u16();
    let answer = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": reason});
    document(status, &answer)
}
