//! What a server says of itself besides its settings.

use serde::{Deserialize, Serialize};

/// The setting that carries the hash of the configuration that a configuration file holds, so that the server itself
/// says which configuration it runs. `ALTER SYSTEM` can't set it before PostgreSQL 17: there, the values are read back.
pub const MARKER: &str = "howdah.configuration";

/// What a server is and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// `server_version_num`, e.g. 150018.
    pub version_num: i32,
    /// `server_version`, e.g. `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// It is a standby, or still recovers.
    pub in_recovery: bool,
    /// When it was started, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// When it last read its configuration files, in milliseconds since 1970, as the asking session sees it.
    pub configuration_loaded_at_ms: i64,
    /// Value of [`MARKER`]; absent where no configuration file sets it.
    pub marker: Option<String>,
    /// Bytes of the databases that the role may look into.
    pub database_bytes: i64,
    /// Bytes of the benchmark's database, which are among these.
    #[serde(default)]
    pub benchmark_bytes: i64,
    /// The address at which it was reached, as itself sees it: its pod's, unless a proxy stands before it. Absent on a
    /// Unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The timeline of its write-ahead log: another one when a standby was promoted. Absent while it is in recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<i64>,
    /// Programs that make a backup of it now, as their sessions call themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<String>,
}

impl ServerFacts {
    /// The major version, e.g. 15.
    pub fn major(&self) -> i32 {
        self.version_num / 10_000
    }
}

/// What the role lacks, as statements for an administrator to run in the database of the URI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Without these, tuning can't work.
    pub missing: Vec<String>,
    /// Without these, the container's memory and CPU can't be seen.
    pub optional: Vec<String>,
}

/// What the server's container uses and may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerUse {
    /// Memory in use in bytes, without the cached pages of files, which the kernel drops when it needs room.
    pub memory_bytes: i64,
    /// Memory limit in bytes, where there is one.
    pub memory_limit_bytes: Option<i64>,
    /// CPU time used since the container started, in seconds.
    pub cpu_seconds: f64,
    /// CPU limit in thousandths of a core, where there is one.
    pub cpu_limit_millis: Option<i64>,
}
