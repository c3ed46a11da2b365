//! CSV files as a matrix: a time column, numeric columns, and optionally a column that tells separate runs apart.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::anomaly::matrix::{Column, Kind, Matrix};
use crate::duration;

/// Names that are taken for the time column's when none is given.
const TIME_NAMES: [&str; 5] = ["time", "timestamp", "datetime", "date", "ts"];
/// What a missing value is written as, in lower case.
const MISSING: [&str; 7] = ["", "na", "n/a", "nan", "null", "none", "-"];
/// Distance of rows that have no time.
const STEP_WITHOUT_TIME_MS: i64 = 15_000;
/// A column is a counter when it falls in fewer than this share of the steps and rises in more than this share.
const COUNTER_FALLS: f64 = 0.005;
const COUNTER_RISES: f64 = 0.5;
/// Steps without which that can't be told.
const COUNTER_STEPS: usize = 100;

/// Rows of one or several files.
pub struct Table {
    /// Its rows, sorted.
    pub matrix: Matrix,
    /// The rows in the order of the files.
    pub rows: Vec<InputRow>,
    /// Columns that hold something else than numbers, and were left out.
    pub text: Vec<String>,
    /// Whether the rows say how far they are apart.
    pub timed: bool,
}

/// A row as the files have it.
#[derive(Clone, Debug)]
pub struct InputRow {
    /// The time as written; the row's number where there is no time column.
    pub time_text: String,
    /// The group as written.
    pub group_text: String,
    /// Unix milliseconds.
    pub time: i64,
    /// Number of the group.
    pub group: u32,
}

/// Which columns are what.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// The time; found by its name when none is given.
    pub time: Option<String>,
    /// Tells separate runs apart.
    pub group: Option<String>,
    /// Left out.
    pub ignore: Vec<String>,
}

/// Cells of all files, column by column.
#[derive(Default)]
struct Cells {
    header: Vec<String>,
    /// Numbers, NaN where missing; none for a column of text.
    values: Vec<Option<Vec<f64>>>,
    rows: Vec<InputRow>,
    groups: HashMap<(usize, String), u32>,
    /// There is a time column.
    timed: bool,
}

/// Reads files. The kinds of `metrics`, where given, say which columns are needed and how they are read; otherwise a
/// header may end in `:counter`, `:gauge`, `:ratio` or `:config`, and a column that only grows is a counter.
///
/// # Errors
/// A file can't be read, says where it is not a table, lacks a column that is needed, or has a cell that is no number.
pub fn read(paths: &[PathBuf], columns: &Columns, metrics: Option<&[(String, Kind)]>) -> Result<Table> {
    let mut cells = Cells::default();
    for (number, path) in paths.iter().enumerate() {
        cells.read(number, path, columns).with_context(|| format!("{} can't be read", path.display()))?;
    }
    let files = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    ensure!(!cells.rows.is_empty(), "{files}: there is no row below the header");
    let (mut found, mut text): (Vec<Column>, Vec<String>) = (Vec::new(), Vec::new());
    // Files may have the newest row first, or those of several groups by turns.
    let mut order: Vec<usize> = (0..cells.rows.len()).collect();
    order.sort_by_key(|row| (cells.rows[*row].group, cells.rows[*row].time));
    for (header, values) in cells.header.iter().zip(cells.values) {
        let Some(values) = values else {
            text.push(header.clone());
            continue;
        };
        let (name, kind) = split_kind(header);
        let kind = kind.unwrap_or_else(|| guess(&values, &cells.rows, &order));
        found.push(Column { name: name.to_owned(), kind, values });
    }
    if let Some(metrics) = metrics {
        let known = |name: &String| found.iter().find(|column| column.name == *name);
        let lacking: Vec<&str> =
            metrics.iter().filter(|(name, _)| known(name).is_none()).map(|(name, _)| name.as_str()).collect();
        ensure!(
            lacking.is_empty(),
            "{files}: {} of the model's {} metrics are not there: {}; give the columns that it was trained with",
            lacking.len(),
            metrics.len(),
            lacking[..lacking.len().min(5)].join(", ")
        );
        let as_trained = |(name, kind): &(String, Kind)| Some(Column { kind: *kind, ..known(name)?.clone() });
        found = metrics.iter().filter_map(as_trained).collect();
    }
    ensure!(!found.is_empty(), "{files}: no column has numbers beside the time");
    let times: Vec<i64> = cells.rows.iter().map(|row| row.time).collect();
    let groups: Vec<u32> = cells.rows.iter().map(|row| row.group).collect();
    let step = step(&cells.rows, &order);
    let matrix = Matrix::new(step.unwrap_or(STEP_WITHOUT_TIME_MS), times, groups, found).with_context(|| files)?;
    Ok(Table { matrix, rows: cells.rows, text, timed: step.is_some() && cells.timed })
}

