//! A QueryCostModel from its first look to replicas, to a better model, and to its end: the training as a process of its
//! own, a real model store, and an API server that keeps objects.

#[path = "../api_server/mod.rs"]
mod api_server;
mod cluster;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use howdah::control::conditions;
use howdah::control::metrics::Metrics;
use howdah::control::room::Room;
use howdah::control::status::to_write;
use howdah::control::training::TrainingState;
use howdah::cost::QueryCost;
use howdah::cost::crd::{QueryCostModel, QueryCostModelStatus};
use howdah::cost::decide::{Decision, Step};
use howdah::cost::surroundings::Surroundings;
use howdah::decimal::Decimal;
use howdah::world::kubernetes::pod::OwnPod;
use howdah::world::store::Store;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use cluster::Cluster;

const OBJECT: &str = "/apis/howdah.dev/v1alpha1/namespaces/shop/querycostmodels/queries";
const JOBS: &str = "/apis/batch/v1/namespaces/howdah-system/jobs/";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/howdah-system/deployments/";
const SERVICES: &str = "/api/v1/namespaces/howdah-system/services/";
const BUDGETS: &str = "/apis/policy/v1/namespaces/howdah-system/poddisruptionbudgets/";

/// The operator, with what it keeps and sees.
struct Operator {
    room: QueryCost,
    cluster: Cluster,
    directory: TempDir,
}

impl Operator {
    /// With a model whose log lies in `logs`, of which the namespace may read `granted`.
    async fn start(granted: &str, logs: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (cluster, directory) = (Cluster::start().await, TempDir::new().unwrap());
        fs::create_dir_all(directory.path().join("logs")).unwrap();
        fs::write(directory.path().join("logs/queries.csv"), log(400)).unwrap();
        fs::write(directory.path().join("token"), "query,at,cpu\nsecret,secret,secret\n").unwrap();
        let pod = json!({
            "metadata": {"name": "howdah-0", "namespace": "howdah-system"},
            "spec": {
                "containers": [{"name": "operator", "image": "howdah:1",
                    "volumeMounts": [{"name": "models", "mountPath": directory.path()}]}],
                "volumes": [{"name": "models", "hostPath": {"path": directory.path()}}],
            },
        });
        cluster.put("/api/v1/namespaces/howdah-system/pods/howdah-0", pod);
        let url = |path: &str| format!("file://{}/{path}", directory.path().display());
        let spec = json!({
            "source": {"files": {"url": url(logs), "format": "Csv", "columns": {"query": "query", "time": "at"}}},
            "targets": [{"name": "cpu", "unit": "seconds", "bounds": ["1"]}],
            "training": {"folds": 2, "grid": {"maxDepth": [3], "eta": ["0.3"], "rounds": [10]}},
            "promotion": {"keepVersions": 1},
        });
        cluster.put(OBJECT, json!({
            "apiVersion": "howdah.dev/v1alpha1", "kind": "QueryCostModel", "spec": spec,
            "metadata": {"name": "queries", "namespace": "shop", "uid": "u1", "generation": 1, "resourceVersion": "1"},
        }));
        let room = QueryCost(surroundings(&cluster, directory.path(), &format!("shop={}", url(granted))));
        Self { room, cluster, directory }
    }

    /// One reconcile, as the loop does it. Nothing but the cluster and the store outlives it.
    async fn look(&self) -> Decision {
        let object = Arc::new(self.object());
        let facts = self.room.observe(object.clone()).await;
        let decision = QueryCost::decide(&facts);
        let outcome = self.room.act(object, &facts, &decision).await;
        assert_eq!(outcome.failed, None);
        let report = QueryCost::report(&facts, &decision, &outcome);
        let seen = report.seen.clone().unwrap_or_default();
        if let Some(status) = report.status.and_then(|status| to_write(&seen, status, Timestamp::now())) {
            self.cluster.change(OBJECT, |object| object["status"] = status);
        }
        decision
    }

    fn object(&self) -> QueryCostModel {
        serde_json::from_value(self.cluster.get(OBJECT).expect("the object is there")).unwrap()
    }

    fn status(&self) -> QueryCostModelStatus {
        self.object().status.unwrap()
    }

