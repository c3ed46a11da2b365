//! What talks to PostgreSQL, against a real server.

mod server;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use howdah::cli::benchmark;
use howdah::cli::tune::local_server::LocalServer;
use howdah::instance;
use howdah::instance::observe::ask;
use howdah::postgres::counters::NAMES;
use howdah::postgres::error::{ConnectError, QueryError};
use howdah::postgres::server::MARKER;
use howdah::postgres::setting::Context;
use howdah::postgres::uri::{SslMode, Uri};
use howdah::tuning::benchmark::{BenchmarkRequest, ScriptFile};
use howdah::tuning::crd::Builtin;
use howdah::tuning::measure::{MeasureError, Progress, measure};
use howdah::tuning::measurement::BenchmarkResult;
use howdah::tuning::state::FEATURES;
use howdah::world::pgbench::database::{DATABASE, PrepareError};
use howdah::world::postgres::log_files::{self, LogFileError};
use howdah::world::postgres::rights::{Needs, rights};
use howdah::world::postgres::server::{file_settings, server_facts, settings};
use howdah::world::postgres::statements::statements;
use howdah::world::postgres::{configuration, connect, container, statistics};
use server::{PASSWORD, Server};

const DEADLINE: Duration = Duration::from_secs(10);

async fn error_of(uri: &Uri) -> ConnectError {
    connect(uri, None, DEADLINE).await.unwrap_err()
}

#[tokio::test]
async fn connection_errors_are_told_apart() {
    let server = Server::start("max_connections = 5\nsuperuser_reserved_connections = 0\nmax_wal_senders = 0");
    let uri = server.uri("postgres", "postgres");
    let with = |change: &dyn Fn(&mut Uri)| {
        let mut changed = uri.clone();
        change(&mut changed);
        changed
    };
    let wrong = error_of(&with(&|uri| uri.password = Some("wrong".into()))).await;
    assert!(matches!(wrong, ConnectError::WrongPassword(_)), "{wrong}");
    let none = error_of(&with(&|uri| uri.password = None)).await;
    assert!(matches!(none, ConnectError::WrongPassword(_)), "{none}");
    let database = error_of(&uri.with_database("nowhere")).await;
    assert!(matches!(database, ConnectError::NoSuchDatabase(_)), "{database}");
    let host = error_of(&with(&|uri| uri.host = "no-such-host.invalid".into())).await;
    assert!(matches!(host, ConnectError::UnknownHost { .. }), "{host}");
    let refused = error_of(&with(&|uri| uri.port = 1)).await;
    assert!(matches!(refused, ConnectError::Refused { .. }), "{refused}");
    let socket = error_of(&with(&|uri| uri.host = "/nowhere".into())).await;
    assert!(matches!(socket, ConnectError::Refused { .. }), "{socket}");
    let plain = error_of(&with(&|uri| uri.ssl_mode = SslMode::Require)).await;
    assert!(matches!(plain, ConnectError::Tls(_)), "{plain}");

    let socket = with(&|uri| uri.host = server.data().parent().unwrap().to_str().unwrap().to_owned());
    let mut clients = vec![connect(&socket, None, DEADLINE).await.unwrap()];
    let full = loop {
        match connect(&uri, None, DEADLINE).await {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, ConnectError::TooManyConnections(_)), "{full}");
    let name = clients[0].query_one("SELECT current_setting('application_name')", &[]).await.unwrap();
    assert_eq!(name.get::<_, String>(0), "howdah");
}