impl Cells {
    fn read(&mut self, file: usize, path: &Path, columns: &Columns) -> Result<()> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(open(path)?);
        let header: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        let place = |name: &String| {
            header.iter().position(|column| column == name).with_context(|| {
                format!("it has no column {name:?}; it has {}", header[..header.len().min(10)].join(", "))
            })
        };
        let by_name = || header.iter().position(|name| TIME_NAMES.contains(&name.to_lowercase().as_str()));
        let time = columns.time.as_ref().map(place).transpose()?.or_else(by_name);
        let group = columns.group.as_ref().map(place).transpose()?;
        self.timed |= time.is_some();
        for name in &columns.ignore {
            place(name)?;
        }
        let is_metric =
            |index: usize| Some(index) != time && Some(index) != group && !columns.ignore.contains(&header[index]);
        let metrics: Vec<usize> = (0..header.len()).filter(|index| is_metric(*index)).collect();
        let names: Vec<String> = metrics.iter().map(|index| header[*index].clone()).collect();
        if file == 0 {
            self.values = vec![Some(Vec::new()); names.len()];
            self.header = names;
        } else if names != self.header {
            let differs = names.iter().find(|name| !self.header.contains(name));
            let lacks = self.header.iter().find(|name| !names.contains(name));
            match (lacks, differs) {
                (Some(name), _) => bail!("it lacks column {name:?} of the first file"),
                (None, Some(name)) => bail!("the first file lacks its column {name:?}"),
                (None, None) => bail!("its columns are in another order than the first file's"),
            }
        }
        for record in reader.records() {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |index: usize| record.get(index).unwrap_or_default();
            let count = self.rows.len();
            let (time_text, time) = match time {
                Some(index) => {
                    let text = cell(index);
                    let time = parse_time(text)
                        .with_context(|| format!("line {line}: {text:?} is no time; write Unix seconds or RFC 3339"))?;
                    (text.to_owned(), time)
                }
                None => (count.to_string(), count as i64 * STEP_WITHOUT_TIME_MS),
            };
            let group_text = group.map_or_else(String::new, |index| cell(index).to_owned());
            let next = self.groups.len() as u32;
            let group = *self.groups.entry((file, group_text.clone())).or_insert(next);
            self.rows.push(InputRow { time_text, group_text, time, group });
            for ((index, name), values) in metrics.iter().zip(&self.header).zip(&mut self.values) {
                let Some(known) = values else { continue };
                match parse_number(cell(*index)) {
                    Some(number) => known.push(number),
                    // Nothing but missing values so far: it is a column of text.
                    None if known.iter().all(|value| value.is_nan()) => *values = None,
                    None => bail!("line {line}, column {name:?}: {:?} is no number", cell(*index)),
                }
            }
        }
        Ok(())
    }
}

