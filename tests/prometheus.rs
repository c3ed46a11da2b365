//! What talks to Prometheus, against Debian's own server and exporters.

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use howdah::anomaly::answer::Rows;
use howdah::anomaly::crd::{ExtraFeature, FeatureKind, Features, Pack};
use howdah::anomaly::facts::Trouble;
use howdah::anomaly::features::{Watched, scrapes, watched};
use howdah::anomaly::fetch;
use howdah::anomaly::reason::Reason;
use howdah::world::http::{Access, Credentials};
use howdah::world::prometheus::{Prometheus, PrometheusError};
use k8s_openapi::jiff::Timestamp;
use server::Server;
use tempfile::TempDir;
use tokio::time::sleep;

/// A server that has not scraped its targets by then never will.
const PATIENCE: Duration = Duration::from_secs(40);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Features that need more than the exporters give by default: the example queries, or a newer exporter.
const NOT_BY_DEFAULT: &[&str] = &[
    "autovacuum_count",
    "heap_blks_read",
    "idx_blks_read",
    "idx_scan",
    "idx_tup_fetch",
    "index_count",
    "n_dead_tup",
    "n_tup_hot_upd",
    "postmaster_start_time",
    "replication_lag",
    "seq_scan",
    "seq_tup_read",
    "sessions_waiting_for_lock",
    "vacuum_count",
];
/// Features of the machine that a container may not show.
const NOT_EVERYWHERE: &[&str] =
    &["node_pressure_cpu", "node_pressure_io", "node_pressure_memory", "node_filesystem_available"];

/// A process that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[String], environment: &[(&str, &str)]) -> Running {
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Running(child.unwrap_or_else(|error| panic!("{program}: {error}; run setup/packages.sh test")))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Prometheus with its exporters and the database that they look at.
struct Stack {
    url: String,
    directory: TempDir,
    _processes: Vec<Running>,
    database: Option<Server>,
}

impl Stack {
    /// A server that scrapes a database's exporter and the machine's, once a second.
    async fn with_exporters() -> Self {
        let database = Server::start("");
        let (postgres, node) = (free_port(), free_port());
        let uri = format!("{}?sslmode=disable", database.text("postgres", "postgres"));
        let listen = |port| vec![format!("--web.listen-address=127.0.0.1:{port}")];
        let exporters = vec![
            start("prometheus-postgres-exporter", &listen(postgres), &[("DATA_SOURCE_NAME", uri.as_str())]),
            start("prometheus-node-exporter", &listen(node), &[]),
        ];
        let targets: Vec<String> = [postgres, node].iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
        let scrape = format!(
            "scrape_configs: [{{job_name: shop, static_configs: [{{targets: [{}], labels: {{database: 'sh\"op'}}}}]}}]",
            targets.join(", ")
        );
        let stack = Self::start(&scrape, &[], exporters, Some(database));
        stack.until("count(up == 1) == 2").await;
        stack
    }

