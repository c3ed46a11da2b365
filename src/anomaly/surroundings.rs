//! What the anomaly room works with: clients, a store, a thread, and what is kept between two looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;

use super::facts::{Receiver, Trouble};
use super::fetch::beside::Beside;
use super::reason::Reason;
use super::watching::Watching;
use crate::control::metrics::Metrics;
use crate::learn::worker::Worker;
use crate::world::http::Access;
use crate::world::kubernetes::pod::OwnPod;
use crate::world::prometheus::Prometheus;
use crate::world::store::Store;

/// What the anomaly room works with.
#[derive(Clone)]
pub struct Surroundings {
    /// The API server.
    pub client: Client,
    /// Where models are kept.
    pub store: Arc<Store>,
    /// Its URL, for the training's Job.
    pub store_url: String,
    /// The thread on which models run.
    pub worker: Worker,
    /// Where scores are told.
    pub metrics: Arc<Metrics>,
    /// The operator's own pod, the pattern of the training's Job.
    pub own_pod: Arc<OwnPod>,
    /// What is kept between two looks; all of it can be lost.
    pub memory: Arc<Memory>,
}

/// What is kept between two looks at a detector, by its uid.
#[derive(Default)]
pub struct Memory {
    detectors: Mutex<HashMap<String, Kept>>,
}

/// What is kept of one detector.
#[derive(Default)]
pub(super) struct Kept {
    /// The Prometheus that was last asked and how it is reached: connections are kept, and TLS is not set up anew for
    /// each row.
    pub(super) prometheus: Option<(Access, Prometheus)>,
    /// The model at work.
    pub(super) watching: Option<Watching>,
    /// What was last seen beside the metrics.
    pub(super) beside: Beside,
    /// When the Alertmanager was last told that an alert fires.
    pub(super) alerted: Option<Time>,
    /// Receivers that did not take what they were last told, by kind and URL.
    pub(super) refused: HashMap<(Receiver, String), Refused>,
}

/// A receiver that did not take what it was told.
#[derive(Default)]
pub(super) struct Refused {
    /// How often in a row.
    pub(super) times: u32,
    /// Why not, the last time.
    pub(super) message: String,
    /// When it may be told again, in milliseconds since 1970.
    pub(super) again: i64,
}

impl Memory {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.detectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Surroundings {
    /// The operator's own pod.
    pub(super) async fn own_pod(&self) -> Result<&Pod, Trouble> {
        let pod = self.own_pod.pattern(&self.client, &self.store_url, "a training's Job").await;
        pod.map_err(|message| Trouble::new(Reason::TrainerUnknown, message))
    }
}
