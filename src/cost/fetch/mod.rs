//! Opens query logs: files and directories, compressed or not. Reads and keeps models, and asks for plans.

mod plan;
mod source;
mod store;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::log::{Log, LogError, Reading, Statement};
use super::reading::sampling::Sampling;
use super::reading::{Collector, Columns, Format, csv, json, parquet, postgres};

pub use plan::Explain;
pub use source::{open, statistics};
pub use store::{store_model, stored_model};

/// Files that make up one log, in their order.
#[derive(Clone, Debug)]
pub struct FileLog {
    files: Vec<PathBuf>,
    format: Option<Format>,
    columns: Columns,
    targets: Vec<String>,
    sampling: Sampling,
    done: Arc<AtomicU64>,
}

impl FileLog {
    /// A log of files, and of the files in directories by their names. `format` absent: by each file's name and beginning.
    /// In a table, `columns.targets` are the columns of `targets`; PostgreSQL's own logs need no columns.
    ///
    /// # Errors
    /// There is no such file.
    pub fn open(
        paths: &[PathBuf],
        format: Option<Format>,
        columns: Columns,
        targets: Vec<String>,
    ) -> Result<Self, LogError> {
        let mut files = Vec::new();
        for path in paths {
            let told = |error: std::io::Error| LogError(format!("{} can't be read: {error}", path.display()));
            if std::fs::metadata(path).map_err(told)?.is_dir() {
                let mut inside = inside(path).map_err(told)?;
                inside.retain(|path| path.is_file());
                if inside.is_empty() {
                    return Err(LogError(format!("there is no log in {}", path.display())));
                }
                inside.sort();
                files.append(&mut inside);
            } else {
                files.push(path.clone());
            }
        }
        Ok(Self { files, format, columns, targets, sampling: Sampling::default(), done: Arc::default() })
    }

    /// Of PostgreSQL's own logs: which statements the server wrote there.
    #[must_use]
    pub fn sampled(self, sampling: Sampling) -> Self {
        Self { sampling, ..self }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum()
    }

    /// Counts the bytes that were read of these.
    pub fn done(&self) -> Arc<AtomicU64> {
        self.done.clone()
    }

    /// The format of the first file; without columns, of the first that PostgreSQL wrote.
    ///
    /// # Errors
    /// It can't be read.
    pub fn format(&self) -> Result<Format, LogError> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let mut formats = self.files.iter().map(|file| self.detect(file).map(|(format, _)| format));
        let first = formats.next().unwrap_or_else(|| Err(LogError("no log is named".into())))?;
        if first.is_postgres() || !self.columns.query.is_empty() {
            return Ok(first);
        }
        // Beside its csvlog or jsonlog a server writes another one for people.
        Ok(formats.flatten().find(|format| format.is_postgres()).unwrap_or(first))
    }

    /// Whether a file among others holds nothing for us: writers leave empty ones, and what has no columns that were named
    /// is read only where PostgreSQL wrote it.
    fn is_beside(&self, format: Format, input: &mut dyn BufRead) -> bool {
        let mut empty = || input.fill_buf().is_ok_and(<[u8]>::is_empty);
        let others = self.format.is_none() && self.columns.query.is_empty() && !format.is_postgres();
        self.files.len() > 1 && (others || empty())
    }

    /// A file's format, and its bytes from the beginning, uncompressed.
    fn detect(&self, path: &Path) -> Result<(Format, Box<dyn BufRead>), LogError> {
        let told = |error: std::io::Error| LogError(format!("{} can't be read: {error}", path.display()));
        let file = Counted { file: File::open(path).map_err(told)?, done: self.done.clone() };
        let mut raw = BufReader::with_capacity(1 << 18, file);
        let magic = raw.fill_buf().map_err(told)?;
        let plain: Box<dyn Read> = if magic.starts_with(b"\x1f\x8b") {
            Box::new(MultiGzDecoder::new(raw))
        } else if magic.starts_with(b"\x28\xb5\x2f\xfd") {
            Box::new(zstd::stream::read::Decoder::with_buffer(raw).map_err(told)?)
        } else {
            Box::new(raw)
        };
        let mut plain = BufReader::with_capacity(1 << 16, plain);
        // A compressed file that is cut off says so where it is read, with its place.
        let begin = plain.fill_buf().unwrap_or_default();
        let name = path.to_string_lossy();
        Ok((self.format.unwrap_or_else(|| Format::detect(&name, begin)), Box::new(plain)))
    }
}

/// Everything that may be a log in a directory and in those below it. Links to directories are not followed.
pub(super) fn inside(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            // `lost+found`, say.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && folder != directory => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !is_log_name(&entry.file_name().to_string_lossy()) {
                continue;
            }
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

/// A log's path without what its format and its compression add.
fn stem(path: &Path) -> String {
    let mut name = path.to_string_lossy().into_owned();
    for ending in [".gz", ".zst", ".csv", ".json", ".log"] {
        name.truncate(name.strip_suffix(ending).map_or(name.len(), str::len));
    }
    name
}

/// Whether a file may be a log by its name, or a directory hold one. What writers leave beside their files is none:
/// `_SUCCESS`, `_temporary`, `.part-0.csv.crc`.
fn is_log_name(name: &str) -> bool {
    !name.starts_with(['.', '_']) && !name.ends_with(".crc")
}

impl Log for FileLog {
    fn targets(&self) -> &[String] {
        &self.targets
    }

