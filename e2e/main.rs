//! The operator in a real cluster, against real databases: what it promises, asserted on the databases themselves.
//!
//! `make e2e` installs the operator and runs these tests. Each has a namespace of its own with a PostgreSQL; at most
//! three run at once. One that fails leaves its namespace (`howdah-e2e-*`) to be looked at; the next run removes it.

mod anomaly;
mod cost;
mod harness;
mod interruptions;
mod modes;
mod operator_killed;
mod refusals;
mod restarts;
