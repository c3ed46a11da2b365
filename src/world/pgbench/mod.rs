//! pgbench: finding it, preparing its database, running it, reading what it says.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::postgres::APPLICATION;
use crate::postgres::uri::Uri;

pub mod database;
pub mod log;
pub mod run;

/// Why pgbench did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PgbenchError {
    /// There is no such program.
    #[error(
        "pgbench is neither in PATH nor in /usr/lib/postgresql/*/bin; install it (it comes with PostgreSQL's server or \
         contrib package)"
    )]
    NotFound,
    /// pgbench ended with an error.
    #[error("pgbench failed: {0}")]
    Failed(String),
    /// The operating system refused something.
    #[error("{doing} failed: {message}")]
    Io {
        /// What was tried, as the subject of a sentence.
        doing: &'static str,
        /// The operating system's message.
        message: String,
    },
    /// A line of its transaction log is not understood.
    #[error("pgbench wrote a transaction log line that is not understood: {0:?}")]
    Log(String),
}

impl PgbenchError {
    fn io(doing: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::Io { doing, message: error.to_string() }
    }
}

/// The pgbench program.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    major: u32,
}

impl Program {
    /// Finds pgbench in `PATH`, else the newest below `/usr/lib/postgresql`. Debian's wrapper is passed over: it reads
    /// configuration of its own.
    pub async fn find() -> Result<Self, PgbenchError> {
        let path = candidates().into_iter().find(|path| is_program(path)).ok_or(PgbenchError::NotFound)?;
        let output = Command::new(&path)
            .arg("--version")
            .kill_on_drop(true)
            .output()
            .await
            .map_err(PgbenchError::io("starting pgbench"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let major = major_version(&text)
            .ok_or_else(|| PgbenchError::Failed(format!("{} --version says {text:?}", path.display())))?;
        Ok(Self { path, major })
    }

    /// A command with the connection in its environment and nothing else of libpq's. The CA certificate is written to
    /// the scratch directory.
    fn command(&self, uri: &Uri, ca: Option<&[u8]>, scratch: &TempDir) -> Result<Command, PgbenchError> {
        let mut command = Command::new(&self.path);
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.envs(uri.environment()).env("PGAPPNAME", format!("{APPLICATION}-benchmark"));
        if let Some(ca) = ca {
            let path = scratch.path().join("ca.crt");
            std::fs::write(&path, ca).map_err(PgbenchError::io("writing the CA certificate for pgbench"))?;
            command.env("PGSSLROOTCERT", path);
        }
        // Messages are read, so they must not be translated.
        command.env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }
}

fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(&path).map(|directory| directory.join("pgbench")).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut installed: Vec<PathBuf> = versions.map(|version| version.path().join("bin/pgbench")).collect();
    installed.sort_by_key(|path| std::cmp::Reverse(installed_version(path)));
    found.extend(installed);
    found
}

/// The number in `/usr/lib/postgresql/<number>/bin/pgbench`.
fn installed_version(path: &Path) -> Option<u32> {
    path.ancestors().nth(2)?.file_name()?.to_str()?.parse().ok()
}

fn is_program(path: &Path) -> bool {
    std::fs::canonicalize(path).is_ok_and(|real| real.is_file() && !real.ends_with("pg_wrapper"))
}

/// The major version in `pgbench (PostgreSQL) 15.18 (Debian …)`.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL)")?.1.trim_start();
    let digits = version.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

/// A directory for logs and certificates that only this user can read and that is deleted with the value.
fn scratch_directory() -> Result<TempDir, PgbenchError> {
    tempfile::Builder::new()
        .prefix("howdah-benchmark-")
        .tempdir()
        .map_err(PgbenchError::io("creating a temporary directory for pgbench"))
}

/// What pgbench says went wrong, in a sentence: its first errors, or the last that it said.
fn complaint(lines: &[String]) -> String {
    let errors: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("pgbench: error: ")).take(3).collect();
    let said = if errors.is_empty() { lines.last().map(String::as_str).into_iter().collect() } else { errors };
    if said.is_empty() {
        return "it said nothing on standard error".into();
    }
    said.join("; ").chars().take(600).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major_version("pgbench (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("pgbench (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("something else"), None);
        assert_eq!(installed_version(Path::new("/usr/lib/postgresql/9/bin/pgbench")), Some(9));
    }

    #[test]
    fn a_complaint_is_the_first_errors_or_the_last_line() {
        let lines = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(complaint(&lines(&["pgbench: error: a", "noise", "pgbench: error: b"])), "a; b");
        assert_eq!(complaint(&lines(&["x", "last"])), "last");
        assert_eq!(complaint(&[]), "it said nothing on standard error");
    }
}