    /// A server that scrapes nothing and whose storage holds these metrics.
    async fn with_history(metrics: &str) -> Self {
        let directory = Self::directory();
        let file = directory.path().join("metrics");
        fs::write(&file, metrics).unwrap();
        let import = ["tsdb", "create-blocks-from", "openmetrics"];
        let output =
            Command::new("promtool").args(import).args([file, directory.path().join("data")]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let stack = Self::start_in(directory, "", &[], vec![], None);
        stack.until("vector(1)").await;
        stack
    }

    fn start(configuration: &str, arguments: &[String], processes: Vec<Running>, database: Option<Server>) -> Self {
        Self::start_in(Self::directory(), configuration, arguments, processes, database)
    }

    fn directory() -> TempDir {
        tempfile::Builder::new().prefix("howdah-prometheus-").tempdir().unwrap()
    }

    fn start_in(
        directory: TempDir,
        configuration: &str,
        arguments: &[String],
        mut processes: Vec<Running>,
        database: Option<Server>,
    ) -> Self {
        let port = free_port();
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, format!("global: {{scrape_interval: 1s}}\n{configuration}\n")).unwrap();
        let mut all = vec![
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", directory.path().join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        all.extend_from_slice(arguments);
        processes.push(start("prometheus", &all, &[]));
        Self { url: format!("http://127.0.0.1:{port}"), directory, _processes: processes, database }
    }

    fn open(&self) -> Prometheus {
        Prometheus::new(&Access::to(&self.url), ANSWER_WITHIN).unwrap()
    }

    /// Waits until an expression has a value.
    async fn until(&self, expression: &str) {
        let prometheus = self.open();
        let begin = Instant::now();
        loop {
            if let Ok(now) = prometheus.now().await {
                let at = now / 1000 * 1000;
                if !prometheus.range(expression, (at, at), 1, 1).await.unwrap().is_empty() {
                    return;
                }
            }
            assert!(begin.elapsed() < PATIENCE, "{expression} has no value after {PATIENCE:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// The rows of the last seconds.
    async fn rows(&self, features: &[Watched], seconds: i64) -> Result<Rows, Trouble> {
        let prometheus = self.open();
        let to = prometheus.now().await.unwrap() / 1000 * 1000;
        let rows = fetch::rows(&prometheus, features, &[], (to - seconds * 1000, to), 1).await?;
        rows.single_now().map_err(fetch::ambiguous)
    }
}

fn extra(name: &str, query: &str) -> Features {
    let extra = vec![ExtraFeature { name: name.into(), kind: FeatureKind::Gauge, query: query.into() }];
    Features { packs: vec![Pack::PostgresExporter], extra, exclude: vec![] }
}

fn plain(features: &Features) -> Vec<Watched> {
    watched(features, &BTreeMap::new(), 1).unwrap()
}

#[tokio::test]
async fn the_packs_are_read_from_the_real_exporters() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stack = Stack::with_exporters().await;
    let client = stack.database.as_ref().unwrap().superuser().await;
    client
        .batch_execute("CREATE TABLE t AS SELECT generate_series(1, 10000) AS n; SELECT count(*) FROM t")
        .await
        .unwrap();
    sleep(Duration::from_secs(8)).await;

    let selector = [("database".to_owned(), "sh\"op".to_owned())].into();
    let features = watched(&Features::default(), &selector, 1).unwrap();
    let rows = stack.rows(&features, 5).await.unwrap();
    let missing: BTreeSet<&str> = rows.empty().map(|index| features[index].name.as_str()).collect();
    let expected: BTreeSet<&str> = NOT_BY_DEFAULT.iter().copied().collect();
    let missing: BTreeSet<&str> = missing.into_iter().filter(|name| !NOT_EVERYWHERE.contains(name)).collect();
    assert_eq!(missing, expected);

    let last = |name: &str| {
        let column = features.iter().position(|feature| feature.name == name).unwrap();
        *rows.columns[column].iter().rev().find(|value| !value.is_nan()).unwrap()
    };
    assert_eq!(last("shared_buffers"), 16.0 * 1024.0 * 1024.0);
    assert!(last("tup_inserted") >= 10_000.0, "{}", last("tup_inserted"));
    assert!(last("node_cpus") >= 1.0 && (0.0..=1.0).contains(&last("node_memory_available")));

    // Another selector knows nothing of them.
    let elsewhere = [("database".to_owned(), "elsewhere".to_owned())].into();
    let none = stack.rows(&watched(&Features::default(), &elsewhere, 1).unwrap(), 5).await.unwrap();
    assert_eq!(none.empty().count(), features.len());

    // A series that is NaN does not make a sum NaN: the exporter gives NaN for what is NULL in SQL.
    let poisoned = extra("poisoned", "sum(label_replace(up, \"a\", \"b\", \"\", \"\") * NaN > -Inf or up > -Inf)");
    let clean = stack.rows(&plain(&poisoned), 3).await.unwrap();
    assert_eq!(clean.not_finite, 0);

    // A query that gives two series at once, one that is rejected, and one whose value is infinite.
    let duplicate = stack.rows(&plain(&extra("targets", "up")), 3).await.unwrap_err();
    assert_eq!(duplicate.reason, Reason::DuplicateSeries);
    assert!(duplicate.message.starts_with("targets has two series at once"), "{}", duplicate.message);
    let rejected = stack.rows(&plain(&extra("broken", "sum(up")), 3).await.unwrap_err();
    assert_eq!(rejected.reason, Reason::QueryRejected);
    assert!(rejected.message.starts_with("the query of feature broken: "), "{}", rejected.message);
    let infinite = stack.rows(&plain(&extra("infinite", "sum(up) / 0")), 3).await.unwrap();
    assert!(infinite.not_finite >= 3, "{}", infinite.not_finite);
}

#[tokio::test]
async fn rows_of_a_time_in_which_nobody_scraped_are_missing() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A sample every 15 seconds, but for two minutes in which Prometheus was down: nothing marks the series as stale.
    let now = Timestamp::now().as_second() / 15 * 15;
    // What another Prometheus scraped of the node, later in each interval, has no gap then, and one of its own.
    let (last, next) = (now - 900, now - 780);
    let (node_last, node_next) = (now - 1500, now - 1410);
    let times = |last: i64, next: i64| {
        (now - 2400..=now).step_by(15).filter(move |time| *time <= last || *time >= next).collect::<Vec<_>>()
    };
    let mut metrics = String::new();
    let (server, node) = ((times(last, next), 0), (times(node_last, node_next), 7));
    for (name, (times, late)) in
        [("pg_stat_database_numbackends", &server), ("pg_stat_database_xact_commit", &server), ("node_load1", &node)]
    {
        for time in times {
            metrics += &format!("{name}{{instance=\"shop\"}} {} {}\n", time - now + 10_000, time + late);
        }
    }
    let stack = Stack::with_history(&(metrics + "# EOF\n")).await;
    let labels = [("instance".to_owned(), "shop".to_owned())].into();
    let mut features = extra("beside", "vector(1)");
    features.packs.push(Pack::NodeExporter);
    let (watched, scrapes) = (watched(&features, &labels, 15).unwrap(), scrapes(&features, &labels));
    let prometheus = stack.open();
    let missing = async |name: &str, scrapes: &[Watched], from: i64| -> Vec<i64> {
        let column = watched.iter().position(|feature| feature.name == name).unwrap();
        let rows = fetch::rows(&prometheus, &watched, scrapes, (from * 1000, (now - 600) * 1000), 15).await.unwrap();
        let missing = |(row, time): (usize, &i64)| rows.columns[column][row].is_nan().then_some(time / 1000);
        rows.times.iter().enumerate().filter_map(missing).collect()
    };
    let gap = |last: i64, next: i64| (last + 15..=next).step_by(15).collect::<Vec<i64>>();
    assert_eq!(missing("xact_commit", &scrapes, now - 1800).await, gap(last, next));
    assert_eq!(missing("xact_commit", &[], now - 1800).await, [0i64; 0], "Prometheus repeats the last sample");
    // A look that begins with the first sample after it knows what came before.
    assert_eq!(missing("xact_commit", &scrapes, next).await, [next]);
    assert_eq!(missing("node_load1", &scrapes, now - 1800).await, gap(node_last + 15, node_next + 15));
    // An expression of the user's misses only what nobody scraped at all.
    assert_eq!(missing("beside", &scrapes, now - 1800).await, [0i64; 0]);
}

#[tokio::test]
async fn a_long_range_is_read_in_chunks_that_the_server_takes() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stack = Stack::start("", &[], vec![], None);
    stack.until("vector(1)").await;
    let prometheus = stack.open();
    let now = prometheus.now().await.unwrap() / 1000 * 1000;
    let from = now - 24_999_000;
    let series = prometheus.range("vector(time())", (from, now), 1, 1).await.unwrap();
    assert_eq!((series.len(), series[0].samples.len()), (1, 25_000));
    for (index, (time, value)) in series[0].samples.iter().enumerate() {
        assert_eq!((*time, *value), (from + index as i64 * 1000, *time as f64 / 1000.0));
    }
}

#[tokio::test]
async fn who_may_not_ask_and_what_is_not_there_are_told_apart() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = TempDir::new().unwrap();
    let web = directory.path().join("web.yml");
    // The password is "secret".
    fs::write(&web, "basic_auth_users: {howdah: $2b$04$l6jERK0vsNG5oLAwurX64uixL6ibwiX6plyAb/UMp85bxy4EFtpqm}\n")
        .unwrap();
    let stack = Stack::start("", &[format!("--web.config.file={}", web.display())], vec![], None);
    let ask = |access: Access| async move { Prometheus::new(&access, ANSWER_WITHIN).unwrap().now().await };
    let with = |password: &str| Access {
        credentials: Credentials::Basic { username: "howdah".into(), password: password.into() },
        ..Access::to(&stack.url)
    };
    let begin = Instant::now();
    while let Err(error) = ask(with("secret")).await {
        assert!(begin.elapsed() < PATIENCE, "{error}");
        sleep(Duration::from_millis(200)).await;
    }
    let unauthorized = |answer: &Result<i64, PrometheusError>| {
        matches!(answer, Err(PrometheusError::Unauthorized { status: 401, .. }))
    };
    for access in [with("wrong"), Access::to(&stack.url)] {
        let answer = ask(access).await;
        assert!(unauthorized(&answer), "{answer:?}");
    }
    let nobody = ask(Access::to(format!("http://127.0.0.1:{}", free_port()))).await.unwrap_err();
    assert!(matches!(&nobody, PrometheusError::Unreachable { message, .. } if message.contains("refused")), "{nobody}");
    // Something that speaks HTTP but is no Prometheus.
    let under_api = ask(Access { url: format!("{}/graph", stack.url), ..with("secret") }).await.unwrap_err();
    assert!(matches!(under_api, PrometheusError::Unreadable { .. }), "{under_api}");
    assert!(stack.directory.path().exists());
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_is_shown_one() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    openssl(directory.path(), "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=test-ca -keyout ca.key -out ca.crt");
    fs::write(at("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    for name in ["server", "client"] {
        openssl(
            directory.path(),
            &format!("req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"),
        );
        openssl(
            directory.path(),
            &format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 -extfile names -out {name}.crt"
            ),
        );
    }
    let files = ["server.crt", "server.key", "ca.crt"].map(|name| at(name).display().to_string());
    let web = format!(
        "tls_server_config: {{cert_file: {}, key_file: {}, client_ca_file: {}, client_auth_type: RequireAndVerifyClientCert}}",
        files[0], files[1], files[2]
    );
    fs::write(at("web.yml"), web).unwrap();
    let stack = Stack::start("", &[format!("--web.config.file={}", at("web.yml").display())], vec![], None);
    let read = |name: &str| fs::read_to_string(at(name)).unwrap();
    let trusted = Access { ca: Some(read("ca.crt")), ..Access::to(stack.url.replace("http://", "https://")) };
    let known = Access { identity: Some(read("client.crt") + &read("client.key")), ..trusted.clone() };
    let ask = |access: Access| async move { Prometheus::new(&access, ANSWER_WITHIN).unwrap().now().await };
    let begin = Instant::now();
    while let Err(error) = ask(known.clone()).await {
        assert!(begin.elapsed() < PATIENCE, "{error}");
        sleep(Duration::from_millis(200)).await;
    }
    let unknown = ask(trusted).await.unwrap_err();
    assert!(matches!(unknown, PrometheusError::Unreachable { .. }), "{unknown}");
    let distrusted = ask(Access { ca: None, ..known }).await.unwrap_err();
    assert!(distrusted.to_string().contains("certificate"), "{distrusted}");
}

