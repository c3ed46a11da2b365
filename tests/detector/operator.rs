//! The anomaly room at work, as the reconcile loop drives it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use howdah::anomaly::Anomaly;
use howdah::anomaly::crd::AnomalyDetector;
use howdah::anomaly::decide::Decision;
use howdah::anomaly::surroundings::{Memory, Surroundings};
use howdah::control::conditions;
use howdah::control::metrics::Metrics;
use howdah::control::room::{Report, Room};
use howdah::control::status::to_write;
use howdah::learn::worker::Worker;
use howdah::world::kubernetes::pod::OwnPod;
use howdah::world::store::Store;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::Cluster;

/// The operator's memory, its model store and what it sees.
pub struct Operator {
    pub room: Anomaly,
    pub cluster: Cluster,
    pub models: TempDir,
}

impl Operator {
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = Cluster::start().await;
        let models = TempDir::new().unwrap();
        let room = Anomaly(Self::surroundings(&cluster, models.path()));
        Self { room, cluster, models }
    }

    fn surroundings(cluster: &Cluster, models: &Path) -> Surroundings {
        let store_url = format!("file://{}", models.display());
        Surroundings {
            client: cluster.server.client(),
            store: Arc::new(Store::open(&store_url).unwrap()),
            store_url,
            worker: Worker::spawn("scorer").unwrap(),
            metrics: Arc::new(Metrics::default()),
            own_pod: Arc::new(OwnPod::new(Some(("howdah-system".into(), "howdah-0".into())))),
            memory: Arc::new(Memory::default()),
        }
    }

    /// The process is killed, and another one starts.
    pub fn restart(&mut self) {
        self.room = Anomaly(Self::surroundings(&self.cluster, self.models.path()));
    }

    /// One reconcile, as the loop does it.
    pub async fn look(&self) -> (Decision, Report, bool) {
        self.look_at(self.detector()).await
    }

    /// One reconcile of the detector as the loop's cache has it.
    pub async fn look_at(&self, cached: AnomalyDetector) -> (Decision, Report, bool) {
        let object = Arc::new(cached);
        let facts = self.room.observe(object.clone()).await;
        let decision = Anomaly::decide(&facts);
        let outcome = self.room.act(object, &facts, &decision).await;
        let report = Anomaly::report(&facts, &decision, &outcome);
        let seen = report.seen.clone().unwrap_or_default();
        let written = report.status.clone().and_then(|status| to_write(&seen, status, Timestamp::now()));
        if let Some(status) = &written {
            self.cluster.set_status(status.clone());
        }
        (decision, report, written.is_some())
    }

    pub fn detector(&self) -> AnomalyDetector {
        serde_json::from_value(self.cluster.detector()).unwrap()
    }

    pub fn condition(&self, kind: &str) -> String {
        let status = self.detector().status.unwrap();
        let found = conditions::find(&status.conditions, kind).unwrap_or_else(|| panic!("there is no {kind}"));
        format!("{} {}: {}", found.status, found.reason, found.message)
    }

    /// Runs the Job as a kubelet would: its own arguments, in a process of its own.
    pub fn run_job(&self) -> Value {
        let job = self.cluster.job().expect("a Job was made");
        let ended = self.cluster.server.run(&job, self.models.path());
        self.cluster.end_job(&ended);
        serde_json::from_str(&ended.message).unwrap()
    }

    pub fn models_kept(&self) -> usize {
        let mut folders = vec![self.models.path().to_owned()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { files += 1 }
            }
        }
        files
    }
}
