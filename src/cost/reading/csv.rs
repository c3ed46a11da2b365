//! Tables with a header line.

use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};

use super::bounded::Bounded;
use super::{Collector, Columns, cost, flag, is_cut, missing_column, time_ms};
use crate::cost::log::{Cost, LogError, Rejection, Statement};

/// Rows that are looked at to tell which columns are numbers.
const LOOKED_AT: usize = 50;

/// Reads a table.
///
/// # Errors
/// A column is missing, or the bytes end early.
pub fn read(input: impl Read, columns: &Columns, into: &mut Collector<'_>) -> Result<(), LogError> {
    let (mut input, progress) = Bounded::new(input);
    let failed = |file: &str, error: &dyn std::fmt::Display| LogError(format!("{file} can't be read: {error}"));
    let begin = input.begin().map_err(|error| failed(&into.file, &error))?;
    let delimiter = delimiter(begin);
    let mut reader = ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(input);
    let header = reader.byte_headers().map_err(|error| failed(&into.file, &error))?;
    let names: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
    if names.iter().all(String::is_empty) {
        return Err(LogError(format!("{} is empty: a CSV log begins with a line of column names", into.file)));
    }
    let place = |column: &str| names.iter().position(|name| name == column);
    if let Some(column) = columns.all().find(|column| place(column).is_none()) {
        let rows: Vec<ByteRecord> = reader.byte_records().take(LOOKED_AT).flatten().collect();
        let numeric: Vec<String> = (0..names.len())
            .filter(|at| {
                let mut known = rows.iter().filter_map(|row| row.get(*at)).filter(|field| !field.is_empty()).peekable();
                let number = |field: &[u8]| {
                    std::str::from_utf8(field).is_ok_and(|text| matches!(cost(text, false), Ok(Cost::Measured(_))))
                };
                known.peek().is_some() && known.all(number)
            })
            .map(|at| names[at].clone())
            .collect();
        return Err(LogError(missing_column(&into.file, column, &names, &numeric)));
    }
    let at = |column: &Option<String>| column.as_deref().and_then(place);
    let places = Places {
        query: place(&columns.query).unwrap_or_default(),
        time: at(&columns.time),
        targets: columns.targets.iter().filter_map(|column| place(column)).collect(),
        weight: at(&columns.weight),
        failed: at(&columns.failed),
        plan: columns.plan.as_ref().and_then(|(cost, rows)| place(cost).zip(place(rows))),
    };
    let mut record = ByteRecord::new();
    let mut row = 1;
    loop {
        row += 1;
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                return Err(LogError(format!(
                    "{} can't be read beyond row {row} ({error}); a compressed file may be cut off: bring it whole",
                    into.file
                )));
            }
        }
        let shown = || {
            let begin = &record.as_slice()[..record.as_slice().len().min(800)];
            String::from_utf8_lossy(begin).chars().take(200).collect::<String>()
        };
        if progress.ended(reader.position().byte()) {
            into.reject(row, Rejection::TooLong, &shown());
            continue;
        }
        if record.len() != names.len() {
            into.reject(row, Rejection::Malformed, &shown());
            continue;
        }
        match statement(&record, &places) {
            Ok(statement) => into.accept(row, statement),
            Err(rejection) => into.reject(row, rejection, &shown()),
        }
    }
}

struct Places {
    query: usize,
    time: Option<usize>,
    targets: Vec<usize>,
    weight: Option<usize>,
    failed: Option<usize>,
    plan: Option<(usize, usize)>,
}

fn statement(record: &ByteRecord, places: &Places) -> Result<Statement, Rejection> {
    let text = |at: usize| std::str::from_utf8(record.get(at).unwrap_or_default()).map_err(|_| Rejection::NotUtf8);
    let query = text(places.query)?;
    let time_ms = match places.time {
        Some(at) => Some(time_ms(text(at)?).ok_or(Rejection::NoTime)?),
        None => None,
    };
    let failed = places.failed.map(&text).transpose()?.is_some_and(flag);
    let costs = places.targets.iter().map(|at| cost(text(*at)?, failed)).collect::<Result<_, _>>()?;
    let number =
        |at: usize| text(at).ok().and_then(|text| text.trim().parse::<f32>().ok()).filter(|number| number.is_finite());
    let weight = places.weight.and_then(number).filter(|weight| *weight > 0.0).unwrap_or(1.0);
    let plan = places.plan.and_then(|(cost, rows)| number(cost).zip(number(rows)));
    Ok(Statement { query: query.to_owned(), time_ms, costs, weight, truncated: is_cut(query), plan })
}

/// The most frequent delimiter of the header line.
fn delimiter(begin: &[u8]) -> u8 {
    let line = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| line.iter().filter(|byte| **byte == delimiter).count();
    let best = [b',', b';', b'\t', b'|'].into_iter().rev().max_by_key(|delimiter| count(*delimiter));
    best.filter(|delimiter| count(*delimiter) > 0).unwrap_or(b',')
}