    fn condition(&self, kind: &str) -> String {
        let status = self.status();
        let found = conditions::find(&status.conditions, kind).unwrap_or_else(|| panic!("there is no {kind}"));
        format!("{} {}: {}", found.status, found.reason, found.message)
    }

    /// Looks until a training's Job is made, and says where.
    async fn job(&self) -> String {
        for _ in 0..5 {
            if let Some(Step::StartTraining { name }) = self.look().await.steps.first() {
                return format!("{JOBS}{name}");
            }
        }
        panic!("no training began: {}", self.condition("Ready"));
    }

    /// Runs a Job as a kubelet would: its own arguments, in a process of its own.
    fn run(&self, path: &str) -> Value {
        let job = self.cluster.get(path).expect("the Job is there");
        let ended = self.cluster.server.run(&job, self.directory.path());
        self.cluster.end_job(path, &ended);
        serde_json::from_str(&ended.message).unwrap()
    }

    /// The replicas are as their Deployment wants them.
    fn roll_out(&self) -> String {
        let path = self.cluster.below(DEPLOYMENTS).pop().expect("a Deployment was made");
        self.cluster.change(&path, |deployment| {
            let count = deployment["spec"]["replicas"].clone();
            deployment["status"] = json!({
                "replicas": count, "readyReplicas": count, "updatedReplicas": count, "availableReplicas": count});
        });
        path
    }

    /// Versions in the model store.
    fn versions(&self) -> Vec<String> {
        let folder = fs::read_dir(self.directory.path().join("models/cost/shop/u1"));
        let full = |path: &Path| fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_some());
        let paths = folder.into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| full(path));
        paths.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }
}

/// The operator's own pod, not yet read.
fn own_pod() -> Arc<OwnPod> {
    Arc::new(OwnPod::new(Some(("howdah-system".into(), "howdah-0".into()))))
}

fn surroundings(cluster: &Cluster, directory: &Path, grants: &str) -> Surroundings {
    let store_url = format!("file://{}/models", directory.display());
    Surroundings {
        client: cluster.server.client(),
        store: Arc::new(Store::open(&store_url).unwrap()),
        store_url,
        own_pod: own_pod(),
        metrics: Arc::new(Metrics::default()),
        grants: grants.parse().unwrap(),
    }
}