/// The bytes of a file, unpacked where it is gzipped.
pub fn open(path: &Path) -> Result<Box<dyn Read>> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    file.by_ref().take(3).read_to_end(&mut magic)?;
    // A mark of the byte order is none of the first name.
    let begin = if magic == *b"\xef\xbb\xbf" { Vec::new() } else { magic.clone() };
    let whole = std::io::Cursor::new(begin).chain(file);
    // By its first bytes, not by its name: a browser may have unpacked it.
    Ok(if magic.starts_with(b"\x1f\x8b") {
        Box::new(BufReader::new(MultiGzDecoder::new(whole)))
    } else {
        Box::new(BufReader::new(whole))
    })
}

/// A number; NaN for what is written where one is missing, infinite ones among them.
fn parse_number(cell: &str) -> Option<f64> {
    match cell.parse::<f64>() {
        Ok(number) if number.is_finite() => Some(number),
        Ok(_) => Some(f64::NAN),
        Err(_) => MISSING.contains(&cell.to_lowercase().as_str()).then_some(f64::NAN),
    }
}

/// Unix milliseconds from Unix seconds, milli-, micro- or nanoseconds, RFC 3339, or a date and time without zone, which
/// is UTC.
pub fn parse_time(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(duration::since_epoch_ms(number).round() as i64);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let utc = text.parse::<DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(utc.timestamp().as_millisecond())
}

fn split_kind(header: &str) -> (&str, Option<Kind>) {
    let kinds = [("counter", Kind::Counter), ("gauge", Kind::Gauge), ("ratio", Kind::Ratio), ("config", Kind::Config)];
    header
        .rsplit_once(':')
        .and_then(|(name, word)| Some((name, kinds.iter().find(|(kind, _)| *kind == word)?.1)))
        .map_or((header, None), |(name, kind)| (name, Some(kind)))
}

/// The kind that a column without one is taken for.
fn guess(values: &[f64], rows: &[InputRow], order: &[usize]) -> Kind {
    let (mut steps, mut falls, mut rises) = (0, 0, 0);
    for pair in order.windows(2) {
        let (before, after) = (values[pair[0]], values[pair[1]]);
        if rows[pair[0]].group != rows[pair[1]].group || before.is_nan() || after.is_nan() {
            continue;
        }
        steps += 1;
        falls += usize::from(after < before);
        rises += usize::from(after > before);
    }
    let grows = (falls as f64) < COUNTER_FALLS * steps as f64 && rises as f64 > COUNTER_RISES * steps as f64;
    if steps >= COUNTER_STEPS && grows { Kind::Counter } else { Kind::Gauge }
}

