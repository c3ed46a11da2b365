//! What `pg_stat_statements` has counted.

use tokio_postgres::Client;

use super::query_error;
use crate::postgres::error::QueryError;
use crate::postgres::quote;
use crate::postgres::statistics::StatementStatistics;

/// The statements of the connection's database, but for EXPLAIN, those of its own role, and those whose extremes were reset
/// apart from the rest (PostgreSQL 17 can); empty where the extension is not installed.
///
/// # Errors
/// The server refuses, as where the extension is not loaded or older than PostgreSQL 13's.
pub async fn statements(client: &Client) -> Result<Vec<StatementStatistics>, QueryError> {
    let doing = "reading pg_stat_statements";
    let told = |error: tokio_postgres::Error| query_error(doing, &error);
    let schema = "SELECT nspname::text FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n \
                  ON n.oid = e.extnamespace WHERE extname = 'pg_stat_statements'";
    let Some(schema) = client.query_opt(schema, &[]).await.map_err(told)? else { return Ok(Vec::new()) };
    let query = format!(
        "SELECT query, calls, min_exec_time, mean_exec_time, max_exec_time, stddev_exec_time, \
                temp_blks_written::float8 * pg_catalog.current_setting('block_size')::float8 \
         FROM {}.pg_stat_statements s \
         WHERE dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
           AND userid <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user) \
           AND calls > 0 AND query IS NOT NULL AND query <> '<insufficient privilege>' AND query !~* '^\\s*explain\\M' \
           AND to_jsonb(s) ->> 'stats_since' IS NOT DISTINCT FROM to_jsonb(s) ->> 'minmax_stats_since'",
        quote::identifier(schema.get(0))
    );
    let rows = client.query(&query, &[]).await.map_err(told)?;
    let seconds = |row: &tokio_postgres::Row, column: usize| row.get::<_, f64>(column) / 1000.0;
    let read = |row: &tokio_postgres::Row| StatementStatistics {
        query: row.get(0),
        calls: row.get::<_, i64>(1).unsigned_abs(),
        least_seconds: seconds(row, 2),
        mean_seconds: seconds(row, 3),
        most_seconds: seconds(row, 4),
        deviation_seconds: seconds(row, 5),
        spilled_bytes: row.get(6),
    };
    Ok(rows.iter().map(read).collect())
}
