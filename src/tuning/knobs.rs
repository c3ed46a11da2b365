//! The catalogue: which settings are knobs, how far they may be turned, and which settings are never touched.
//!
//! Ranges are relative to what the server may use, in the units that a person thinks in (bytes, milliseconds); the
//! space turns them into the server's own. Whether a knob needs a restart is not said here: the live
//! `pg_settings.context` knows it for that very version.

use super::crd::{Durability, KnobScale, Profile};

/// Bytes of a kibibyte.
pub const KIB: f64 = 1024.0;
/// Bytes of a mebibyte.
pub const MIB: f64 = 1024.0 * KIB;
/// Bytes of a gibibyte.
pub const GIB: f64 = 1024.0 * MIB;

/// Memory areas that one active connection uses at a time, as multiples of `work_mem` (κ): a plan has several sorts
/// and hashes, seldom all at their limit.
pub const WORK_MEM_AREAS: f64 = 2.5;

/// Share of the data volume that the WAL may fill between checkpoints.
pub const WAL_SHARE_OF_VOLUME: f64 = 0.4;
/// Share of what the databases leave of the data volume that the WAL may fill: a full volume stops the server.
const WAL_SHARE_OF_REST: f64 = 0.8;

/// Greatest `max_wal_size` in bytes where the size of the data volume isn't known.
pub const WAL_ON_UNKNOWN_VOLUME: f64 = 4.0 * GIB;

/// What the server may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Memory limit in bytes: the container's, not the node's.
    pub memory_bytes: u64,
    /// CPU limit in thousandths of a core.
    pub cpu_millis: u32,
    /// Size of the data volume in bytes, where known.
    pub data_volume_bytes: Option<u64>,
    /// Bytes of the databases on it; 0 where they are not known.
    pub database_bytes: u64,
    /// `max_connections` of the server.
    pub max_connections: u32,
    /// Connections of the benchmark, active at the same time.
    pub clients: u32,
}

impl Resources {
    /// The memory limit in bytes.
    pub fn memory(&self) -> f64 {
        self.memory_bytes as f64
    }

    /// Whole cores, at least one.
    pub fn cores(&self) -> f64 {
        f64::from(self.cpu_millis.div_ceil(1000).max(1))
    }

    /// Sessions that may sort at the same time: those of the benchmark, and of what the server admits as many as its own
    /// load may bring once a recommendation is applied.
    pub fn sessions(&self) -> f64 {
        f64::from(self.clients.max(self.max_connections / 4).max(1))
    }

    /// Bytes that the WAL may fill on the data volume.
    pub fn wal_limit(&self) -> f64 {
        let Some(volume) = self.data_volume_bytes else { return WAL_ON_UNKNOWN_VOLUME };
        let rest = volume.saturating_sub(self.database_bytes);
        (WAL_SHARE_OF_VOLUME * volume as f64).min(WAL_SHARE_OF_REST * rest as f64)
    }
}

/// What the numbers of a knob's range and heuristic mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// The setting's own numbers.
    Plain,
}

/// The values that a knob may take.
#[derive(Clone, Copy, Debug)]
pub enum Domain {
    /// Numbers between two bounds.
    Range {
        /// What the numbers mean.
        quantity: Quantity,
        /// How the range is divided.
        scale: KnobScale,
        /// The bounds.
        bounds: fn(&Resources) -> (f64, f64),
        /// Values with a meaning of their own (0, −1) outside the bounds, in the setting's own numbers.
        special: &'static [f64],
    },
    /// Those of these words that the server knows. A boolean has `off` and `on` whatever stands here.
    Words(&'static [&'static str]),
}

/// What the pgtune formulas say of a knob.
#[derive(Clone, Copy, Debug)]
pub enum Heuristic {
    /// A number, in the knob's quantity.
    Number(fn(&Resources) -> f64),
    /// A word; left at the baseline where the server doesn't know it.
    Word(fn(Profile) -> &'static str),
    /// Nothing: the baseline stays.
    Baseline,
}

/// A setting that can be tuned.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// Its name.
    pub name: &'static str,
    /// The smallest profile that has it; `None` is only turned when the user lists it.
    pub profile: Option<Profile>,
    /// The values that it may take.
    pub domain: Domain,
    /// What the pgtune formulas (mixed/OLTP on SSD) say of it.
    pub heuristic: Heuristic,
}

/// Bytes that sessions at work leave for one `work_mem` area each, beside 0.25·M of shared buffers.
fn work_mem_ceiling(r: &Resources) -> f64 {
    (0.85 - 0.25) * r.memory() / (WORK_MEM_AREAS * r.sessions())
}

const fn range(
    name: &'static str,
    profile: Option<Profile>,
    (quantity, scale): (Quantity, KnobScale),
    special: &'static [f64],
    bounds: fn(&Resources) -> (f64, f64),
    heuristic: fn(&Resources) -> f64,
) -> Knob {
    let domain = Domain::Range { quantity, scale, bounds, special };
    Knob { name, profile, domain, heuristic: Heuristic::Number(heuristic) }
}

