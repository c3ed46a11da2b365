//! PostgreSQL's own estimate for a statement, which is planned and never run.

use std::time::Duration;

use serde_json::Value;

use super::{Client, query_error};
use crate::postgres::error::QueryError;

/// Makes the session one that only plans: it reads, waits for nothing and nobody, and gives up after `within`.
///
/// # Errors
/// The server refuses, or the role is a superuser: texts that others send are planned with its rights, and planning may
/// call functions.
pub async fn only_plan(client: &Client, within: Duration) -> Result<(), QueryError> {
    let doing = "preparing a session for EXPLAIN";
    let role = client
        .query_one("SELECT rolsuper, rolname::text FROM pg_catalog.pg_roles WHERE rolname = current_user", &[])
        .await
        .map_err(|error| query_error(doing, &error))?;
    if role.get::<_, bool>(0) {
        let role: String = role.get(1);
        let message = format!("the role {role:?} is a superuser; use one that may only read (GRANT pg_read_all_data)");
        return Err(QueryError::Denied { doing: doing.into(), message });
    }
    let milliseconds = within.as_millis();
    let settings = format!(
        "SET default_transaction_read_only = on; SET statement_timeout = {milliseconds}; SET lock_timeout = {milliseconds}"
    );
    client.batch_execute(&settings).await.map_err(|error| query_error(doing, &error))
}

/// Total cost and rows that the planner expects of a statement. The text is one statement or it is refused: it goes to the
/// server as a prepared one. It is never executed (no ANALYZE).
///
/// # Errors
/// The server does not plan it, within the time of the session, for this role; or it has parameters.
pub async fn explain(client: &Client, statement: &str) -> Result<(f32, f32), QueryError> {
    let doing = "EXPLAIN";
    let failed = |message: &str| QueryError::Failed { doing: doing.into(), message: message.into() };
    let prepared = client.prepare(&format!("EXPLAIN (FORMAT JSON) {statement}")).await;
    let prepared = prepared.map_err(|error| query_error(doing, &error))?;
    if !prepared.params().is_empty() {
        return Err(failed("the statement has parameters without values"));
    }
    let rows = client.query(&prepared, &[]).await.map_err(|error| query_error(doing, &error))?;
    let told: Value = match rows.first() {
        Some(row) => row.try_get(0).map_err(|error| query_error(doing, &error))?,
        None => return Err(failed("the server gave no plan")),
    };
    let number = |name: &str| told[0]["Plan"][name].as_f64();
    // What has no plan (a utility statement) has no cost that could be compared.
    let (cost, rows) =
        number("Total Cost").zip(number("Plan Rows")).ok_or_else(|| failed("the statement has no plan"))?;
    Ok((cost as f32, rows as f32))
}
