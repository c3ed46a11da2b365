//! AnomalyDetector: what normal is, and that a database departs from it, since when, and what moved.

pub mod answer;
pub mod crd;
pub mod features;
pub mod packs;
pub mod reason;
pub mod training;
pub mod training_job;