/// What a real Prometheus can't be made to give, as it would come over the wire.
#[tokio::test]
async fn answers_that_no_prometheus_gives_are_told_apart() {
    use axum::http::{HeaderMap, StatusCode, header};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let json = |status: StatusCode, body: &'static str| (status, [(header::CONTENT_TYPE, "application/json")], body);
    let routes = axum::Router::new()
        .route(
            "/token/api/v1/query",
            axum::routing::post(move |headers: HeaderMap| async move {
                match headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
                    Some("Bearer secret") => json(
                        StatusCode::OK,
                        r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"1.5"]}}"#,
                    ),
                    _ => json(StatusCode::FORBIDDEN, r#"{"code":403}"#),
                }
            }),
        )
        .route(
            "/busy/api/v1/query",
            axum::routing::post(move || async move {
                // It is up to it the third time.
                match counted.fetch_add(1, Ordering::Relaxed) {
                    0 => json(
                        StatusCode::SERVICE_UNAVAILABLE,
                        r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#,
                    ),
                    1 => json(StatusCode::BAD_GATEWAY, "no upstream"),
                    _ => {
                        json(StatusCode::OK, r#"{"status":"success","data":{"resultType":"scalar","result":[2,"2"]}}"#)
                    }
                }
            }),
        )
        .route(
            "/limited/api/v1/query",
            axum::routing::post(move || async move {
                let body = r#"{"status":"error","errorType":"too_many_requests","error":"the limit of your tenant"}"#;
                json(StatusCode::TOO_MANY_REQUESTS, body)
            }),
        )
        .route(
            "/down/api/v1/query",
            axum::routing::post(move || async move { json(StatusCode::BAD_GATEWAY, "<html>") }),
        )
        .route(
            "/other/api/v1/query",
            axum::routing::post(move || async move { json(StatusCode::OK, r#"{"hello":1}"#) }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, routes).into_future());
    let ask = |path: &str, credentials: Credentials| {
        let access = Access { credentials, ..Access::to(format!("{base}/{path}")) };
        async move { Prometheus::new(&access, ANSWER_WITHIN).unwrap().now().await }
    };
    assert_eq!(ask("token", Credentials::Bearer("secret".into())).await, Ok(1500));
    let forbidden = ask("token", Credentials::Bearer("other".into())).await;
    assert!(matches!(forbidden, Err(PrometheusError::Unauthorized { status: 403, .. })), "{forbidden:?}");
    assert_eq!(ask("busy", Credentials::Absent).await, Ok(2000));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    let down = ask("down", Credentials::Absent).await;
    assert!(matches!(down, Err(PrometheusError::Unreachable { .. })), "{down:?}");
    let limited = ask("limited", Credentials::Absent).await.unwrap_err();
    assert!(matches!(limited, PrometheusError::Unreachable { .. }), "{limited:?}");
    assert!(limited.to_string().contains("the limit of your tenant"), "{limited}");
    let other = ask("other", Credentials::Absent).await;
    assert!(matches!(other, Err(PrometheusError::Unreadable { .. })), "{other:?}");
    server.abort();
}

#[test]
fn the_alerts_are_rules_that_prometheus_takes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/alerts");
    for entry in fs::read_dir(folder).unwrap() {
        let output = Command::new("promtool").args(["check", "rules"]).arg(entry.unwrap().path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
