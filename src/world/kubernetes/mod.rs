//! The cluster, in plain functions: each reads or changes one object and says in a sentence what was wrong.
//!
//! Nothing here is cached: Secrets, ConfigMaps and pods are read by name when they are needed, so memory does not
//! grow with what else is in the cluster.

pub mod config_map;
pub mod error;
pub mod job;
pub mod object;
pub mod pod;
pub mod secret;
pub mod workload;

pub use error::KubeError;
