//! What PostgreSQL is, without talking to it: settings, units, counters, connection strings.

pub mod counters;
pub mod error;
pub mod quote;
pub mod server;
pub mod setting;
pub mod units;
pub mod uri;
