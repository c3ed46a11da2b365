//! Answers of a cost model over REST and gRPC: two transports over one set of answers.

mod ask;
pub mod grpc;
mod inference;
mod metered;
mod metrics;
mod openapi;
mod problem;
pub mod rest;
mod route;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

pub use ask::{Ask, Refusal};
pub use metrics::ServingMetrics;
pub use route::Groups;

use crate::cost::answer::{Planner, Predictor};

/// How much is taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request, uncompressed.
    pub body_bytes: usize,
    /// Statements of a request.
    pub queries: usize,
    /// Requests that are answered at once; more are refused, and told to come again.
    pub concurrency: usize,
    /// Time for a request.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 4 << 20, queries: 1000, concurrency: 256, timeout: Duration::from_secs(10) }
    }
}

/// Bodies are counted by pieces of so many bytes.
const PIECE: usize = 1024;
/// Bodies of up to so many bytes are small.
const SMALL: usize = 16 << 10;
/// Largest bodies that are held at once, or more that are not as large.
const LARGEST: usize = 8;

/// What a compressed body is taken to become; of one that comes in chunks nothing is known.
const INFLATED: usize = 8;

/// A model that is served.
pub struct Serving {
    model: Arc<dyn Predictor>,
    planner: Option<Arc<dyn Planner>>,
    groups: Option<Groups>,
    limits: Limits,
    metrics: ServingMetrics,
    permits: Arc<Semaphore>,
    /// A permit for each [`PIECE`] of small bodies, and of others: those who send much hold up nobody who sends little.
    pieces: [Arc<Semaphore>; 2],
    draining: AtomicBool,
}

impl Serving {
    /// Serves a model, for the QueryCostModel of that namespace and name if there is one; with groups it routes, too.
    pub fn new(
        model: Arc<dyn Predictor>,
        object: Option<(&str, &str)>,
        groups: Option<Groups>,
        limits: Limits,
    ) -> Self {
        let metrics = ServingMetrics::of(model.version(), object);
        Self {
            model,
            planner: None,
            groups,
            limits,
            metrics,
            permits: Arc::new(Semaphore::new(limits.concurrency)),
            pieces: [limits.concurrency.max(1) * SMALL, LARGEST * limits.body_bytes]
                .map(|bytes| Arc::new(Semaphore::new(bytes.div_ceil(PIECE)))),
            draining: AtomicBool::new(false),
        }
    }

    /// Where the text is in doubt, this planner is asked.
    #[must_use]
    pub fn with_planner(self, planner: Arc<dyn Planner>) -> Self {
        Self { planner: Some(planner), ..self }
    }

    /// From now on it says that it is not ready, and answers all the same.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it takes new callers.
    pub fn ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }
}
