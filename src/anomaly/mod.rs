//! AnomalyDetector: what normal is, and that a database departs from it, since when, and what moved.

pub mod crd;
pub mod features;
pub mod packs;
pub mod reason;