/// Lookups that are light and reports that are heavy, over a few tables, the newest a minute ago.
fn log(rows: i64) -> String {
    let mut text = String::from("query,at,cpu\n");
    for row in 0..rows {
        let at = Timestamp::from_second(Timestamp::now().as_second() - (rows - row) * 60).unwrap();
        let table = row % 20;
        let (query, cpu) = match row % 4 {
            0 => (
                format!("SELECT count(*) FROM orders_{table} JOIN lines USING (id) WHERE day > {row} GROUP BY region"),
                7.5,
            ),
            _ => (format!("SELECT note FROM orders_{table} WHERE id = {row}"), 0.002),
        };
        let _ = writeln!(text, "{query},{at},{cpu}");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_becomes_a_model_that_is_served_renewed_and_removed() {
    let mut operator = Operator::start("logs", "logs").await;
    let job = operator.job().await;
    // Killed after the Job was made: who comes after finds it, and makes no other.
    operator.room = QueryCost(Surroundings { own_pod: own_pod(), ..operator.room.0.clone() });
    operator.look().await;
    assert_eq!(operator.cluster.below(JOBS), std::slice::from_ref(&job));
    let result = operator.run(&job);
    assert!(result.get("trained").is_some(), "{result}");
    let decision = operator.look().await;
    let first = operator.status().model.unwrap();
    assert_eq!(decision.steps, [Step::Serve { name: first.name.clone(), routing: None }]);
    assert_eq!((first.log.statements, operator.versions()), (400, vec![first.name.clone()]));
    assert!(first.accuracy.0 > 0.95 && first.targets[0].splits.len() == 3, "{first:?}");
    let methods: Vec<_> = first.targets[0].splits[0].methods.iter().map(|method| method.method.as_str()).collect();
    assert_eq!(methods, ["majority", "lookup", "paper", "ours"]);
    let deployment = operator.roll_out();
    operator.look().await;
    assert!(operator.condition("Ready").starts_with("True Serving"), "{}", operator.condition("Ready"));
    let metrics = operator.room.0.metrics.text().unwrap();
    assert!(metrics.contains("howdah_cost_model_accuracy_ratio{namespace=\"shop\",model=\"queries\"}"), "{metrics}");

    // Another specification, and newer statements: both models are judged by these. The old version stays until every replica
    // has the new one.
    let newer = format!("SELECT note FROM orders_3 WHERE id = 7,{},0.002\n", Timestamp::now()).repeat(100);
    fs::write(operator.directory.path().join("logs/queries.csv"), log(400) + &newer).unwrap();
    operator.cluster.change(OBJECT, |object| object["spec"]["training"]["seed"] = json!(8));
    let job = operator.job().await;
    operator.run(&job);
    operator.look().await;
    let second = operator.status().model.unwrap().name;
    assert_ne!(second, first.name);
    let drift = operator.status().drift.unwrap();
    let right = |share: Option<Decimal>| share.is_some_and(|share| share.0 > 0.9);
    assert!(drift.rows == 100 && right(Some(drift.accuracy)) && right(drift.retrained_accuracy), "{drift:?}");
    assert_eq!(operator.status().served_version, Some(first.version));
    assert_eq!(operator.versions().len(), 2);
    assert!(operator.cluster.get(&deployment).unwrap().to_string().contains(&second));
    operator.roll_out();
    assert_eq!(operator.look().await.steps, [Step::RemoveVersion { name: first.name }]);
    assert_eq!((operator.versions(), operator.look().await.steps), (vec![second], vec![]));

    // Somebody deletes the Service, then the budget, and then the pods.
    for kind in [SERVICES, BUDGETS] {
        let gone = operator.cluster.below(kind).pop().unwrap();
        operator.room.0.client.request_text(axum::http::Request::delete(&gone).body(vec![]).unwrap()).await.unwrap();
        operator.look().await;
        assert_eq!(operator.cluster.below(kind), [gone]);
        operator.roll_out();
        assert_eq!(operator.look().await.steps, []);
    }
    operator.cluster.change(&deployment, |deployment| deployment["spec"]["replicas"] = json!(0));
    operator.look().await;
    assert_eq!(operator.cluster.get(&deployment).unwrap()["spec"]["replicas"], 2);

    operator.cluster.change(OBJECT, |object| object["metadata"]["deletionTimestamp"] = json!("2026-03-02T12:00:00Z"));
    assert_eq!(operator.look().await.steps, [Step::Release]);
    assert_eq!(operator.object().metadata.finalizers, Some(vec![]));
    assert_eq!(
        (operator.versions(), operator.cluster.below(DEPLOYMENTS), operator.cluster.below(SERVICES)),
        Default::default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_granted_is_not_read() {
    let operator = Operator::start("logs", "token").await;
    for _ in 0..3 {
        operator.look().await;
    }
    assert!(operator.condition("Ready").starts_with("False SourceForbidden"), "{}", operator.condition("Ready"));
    assert_eq!(operator.cluster.below(JOBS), Vec::<String>::new());

    // Changed after the Job was made, which reads the specification as it is then.
    let operator = Operator::start("logs", "logs").await;
    let job = operator.job().await;
    let url = format!("file://{}/token", operator.directory.path().display());
    operator.cluster.change(OBJECT, |object| object["spec"]["source"]["files"]["url"] = json!(url));
    let result = operator.run(&job);
    assert_eq!(result["failed"]["reason"], "SourceForbidden", "{result}");
    // So is a link out of what was granted.
    let operator = Operator::start("logs", "logs").await;
    std::os::unix::fs::symlink(operator.directory.path().join("token"), operator.directory.path().join("logs/z.csv"))
        .unwrap();
    let job = operator.job().await;
    let result = operator.run(&job);
    assert_eq!(result["failed"]["reason"], "SourceForbidden", "{result}");
    assert!(!result.to_string().contains("secret"), "{result}");
    operator.look().await;
    let training = operator.status().training.unwrap();
    assert_eq!((training.state, training.reason.as_deref()), (TrainingState::Failed, Some("SourceForbidden")));
}
