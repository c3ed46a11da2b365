//! The benchmark's own database.

use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use super::{PgbenchError, Program, complaint, scratch_directory};
use crate::hex::hex;
use crate::postgres::error::{ConnectError, QueryError};
use crate::postgres::quote;
use crate::postgres::uri::Uri;
use crate::world::postgres::{connect, query_error};

/// Its name. No other database is ever written to.
pub const DATABASE: &str = "howdah_bench";

/// What the benchmark's database is to hold.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// pgbench's own tables.
    Tables {
        /// Their scale factor.
        scale: u32,
    },
    /// What an SQL script makes.
    Script {
        /// Its text: statements for the server, no psql commands. It runs in one transaction.
        sql: &'a str,
    },
}

/// Why the benchmark's database could not be prepared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// There is a database of that name without our mark, and it is none that we began to make.
    #[error(
        "the database {DATABASE:?} was not made by Howdah (its comment does not begin with {MARK:?}), so it is left \
         alone; rename it, or drop it if nobody needs it"
    )]
    Foreign,
    /// Connecting failed.
    #[error("connecting to prepare the database {DATABASE:?}: {0}")]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// pgbench could not make its tables.
    #[error("making pgbench's tables: {0}")]
    Pgbench(#[from] PgbenchError),
}

/// How the comment on our database begins. Behind it: what it holds, and its bytes when it was made.
const MARK: &str = "howdah benchmark: ";

/// A database that has grown by half since it was made (and by more than small change) has drifted: its tables are
/// bloated, and the next configuration would be measured on another database than the last.
const DRIFT_FACTOR: f64 = 1.5;
const DRIFT_SLACK_BYTES: f64 = 128e6;

/// Makes sure that the benchmark's database exists and is in its starting state: as made, history emptied, vacuumed and
/// analysed. It is made anew when it holds something else or has drifted.
pub async fn prepare(
    uri: &Uri,
    ca: Option<&[u8]>,
    program: &Program,
    content: &Content<'_>,
) -> Result<(), PrepareError> {
    let wanted = content.name();
    let client = connect_for_long(uri, ca).await?;
    let existing = client
        .query_opt(
            "SELECT shobj_description(d.oid, 'pg_database'), pg_database_size(d.oid), \
                    pg_get_userbyid(datdba) = current_user AND datacl IS NULL \
                    AND NOT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting WHERE setdatabase = d.oid) \
                    AND (SELECT rolcreatedb OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) \
             FROM pg_catalog.pg_database d WHERE datname = $1",
            &[&DATABASE],
        )
        .await
        .map_err(|error| query_error("looking for the benchmark's database", &error))?;
    let uri = uri.with_database(DATABASE);
    if let Some(row) = existing {
        let comment: Option<String> = row.get(0);
        let how = match comment.as_deref().map(|comment| comment.strip_prefix(MARK)) {
            Some(Some(mark)) => {
                if is_fresh(mark, &wanted, row.get::<_, i64>(1) as f64) {
                    let bench = connect_for_long(&uri, ca).await?;
                    if content.is_complete(&bench).await? {
                        return start_afresh(&bench, content).await;
                    }
                }
                " WITH (FORCE)"
            }
            // A death between its creation and its mark leaves this, just as it comes from the template; both can't be
            // done in one transaction. Without FORCE, so that it stays if somebody has begun to use it.
            None if row.get(2) && is_empty(&connect_for_long(&uri, ca).await?).await? => "",
            _ => return Err(PrepareError::Foreign),
        };
        let sql = format!("DROP DATABASE {DATABASE}{how}");
        execute(&client, "dropping the benchmark's old database", &sql).await?;
    }
    create(&client, &uri, ca, program, content).await
}

/// Connects without a limit on a statement's time: large tables take long, and dropping a database waits for a checkpoint.
async fn connect_for_long(uri: &Uri, ca: Option<&[u8]>) -> Result<Client, PrepareError> {
    let client = connect(uri, ca, Duration::from_secs(10)).await?;
    execute(&client, "lifting the limit on a statement's time", "SET statement_timeout = 0").await?;
    Ok(client)
}

/// Nothing of a user's is in this database.
async fn is_empty(bench: &Client) -> Result<bool, PrepareError> {
    // Ids below are the server's own (FirstNormalObjectId).
    let made = ["class", "namespace", "proc", "type", "extension", "publication", "foreign_data_wrapper", "collation"]
        .map(|catalog| format!("SELECT oid FROM pg_catalog.pg_{catalog} WHERE oid >= 16384"))
        .join(" UNION ALL ");
    let sql = format!("SELECT NOT EXISTS ({made} UNION ALL SELECT oid FROM pg_catalog.pg_largeobject_metadata)");
    let row = bench.query_one(&sql, &[]).await;
    Ok(row.map_err(|error| query_error("looking into an unmarked database", &error))?.get(0))
}