const CLASSIC: Option<Profile> = Some(Profile::Classic);
const OLTP: Option<Profile> = Some(Profile::Oltp);
const OLAP: Option<Profile> = Some(Profile::Olap);
const BYTES_LOG: (Quantity, KnobScale) = (Quantity::Bytes, KnobScale::Log);
const BYTES_LINEAR: (Quantity, KnobScale) = (Quantity::Bytes, KnobScale::Linear);
const TIME_LOG: (Quantity, KnobScale) = (Quantity::Milliseconds, KnobScale::Log);
const PLAIN_LOG: (Quantity, KnobScale) = (Quantity::Plain, KnobScale::Log);
const PLAIN_LINEAR: (Quantity, KnobScale) = (Quantity::Plain, KnobScale::Linear);

/// Every knob. `min_wal_size` is none: it follows `max_wal_size`.
pub const CATALOGUE: &[Knob] = &[
    range(
        "work_mem",
        CLASSIC,
        BYTES_LOG,
        &[],
        |r| (MIB, work_mem_ceiling(r)),
        |r| (0.75 * r.memory() / (3.0 * f64::from(r.max_connections.max(1)))).max(4.0 * MIB),
    ),
    range(
        "maintenance_work_mem",
        CLASSIC,
        BYTES_LOG,
        &[],
        |r| (64.0 * MIB, (r.memory() / 8.0).min(2.0 * GIB)),
        |r| (r.memory() / 16.0).min(2.0 * GIB),
    ),
    range(
        "effective_cache_size",
        CLASSIC,
        BYTES_LINEAR,
        &[],
        |r| (0.4 * r.memory(), 0.85 * r.memory()),
        |r| 0.75 * r.memory(),
    ),
    range("checkpoint_timeout", CLASSIC, TIME_LOG, &[], |_| (300e3, 1800e3), |_| 900e3),
    range("checkpoint_completion_target", CLASSIC, PLAIN_LINEAR, &[], |_| (0.7, 0.95), |_| 0.9),
    range("wal_writer_delay", CLASSIC, TIME_LOG, &[], |_| (10.0, 1000.0), |_| 200.0),
    range("max_wal_size", OLTP, BYTES_LOG, &[], |r| (GIB, r.wal_limit().min(64.0 * GIB)), |_| 8.0 * GIB),
    Knob {
        name: "wal_compression",
        profile: OLTP,
        domain: Domain::Words(&["off", "pglz", "lz4", "zstd"]),
        heuristic: Heuristic::Word(|_| "lz4"),
    },
    range("wal_writer_flush_after", OLTP, BYTES_LOG, &[0.0], |_| (64.0 * KIB, 16.0 * MIB), |_| MIB),
    range("commit_delay", OLTP, PLAIN_LOG, &[0.0], |_| (10.0, 2000.0), |_| 0.0),
    range("bgwriter_delay", OLTP, TIME_LOG, &[], |_| (10.0, 500.0), |_| 200.0),
    range("bgwriter_lru_maxpages", OLTP, PLAIN_LOG, &[0.0], |_| (50.0, 2000.0), |_| 100.0),
    range("bgwriter_lru_multiplier", OLTP, PLAIN_LINEAR, &[], |_| (1.0, 8.0), |_| 2.0),
    range("random_page_cost", OLTP, PLAIN_LINEAR, &[], |_| (1.0, 4.0), |_| 1.1),
    range("effective_io_concurrency", OLTP, PLAIN_LOG, &[0.0], |_| (8.0, 512.0), |_| 200.0),
    range("shared_buffers", OLTP, BYTES_LINEAR, &[], |r| (0.1 * r.memory(), 0.4 * r.memory()), |r| r.memory() / 4.0),
    range("wal_buffers", OLTP, BYTES_LOG, &[-1.0], |_| (16.0 * MIB, 128.0 * MIB), |_| 16.0 * MIB),
    range("default_statistics_target", OLAP, PLAIN_LOG, &[], |_| (50.0, 1000.0), |_| 100.0),
    range(
        "max_parallel_workers_per_gather",
        OLAP,
        PLAIN_LINEAR,
        &[],
        |r| (0.0, r.cores().min(4.0)),
        |r| (r.cores() / 2.0).floor().min(4.0),
    ),
    range(
        "max_parallel_maintenance_workers",
        OLAP,
        PLAIN_LINEAR,
        &[],
        |r| (0.0, r.cores().min(4.0)),
        |r| (r.cores() / 2.0).floor().min(4.0),
    ),
    range("max_parallel_workers", OLAP, PLAIN_LINEAR, &[], |r| (1.0, r.cores()), Resources::cores),
    Knob {
        name: "jit",
        profile: OLAP,
        domain: Domain::Words(&[]),
        heuristic: Heuristic::Word(|profile| if profile == Profile::Olap { "on" } else { "off" }),
    },
    range("commit_siblings", None, PLAIN_LINEAR, &[], |_| (2.0, 20.0), |_| 5.0),
    Knob {
        name: SYNCHRONOUS_COMMIT,
        profile: None,
        domain: Domain::Words(&["on", "off"]),
        heuristic: Heuristic::Baseline,
    },
];

