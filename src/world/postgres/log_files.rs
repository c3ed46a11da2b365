//! A server's own log files, read through SQL.

use std::path::Path;

use thiserror::Error;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_postgres::Client;

use super::query_error;
use crate::postgres::error::QueryError;

/// Bytes that are read at once.
const CHUNK: i64 = 8 << 20;

/// A file of the log directory.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Seconds since it was last written, by the server's clock.
    pub age_seconds: f64,
}

/// Why a log file could not be read.
#[derive(Debug, Error)]
pub enum LogFileError {
    /// The server did not give it.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It can't be kept here.
    #[error("the server's log can't be kept: {0}")]
    Kept(#[from] std::io::Error),
}

/// The files of the log directory, by their time of change.
///
/// # Errors
/// `Denied` when the role is no member of `pg_monitor`.
pub async fn list(client: &Client) -> Result<Vec<LogFile>, LogFileError> {
    let age = "extract(epoch FROM now() - modification)::float8";
    let query = format!("SELECT name, size, {age} FROM pg_catalog.pg_ls_logdir() ORDER BY modification, name");
    let rows = client.query(&query, &[]).await;
    let rows = rows.map_err(|error| query_error("listing the server's log files", &error))?;
    let file = |row: &tokio_postgres::Row| LogFile {
        name: row.get(0),
        bytes: row.get::<_, i64>(1).unsigned_abs(),
        age_seconds: row.get(2),
    };
    Ok(rows.iter().map(file).collect())
}

/// Copies a log file as far as it was when it was listed; the server writes on.
///
/// # Errors
/// `Denied` when the role may not read files of the server.
pub async fn read(client: &Client, file: &LogFile, into: &Path) -> Result<(), LogFileError> {
    let mut output = File::create(into).await?;
    let mut done: i64 = 0;
    let size = i64::try_from(file.bytes).unwrap_or(i64::MAX);
    while done < size {
        let wanted = CHUNK.min(size - done);
        let row = client
            .query_one(
                "SELECT pg_catalog.pg_read_binary_file(pg_catalog.current_setting('log_directory') || '/' || $1, $2, $3, true)",
                &[&file.name, &done, &wanted],
            )
            .await
            .map_err(|error| query_error(format!("reading the server's log file {}", file.name), &error))?;
        let Some(bytes) = row.get::<_, Option<Vec<u8>>>(0).filter(|bytes| !bytes.is_empty()) else { break };
        done += bytes.len() as i64;
        output.write_all(&bytes).await?;
    }
    output.flush().await?;
    Ok(())
}
