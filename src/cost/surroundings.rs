//! What the room works with: clients, a store, the pattern of its pods.

use std::sync::Arc;

use kube::Client;

use super::grants::Grants;
use crate::control::metrics::Metrics;
use crate::world::kubernetes::pod::OwnPod;
use crate::world::store::Store;

/// What the room works with.
#[derive(Clone)]
pub struct Surroundings {
    /// The API server.
    pub client: Client,
    /// Where models are kept.
    pub store: Arc<Store>,
    /// Its URL, for trainings and replicas.
    pub store_url: String,
    /// The operator's own pod, the pattern of what it runs.
    pub own_pod: Arc<OwnPod>,
    /// Where models are told.
    pub metrics: Arc<Metrics>,
    /// What may be read with the operator's own rights, and for whom.
    pub grants: Grants,
}
