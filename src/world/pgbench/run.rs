//! One run of pgbench, as it goes on.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use super::log::{self, Log, Transaction};
use super::{PgbenchError, Program, complaint, scratch_directory};
use crate::postgres::uri::Uri;

/// The load of a run.
#[derive(Clone, Debug)]
pub struct Load {
    /// What the transactions are.
    pub script: Script,
    /// Concurrent connections.
    pub clients: u32,
    /// Threads of pgbench.
    pub threads: u32,
    /// Length in seconds.
    pub seconds: u32,
    /// Transactions per second; without it, as fast as they go.
    pub rate: Option<u32>,
    /// Seed of its random numbers.
    pub seed: u32,
}

/// What the transactions of a run are.
#[derive(Clone, Debug)]
pub enum Script {
    /// One of pgbench's own: `tpcb-like`, `simple-update` or `select-only`.
    Builtin(&'static str),
    /// Files and their weights; `scale` is their variable `:scale`.
    Files {
        /// Path and weight of each.
        files: Vec<(PathBuf, u32)>,
        /// Value of `:scale`.
        scale: u32,
    },
}

/// A progress line: one second of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Seconds since the run began.
    pub seconds: f64,
    /// Transactions per second since the line before.
    pub tps: f64,
    /// Their mean latency in milliseconds; absent where there were none.
    pub latency_ms: Option<f64>,
}

/// A running pgbench. It is killed with the value, and its logs are deleted.
#[derive(Debug)]
pub struct Run {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    log: Log,
    complaints: Vec<String>,
    began_us: Option<u64>,
    _scratch: TempDir,
}

/// Lines that are kept of what it says on standard error: the first ones tell what went wrong.
const COMPLAINTS_KEPT: usize = 20;

/// Attempts at a transaction that fails to serialise or meets a deadlock.
const MAX_TRIES: u32 = 10;

impl Run {
    /// Starts pgbench.
    pub fn start(program: &Program, uri: &Uri, ca: Option<&[u8]>, load: &Load) -> Result<Self, PgbenchError> {
        let scratch = scratch_directory()?;
        let mut command = program.command(uri, ca, &scratch)?;
        // The tables have been vacuumed by `database::prepare`.
        command.args(["--no-vacuum", "--protocol=prepared", "--progress=1", "--log"]);
        command.arg(format!("--log-prefix={}", scratch.path().join(log::PREFIX).display()));
        command.arg(format!("--client={}", load.clients));
        command.arg(format!("--jobs={}", load.threads.min(load.clients)));
        command.arg(format!("--time={}", load.seconds));
        command.arg(format!("--random-seed={}", load.seed));
        if let Some(rate) = load.rate {
            command.arg(format!("--rate={rate}"));
        }
        if program.major >= 15 {
            command.arg(format!("--max-tries={MAX_TRIES}"));
        }
        match &load.script {
            Script::Builtin(name) => {
                command.arg(format!("--builtin={name}"));
            }
            Script::Files { files, scale } => {
                command.arg(format!("--scale={scale}"));
                for (path, weight) in files {
                    command.arg(format!("--file={}@{weight}", path.display()));
                }
            }
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let io = PgbenchError::io("starting pgbench");
        let mut child = command.spawn().map_err(&io)?;
        let stderr = child.stderr.take().ok_or_else(|| io(std::io::Error::other("it has no standard error")))?;
        Ok(Self {
            child,
            stderr: BufReader::new(stderr).lines(),
            log: Log::new(scratch.path()),
            complaints: Vec::new(),
            began_us: None,
            _scratch: scratch,
        })
    }

    /// Waits for the next progress line; `None` once the run has ended well. May be dropped while it waits.
    pub async fn progress(&mut self) -> Result<Option<Progress>, PgbenchError> {
        let io = PgbenchError::io("reading what pgbench says");
        while let Some(line) = self.stderr.next_line().await.map_err(&io)? {
            if let Some(progress) = parse(&line) {
                self.began_us.get_or_insert_with(|| now_us().saturating_sub((progress.seconds * 1e6) as u64));
                return Ok(Some(progress));
            }
            if self.complaints.len() < COMPLAINTS_KEPT {
                self.complaints.push(line);
            }
        }
        let status = self.child.wait().await.map_err(&io)?;
        if status.success() { Ok(None) } else { Err(PgbenchError::Failed(complaint(&self.complaints))) }
    }

    /// When the load began, in microseconds since 1970, connecting excluded; known from the first progress line on.
    pub fn began_us(&self) -> Option<u64> {
        self.began_us
    }

    /// Transactions that were logged since the last call. pgbench writes its log in chunks of 4 KiB.
    pub fn transactions(&mut self) -> Result<Vec<Transaction>, PgbenchError> {
        self.log.read()
    }

    /// Ends the run early. The last transactions of each thread are not in the log then.
    pub async fn kill(&mut self) -> Result<(), PgbenchError> {
        self.child.kill().await.map_err(PgbenchError::io("ending pgbench"))
    }
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Reads `progress: 1.0 s, 812.4 tps, lat 2.461 ms stddev 0.512, …`. Without transactions the latency is no number.
fn parse(line: &str) -> Option<Progress> {
    let mut parts = line.strip_prefix("progress: ")?.split(", ");
    let seconds = parts.next()?.strip_suffix(" s")?.parse().ok()?;
    let tps = parts.next()?.strip_suffix(" tps")?.parse().ok()?;
    let latency: Option<f64> = parts.next()?.strip_prefix("lat ")?.split(' ').next()?.parse().ok();
    Some(Progress { seconds, tps, latency_ms: latency.filter(|latency| latency.is_finite() && tps > 0.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_of_all_versions_are_read() {
        let read = |line| parse(line).map(|progress| (progress.seconds, progress.tps, progress.latency_ms));
        assert_eq!(read("progress: 1.0 s, 812.4 tps, lat 2.461 ms stddev 0.512"), Some((1.0, 812.4, Some(2.461))));
        assert_eq!(
            read("progress: 12.0 s, 9.0 tps, lat 1.5 ms stddev 0.5, 0 failed, lag 0.1 ms"),
            Some((12.0, 9.0, Some(1.5)))
        );
        assert_eq!(read("progress: 5.0 s, 0.0 tps, lat -nan ms stddev -nan, 0 failed"), Some((5.0, 0.0, None)));
        assert_eq!(read("progress: 5.0 s, 0.0 tps, lat 0.000 ms stddev 0.000, 0 failed"), Some((5.0, 0.0, None)));
        assert_eq!(read("pgbench: error: client 0 script 0 aborted"), None);
    }
}
