//! What a server is and how it is configured.

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as WordError;
use tokio_postgres::{Client, Row};

use super::query_error;
use crate::postgres::error::QueryError;
use crate::postgres::server::{MARKER, ServerFacts};
use crate::postgres::setting::{FileSetting, Setting, Settings};
use crate::world::pgbench::database::DATABASE;

/// Everything in `pg_settings` that the role may see. Without `pg_read_all_settings`, some settings and all source
/// files are absent.
pub async fn settings(client: &Client) -> Result<Settings, QueryError> {
    let doing = "reading pg_settings";
    let rows = client
        .query(
            "SELECT name, setting, unit, vartype, context, min_val, max_val, enumvals, boot_val, source, sourcefile, \
             pending_restart FROM pg_catalog.pg_settings",
            &[],
        )
        .await
        .map_err(|error| query_error(doing, &error))?;
    let mut settings = Settings::new();
    for row in &rows {
        let setting = setting(row).map_err(|message| QueryError::Failed { doing: doing.into(), message })?;
        settings.insert(setting.name.clone(), setting);
    }
    Ok(settings)
}

fn setting(row: &Row) -> Result<Setting, String> {
    let name: String = row.get("name");
    let bound = |column: &str| row.get::<_, Option<String>>(column).and_then(|text| text.parse().ok());
    Ok(Setting {
        value: shown(&name, row.get::<_, Option<String>>("setting").unwrap_or_default()),
        unit: row.get("unit"),
        vartype: word(&name, row.get("vartype"))?,
        context: word(&name, row.get("context"))?,
        min: bound("min_val"),
        max: bound("max_val"),
        enumvals: row.get::<_, Option<Vec<String>>>("enumvals").unwrap_or_default(),
        boot_value: row.get("boot_val"),
        source: row.get("source"),
        source_file: row.get("sourcefile"),
        pending_restart: row.get("pending_restart"),
        name,
    })
}

/// A value as it may be told. Connections and commands hold passwords, and what is read here reaches statuses, Events,
/// receivers of alarms and logs.
fn shown(name: &str, value: String) -> String {
    // A file may write a name as it likes.
    let name = name.to_ascii_lowercase();
    let holds_secrets = name == "primary_conninfo" || name.ends_with("_command");
    if holds_secrets && !value.is_empty() { "(hidden)".to_owned() } else { value }
}

/// Reads one of PostgreSQL's own words (`postmaster`) into its enumeration.
fn word<'de, T: Deserialize<'de>>(name: &str, text: &'de str) -> Result<T, String> {
    T::deserialize(text.into_deserializer()).map_err(|error: WordError| format!("of {name}, {error}"))
}

/// Every line of the configuration files, with its error. Needs rights of its own ([`super::rights`]).
pub async fn file_settings(client: &Client) -> Result<Vec<FileSetting>, QueryError> {
    let rows = client
        .query(
            "SELECT coalesce(sourcefile, ''), coalesce(name, ''), coalesce(setting, ''), applied, error \
             FROM pg_catalog.pg_file_settings ORDER BY seqno",
            &[],
        )
        .await
        .map_err(|error| query_error("reading pg_file_settings", &error))?;
    let line = |row: &Row| FileSetting {
        source_file: row.get(0),
        name: row.get(1),
        value: shown(row.get(1), row.get(2)),
        applied: row.get(3),
        error: row.get(4),
    };
    Ok(rows.iter().map(line).collect())
}

/// Names that programs give to the sessions with which they make a backup: a session may see every other's name.
const BACKUPS: &str = "^(pg_basebackup|pg_dump|pg_dumpall|pgBackRest|barman|wal-g)";

/// What the server is and how far it is.
pub async fn server_facts(client: &Client) -> Result<ServerFacts, QueryError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), \
             pg_is_in_recovery(), \
             (extract(epoch FROM pg_postmaster_start_time()) * 1000)::int8, \
             (extract(epoch FROM pg_conf_load_time()) * 1000)::int8, \
             nullif(current_setting($1, true), ''), \
             sizes.total, sizes.benchmark, host(inet_server_addr()), \
             CASE WHEN NOT pg_is_in_recovery() \
                  THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8 END, \
             ARRAY(SELECT DISTINCT application_name FROM pg_catalog.pg_stat_activity \
                   WHERE application_name ~ $3 ORDER BY 1) \
             FROM (SELECT coalesce(sum(size), 0)::int8 AS total, \
                   coalesce(sum(size) FILTER (WHERE datname = $2), 0)::int8 AS benchmark \
                   FROM (SELECT datname, pg_database_size(oid) AS size FROM pg_catalog.pg_database \
                         WHERE has_database_privilege(oid, 'CONNECT')) AS databases) AS sizes",
            &[&MARKER, &DATABASE, &BACKUPS],
        )
        .await
        .map_err(|error| query_error("asking the server what it is", &error))?;
    Ok(ServerFacts {
        version_num: row.get(0),
        version: row.get(1),
        in_recovery: row.get(2),
        started_at_ms: row.get(3),
        configuration_loaded_at_ms: row.get(4),
        marker: row.get(5),
        database_bytes: row.get(6),
        benchmark_bytes: row.get(7),
        address: row.get(8),
        timeline: row.get(9),
        backups: row.get(10),
    })
}
