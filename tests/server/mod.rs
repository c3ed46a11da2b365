//! A real PostgreSQL server for a test: in a directory of its own, on a free port of the loopback address, with password
//! authentication, gone with the value.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use howdah::postgres::uri::Uri;
use howdah::world::postgres::{Client, connect};
use tempfile::TempDir;

/// The password of every role of a test.
pub const PASSWORD: &str = "se'cr@t";

/// A running server.
pub struct Server {
    directory: TempDir,
    binaries: PathBuf,
    port: u16,
}

impl Server {
    /// Starts a server with further lines for its `postgresql.conf`, which a file `howdah.conf` beside it may override.
    /// Its superuser is `postgres`.
    pub fn start(configuration: &str) -> Self {
        Self::start_with(configuration, |_| {})
    }

    /// As [`Server::start`]; `prepare` may put files into the data directory before the server starts.
    pub fn start_with(configuration: &str, prepare: impl FnOnce(&Path)) -> Self {
        let binaries = binaries();
        let directory = tempfile::Builder::new().prefix("howdah-postgres-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { directory, binaries, port };
        // The server's user must reach its data; initdb wants to create it.
        fs::set_permissions(server.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let password_file = server.directory.path().join("password");
        fs::write(&password_file, PASSWORD).unwrap();
        server.run("initdb", |command| {
            command.arg("--pgdata").arg(server.data()).args(["--username=postgres", "--auth=scram-sha-256"]);
            command.arg("--pwfile").arg(&password_file).args(["--no-sync", "--encoding=UTF8", "--locale=C"]);
        });
        let base = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nfsync = off\n\
             password_encryption = 'scram-sha-256'\nshared_buffers = '16MB'\n{configuration}\ninclude_if_exists 'howdah.conf'\n",
            server.directory.path().display()
        );
        fs::write(server.data().join("postgresql.conf"), base).unwrap();
        prepare(&server.data());
        server.control("start");
        server
    }

    /// Where it is, for a role and a database.
    pub fn uri(&self, role: &str, database: &str) -> Uri {
        self.text(role, database).parse().unwrap()
    }

    /// The text of [`Server::uri`].
    pub fn text(&self, role: &str, database: &str) -> String {
        let password = PASSWORD.replace('\'', "%27").replace('@', "%40");
        format!("postgresql://{role}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// A superuser's connection.
    pub async fn superuser(&self) -> Client {
        connect(&self.uri("postgres", "postgres"), None, Duration::from_secs(10)).await.unwrap()
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn control(&self, action: &str) {
        self.run("pg_ctl", |command| {
            command.arg("--pgdata").arg(self.data()).args(["--wait", "--timeout=60", "--mode=immediate", action]);
            command.arg("--log").arg(self.directory.path().join("log"));
        });
    }

    /// Runs one of PostgreSQL's programs. They refuse to be run by root, so then the user `postgres` runs them.
    fn run(&self, program: &str, arguments: impl FnOnce(&mut Command)) {
        let path = self.binaries.join(program);
        let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let mut command = if root { Command::new("setpriv") } else { Command::new(&path) };
        if root {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(&path);
        }
        arguments(&mut command);
        let output = command.current_dir("/").stdin(std::process::Stdio::null()).output().unwrap();
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} failed: {said}{log}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A failed start has nothing to stop, and a panic while a panic unwinds would hide the first.
        if !std::thread::panicking() || self.data().join("postmaster.pid").exists() {
            self.control("stop");
        }
    }
}

/// The programs of the version that `HOWDAH_TEST_POSTGRES` names (a directory with `initdb`), else of the newest installed.
fn binaries() -> PathBuf {
    if let Some(named) = std::env::var_os("HOWDAH_TEST_POSTGRES") {
        return named.into();
    }
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = installed.filter(|path| path.join("bin/initdb").exists()).max_by_key(|path| version(path));
    newest
        .expect("these tests need a PostgreSQL server: apt-get install postgresql, or set HOWDAH_TEST_POSTGRES")
        .join("bin")
}
