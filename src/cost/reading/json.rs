//! One JSON object a line.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

use super::value::{epoch, measured};
use super::{Collector, Columns, cost, flag, is_cut, missing_column, time_ms};
use crate::cost::log::{Cost, LONGEST_STATEMENT, LogError, Rejection, Statement};

/// Longest line that is read; of a longer one the rest is passed over.
const LONGEST_LINE: usize = 2 * LONGEST_STATEMENT;

/// Reads lines. A column may be a path into nested objects (`statistics.cpuTime`).
///
/// # Errors
/// The statement, a cost or the time is in no row, or the bytes end early.
pub fn read(input: impl Read, columns: &Columns, into: &mut Collector<'_>) -> Result<(), LogError> {
    let mut objects = Objects::of(columns);
    objects.read(input, into)?;
    objects.check()
}

/// The objects of a log, which may be several files: an object, and so a file, need not have every column.
pub struct Objects<'a> {
    columns: &'a Columns,
    /// Required columns that no object had yet.
    unseen: Vec<&'a str>,
    /// The first object, and its file.
    first: Option<(String, Value)>,
}

impl<'a> Objects<'a> {
    /// None was read yet.
    pub fn of(columns: &'a Columns) -> Self {
        Self { columns, unseen: columns.required().collect(), first: None }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The bytes end early.
    pub fn read(&mut self, input: impl Read, into: &mut Collector<'_>) -> Result<(), LogError> {
        let mut lines = Lines::new(input);
        while let Some((row, line)) = lines.next(&into.file)? {
            let Ok(text) = std::str::from_utf8(line) else {
                into.reject(row, Rejection::NotUtf8, &String::from_utf8_lossy(&line[..line.len().min(200)]));
                continue;
            };
            if text.trim().is_empty() {
                continue;
            }
            let object = match serde_json::from_str::<Value>(text) {
                Ok(object @ Value::Object(_)) => object,
                Ok(_) | Err(_) => {
                    let rejection = if line.len() >= LONGEST_LINE { Rejection::TooLong } else { Rejection::Malformed };
                    into.reject(row, rejection, text);
                    continue;
                }
            };
            self.unseen.retain(|column| find(&object, column).is_none());
            match statement(&object, self.columns) {
                Ok(statement) => into.accept(row, statement),
                Err(rejection) => into.reject(row, rejection, text),
            }
            self.first.get_or_insert_with(|| (into.file.clone(), object));
        }
        Ok(())
    }

    /// Whether every required column was seen.
    ///
    /// # Errors
    /// One is in no object.
    pub fn check(&self) -> Result<(), LogError> {
        let (Some(column), Some((file, first))) = (self.unseen.first(), &self.first) else { return Ok(()) };
        let mut names = Vec::new();
        paths(first, "", &mut names);
        let is_number = |name: &&String| find(first, name).is_some_and(Value::is_number);
        let numeric: Vec<String> = names.iter().filter(is_number).cloned().collect();
        Err(LogError(missing_column(file, column, &names, &numeric)))
    }
}

/// A field by its name, or by the path of names to it.
fn find<'a>(object: &'a Value, column: &str) -> Option<&'a Value> {
    if let Some(found) = object.get(column) {
        return Some(found);
    }
    column.match_indices('.').find_map(|(at, _)| find(object.get(&column[..at])?, &column[at + 1..]))
}

fn paths(value: &Value, prefix: &str, names: &mut Vec<String>) {
    let Value::Object(fields) = value else { return };
    for (name, field) in fields {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if field.is_object() { paths(field, &path, names) } else { names.push(path) }
    }
}

fn statement(object: &Value, columns: &Columns) -> Result<Statement, Rejection> {
    let query = match find(object, &columns.query) {
        Some(Value::String(query)) => query.clone(),
        _ => return Err(Rejection::NoQuery),
    };
    let time_ms = match &columns.time {
        None => None,
        Some(column) => Some(
            match find(object, column) {
                Some(Value::String(text)) => time_ms(text),
                Some(Value::Number(number)) => number.as_f64().and_then(epoch),
                _ => None,
            }
            .ok_or(Rejection::NoTime)?,
        ),
    };
    let failed = columns.failed.as_ref().and_then(|column| find(object, column)).is_some_and(|value| match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::String(text) => flag(text),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(_) | Value::Object(_) => true,
    });
    let price = |column: &String| match find(object, column) {
        None | Some(Value::Null) => Ok(Cost::Unknown),
        Some(Value::Number(number)) => measured(number.as_f64().unwrap_or(f64::NAN), failed),
        Some(Value::String(text)) => cost(text, failed),
        Some(_) => Err(Rejection::NotNumeric),
    };
    let costs = columns.targets.iter().map(price).collect::<Result<_, _>>()?;
    let number = |column: &String| find(object, column).and_then(Value::as_f64).map(|number| number as f32);
    let weight = columns.weight.as_ref().and_then(number).filter(|weight| *weight > 0.0).unwrap_or(1.0);
    let plan = columns.plan.as_ref().and_then(|(cost, rows)| number(cost).zip(number(rows)));
    Ok(Statement { truncated: is_cut(&query), query, time_ms, costs, weight, plan })
}

/// Lines with a bound on their length.
pub struct Lines<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    row: u64,
}

impl<R: Read> Lines<R> {
    /// The lines of an input.
    pub fn new(input: R) -> Self {
        Self { input: BufReader::with_capacity(1 << 20, input), line: Vec::new(), row: 0 }
    }

    /// The next line without its end, and its number.
    ///
    /// # Errors
    /// The bytes can't be read to their end.
    pub fn next(&mut self, file: &str) -> Result<Option<(u64, &[u8])>, LogError> {
        self.line.clear();
        self.row += 1;
        loop {
            let buffer = self.input.fill_buf().map_err(|error| {
                LogError(format!(
                    "{file} can't be read beyond line {} ({error}); a compressed file may be cut off: bring it whole",
                    self.row
                ))
            })?;
            if buffer.is_empty() {
                return Ok((!self.line.is_empty()).then_some((self.row, self.line.as_slice())));
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.input.consume(used);
            if end.is_some() {
                if self.row == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
                    self.line.drain(..3);
                }
                return Ok(Some((self.row, self.line.as_slice())));
            }
        }
    }
}
