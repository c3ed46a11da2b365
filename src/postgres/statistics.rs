//! What a server counts of a statement.

/// A statement in `pg_stat_statements`.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementStatistics {
    /// Its text, with parameters (`$1`) in the place of its literals.
    pub query: String,
    /// How often it ran to its end.
    pub calls: u64,
    /// Its shortest execution.
    pub least_seconds: f64,
    /// The mean of its executions.
    pub mean_seconds: f64,
    /// Its longest.
    pub most_seconds: f64,
    /// Their standard deviation.
    pub deviation_seconds: f64,
    /// Temporary files of all executions.
    pub spilled_bytes: f64,
}