async fn create(
    client: &Client,
    uri: &Uri,
    ca: Option<&[u8]>,
    program: &Program,
    content: &Content<'_>,
) -> Result<(), PrepareError> {
    let doing = "creating the benchmark's database";
    // template1 may hold what the user put there, and can't be copied while someone is connected to it.
    execute(client, doing, &format!("CREATE DATABASE {DATABASE} TEMPLATE template0")).await?;
    mark(client, "unfinished").await?;
    let bench = connect_for_long(uri, ca).await?;
    match content {
        Content::Tables { scale } => make_tables(program, uri, ca, *scale).await?,
        Content::Script { sql } => execute(&bench, "running the benchmark's init script", sql).await?,
    }
    start_afresh(&bench, content).await?;
    let size = bench
        .query_one("SELECT pg_database_size(current_database())", &[])
        .await
        .map_err(|error| query_error(doing, &error))?;
    mark(client, &format!("{}, {} bytes", content.name(), size.get::<_, i64>(0))).await
}

async fn mark(client: &Client, text: &str) -> Result<(), PrepareError> {
    let comment = quote::literal(&format!("{MARK}{text}"));
    execute(client, "marking the benchmark's database", &format!("COMMENT ON DATABASE {DATABASE} IS {comment}")).await
}

async fn make_tables(program: &Program, uri: &Uri, ca: Option<&[u8]>, scale: u32) -> Result<(), PgbenchError> {
    let scratch = scratch_directory()?;
    // As of our own connections: what limits the users' statements is no limit for filling large tables.
    let options = format!("{} -c statement_timeout=0", uri.options.as_deref().unwrap_or_default());
    let uri = Uri { options: Some(options), ..uri.clone() };
    let output = program
        .command(&uri, ca, &scratch)?
        .args(["--initialize", "--quiet"])
        .arg(format!("--scale={scale}"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .await
        .map_err(PgbenchError::io("starting pgbench"))?;
    if output.status.success() {
        return Ok(());
    }
    let lines: Vec<String> = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
    Err(PgbenchError::Failed(complaint(&lines)))
}

/// Empties the history and vacuums and analyses every table, one by one: `VACUUM` of the whole database would have the
/// server log a warning for each shared catalog that the role does not own.
async fn start_afresh(bench: &Client, content: &Content<'_>) -> Result<(), PrepareError> {
    let doing = "vacuuming the benchmark's tables";
    if matches!(content, Content::Tables { .. }) {
        execute(bench, "emptying pgbench's history", "TRUNCATE pgbench_history").await?;
    }
    let tables = bench
        .query(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_catalog.pg_tables \
                WHERE schemaname <> 'information_schema' AND schemaname !~ '^pg_'",
            &[],
        )
        .await
        .map_err(|error| query_error(doing, &error))?;
    for table in &tables {
        execute(bench, doing, &format!("VACUUM (ANALYZE) {}", table.get::<_, String>(0))).await?;
    }
    Ok(())
}

async fn execute(client: &Client, doing: &str, sql: &str) -> Result<(), PrepareError> {
    client.batch_execute(sql).await.map_err(|error| query_error(doing, &error).into())
}

impl Content<'_> {
    /// What distinguishes it from other contents, for the mark.
    fn name(&self) -> String {
        match self {
            Self::Tables { scale } => format!("scale {scale}"),
            Self::Script { sql } => format!("script {}", hex(&Sha256::digest(sql.as_bytes())[..8])),
        }
    }

    /// The tables are as they were made. What a script made is not known, so its mark alone counts.
    async fn is_complete(&self, bench: &Client) -> Result<bool, PrepareError> {
        let Self::Tables { scale } = self else { return Ok(true) };
        let query_error = |error| query_error("looking at the benchmark's tables", &error);
        let there =
            bench.query_one("SELECT to_regclass('pgbench_branches') IS NOT NULL", &[]).await.map_err(query_error)?;
        if !there.get::<_, bool>(0) {
            return Ok(false);
        }
        let branches = bench.query_one("SELECT count(*) FROM pgbench_branches", &[]).await.map_err(query_error)?;
        Ok(branches.get::<_, i64>(0) == i64::from(*scale))
    }
}

/// Whether a database with this mark (the text behind [`MARK`]) and size still is what is wanted.
fn is_fresh(mark: &str, wanted: &str, bytes: f64) -> bool {
    let Some((name, made)) = mark.rsplit_once(", ") else { return false };
    let Some(made) = made.strip_suffix(" bytes").and_then(|bytes| bytes.parse::<f64>().ok()) else { return false };
    name == wanted && bytes <= made * DRIFT_FACTOR + DRIFT_SLACK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_fresh_while_it_holds_what_is_wanted_and_has_not_grown() {
        let wanted = Content::Tables { scale: 50 }.name();
        assert!(is_fresh("scale 50, 800000000 bytes", &wanted, 900e6));
        assert!(!is_fresh("scale 50, 800000000 bytes", &wanted, 1400e6));
        assert!(!is_fresh("scale 10, 800000000 bytes", &wanted, 900e6));
        assert!(!is_fresh("unfinished", &wanted, 0.0));
    }

    #[test]
    fn scripts_are_told_apart_by_their_text() {
        let name = |sql| Content::Script { sql }.name();
        assert_eq!(name("CREATE TABLE a ()"), name("CREATE TABLE a ()"));
        assert_ne!(name("CREATE TABLE a ()"), name("CREATE TABLE b ()"));
    }
}
