//! What Kubernetes' objects say, without talking to a cluster: quantities, the pod of a workload, Jobs.

pub mod job;
pub mod pod;
pub mod quantity;
pub mod training_job;
pub mod workload;