#[tokio::test]
async fn a_server_s_own_log_is_read_through_sql() {
    let server = Server::start(
        "logging_collector = on\nlog_destination = 'csvlog'\nlog_filename = 'own.log'\nlog_min_duration_statement = 0",
    );
    let superuser = server.superuser().await;
    superuser
        .batch_execute(&format!("CREATE ROLE reader LOGIN PASSWORD '{}'", PASSWORD.replace('\'', "''")))
        .await
        .unwrap();
    let reader = connect(&server.uri("reader", "postgres"), None, DEADLINE).await.unwrap();
    let denied = log_files::list(&reader).await.unwrap_err();
    assert!(matches!(denied, LogFileError::Query(QueryError::Denied { .. })), "{denied}");
    superuser.batch_execute("GRANT pg_monitor TO reader; SELECT 'remember this'").await.unwrap();
    let file =
        async || log_files::list(&reader).await.unwrap().into_iter().find(|file| file.name == "own.csv").unwrap();
    let log = file().await;
    assert!((0.0..60.0).contains(&log.age_seconds), "{log:?}");
    let copy = tempfile::NamedTempFile::new().unwrap();
    let denied = log_files::read(&reader, &log, copy.path()).await.unwrap_err();
    assert!(matches!(denied, LogFileError::Query(QueryError::Denied { .. })), "{denied}");
    let rights = "GRANT pg_read_server_files TO reader; \
                  GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO reader";
    superuser.batch_execute(rights).await.unwrap();
    // The collector is a process of its own: it writes a statement some time after its answer.
    let written = async {
        loop {
            let log = file().await;
            log_files::read(&reader, &log, copy.path()).await.unwrap();
            let text = fs::read_to_string(copy.path()).unwrap();
            assert_eq!(text.len() as u64, log.bytes);
            if text.contains("remember this") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written).await.expect("the statement is in the log");
}

/// A listener that never answers.
#[tokio::test]
async fn a_server_that_does_not_answer_is_a_timeout() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let uri: Uri = format!("postgresql://u@127.0.0.1:{port}/d").parse().unwrap();
    let error = connect(&uri, None, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
}

/// Copies a file into the data directory as the server wants its private key: owned by its user and closed to others.
fn install(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
    let owner = fs::metadata(to.parent().unwrap()).unwrap();
    chown(to, Some(owner.uid()), Some(owner.gid())).unwrap();
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes `<name>.crt` and `<name>.key`, a certification authority.
fn authority(directory: &Path, name: &str) -> Vec<u8> {
    openssl(
        directory,
        &format!("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt"),
    );
    fs::read(directory.join(format!("{name}.crt"))).unwrap()
}

#[tokio::test]
async fn tls_verifies_what_sslmode_asks_for() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, other) = (authority(directory.path(), "ca"), authority(directory.path(), "other"));
    fs::write(directory.path().join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
    openssl(directory.path(), "req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr");
    openssl(
        directory.path(),
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
    );
    let server = Server::start_with("ssl = on", |data| {
        for name in ["server.crt", "server.key"] {
            install(&directory.path().join(name), &data.join(name));
        }
    });
    let attempt = async |host: &str, mode: SslMode, ca: Option<&[u8]>| {
        let mut uri = server.uri("postgres", "postgres");
        (uri.host, uri.ssl_mode) = (host.into(), mode);
        let client = connect(&uri, ca, DEADLINE).await?;
        let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        Ok::<bool, ConnectError>(client.query_one(encrypted, &[]).await.unwrap().get(0))
    };
    // The certificate is for localhost, not for 127.0.0.1.
    assert_eq!(attempt("localhost", SslMode::VerifyFull, Some(&ca)).await, Ok(true));
    assert_eq!(attempt("127.0.0.1", SslMode::VerifyCa, Some(&ca)).await, Ok(true));
    assert_eq!(attempt("127.0.0.1", SslMode::Require, None).await, Ok(true));
    assert_eq!(attempt("127.0.0.1", SslMode::Prefer, None).await, Ok(true));
    assert_eq!(attempt("127.0.0.1", SslMode::Disable, None).await, Ok(false));
    for (host, mode, ca) in [
        ("127.0.0.1", SslMode::VerifyFull, Some(ca.as_slice())),
        ("localhost", SslMode::VerifyFull, Some(other.as_slice())),
        ("localhost", SslMode::VerifyCa, Some(other.as_slice())),
        ("localhost", SslMode::VerifyFull, Some(b"not a certificate".as_slice())),
        ("localhost", SslMode::VerifyFull, None),
    ] {
        let refused = attempt(host, mode, ca).await;
        assert!(matches!(refused, Err(ConnectError::Tls(_))), "{host} {mode:?}: {refused:?}");
    }
}

#[tokio::test]
async fn settings_and_their_files_are_read_and_a_reload_applies_a_file() {
    let server = Server::start("work_mem = '5MB'");
    let client = server.superuser().await;
    let before = settings(&client).await.unwrap();
    assert_eq!((before["work_mem"].value.as_str(), before["work_mem"].unit.as_deref()), ("5120", Some("kB")));
    assert_eq!(before["shared_buffers"].context, Context::Postmaster);
    assert!(before["work_mem"].source_file.as_ref().unwrap().ends_with("postgresql.conf"));
    assert!(before["synchronous_commit"].enumvals.contains(&"remote_apply".to_owned()));
    assert_eq!(server_facts(&client).await.unwrap().marker, None);

    let file = server.data().join("howdah.conf");
    fs::write(&file, format!("work_mem = '7MB'\nshared_buffers = '32MB'\nno_such_knob = 1\n{MARKER} = 'abc'\n"))
        .unwrap();
    let line = async |name: &str| {
        let lines = file_settings(&client).await.unwrap();
        lines.into_iter().rfind(|line| line.name == name).unwrap()
    };
    // One name that the server does not know keeps it from applying anything.
    assert!(line("no_such_knob").await.error.is_some() && !line("work_mem").await.applied);

    fs::write(&file, format!("work_mem = '7MB'\nshared_buffers = '32MB'\n{MARKER} = 'abc'\n")).unwrap();
    assert!(line("work_mem").await.applied && line("work_mem").await.source_file.ends_with("howdah.conf"));
    configuration::reload(&client).await.unwrap();
    let after = settings(&client).await.unwrap();
    assert_eq!(after["work_mem"].value, "7168");
    assert!(after["shared_buffers"].pending_restart && after["shared_buffers"].value == before["shared_buffers"].value);
    // What waits for a restart is an error to pg_file_settings.
    assert_eq!(line("shared_buffers").await.error.as_deref(), Some("setting could not be applied"));
    let facts = server_facts(&client).await.unwrap();
    assert_eq!(facts.marker.as_deref(), Some("abc"));
    assert!(facts.major() >= 13 && !facts.in_recovery && facts.database_bytes > 0);
    assert_eq!(facts.address.as_deref(), Some("127.0.0.1"));
    assert!(facts.configuration_loaded_at_ms >= facts.started_at_ms && facts.started_at_ms > 1_600_000_000_000);
    assert_eq!((facts.timeline, facts.backups.as_slice()), (Some(1), [].as_slice()));
    let dump = server.superuser().await;
    dump.batch_execute("SET application_name = 'pg_dump'").await.unwrap();
    assert_eq!(server_facts(&client).await.unwrap().backups, ["pg_dump"]);
}

/// It lacks what the other questions are about, roles say.
#[tokio::test]
async fn a_server_that_is_too_old_is_only_asked_what_it_is() {
    let server = Server::start("");
    let pretend = "CREATE SCHEMA old; CREATE FUNCTION old.current_setting(text) RETURNS text LANGUAGE sql AS \
                   $$SELECT CASE $1 WHEN 'server_version_num' THEN '100023' ELSE pg_catalog.current_setting($1) END$$";
    server.superuser().await.batch_execute(pretend).await.unwrap();
    let uri = Uri { options: Some("-c search_path=old,pg_catalog".into()), ..server.uri("postgres", "postgres") };
    let asked = ask(&connect(&uri, None, DEADLINE).await.unwrap()).await.unwrap();
    assert_eq!(asked.facts.major(), 10);
    assert!(asked.settings.is_empty() && asked.file_settings.is_none());
    assert!(!ask(&server.superuser().await).await.unwrap().settings.is_empty());
}

#[tokio::test]
async fn alter_system_sets_and_resets_and_names_what_is_refused() {
    let server = Server::start("");
    let client = server.superuser().await;
    let parameters = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let wanted = parameters(&[("work_mem", "9MB"), ("checkpoint_timeout", "7min")]);
    configuration::alter_system(&client, &wanted).await.unwrap();
    configuration::reload(&client).await.unwrap();
    let applied = settings(&client).await.unwrap();
    assert_eq!((applied["work_mem"].value.as_str(), applied["checkpoint_timeout"].value.as_str()), ("9216", "420"));

    configuration::alter_system_reset(&client, wanted.keys()).await.unwrap();
    configuration::reload(&client).await.unwrap();
    assert_eq!(settings(&client).await.unwrap()["work_mem"].source, "default");

    for (name, value) in [("work_mem", "4MB'; DROP TABLE x; --"), ("work\"mem", "4MB")] {
        let refused = configuration::alter_system(&client, &parameters(&[(name, value)])).await.unwrap_err();
        assert!(matches!(refused, QueryError::Failed { .. }) && refused.to_string().contains(name), "{refused}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_start_with_new_settings_runs_with_the_old_ones() {
    let server = Server::start("");
    let client = server.superuser().await;
    configuration::alter_system(&client, [(&"shared_buffers".to_owned(), &"24MB".to_owned())]).await.unwrap();
    // As a server that was started with a directory relative to where its administrator stood.
    let opts = server.data().join("postmaster.opts");
    fs::write(&opts, "/usr/bin/postgres \"-D\" \"data\" \"-c\" \"work_mem=7MB\"\n").unwrap();
    let directory = settings(&client).await.unwrap().get("data_directory").unwrap().value.clone();
    let major = server_facts(&client).await.unwrap().major();
    assert!(LocalServer::find(Path::new("/tmp"), &directory, major).unwrap_err().to_string().contains(&directory));
    let local = LocalServer::find(&server.data(), &directory, major).unwrap();

    configuration::alter_system(&client, [(&"shared_buffers".to_owned(), &"32MB".to_owned())]).await.unwrap();
    local.restart().await.unwrap();
    let show = async |name: &str| settings(&server.superuser().await).await.unwrap().get(name).unwrap().configured();
    assert_eq!((show("shared_buffers").await, show("work_mem").await), ("32MB".into(), "7MB".into()));

    let client = server.superuser().await;
    // Not too much memory: where the kernel promises what it has not (a kubelet sets it so), such a server starts.
    let missing = ("shared_preload_libraries".to_owned(), "no_such_library".to_owned());
    configuration::alter_system(&client, [(&missing.0, &missing.1)]).await.unwrap();
    let error = format!("{:#}", local.restart().await.unwrap_err());
    assert!(error.contains("original settings again") && error.contains("could not"), "{error}");
    assert_eq!(show("shared_buffers").await, "24MB");
}

#[tokio::test]
async fn the_statements_that_rights_names_are_all_that_a_weak_role_lacks() {
    let server = Server::start("");
    let administrator = server.superuser().await;
    let knobs = ["work_mem".to_owned(), "max_wal_size".to_owned()];
    let needs = Needs { benchmark_database: DATABASE, alter_system: &knobs };
    assert_eq!(rights(&administrator, &needs).await.unwrap(), Default::default());

    let create = format!("CREATE ROLE \"we\"\"ak\" LOGIN PASSWORD '{}'", PASSWORD.replace('\'', "''"));
    administrator.batch_execute(&create).await.unwrap();
    let weak = connect(&server.uri("we%22ak", "postgres"), None, DEADLINE).await.unwrap();
    let lacked = rights(&weak, &needs).await.unwrap();
    assert!(lacked.missing.contains(&r#"GRANT pg_monitor TO "we""ak""#.to_owned()), "{lacked:?}");
    let denied = configuration::reload(&weak).await.unwrap_err();
    assert!(matches!(denied, QueryError::Denied { .. }), "{denied}");
    assert_eq!(container::find(&weak).await.unwrap(), None);
    // Of the first statement that is refused one hears what all that follow would lack.
    let work_mem = BTreeMap::from([("work_mem".to_owned(), "6MB".to_owned())]);
    let denied = instance::act::alter_system(&weak, &work_mem, &[], &knobs).await.unwrap_err();
    assert_eq!(denied.reason, instance::Reason::MissingRights);
    assert!(lacked.missing.iter().all(|grant| denied.message.contains(grant)), "{denied:?}");

    for statement in lacked.missing.iter().chain(&lacked.optional) {
        administrator.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    let weak = connect(&server.uri("we%22ak", "postgres"), None, DEADLINE).await.unwrap();
    assert_eq!(rights(&weak, &needs).await.unwrap(), Default::default());
    instance::act::alter_system(&weak, &work_mem, &[], &knobs).await.unwrap();
    configuration::reload(&weak).await.unwrap();
    assert_eq!(settings(&weak).await.unwrap()["work_mem"].value, "6144");
    assert!(file_settings(&weak).await.unwrap().iter().any(|line| line.name == "work_mem"));
    let measurement = measure(&server.uri("we%22ak", "postgres"), None, &request(), |_| {}).await.unwrap();
    assert!(measurement.transactions > 0);
}

#[tokio::test]
async fn the_container_is_seen_where_there_is_one() {
    let server = Server::start("");
    let client = server.superuser().await;
    let exists = |path: &str| Path::new("/sys/fs/cgroup").join(path).exists();
    let expected = exists("memory.current") || exists("memory/memory.usage_in_bytes");
    let found = container::find(&client).await.unwrap();
    assert_eq!(found.is_some(), expected);
    if let Some(cgroup) = found {
        let used = container::read(&client, cgroup).await.unwrap().unwrap();
        assert!(used.memory_bytes > 0 && used.cpu_seconds > 0.0, "{used:?}");
    }
}

#[tokio::test]
async fn what_a_server_counted_of_its_statements_is_read() {
    let server = Server::start("shared_preload_libraries = 'pg_stat_statements'");
    let superuser = server.superuser().await;
    superuser
        .batch_execute(&format!(
            "CREATE ROLE howdah LOGIN PASSWORD '{}'; GRANT pg_monitor TO howdah; CREATE SCHEMA \"else\"; \
             GRANT USAGE ON SCHEMA \"else\" TO howdah",
            PASSWORD.replace('\'', "''")
        ))
        .await
        .unwrap();
    let client = connect(&server.uri("howdah", "postgres"), None, DEADLINE).await.unwrap();
    assert_eq!(statements(&client).await.unwrap(), [], "the extension is not installed");
    superuser.batch_execute("CREATE EXTENSION pg_stat_statements SCHEMA \"else\"").await.unwrap();
    for seconds in ["0.01", "0.05"] {
        superuser.batch_execute(&format!("SELECT pg_sleep({seconds}) AS nap")).await.unwrap();
    }
    client.batch_execute("SELECT 'our own'").await.unwrap();
    let counted = statements(&client).await.unwrap();
    assert!(counted.iter().all(|statement| !statement.query.contains("SELECT $1")), "{counted:?}");
    let nap = counted.iter().find(|statement| statement.query == "SELECT pg_sleep($1) AS nap").expect("it is counted");
    assert_eq!((nap.calls, nap.spilled_bytes), (2, 0.0));
    assert!(nap.least_seconds >= 0.01 && nap.most_seconds >= 0.05 && nap.least_seconds < nap.mean_seconds, "{nap:?}");
    assert!(nap.deviation_seconds > 0.01, "{nap:?}");
}

#[tokio::test]
async fn counters_are_finite_and_only_grow() {
    let server = Server::start("");
    let client = server.superuser().await;
    let version = server_facts(&client).await.unwrap().version_num;
    let before = statistics::counters(&client, version, "postgres").await.unwrap();
    configuration::checkpoint(&client).await.unwrap();
    client.batch_execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n").await.unwrap();
    let after = statistics::counters(&client, version, "postgres").await.unwrap();
    assert!(after.keys().all(|name| NAMES.contains(&name.as_str())) && after.len() >= 15, "{after:?}");
    for (name, value) in &after {
        assert!(value.is_finite() && *value >= before[name], "{name}: {} then {value}", before[name]);
    }
    assert!(after["wal_bytes"] > before["wal_bytes"]);
    let error = statistics::counters(&client, version, "nowhere").await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// The shortest run that measures something.
fn request() -> BenchmarkRequest {
    BenchmarkRequest {
        scale: 1,
        clients: 2,
        threads: 1,
        builtin: Builtin::TpcB,
        scripts: vec![],
        init_script: None,
        warmup_seconds: 1,
        measure_seconds: 3,
        rate: None,
        seed: 7,
        abandon_below_tps: None,
        abort_above_p99_ms: None,
        memory_bytes: Some(1 << 30),
        cpu_millis: Some(2000),
    }
}

#[tokio::test]
async fn a_measurement_is_sane_and_the_database_is_kept_for_the_next() {
    let server = Server::start(&format!("{MARKER} = 'abc'"));
    let uri = server.uri("postgres", "postgres");
    let mut measuring = 0;
    let count = |progress| measuring += i32::from(matches!(progress, Progress::Measuring(_)));
    let measured = measure(&uri, None, &request(), count).await.unwrap();
    assert!(measuring > 0, "no second was reported");
    assert!(measured.transactions > 0 && measured.failed_transactions == 0 && !measured.censored, "{measured:?}");
    // The second of warm-up is not among them, and the last transactions may end late.
    assert!(measured.seconds.0 > 1.0, "{measured:?}");
    assert!(measured.latency_mean_ms.0 > 0.0 && measured.latency_p95_ms <= measured.latency_p99_ms, "{measured:?}");
    let charged = measured.transactions as f64 / (measured.seconds.0 + measured.checkpoint_seconds.0);
    assert!((charged / measured.tps.0 - 1.0).abs() < 0.01, "{measured:?}");
    // Each transaction writes WAL for five rows.
    assert!(measured.wal_bytes > measured.transactions * 100, "{measured:?}");
    assert_eq!(measured.configuration.as_deref(), Some("abc"));
    let feature = |name: &str| measured.state[FEATURES.iter().position(|feature| *feature == name).unwrap()].0;
    assert_eq!(measured.state.len(), FEATURES.len());
    assert!(feature("wal_bytes_per_transaction") > 100.0 && feature("cache_hit_share") > 0.5, "{measured:?}");
    // A feature has six digits.
    assert!(feature("clients") == 2.0 && (feature("tps") / measured.tps.0 - 1.0).abs() < 1e-5, "{measured:?}");

    let client = server.superuser().await;
    let oid = async || {
        let row = client.query_one("SELECT oid FROM pg_database WHERE datname = $1", &[&DATABASE]).await.unwrap();
        row.get::<_, u32>(0)
    };
    let first = oid().await;
    let slow = BenchmarkRequest { abandon_below_tps: Some(1e9), measure_seconds: 30, ..request() };
    let censored = measure(&uri, None, &slow, |_| {}).await.unwrap();
    assert!(censored.censored && censored.transactions > 0 && censored.seconds.0 < 25.0, "{censored:?}");
    assert_eq!(oid().await, first, "a database that is as wanted is kept");

    let late = BenchmarkRequest { abort_above_p99_ms: Some(1e-6), scale: 2, measure_seconds: 30, ..request() };
    let aborted = measure(&uri, None, &late, |_| {}).await.unwrap_err();
    assert!(matches!(aborted, MeasureError::LatencyGuardrail { .. }), "{aborted}");
    assert_ne!(oid().await, first, "another scale needs another database");
}

#[tokio::test]
async fn scripts_of_the_users_run_and_their_errors_are_told() {
    let server = Server::start("");
    let uri = server.uri("postgres", "postgres");
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let script = |path: String| vec![ScriptFile { path, weight: 1 }];
    let own = BenchmarkRequest {
        init_script: Some(write("init.sql", "CREATE TABLE mine (n int); INSERT INTO mine VALUES (1);")),
        scripts: script(write("own.sql", "SELECT n FROM mine WHERE n <= :scale;\n")),
        ..request()
    };
    assert!(measure(&uri, None, &own, |_| {}).await.unwrap().transactions > 0);

    let broken = BenchmarkRequest { scripts: script(write("broken.sql", "SELECT * FROM nowhere;\n")), ..own.clone() };
    let error = measure(&uri, None, &broken, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("relation \"nowhere\" does not exist"), "{error}");

    let broken = BenchmarkRequest { init_script: Some(write("bad.sql", "CREATE TABEL x ();")), ..own.clone() };
    let error = measure(&uri, None, &broken, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("init script") && error.contains("TABEL"), "{error}");

    let missing = BenchmarkRequest { init_script: Some("/nowhere/init.sql".into()), ..own };
    let error = measure(&uri, None, &missing, |_| {}).await.unwrap_err();
    assert!(matches!(error, MeasureError::Script { .. }), "{error}");
}

#[derive(Parser)]
struct Subcommand {
    #[command(flatten)]
    args: benchmark::Args,
}

#[tokio::test]
async fn the_subcommand_leaves_its_result_in_the_termination_log() {
    let server = Server::start("");
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("termination-log");
    let run = async |uri: &str, abort_above_p99_ms| {
        // Three windows of a second in a row are late, and pgbench may keep the last line of a run to itself.
        let long = BenchmarkRequest { measure_seconds: 6, ..request() };
        let request = BenchmarkRequest { builtin: Builtin::SelectOnly, abort_above_p99_ms, ..long };
        let request = serde_json::to_string(&request).unwrap();
        let log = log.to_str().unwrap();
        let arguments = ["howdah", "--uri", uri, "--request", &request, "--termination-log", log];
        let code = benchmark::run(Subcommand::parse_from(arguments).args).await;
        (code, serde_json::from_str::<BenchmarkResult>(&fs::read_to_string(log).unwrap()).unwrap())
    };
    let (code, result) = run(&server.text("postgres", "postgres"), None).await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(matches!(result, BenchmarkResult::Measured(measured) if measured.transactions > 0));
    let (code, result) = run(&server.text("postgres", "postgres"), Some(1e-6)).await;
    assert_eq!(code, ExitCode::FAILURE);
    assert!(matches!(result, BenchmarkResult::LatencyGuardrail { message } if message.contains("99th percentile")));
    let (code, result) = run(&server.text("nobody", "postgres"), None).await;
    assert_eq!(code, ExitCode::FAILURE);
    assert!(matches!(result, BenchmarkResult::Failed { message } if message.contains("rejected the role")));
}

#[tokio::test]
async fn a_measurement_that_is_dropped_takes_pgbench_with_it() {
    let server = Server::start("");
    let client = server.superuser().await;
    let sessions = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'howdah-benchmark'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    let (measuring, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let (uri, long) = (server.uri("postgres", "postgres"), BenchmarkRequest { measure_seconds: 600, ..request() });
    let task = tokio::spawn(async move {
        measure(&uri, None, &long, |progress| {
            let _ = measuring.send(progress);
        })
        .await
    });
    while !matches!(begun.recv().await.unwrap(), Progress::Measuring(_)) {}
    assert_eq!(sessions().await, 2);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // The server notices the end of a session with its next statement.
    let gone = async { while sessions().await > 0 {} };
    tokio::time::timeout(DEADLINE, gone).await.expect("pgbench's sessions should end");
}

#[tokio::test]
async fn a_database_that_is_not_ours_is_left_alone() {
    let server = Server::start("");
    let client = server.superuser().await;
    let uri = server.uri("postgres", "postgres");
    let refused = async || {
        let refused = measure(&uri, None, &request(), |_| {}).await.unwrap_err();
        assert!(matches!(refused, MeasureError::Prepare(PrepareError::Foreign)), "{refused}");
        assert!(refused.to_string().contains("was not made by Howdah"), "{refused}");
    };
    client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await.unwrap();
    client.batch_execute(&format!("COMMENT ON DATABASE {DATABASE} IS 'mine'")).await.unwrap();
    refused().await;
    client.batch_execute(&format!("COMMENT ON DATABASE {DATABASE} IS NULL")).await.unwrap();
    let theirs = server.uri("postgres", DATABASE);
    let theirs = connect(&theirs, None, DEADLINE).await.unwrap();
    theirs.batch_execute("CREATE TABLE kept ()").await.unwrap();
    refused().await;
    theirs.batch_execute("DROP TABLE kept; CREATE TYPE mood AS ENUM ('low')").await.unwrap();
    refused().await;
    theirs.batch_execute("DROP TYPE mood").await.unwrap();
    client.batch_execute(&format!("ALTER DATABASE {DATABASE} SET work_mem = '8MB'")).await.unwrap();
    refused().await;
    client.batch_execute(&format!("ALTER DATABASE {DATABASE} RESET ALL")).await.unwrap();
    client.batch_execute(&format!("CREATE ROLE other; ALTER DATABASE {DATABASE} OWNER TO other")).await.unwrap();
    refused().await;
    // It was made for a role that can't make one again.
    let poor = format!("CREATE ROLE poor LOGIN PASSWORD '{}'", PASSWORD.replace('\'', "''"));
    client.batch_execute(&poor).await.unwrap();
    client.batch_execute(&format!("ALTER DATABASE {DATABASE} OWNER TO poor")).await.unwrap();
    let error = measure(&server.uri("poor", "postgres"), None, &request(), |_| {}).await.unwrap_err();
    assert!(matches!(error, MeasureError::Prepare(PrepareError::Foreign)), "{error}");
}

/// A benchmark that dies between making its database and marking it leaves an empty one.
#[tokio::test]
async fn an_unmarked_empty_database_of_our_role_is_made_anew() {
    let server = Server::start("");
    server.superuser().await.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await.unwrap();
    measure(&server.uri("postgres", "postgres"), None, &request(), |_| {}).await.unwrap();
}
