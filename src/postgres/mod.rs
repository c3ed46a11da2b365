//! What PostgreSQL is, without talking to it: settings, units, counters, connection strings.

pub mod counters;
pub mod error;
pub mod quote;
pub mod server;
pub mod setting;
pub mod statistics;
pub mod units;
pub mod uri;

/// How our sessions name themselves: this, or this with a hyphen and a part behind.
pub const APPLICATION: &str = "howdah";
