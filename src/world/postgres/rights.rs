//! What the role may do, and the statements that grant it the rest.

use tokio_postgres::Client;

use super::query_error;
use crate::postgres::error::QueryError;
use crate::postgres::quote;
use crate::postgres::server::Rights;

/// Which rights are needed.
#[derive(Clone, Debug, Default)]
pub struct Needs<'a> {
    /// The database of the benchmark: the role must own it, or be able to create it.
    pub benchmark_database: &'a str,
    /// Parameters to be set by `ALTER SYSTEM`; none where a configuration file is used.
    pub alter_system: &'a [String],
}

/// What the role lacks, as statements for a superuser to run in the client's database. A superuser lacks nothing.
pub async fn rights(client: &Client, needs: &Needs<'_>) -> Result<Rights, QueryError> {
    let doing = "asking what the role may do";
    let row = client
        .query_one(
            "SELECT current_user::text, rolsuper, rolcreatedb, current_setting('server_version_num')::int4, \
             EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1 AND pg_has_role(datdba, 'USAGE')) \
             FROM pg_catalog.pg_roles WHERE rolname = current_user",
            &[&needs.benchmark_database],
        )
        .await
        .map_err(|error| query_error(doing, &error))?;
    let (superuser, may_create, version): (bool, bool, i32) = (row.get(1), row.get(2), row.get(3));
    let owns_database: bool = row.get(4);
    if superuser {
        return Ok(Rights::default());
    }
    let role = quote::identifier(row.get(0));
    let lacks = async |expression: &str| {
        let row = client.query_one(&format!("SELECT NOT ({expression})"), &[]).await;
        row.map(|row| row.get::<_, bool>(0)).map_err(|error| query_error(doing, &error))
    };

    let mut missing = Vec::new();
    for (expression, statement) in REQUIRED {
        if lacks(expression).await? {
            missing.push(format!("{statement} TO {role}"));
        }
    }
    if version < 150_000 {
        missing.push(format!("ALTER ROLE {role} SUPERUSER"));
    } else if lacks("pg_has_role('pg_checkpoint', 'USAGE')").await? {
        missing.push(format!("GRANT pg_checkpoint TO {role}"));
    }
    if !may_create && !owns_database {
        missing.push(format!("ALTER ROLE {role} CREATEDB"));
    }
    // Before 15, ALTER SYSTEM is a superuser's, which CHECKPOINT has asked for already.
    if version >= 150_000 {
        for name in needs.alter_system {
            if lacks(&format!("has_parameter_privilege({}, 'ALTER SYSTEM')", quote::literal(name))).await? {
                missing.push(format!("GRANT ALTER SYSTEM ON PARAMETER {} TO {role}", quote::setting(name)));
            }
        }
    }
    let mut optional = Vec::new();
    for (expression, statement) in OPTIONAL {
        if lacks(expression).await? {
            optional.push(format!("{statement} TO {role}"));
        }
    }
    Ok(Rights { missing, optional })
}

/// Whether the role has a right, and the statement that grants it, in every version.
const REQUIRED: &[(&str, &str)] = &[
    ("pg_has_role('pg_read_all_settings', 'USAGE') AND pg_has_role('pg_read_all_stats', 'USAGE')", "GRANT pg_monitor"),
    ("has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')", "GRANT SELECT ON pg_catalog.pg_file_settings"),
    (
        "has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE')",
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_show_all_file_settings()",
    ),
    (
        "has_function_privilege('pg_catalog.pg_reload_conf()', 'EXECUTE')",
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf()",
    ),
];

/// What [`super::container`] needs.
const OPTIONAL: &[(&str, &str)] = &[
    ("pg_has_role('pg_read_server_files', 'USAGE')", "GRANT pg_read_server_files"),
    (
        "has_function_privilege('pg_catalog.pg_read_file(text,bigint,bigint,boolean)', 'EXECUTE')",
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text,bigint,bigint,boolean)",
    ),
];
