//! PostgresInstance: where a database is, how it is configured, how its settings are read and written.

pub mod act;
pub mod crd;
pub mod decide;
pub mod observe;
pub mod report;
