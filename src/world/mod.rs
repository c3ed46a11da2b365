//! Everything outside the process: Kubernetes, PostgreSQL, pgbench, Prometheus, receivers of alarms, the model store.

pub mod http;
pub mod kubernetes;
pub mod pgbench;
pub mod postgres;
pub mod prometheus;
pub mod store;
