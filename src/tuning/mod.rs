//! PostgresTuning and TuningTrial: the search for a better configuration, and its safety.

pub mod act;
pub mod benchmark;
pub mod configuration;
pub mod crd;
pub mod decide;
pub mod evidence;
pub mod heuristic;
pub mod knobs;
pub mod measure;
pub mod measurement;
pub mod objective;
pub mod observe;
pub mod optimizer;
pub mod report;
pub mod safety;
pub mod session;
pub mod simulator;
pub mod space;
pub mod state;