const SYNCHRONOUS_COMMIT: &str = "synchronous_commit";

/// The knob of that name.
pub fn knob(name: &str) -> Option<&'static Knob> {
    CATALOGUE.iter().find(|knob| knob.name == name)
}

impl Knob {
    /// Whether a profile has this knob.
    pub fn is_in(&self, profile: Profile) -> bool {
        let rank = |profile| match profile {
            Profile::Classic => 0,
            Profile::Oltp => 1,
            Profile::Olap => 2,
        };
        self.profile.is_some_and(|least| rank(least) <= rank(profile))
    }
}

/// Settings that are never tuned, by name or with one `*` for any text, and why.
const DENIED: &[(&[&str], &str)] = &[
    (
        &["fsync", "full_page_writes", "data_sync_retry", "wal_sync_method", "wal_level"],
        "a crash could lose or corrupt committed data",
    ),
    (
        &["zero_damaged_pages", "ignore_checksum_failure", "ignore_invalid_pages", "allow_system_table_mods"],
        "it hides or causes damage to the data",
    ),
    (
        &["autovacuum", "track_counts"],
        "without autovacuum tables bloat and transaction ids run out, long after a benchmark has ended",
    ),
    (
        &["autovacuum_*freeze_max_age", "vacuum_*freeze_*age", "vacuum_*failsafe_age"],
        "freezing protects against transaction id wraparound",
    ),
    (&["max_connections"], "applications rely on it"),
    (
        &["max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction"],
        "a replica that has less of it than its primary stops",
    ),
    (&["archive_*", "primary_*", "recovery_*", "restore_command"], "backups and replicas depend on it"),
    (
        &["ssl*", "listen_addresses", "port", "unix_socket_*", "*_directory", "*_file", "password_encryption"],
        "it decides who can reach the server and where its files are",
    ),
    (&["*_preload_libraries", "dynamic_library_path", "jit_provider"], "it decides which code the server loads"),
    (&["log_*", "logging_collector", "syslog_*", "event_source"], "what is logged is not a matter of speed"),
    (&["*_timeout"], "applications rely on it"),
    (&["enable_*"], "it switches off a planner method for every query to help one"),
];

/// Why a setting is never tuned, or `None` where it may be.
pub fn denied(name: &str, durability: Durability) -> Option<&'static str> {
    if name == SYNCHRONOUS_COMMIT && durability == Durability::Strict {
        return Some(
            "a crash could lose acknowledged transactions; set safety.durability to AllowAsynchronousCommit to accept that",
        );
    }
    if knob(name).is_some() {
        return None;
    }
    DENIED.iter().find(|(patterns, _)| patterns.iter().any(|pattern| matches(pattern, name))).map(|(_, why)| *why)
}

/// Whether a name matches a pattern in which every `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_knob_is_denied_and_the_asynchronous_commit_only_without_consent() {
        for knob in CATALOGUE {
            assert_eq!(denied(knob.name, Durability::AllowAsynchronousCommit), None, "{}", knob.name);
        }
        assert!(denied("synchronous_commit", Durability::Strict).unwrap().contains("AllowAsynchronousCommit"));
        assert_eq!(denied("checkpoint_timeout", Durability::Strict), None);
    }

    #[test]
    fn dangerous_settings_are_denied() {
        for name in [
            "fsync",
            "full_page_writes",
            "data_sync_retry",
            "zero_damaged_pages",
            "ignore_checksum_failure",
            "autovacuum",
            "track_counts",
            "wal_level",
            "wal_sync_method",
            "max_connections",
            "max_worker_processes",
            "archive_command",
            "primary_conninfo",
            "recovery_target_time",
            "ssl",
            "ssl_cert_file",
            "listen_addresses",
            "port",
            "data_directory",
            "hba_file",
            "shared_preload_libraries",
            "session_preload_libraries",
            "log_statement",
            "logging_collector",
            "allow_system_table_mods",
            "autovacuum_freeze_max_age",
            "autovacuum_multixact_freeze_max_age",
            "vacuum_freeze_min_age",
            "vacuum_multixact_freeze_table_age",
            "vacuum_failsafe_age",
            "statement_timeout",
            "enable_seqscan",
            "unix_socket_directories",
        ] {
            assert!(denied(name, Durability::AllowAsynchronousCommit).is_some(), "{name}");
        }
        assert_eq!(denied("cpu_tuple_cost", Durability::Strict), None);
    }

    #[test]
    fn profiles_contain_each_other() {
        let count = |profile| CATALOGUE.iter().filter(|knob| knob.is_in(profile)).count();
        assert_eq!((count(Profile::Classic), count(Profile::Oltp), count(Profile::Olap)), (6, 17, 22));
    }
}
