//! Cumulative statistics and wait events: the one place that knows which version keeps which number in which view.

use tokio_postgres::Client;

use super::query_error;
use crate::postgres::counters::{Counters, NAMES, WaitSamples};
use crate::postgres::error::QueryError;

/// Reads the server's cumulative statistics, and those of one database, under our names.
/// `version_num` is the server's `server_version_num`.
pub async fn counters(client: &Client, version_num: i32, database: &str) -> Result<Counters, QueryError> {
    let row = client
        .query_opt(&query(version_num), &[&database])
        .await
        .map_err(|error| query_error("reading the statistics views", &error))?
        .ok_or_else(|| QueryError::Failed {
            doing: "reading the statistics views".into(),
            message: format!("there is no database {database:?}"),
        })?;
    let readings = NAMES.iter().enumerate().filter_map(|(column, name)| {
        let value: Option<f64> = row.get(column);
        value.filter(|value| value.is_finite()).map(|value| ((*name).to_owned(), value))
    });
    Ok(readings.collect())
}

/// One row with a `float8` for each of [`NAMES`], in their order; `NULL` where the version does not have it.
fn query(version_num: i32) -> String {
    // 17 moved the checkpointer's numbers out of pg_stat_bgwriter.
    let (timed, requested, write_ms, sync_ms, checkpointer) = if version_num >= 170_000 {
        ("c.num_timed", "c.num_requested", "c.write_time", "c.sync_time", "c.buffers_written")
    } else {
        (
            "b.checkpoints_timed",
            "b.checkpoints_req",
            "b.checkpoint_write_time",
            "b.checkpoint_sync_time",
            "b.buffers_checkpoint",
        )
    };
    // 17 took what backends write out of pg_stat_bgwriter: it is in pg_stat_io, in which 18 counts bytes.
    let backend = match version_num {
        180_000.. => {
            "(SELECT sum(write_bytes) / current_setting('block_size')::int4 FROM pg_catalog.pg_stat_io \
                      WHERE object = 'relation' AND backend_type NOT IN ('checkpointer', 'background writer'))"
        }
        170_000.. => {
            "(SELECT sum(writes) FROM pg_catalog.pg_stat_io \
                      WHERE object = 'relation' AND backend_type NOT IN ('checkpointer', 'background writer'))"
        }
        _ => "b.buffers_backend",
    };
    // pg_stat_wal came with 14; 18 moved its times to pg_stat_io.
    let (images, full, wal_write_ms, wal_sync_ms) = match version_num {
        180_000.. => (
            "w.wal_fpi",
            "w.wal_buffers_full",
            "(SELECT sum(write_time) FROM pg_catalog.pg_stat_io WHERE object = 'wal')",
            "(SELECT sum(fsync_time) FROM pg_catalog.pg_stat_io WHERE object = 'wal')",
        ),
        140_000.. => ("w.wal_fpi", "w.wal_buffers_full", "w.wal_write_time", "w.wal_sync_time"),
        _ => ("NULL", "NULL", "NULL", "NULL"),
    };
    let columns = [
        "d.xact_commit",
        "d.xact_rollback",
        "d.blks_hit",
        "d.blks_read",
        "d.temp_bytes",
        "d.deadlocks",
        timed,
        requested,
        write_ms,
        sync_ms,
        checkpointer,
        "b.buffers_clean",
        backend,
        "b.buffers_alloc",
        // The position in the WAL is exact at once and in every version; pg_stat_wal lags behind the sessions.
        "pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, '0/0')",
        images,
        full,
        wal_write_ms,
        wal_sync_ms,
    ];
    let columns = columns.map(|column| format!("({column})::float8")).join(", ");
    let mut views = "pg_catalog.pg_stat_database d, pg_catalog.pg_stat_bgwriter b".to_owned();
    if version_num >= 140_000 {
        views.push_str(", pg_catalog.pg_stat_wal w");
    }
    if version_num >= 170_000 {
        views.push_str(", pg_catalog.pg_stat_checkpointer c");
    }
    format!("SELECT {columns} FROM {views} WHERE d.datname = $1")
}

/// Adds a sample of what the active sessions of one database are waiting for.
pub async fn sample_waits(client: &Client, database: &str, waits: &mut WaitSamples) -> Result<(), QueryError> {
    let rows = client
        .query(
            "SELECT coalesce(wait_event_type, $2), count(*) FROM pg_catalog.pg_stat_activity \
             WHERE datname = $1 AND state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid() \
             GROUP BY 1",
            &[&database, &WaitSamples::RUNNING],
        )
        .await
        .map_err(|error| query_error("reading pg_stat_activity", &error))?;
    waits.add(rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_asked_for_every_number_and_for_no_view_that_it_lacks() {
        for version in [130_000, 140_000, 150_000, 160_000, 170_000, 180_000] {
            let sql = query(version);
            assert_eq!(sql.matches("::float8").count(), NAMES.len());
            assert_eq!(sql.contains("pg_stat_wal "), version >= 140_000, "{sql}");
            assert_eq!(sql.contains("pg_stat_checkpointer"), version >= 170_000, "{sql}");
            assert_eq!(sql.contains("pg_stat_io"), version >= 170_000, "{sql}");
            assert_eq!(sql.contains("w.wal_write_time"), (140_000..180_000).contains(&version), "{sql}");
        }
    }
}
