//! From a server's own log to answers that are served, and from one model to the next without a failed request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use howdah::control::conditions::find;
use howdah::control::training::TrainingState;
use howdah::cost::crd::QueryCostModel;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::{Database, INSTANCE, Operator, eventually, kubectl, kubectl_with, told};

const NAMESPACE: &str = "howdah-system";
const NAME: &str = "queries";
/// Tables that are counted.
const TABLES: usize = 20;

#[tokio::test]
async fn a_server_s_log_becomes_answers_that_do_not_pause() {
    let database = Database::start("cost").await;
    write_a_log(&database).await;
    let model: QueryCostModel = serde_json::from_value(json!({
        "apiVersion": "howdah.dev/v1alpha1", "kind": "QueryCostModel", "metadata": {"name": NAME},
        "spec": {
            "source": {"instanceRef": {"name": INSTANCE}},
            "targets": [{"name": "duration", "unit": "seconds", "bounds": ["5ms", "60ms"]}],
            "explain": {"enabled": true, "secretRef": {"name": "shop-reader", "key": "uri"}},
            "training": {
                "split": "Random", "folds": 2, "grid": {"maxDepth": [4], "eta": ["0.3"], "rounds": [20]},
                "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
            },
            "serving": {"replicas": 1, "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}}
        }
    }))
    .unwrap();
    database.create(&model).await.unwrap();

    // Killed while it trains: the Job is made once, and its result found.
    until(&database, "it trains", 60, |model| {
        model
            .status
            .iter()
            .any(|status| status.training.iter().any(|training| training.state == TrainingState::Running))
    })
    .await;
    Operator::new(database.client.clone()).kill().await;
    let served = until(&database, "it serves", 240, |model| reason(model) == "Serving").await;
    let status = served.status.unwrap();
    assert_eq!(status.training.as_ref().map(|training| training.attempt), Some(1), "{:?}", status.training);
    let first = status.model.unwrap();
    assert!(first.log.statements >= 400 && first.targets[0].splits.len() == 3, "{first:?}");
    assert!(first.accuracy.0 > 0.8, "{first:?}");

    let service = status.endpoint.as_deref().and_then(|endpoint| endpoint.strip_prefix("http://")?.split('.').next());
    let service = service.expect("an endpoint").to_owned();
    // Neither was asked before: other literals.
    let light = ask(&service, "SELECT note FROM orders WHERE id = 4321987").await.unwrap();
    let heavy = ask(&service, "SELECT count(DISTINCT md5(note || 'z')) FROM orders WHERE id > 1234").await.unwrap();
    assert_eq!(light["modelVersion"], first.version);
    let class = |answer: &Value| answer["targets"][0]["class"].as_u64().unwrap();
    let p50 = |answer: &Value| answer["targets"][0]["p50"].as_f64().unwrap();
    assert!(class(&heavy) > class(&light) && p50(&heavy) > 5.0 * p50(&light), "{heavy}\n{light}");

    // A table that no statement of the log has: only the server's plan tells which of the two is large.
    let planned = async |table: &str| {
        let answer = ask(&service, &format!("SELECT count(DISTINCT reverse(note)) FROM {table}")).await.unwrap();
        assert_eq!(answer["targets"][0]["source"], "plan", "{answer}");
        class(&answer)
    };
    let (small, large) = (planned("new_small").await, planned("new_large").await);
    assert!(large > small, "{large} of the large table, {small} of the small one");

    // Another specification is another model: from one to the next every request is answered.
    let (asked, failed, stop) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let load = tokio::spawn({
        let (asked, failed, stop, service) = (asked.clone(), failed.clone(), stop.clone(), service.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                asked.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = ask(&service, "SELECT note FROM orders WHERE id = 77").await {
                    eprintln!("a request failed: {error}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    let patch = json!({"spec": {"targets": [{"name": "duration", "unit": "seconds", "bounds": ["20ms"]}]}});
    let models = database.api::<QueryCostModel>();
    models.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let renewed = |model: &QueryCostModel| {
        let other =
            model.status.iter().any(|status| status.model.as_ref().is_some_and(|model| model.name != first.name));
        other && reason(model) == "Serving"
    };
    let second = until(&database, "the next model serves", 240, renewed).await.status.unwrap().model.unwrap();
    let answer = ask(&service, "SELECT note FROM orders WHERE id = 5").await.unwrap();
    assert_eq!(answer["modelVersion"], second.version);
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    let (asked, failed) = (asked.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    assert!(asked > 20 && failed == 0, "{failed} of {asked} requests failed");

    models.delete(NAME, &DeleteParams::default()).await.unwrap();
    let gone = async || models.get_opt(NAME).await.unwrap().is_none().then_some(());
    eventually("the object goes", 60, gone, async || String::new()).await;
    let deployments: Api<Deployment> = Api::namespaced(database.client.clone(), NAMESPACE);
    let gone = async || {
        let found = deployments.get_opt(&service).await.unwrap();
        found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()).then_some(())
    };
    eventually("its replicas go", 30, gone, async || String::new()).await;
    database.end().await;
}

/// A server that logs what statements cost, and statements of it: key lookups, small ranges, and reports.
async fn write_a_log(database: &Database) {
    for setting in [
        "logging_collector = on",
        "log_destination = 'jsonlog'",
        "log_min_duration_statement = 0",
        "log_statement_stats = on",
        "session_preload_libraries = 'auto_explain'",
    ] {
        database.sql(&format!("ALTER SYSTEM SET {setting}")).await;
    }
    database.sql("ALTER DATABASE postgres SET auto_explain.log_min_duration = 0").await;
    database.sql("ALTER DATABASE postgres SET auto_explain.log_format = 'json'").await;
    database.sql("CREATE ROLE reader LOGIN PASSWORD 'reader'").await;
    database.sql("GRANT pg_read_all_data TO reader").await;
    database.secret("shop-reader", "uri", &database.uri("reader", "reader")).await;
    database.sql("GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO howdah").await;
    let namespace = database.namespace.as_str();
    kubectl(&["-n", namespace, "rollout", "restart", "statefulset/shop-postgres"]).await;
    kubectl(&["-n", namespace, "rollout", "status", "statefulset/shop-postgres", "--timeout=120s"]).await;
    database
        .sql("CREATE TABLE orders AS SELECT g AS id, repeat(md5(g::text), 4) AS note FROM generate_series(1, 120000) g")
        .await;
    database.sql("CREATE UNIQUE INDEX ON orders (id)").await;
    database.sql("ANALYZE orders").await;
    // Tables of two sizes whose names say nothing of it; how they are made is not in the log.
    let tables = (0..TABLES).map(|number| (format!("t{number}"), number * 7 % 5 < 2));
    let tables = tables.chain([("new_small".to_owned(), false), ("new_large".to_owned(), true)]);
    let mut statements = "SET log_min_duration_statement = -1;\nSET auto_explain.log_min_duration = -1;\n".to_owned();
    for (name, large) in tables {
        let rows = if large { 60_000 } else { 10 };
        let content = format!("SELECT g AS id, repeat(md5(g::text), 4) AS note FROM generate_series(1, {rows}) g");
        statements += &format!("CREATE TABLE {name} AS {content};\nANALYZE {name};\n");
    }
    statements += "RESET log_min_duration_statement;\nRESET auto_explain.log_min_duration;\n";
    for number in 0..4 * TABLES {
        statements += &format!("SELECT count(DISTINCT reverse(note)) FROM t{};\n", number % TABLES);
    }
    for number in 0..300 {
        statements += &format!("SELECT note FROM orders WHERE id = {};\n", number * 397 + 1);
        if number % 2 == 0 {
            statements += &format!("SELECT count(*) FROM orders WHERE id BETWEEN {number} AND {};\n", number + 5000);
        }
        if number % 6 == 0 {
            statements += &format!("SELECT count(DISTINCT md5(note || '{number}')) FROM orders WHERE id > {number};\n");
        }
    }
    let exec = ["-n", namespace, "exec", "-i", "shop-postgres-0", "-c", "postgres", "--"];
    let psql = ["psql", "-h", "/run/postgresql", "-U", "postgres", "-XAtq", "-o", "/dev/null"];
    kubectl_with(&[&exec[..], &psql[..]].concat(), &statements).await.unwrap();
}

fn reason(model: &QueryCostModel) -> &str {
    let conditions = model.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find(conditions, "Ready").map_or("", |ready| ready.reason.as_str())
}

async fn until(
    database: &Database,
    what: &str,
    seconds: u64,
    wanted: impl Fn(&QueryCostModel) -> bool,
) -> QueryCostModel {
    let models = database.api::<QueryCostModel>();
    let look = async || Some(models.get(NAME).await.unwrap()).filter(|model| wanted(model));
    let story = async || {
        let model = models.get(NAME).await.unwrap();
        let status = model.status.clone().unwrap_or_default();
        let pods = kubectl(&["-n", NAMESPACE, "get", "pods", "-o", "wide"]).await;
        format!("{}\n{}{:#?}\n{pods}", model.name_any(), told(&status.conditions), status.training)
    };
    eventually(what, seconds, look, story).await
}

/// Asks through the API server, which reaches a Service from anywhere.
async fn ask(service: &str, query: &str) -> Result<Value, String> {
    let uri = format!("/api/v1/namespaces/{NAMESPACE}/services/{service}:http/proxy/v1/predict");
    let body = json!({"queries": [query]}).to_string();
    let answer = kubectl_with(&["create", "--raw", &uri, "-f", "-"], &body).await?;
    let answer: Value = serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
    answer["answers"].get(0).cloned().ok_or_else(|| answer.to_string())
}
