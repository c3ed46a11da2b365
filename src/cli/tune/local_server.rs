//! A server on this machine, by its data directory: restarted with the options that it was started with, and brought
//! back with its original settings when it does not start with others.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::RESTART_LIMIT;

/// Where a server is, and what it takes to start it again.
#[derive(Debug)]
pub struct LocalServer {
    /// The data directory, absolute.
    pgdata: PathBuf,
    pg_ctl: PathBuf,
    /// User and group that own the data directory: PostgreSQL refuses to run as another.
    owner: (u32, u32),
    /// The options of its command line beside the data directory.
    options: String,
    /// `postgresql.auto.conf` before the first change.
    original: Vec<u8>,
    /// Held while `pg_ctl` runs.
    turn: Arc<Mutex<()>>,
}

/// What `pg_ctl status` exits with where no server runs.
const NOT_RUNNING: i32 = 3;

impl LocalServer {
    /// Looks at a running server's directory and keeps its `ALTER SYSTEM` settings as they are.
    ///
    /// # Errors
    /// The directory is not that of `data_directory`, can't be read, or there is no `pg_ctl` for its version.
    pub fn find(pgdata: &Path, data_directory: &str, major: i32) -> Result<Self> {
        let pgdata = pgdata.canonicalize().with_context(|| format!("{} can't be found", pgdata.display()))?;
        if Path::new(data_directory).canonicalize().is_ok_and(|theirs| theirs != pgdata) {
            bail!("--pgdata is {}, but the server's data directory is {data_directory}", pgdata.display());
        }
        let read = |name: &str| {
            let path = pgdata.join(name);
            std::fs::read(&path).with_context(|| format!("{} can't be read", path.display()))
        };
        let original = read("postgresql.auto.conf")?;
        let options = options(&String::from_utf8_lossy(&read("postmaster.opts")?));
        let owner = owner(&pgdata)?;
        Ok(Self { pg_ctl: pg_ctl(major)?, owner, options, original, pgdata, turn: Arc::default() })
    }

    /// Restarts the server. Where it does not start, it is started with the settings of [`LocalServer::find`].
    ///
    /// # Errors
    /// It did not start with its present settings; the sentence says whether it runs again.
    pub async fn restart(&self) -> Result<()> {
        self.call(&["stop", "-m", "fast"]).await?;
        let Err(error) = self.start().await else { return Ok(()) };
        self.start_as_before().await.with_context(|| format!("{error:#}"))?;
        Err(error.context("the server did not start, and was started with its original settings again"))
    }

    /// Starts a server that is down with the settings of [`LocalServer::find`].
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_as_before(&self) -> Result<()> {
        let path = self.pgdata.join("postgresql.auto.conf");
        // In place: owner and mode stay.
        std::fs::write(&path, &self.original).with_context(|| format!("{} can't be written", path.display()))?;
        self.start().await.context("the server does not start with its original settings either")
    }

    /// Whether the server runs, though it may not answer. A start or stop that is under way is awaited.
    ///
    /// # Errors
    /// `pg_ctl` can't be started.
    pub async fn is_running(&self) -> Result<bool> {
        Ok(self.run(&["status"]).await?.status.code() != Some(NOT_RUNNING))
    }

    async fn start(&self) -> Result<()> {
        let log = self.pgdata.join("howdah-restart.log");
        let before = std::fs::metadata(&log).map_or(0, |file| file.len());
        let arguments = ["start", "-l", &log.to_string_lossy(), "-o", &self.options];
        let Err(error) = self.call(&arguments).await else { return Ok(()) };
        let written = std::fs::read(&log).unwrap_or_default();
        let said = String::from_utf8_lossy(written.get(usize::try_from(before)?..).unwrap_or_default()).into_owned();
        Err(anyhow::anyhow!("{}", said.trim()).context(format!("{error:#}")))
    }

    async fn call(&self, arguments: &[&str]) -> Result<()> {
        let output = self.run(arguments).await?;
        if !output.status.success() {
            bail!("pg_ctl {} failed: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Runs `pg_ctl` to its end, also when nobody waits for it any more, as after Ctrl-C: who calls next waits for it. In
    /// a process group of its own it does not get the terminal's signals.
    async fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.pg_ctl);
        command
            .args(arguments)
            .arg("-D")
            .arg(&self.pgdata)
            .arg("-w")
            .arg("-t")
            .arg(RESTART_LIMIT.as_secs().to_string());
        command.uid(self.owner.0).gid(self.owner.1).current_dir(&self.pgdata).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let turn = self.turn.clone().lock_owned().await;
        let finished = tokio::spawn(async move {
            let _turn = turn;
            command.output().await
        });
        finished.await?.with_context(|| format!("{} can't be started", self.pg_ctl.display()))
    }
}

/// The options of a `postmaster.opts` beside the program and the data directory, which may be relative to a directory
/// that is forgotten. PostgreSQL writes each argument in double quotes.
fn options(line: &str) -> String {
    let mut arguments = line.trim().split(" \"").skip(1).map(|argument| argument.strip_suffix('"').unwrap_or(argument));
    let mut kept = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "-D" {
            arguments.next();
        } else if !argument.starts_with("-D") {
            kept.push(format!("\"{argument}\""));
        }
    }
    kept.join(" ")
}

/// pg_ctl of the server's version, in PATH or where Debian puts it.
fn pg_ctl(major: i32) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin/pg_ctl"));
    std::iter::once(debian)
        .chain(std::env::split_paths(&path).map(|directory| directory.join("pg_ctl")))
        .find(|candidate| candidate.is_file())
        .context("there is no pg_ctl in PATH; it comes with the server's package")
}

fn owner(path: &Path) -> Result<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok((metadata.uid(), metadata.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_server_are_kept_and_its_directory_is_not() {
        let line = "/usr/lib/postgresql/15/bin/postgres \"-D\" \"data\" \"-c\" \"config_file=/etc/a b.conf\" \"-i\"\n";
        assert_eq!(options(line), "\"-c\" \"config_file=/etc/a b.conf\" \"-i\"");
        assert_eq!(options("/usr/bin/postgres \"-Ddata\"\n"), "");
        assert_eq!(options("/usr/bin/postgres\n"), "");
    }
}
