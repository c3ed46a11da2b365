//! pgbench's transaction log: one line for each transaction, one file for each thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::PgbenchError;

/// A transaction that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// When, in microseconds since 1970.
    pub ended_us: u64,
    /// Its latency in microseconds, with what it was late by under `--rate`; `None` where it failed.
    pub latency_us: Option<u32>,
}

/// Reads the log files of a directory while they are being written.
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    /// Bytes read of each file.
    read: BTreeMap<PathBuf, u64>,
}

/// Prefix of the log files' names.
pub const PREFIX: &str = "transactions";

impl Log {
    /// The log in a directory of its own.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), read: BTreeMap::new() }
    }

    /// Transactions whose lines were completed since the last call, in no particular order.
    pub fn read(&mut self) -> Result<Vec<Transaction>, PgbenchError> {
        let io = PgbenchError::io("reading pgbench's transaction log");
        let mut transactions = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(&io)? {
            let path = entry.map_err(&io)?.path();
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) {
                continue;
            }
            let mut file = File::open(&path).map_err(&io)?;
            let offset = self.read.entry(path).or_default();
            file.seek(SeekFrom::Start(*offset)).map_err(&io)?;
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(&io)?;
            // The last line may be half written.
            let complete = text.rfind('\n').map_or(0, |end| end + 1);
            *offset += complete as u64;
            for line in text[..complete].lines() {
                transactions.extend(parse(line)?);
            }
        }
        Ok(transactions)
    }
}

/// Reads `client transaction time script epoch_s epoch_us …`. A transaction that `--rate` skipped was never begun.
fn parse(line: &str) -> Result<Option<Transaction>, PgbenchError> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, _, time, _, seconds, micros, ..] = fields[..] else { return Err(PgbenchError::Log(line.into())) };
    let number = |text: &str| text.parse::<u64>().map_err(|_| PgbenchError::Log(line.into()));
    let ended_us = number(seconds)?.saturating_mul(1_000_000).saturating_add(number(micros)?);
    let latency_us = match time {
        "skipped" => return Ok(None),
        "failed" | "serialization" | "deadlock" => None,
        time => Some(u32::try_from(number(time)?).unwrap_or(u32::MAX)),
    };
    Ok(Some(Transaction { ended_us, latency_us }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_are_read_as_they_are_completed() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = File::create(directory.path().join("transactions.12.1")).unwrap();
        std::fs::write(directory.path().join("ca.crt"), "no log").unwrap();
        let mut log = Log::new(directory.path());
        let ended = |ended_us, latency_us| Transaction { ended_us, latency_us };

        write!(file, "0 199 2241 0 1175850568 995598\n0 200 fai").unwrap();
        assert_eq!(log.read().unwrap(), [ended(1_175_850_568_995_598, Some(2241))]);
        write!(file, "led 0 1175850569 608 0\n1 1 skipped 0 1175850569 700\n").unwrap();
        assert_eq!(log.read().unwrap(), [ended(1_175_850_569_000_608, None)]);
        assert_eq!(log.read().unwrap(), []);
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error() {
        assert!(parse("0 199 fast 0 1175850568 995598").is_err());
        assert!(parse("0 199").is_err());
    }
}
