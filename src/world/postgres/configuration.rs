//! Changing a server's configuration: reload, `ALTER SYSTEM`, checkpoint.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::Client;

use super::query_error;
use crate::postgres::error::QueryError;
use crate::postgres::quote;

/// How long a session is given to see a reload.
const RELOAD_SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Has the server read its configuration files again, and returns once this session sees the new values (which need not
/// differ). New sessions and those between queries see them at about the same time.
pub async fn reload(client: &Client) -> Result<(), QueryError> {
    let doing = "reloading the configuration";
    let failed = |message: &str| QueryError::Failed { doing: doing.into(), message: message.into() };
    let loaded_at = "SELECT pg_conf_load_time()::text";
    let ask = async |sql: &str| client.query_one(sql, &[]).await.map_err(|error| query_error(doing, &error));

    let before: String = ask(loaded_at).await?.get(0);
    if !ask("SELECT pg_catalog.pg_reload_conf()").await?.get::<_, bool>(0) {
        return Err(failed("pg_reload_conf() could not signal the server; see its log"));
    }
    let asked = Instant::now();
    while ask(loaded_at).await?.get::<_, String>(0) == before {
        if asked.elapsed() > RELOAD_SEEN_WITHIN {
            return Err(failed("the server did not load it within 10 s; its log names the line that it can't read"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Writes the parameters to `postgresql.auto.conf`, one by one; [`reload`] applies them. At the first that the server
/// refuses, it stops; the error names it.
///
/// There is no marker here: before PostgreSQL 17, `ALTER SYSTEM` refuses settings that no module defines. Reading
/// every value back is the check.
pub async fn alter_system<'a>(
    client: &Client,
    parameters: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), QueryError> {
    for (name, value) in parameters {
        let statement = format!("ALTER SYSTEM SET {} = {}", quote::setting(name), quote::literal(value));
        let doing = || format!("setting {name} to {value} by ALTER SYSTEM");
        client.batch_execute(&statement).await.map_err(|error| query_error(doing(), &error))?;
    }
    Ok(())
}

/// Takes the parameters out of `postgresql.auto.conf`; [`reload`] applies it. Those that are not in it are no error.
pub async fn alter_system_reset<'a>(
    client: &Client,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(), QueryError> {
    for name in names {
        let statement = format!("ALTER SYSTEM RESET {}", quote::setting(name));
        let doing = || format!("resetting {name} by ALTER SYSTEM");
        client.batch_execute(&statement).await.map_err(|error| query_error(doing(), &error))?;
    }
    Ok(())
}

/// Has the server write a checkpoint and waits for its end, however long it takes. Returns the seconds that it took.
pub async fn checkpoint(client: &Client) -> Result<f64, QueryError> {
    let run = async |sql: &str| client.batch_execute(sql).await.map_err(|error| query_error("CHECKPOINT", &error));
    run("SET statement_timeout = 0").await?;
    let started = Instant::now();
    run("CHECKPOINT").await?;
    let seconds = started.elapsed().as_secs_f64();
    run(&super::statement_timeout()).await?;
    Ok(seconds)
}