/// The usual distance of two rows of a group: the median. None where no group has two.
fn step(rows: &[InputRow], order: &[usize]) -> Option<i64> {
    let mut gaps: Vec<i64> = order
        .windows(2)
        .map(|pair| (&rows[pair[0]], &rows[pair[1]]))
        .filter(|(before, after)| before.group == after.group)
        .map(|(before, after)| after.time - before.time)
        .filter(|gap| *gap > 0)
        .collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(texts: &[&str], columns: &Columns, metrics: Option<&[(String, Kind)]>) -> Result<Table> {
        let folder = tempfile::tempdir()?;
        let write = |(number, text): (usize, &&str)| {
            let path = folder.path().join(format!("{number}.csv"));
            std::fs::write(&path, text).unwrap();
            path
        };
        let paths: Vec<PathBuf> = texts.iter().enumerate().map(write).collect();
        read(&paths, columns, metrics)
    }

    fn refused(texts: &[&str], columns: &Columns) -> String {
        format!("{:#}", read_text(texts, columns, None).err().expect("it is refused"))
    }

    #[test]
    fn rows_are_sorted_within_their_groups_and_text_is_left_out() {
        let columns = Columns { group: Some("run".into()), ignore: vec!["note".into()], ..Columns::default() };
        let text = "time,run,a,b:ratio,phase,note\n2026-03-02T00:00:10Z,x,2,0.5,pre,1\n2026-03-02 00:00:00,x,1,nan,pre,2\n\
                    1772409605,y,,inf,fault,3\n";
        let table = read_text(&[text], &columns, None).unwrap();
        let begin = 1_772_409_600_000;
        assert_eq!(table.matrix.times(), [begin, begin + 10_000, begin + 5_000]);
        assert_eq!(table.matrix.groups(), [0, 0, 1]);
        let [a, b] = table.matrix.columns() else { panic!("two metrics") };
        assert_eq!((a.name.as_str(), a.kind, &a.values[..2]), ("a", Kind::Gauge, &[1.0, 2.0][..]));
        assert_eq!((b.name.as_str(), b.kind, b.values[1]), ("b", Kind::Ratio, 0.5));
        assert!(a.values[2].is_nan() && b.values[0].is_nan() && b.values[2].is_nan());
        assert_eq!((table.rows[2].time_text.as_str(), &table.text), ("1772409605", &vec!["phase".to_owned()]));
    }

    #[test]
    fn the_same_group_in_another_file_is_another_run() {
        let columns = Columns { group: Some("run".into()), ..Columns::default() };
        let table = read_text(&["run,a\n0,1\n0,2\n", "run,a\n0,3\n"], &columns, None).unwrap();
        assert_eq!(table.matrix.groups(), [0, 0, 1]);
    }

    #[test]
    fn a_column_that_only_grows_is_a_counter() {
        let rows: String = (0..200).map(|i| format!("{},{}\n", i * 7 + i % 3, (i * 7919) % 101)).collect();
        let table = read_text(&[&format!("grows,wavers\n{rows}")], &Columns::default(), None).unwrap();
        let kinds: Vec<Kind> = table.matrix.columns().iter().map(|column| column.kind).collect();
        assert_eq!(kinds, [Kind::Counter, Kind::Gauge]);
    }

    #[test]
    fn the_order_of_the_rows_in_a_file_does_not_matter() {
        let columns = Columns { group: Some("host".into()), ..Columns::default() };
        let row = |i: i64, host: &str| format!("{},{host},{}\n", 1_772_409_600 + 60 * i, 7 * i);
        let by_turns: String = (0..150).flat_map(|i| [row(i, "a"), row(i, "b")]).collect();
        let newest_first: String = (0..150).rev().map(|i| row(i, "a")).collect();
        for text in [by_turns, newest_first] {
            let table = read_text(&[&format!("\u{feff}time,host,total\n{text}")], &columns, None).unwrap();
            assert_eq!((table.matrix.step_ms(), table.matrix.columns()[0].kind), (60_000, Kind::Counter));
        }
    }

    #[test]
    fn times_since_1970_are_told_by_their_size() {
        for text in ["1772409600", "1772409600000", "1772409600000000", "1772409600000000000"] {
            assert_eq!(parse_time(text), Some(1_772_409_600_000), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_by_place() {
        let none = Columns::default();
        assert!(refused(&["time,a\n1,2\n2,two\n"], &none).ends_with("line 3, column \"a\": \"two\" is no number"));
        assert!(refused(&["time,a\nnoon,2\n"], &none).contains("line 2: \"noon\" is no time"));
        assert!(refused(&["time,a\n"], &none).contains("no row below the header"));
        assert!(refused(&["time,a\n1,x\n"], &none).contains("no column has numbers"));
        assert!(refused(&["time,a\n1,2\n", "time,b\n1,2\n"], &none).contains("lacks column \"a\" of the first file"));
        assert!(refused(&["time,a\n1,2,3\n"], &none).contains("0.csv can't be read"));
        let group = Columns { group: Some("run".into()), ..none };
        assert!(refused(&["time,a\n1,2\n"], &group).contains("it has no column \"run\"; it has time, a"));
        let metrics = [("a".to_owned(), Kind::Gauge), ("b".to_owned(), Kind::Gauge)];
        let lacking = read_text(&["time,a\n1,2\n"], &Columns::default(), Some(&metrics));
        assert!(
            lacking
                .err()
                .is_some_and(|error| error.to_string().contains("1 of the model's 2 metrics are not there: b"))
        );
    }
}
