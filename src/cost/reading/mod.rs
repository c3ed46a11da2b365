//! Query logs in their formats, read statement after statement from whatever gives their bytes.

mod bounded;
pub mod csv;
pub mod json;
pub mod parquet;
pub mod postgres;
pub mod sampling;
mod value;

use serde::{Deserialize, Serialize};

use super::log::{LONGEST_STATEMENT, Reading, Rejection, Statement};
pub use value::{cost, flag, time_ms};

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// A table with a header line; commas, semicolons or tabs.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
    /// PostgreSQL's csvlog.
    PostgresCsvLog,
    /// PostgreSQL's jsonlog.
    PostgresJsonLog,
}

impl Format {
    /// Whether PostgreSQL wrote it: then targets are `duration`, `cpu` and `spill`.
    pub fn is_postgres(self) -> bool {
        matches!(self, Self::PostgresCsvLog | Self::PostgresJsonLog)
    }

    /// The format of a file by its name and its first bytes, uncompressed.
    pub fn detect(name: &str, begin: &[u8]) -> Self {
        let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
        if begin.starts_with(b"PAR1") {
            return Self::Parquet;
        }
        let text = String::from_utf8_lossy(begin);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with('{') || name.ends_with(".jsonl") || name.ends_with(".ndjson") {
            let line = text.lines().next().unwrap_or_default();
            let postgres = line.contains("\"error_severity\"") && line.contains("\"message\"");
            return if postgres { Self::PostgresJsonLog } else { Self::JsonLines };
        }
        // A csvlog has no header: its first field is a time, and the twelfth a severity.
        let mut fields = text.split(',');
        let timed =
            fields.next().is_some_and(|first| time_ms(first.trim_matches('"')).is_some() && first.contains(':'));
        let severe = text.split(',').take(16).any(|field| {
            matches!(field, "LOG" | "ERROR" | "FATAL" | "WARNING" | "NOTICE" | "INFO" | "PANIC" | "DEBUG1")
        });
        if timed && severe { Self::PostgresCsvLog } else { Self::Csv }
    }
}

/// Where a table has what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// The statement's text.
    pub query: String,
    /// When it ended.
    pub time: Option<String>,
    /// What it cost, by target.
    pub targets: Vec<String>,
    /// How many statements it stands for.
    pub weight: Option<String>,
    /// Whether it failed or was cancelled: its costs are then what it had cost until then.
    pub failed: Option<String>,
    /// PostgreSQL's estimate: total cost and rows.
    pub plan: Option<(String, String)>,
}

impl Columns {
    /// The columns that an object without a schema must have somewhere: writers leave out what does not apply to any row.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.query).chain(&self.targets).chain(&self.time).map(String::as_str)
    }

    /// Every column that is asked for.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let plan = self.plan.iter().flat_map(|(cost, rows)| [cost, rows]);
        let optional = self.weight.iter().chain(&self.failed).chain(plan);
        self.required().chain(optional.map(String::as_str))
    }
}

/// Rejected rows that are shown.
const SAMPLES: usize = 5;
/// Characters of a rejected row that are shown.
const SAMPLE: usize = 120;

/// Statements that a row may stand for, at the most.
const HEAVIEST: f32 = 1e9;

/// Takes what a reader finds.
pub struct Collector<'a> {
    /// Name of the file, for samples and errors.
    pub file: String,
    /// Takes statements.
    pub each: &'a mut dyn FnMut(Statement),
    /// Counts.
    pub reading: &'a mut Reading,
}

impl Collector<'_> {
    /// Takes a row's statement.
    pub fn accept(&mut self, row: u64, mut statement: Statement) {
        if statement.query.trim().is_empty() {
            return self.reject(row, Rejection::NoQuery, &statement.query);
        }
        if statement.query.len() > LONGEST_STATEMENT {
            return self.reject(row, Rejection::TooLong, &statement.query);
        }
        // Sums of weights are kept as f32.
        statement.weight = statement.weight.min(HEAVIEST);
        self.reading.statements += 1;
        self.reading.truncated += u64::from(statement.truncated);
        (self.each)(statement);
    }

    /// Counts a row that is none.
    pub fn reject(&mut self, row: u64, rejection: Rejection, text: &str) {
        *self.reading.rejected.entry(rejection).or_default() += 1;
        if self.reading.samples.len() < SAMPLES {
            let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAMPLE).collect();
            self.reading.samples.push(format!("{}:{row}: rows {rejection}: {shown}", self.file));
        }
    }
}

/// Whether a logger cut a text: they do so at round lengths, and mark it by periods.
pub fn is_cut(query: &str) -> bool {
    let end = query.trim_end();
    end.ends_with("...")
        || end.ends_with('\u{2026}')
        || end.ends_with("<truncated>")
        || matches!(query.len(), 1024 | 2048 | 4096 | 8192)
}

/// What an error says of a column that is not there.
pub fn missing_column(file: &str, column: &str, has: &[String], numeric: &[String]) -> String {
    let numbers = if numeric.is_empty() { String::new() } else { format!("; numbers are in {}", numeric.join(", ")) };
    format!("{file} has no column {column:?}: it has {}{numbers}", has.join(", "))
}

#[cfg(test)]
mod tests;
