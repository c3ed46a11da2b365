//! Opens query logs: files and directories, compressed or not. Reads and keeps models, and asks for plans.

mod plan;
mod source;
mod store;

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::log::{Log, LogError, Reading, Statement};
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
    weight: f32,
    done: Arc<AtomicU64>,
}

impl FileLog {
    /// A log of files, and of the files in directories by their names. `format` absent: by each file's name and beginning.
    /// In a table, `columns.targets` are the columns of `targets`; PostgreSQL's own logs need no columns, and `weight` is
    /// what each statement of a sampled one stands for.
    ///
    /// # Errors
    /// There is no such file.
    pub fn open(
        paths: &[PathBuf],
        format: Option<Format>,
        columns: Columns,
        targets: Vec<String>,
        weight: f32,
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
        Ok(Self { files, format, columns, targets, weight, done: Arc::default() })
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum()
    }

    /// Counts the bytes that were read of these.
    pub fn done(&self) -> Arc<AtomicU64> {
        self.done.clone()
    }

    /// The format of the first file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn format(&self) -> Result<Format, LogError> {
        match (self.format, self.files.first()) {
            (Some(format), _) => Ok(format),
            (None, Some(file)) => self.detect(file).map(|(format, _)| format),
            (None, None) => Err(LogError("no log is named".into())),
        }
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
        for path in &self.files {
            let (format, input) = self.detect(path)?;
            let mut into = Collector { file: path.display().to_string(), each, reading: &mut reading };
            match format {
                Format::Csv => csv::read(input, &self.columns, &mut into)?,
                Format::JsonLines => json::read(input, &self.columns, &mut into)?,
                Format::PostgresCsvLog => postgres::read_csv(input, &self.targets, self.weight, &mut into)?,
                Format::PostgresJsonLog => postgres::read_json(input, &self.targets, self.weight, &mut into)?,
                Format::Parquet => {
                    drop(input);
                    let told = |error: std::io::Error| LogError(format!("{} can't be read: {error}", path.display()));
                    let file = File::open(path).map_err(told)?;
                    self.done.fetch_add(file.metadata().map_or(0, |file| file.len()), Ordering::Relaxed);
                    parquet::read(file, &self.columns, &mut into)?;
                }
            }
        }
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
            Format::PostgresCsvLog => postgres::read_csv(input, &self.targets, 1.0, &mut into)?,
            Format::PostgresJsonLog => postgres::read_json(input, &self.targets, 1.0, &mut into)?,
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
        let files = store.download(copies.path(), is_log_name).await.unwrap();
        assert_eq!(files.len(), 1, "{files:?}");
        let columns = Columns { query: "query".into(), targets: vec!["cpu".into()], ..Columns::default() };
        for path in [files[0].clone(), bucket.path().join("day=1")] {
            let log = FileLog::open(&[path], None, columns.clone(), vec!["cpu".into()], 1.0).unwrap();
            assert_eq!(log.read(&mut |_| {}).unwrap().statements, 1);
        }
    }
}
