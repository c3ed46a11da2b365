//! A query log as this room reads it: statements with what they cost, one after another.

use serde::{Deserialize, Serialize};

/// One row of a query log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statement {
    /// The text as the log has it, with parameters put back where the log has them apart.
    pub query: String,
    /// When it ended, milliseconds since 1970, where the log says so.
    pub time_ms: Option<i64>,
    /// One cost for each target, in the order in which the log was asked for them.
    pub costs: Vec<Cost>,
    /// How many statements of the server it stands for: more than 1 where the log is a sample.
    pub weight: f32,
    /// The logger cut the text.
    pub truncated: bool,
    /// PostgreSQL's estimate for it (total cost, rows), where the log has it.
    pub plan: Option<(f32, f32)>,
}

/// What a statement cost of one target, in the target's unit (seconds, bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Cost {
    /// The log does not say.
    #[default]
    Unknown,
    /// It ran to its end.
    Measured(f64),
    /// It was ended before (a timeout, a cancellation): it would have cost at least this.
    AtLeast(f64),
}

/// Why a row is no statement with a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rejection {
    /// There is no query text.
    NoQuery,
    /// The text is not UTF-8.
    NotUtf8,
    /// A cost is no number.
    NotNumeric,
    /// A cost is negative.
    Negative,
    /// A cost is NaN or infinite.
    NotFinite,
    /// The time can't be read.
    NoTime,
    /// The row has the wrong number of columns, or is no JSON.
    Malformed,
    /// The statement is older than what is learnt from.
    TooOld,
    /// The statement is longer than is read ([`LONGEST_STATEMENT`]).
    TooLong,
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoQuery => "have no query text",
            Self::NotUtf8 => "are not UTF-8",
            Self::NotNumeric => "have a cost that is no number",
            Self::Negative => "have a negative cost",
            Self::NotFinite => "have a cost that is not finite",
            Self::NoTime => "have a time that can't be read",
            Self::Malformed => "are malformed",
            Self::TooOld => "are older than spec.source.window",
            Self::TooLong => "have too long a statement",
        })
    }
}

/// Longer statements are rejected, bytes.
pub const LONGEST_STATEMENT: usize = 8 << 20;

/// What a reading of a log found, beside the statements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Rows that became statements.
    pub statements: u64,
    /// Rows that did not, by reason.
    pub rejected: std::collections::BTreeMap<Rejection, u64>,
    /// The first few rejected rows, as `FILE:ROW: reason: beginning of the row`.
    pub samples: Vec<String>,
    /// Statements of which the logger cut the text.
    pub truncated: u64,
}

/// A log that can be read, and read again: its statements need not fit into memory.
pub trait Log {
    /// Names of the targets, in the order of [`Statement::costs`].
    fn targets(&self) -> &[String];

    /// Reads the log from its beginning, statement after statement, in the log's order.
    ///
    /// # Errors
    /// A file can't be read to its end (truncated, of another schema, a column is missing): which, where and what to do.
    fn read(&self, each: &mut dyn FnMut(Statement)) -> Result<Reading, LogError>;
}

/// Why a log could not be read, in a sentence: which file, where in it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LogError(pub String);
