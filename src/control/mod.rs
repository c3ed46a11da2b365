//! The one reconcile loop, conditions, events, leader lease, metrics, shutdown. It knows no particular kind.

pub mod reason;
pub mod room;