    fn read(&self, each: &mut dyn FnMut(Statement)) -> Result<Reading, LogError> {
        self.done.store(0, Ordering::Relaxed);
        let mut reading = Reading::default();
        let mut objects = json::Objects::of(&self.columns);
        // With `log_destination = 'csvlog,jsonlog'` a server writes each statement into two files of one name.
        let mut written: HashMap<String, Format> = HashMap::new();
        for path in &self.files {
            let (format, mut input) = self.detect(path)?;
            if self.is_beside(format, &mut input) {
                continue;
            }
            if format.is_postgres() && *written.entry(stem(path)).or_insert(format) != format {
                continue;
            }
            let mut into = Collector { file: path.display().to_string(), each, reading: &mut reading };
            match format {
                Format::Csv => csv::read(input, &self.columns, &mut into)?,
                Format::JsonLines => objects.read(input, &mut into)?,
                Format::PostgresCsvLog => postgres::read_csv(input, &self.targets, self.sampling, &mut into)?,
                Format::PostgresJsonLog => postgres::read_json(input, &self.targets, self.sampling, &mut into)?,
                Format::Parquet => {
                    drop(input);
                    let told = |error: std::io::Error| LogError(format!("{} can't be read: {error}", path.display()));
                    let file = File::open(path).map_err(told)?;
                    self.done.fetch_add(file.metadata().map_or(0, |file| file.len()), Ordering::Relaxed);
                    parquet::read(file, &self.columns, &mut into)?;
                }
            }
        }
        objects.check()?;
        Ok(reading)
    }
}

/// A log in memory, in the format that its name and beginning show: for tests, and for small logs that come from elsewhere.
#[derive(Clone, Debug)]
pub struct TextLog {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where it has what.
    pub columns: Columns,
    /// Names of the targets.
    pub targets: Vec<String>,
}

impl Log for TextLog {
    fn targets(&self) -> &[String] {
        &self.targets
    }

    fn read(&self, each: &mut dyn FnMut(Statement)) -> Result<Reading, LogError> {
        let mut reading = Reading::default();
        let mut into = Collector { file: "the log".into(), each, reading: &mut reading };
        let input = Cursor::new(&self.bytes);
        match Format::detect("", &self.bytes) {
            Format::Csv => csv::read(input, &self.columns, &mut into)?,
            Format::JsonLines => json::read(input, &self.columns, &mut into)?,
            Format::PostgresCsvLog => postgres::read_csv(input, &self.targets, Sampling::default(), &mut into)?,
            Format::PostgresJsonLog => postgres::read_json(input, &self.targets, Sampling::default(), &mut into)?,
            Format::Parquet => {
                let bytes: bytes::Bytes = self.bytes.clone().into();
                parquet::read(bytes, &self.columns, &mut into)?;
            }
        }
        Ok(reading)
    }
}

/// Counts what is read of a file.
struct Counted {
    file: File,
    done: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::store::Store;

    #[tokio::test]
    async fn what_writers_leave_beside_their_files_is_no_log() {
        let (bucket, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(&format!("file://{}", bucket.path().display())).unwrap();
        for name in [
            "day=1/part-0.csv",
            "day=1/_SUCCESS",
            "day=1/.part-0.csv.crc",
            "day=1/part-0.crc",
            "_temporary/0/part-1.csv",
        ] {
            store.put(name, b"query,cpu\nselect 1,2\n".to_vec()).await.unwrap();
        }
        let files = store.download(copies.path(), is_log_name, 0, 1 << 20).await.unwrap().files;
        assert_eq!(files.len(), 1, "{files:?}");
        let columns = Columns { query: "query".into(), targets: vec!["cpu".into()], ..Columns::default() };
        for path in [files[0].clone(), bucket.path().join("day=1")] {
            let log = FileLog::open(&[path], None, columns.clone(), vec!["cpu".into()]).unwrap();
            assert_eq!(log.read(&mut |_| {}).unwrap().statements, 1);
        }
    }

    #[test]
    fn what_lies_beside_a_log_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let read = |columns: Columns, target: &str| {
            let log = FileLog::open(&[directory.path().to_owned()], None, columns, vec![target.to_owned()])?;
            Ok::<_, LogError>((log.format()?.is_postgres(), log.read(&mut |_| {})?.statements))
        };
        // An hour in which no statement had a cost, and a file that nothing was written to yet.
        write("hour-1.jsonl", "{\"query\": \"select 1\", \"cpu\": 1}\n");
        write("hour-2.jsonl", "{\"query\": \"select 2\"}\n");
        write("hour-3.csv", "");
        let columns =
            |target: &str| Columns { query: "query".into(), targets: vec![target.into()], ..Columns::default() };
        assert_eq!(read(columns("cpu"), "cpu").unwrap(), (false, 2));
        assert!(read(columns("io"), "io").unwrap_err().0.contains("no column \"io\""));
        for name in ["hour-1.jsonl", "hour-2.jsonl", "hour-3.csv"] {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
        // A server with a jsonlog writes what comes before its collector to another.
        write("postgresql-1.log", "2026-11-22 10:00:00 UTC LOG:  ending log output to stderr\n");
        write(
            "postgresql-2.json",
            "{\"timestamp\":\"2026-11-22 10:00:00.000 UTC\",\"session_id\":\"1\",\"error_severity\":\"LOG\",\"message\":\"duration: 2.5 ms  \
             statement: select 1\"}\n",
        );
        assert_eq!(read(Columns::default(), "duration").unwrap(), (true, 1));
        // One with a csvlog besides writes each statement twice.
        write(
            "postgresql-2.csv",
            "2026-11-22 10:00:00.000 UTC,,,1,,1,1,,,,0,LOG,00000,\"duration: 2.5 ms  statement: select \
             1\",,,,,,,,,psql,\"client backend\"\n",
        );
        assert_eq!(read(Columns::default(), "duration").unwrap(), (true, 1));
        std::fs::remove_file(directory.path().join("postgresql-2.json")).unwrap();
        assert_eq!(read(Columns::default(), "duration").unwrap(), (true, 1));
    }
}
