//! Numbers in, numbers out: the learner and its numerical tools. Knows no Kubernetes and no PostgreSQL.

pub mod boost;
pub mod dense;
pub mod gaussian;
pub mod lhs;
pub mod normaliser;
pub mod numbers;
pub mod rng;
pub mod torch;
pub mod worker;
