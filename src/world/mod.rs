//! Everything outside the process: Kubernetes, PostgreSQL, pgbench, the model store.

pub mod kubernetes;
pub mod pgbench;
pub mod postgres;
pub mod store;
