//! The one reconcile loop, conditions, events, leader lease, metrics, shutdown. It knows no particular kind.

pub mod backoff;
pub mod conditions;
pub mod kinds;
pub mod lease;
pub mod metrics;
pub mod readiness;
pub mod reason;
pub mod reconcile;
pub mod room;
pub mod scope;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod training;

pub use reconcile::{Options, run};

#[cfg(test)]
pub mod golden;
