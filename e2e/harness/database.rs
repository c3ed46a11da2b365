//! A namespace with the demo's PostgreSQL in it and a PostgresInstance.

use std::collections::BTreeSet;

use howdah::instance::Reason;
use howdah::instance::crd::{
    ConfigMapKeyReference, Configuration, Connection, PostgresInstance, PostgresInstanceSpec, SecretKeyReference,
    WorkloadKind, WorkloadReference,
};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{eventually, kubectl, kubectl_with, told};

/// The PostgresInstance of a [`Database`].
pub const INSTANCE: &str = "shop";
/// Our key in the ConfigMap of a [`Database`].
pub const KEY: &str = "howdah.conf";
const CONFIG_MAP: &str = "shop-postgres-config";
const POD: &str = "shop-postgres-0";

/// Databases that run at once. Their load sleeps most of the time, so that two cores are enough.
static SLOTS: Semaphore = Semaphore::const_new(3);

/// A running PostgreSQL in a namespace of its own.
pub struct Database {
    /// The API server.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
    data: String,
    _slot: SemaphorePermit<'static>,
}

impl Database {
    /// Starts a PostgreSQL in the namespace `howdah-e2e-NAME` and waits until its PostgresInstance is ready.
    pub async fn start(name: &str) -> Self {
        let slot = SLOTS.acquire().await.expect("it is never closed");
        // Two TLS providers are linked, so one must be chosen. Another test may have done so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster: `make e2e` sets it");
        let namespace = format!("howdah-e2e-{name}");
        let database = Self { client, data: format!("/var/lib/howdah-e2e/{namespace}"), namespace, _slot: slot };
        database.remove().await;
        database.apply(&database.manifests()).await;
        kubectl(&["-n", &database.namespace, "rollout", "status", "statefulset/shop-postgres", "--timeout=120s"]).await;
        database.create(&database.instance(INSTANCE)).await.expect("the instance is admitted");
        database.instance_until(INSTANCE, Reason::Ready, 30).await;
        database
    }

    /// Removes the database. Every tuning must have ended or been deleted: what it needs goes too.
    pub async fn end(self) {
        self.remove().await;
    }

    async fn remove(&self) {
        let tunings = ["-n", &self.namespace, "delete", "postgrestuning", "--all", "--timeout=90s"];
        kubectl(&tunings).await;
        kubectl(&["delete", "namespace", &self.namespace, "--ignore-not-found", "--timeout=120s"]).await;
        kubectl(&["delete", "persistentvolume", &self.namespace, "--ignore-not-found"]).await;
        // The node of the local cluster is this machine.
        if let Err(error) = std::fs::remove_dir_all(&self.data) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", self.data);
        }
    }

    /// The demo's database under other names, with room for several beside each other.
    fn manifests(&self) -> String {
        let files = [
            include_str!("../../config/samples/demo/namespace.yaml"),
            include_str!("../../config/samples/demo/volume.yaml"),
            include_str!("../../config/samples/demo/postgres.yaml"),
        ];
        let benchmark = include_str!("../fixtures/benchmark.yaml")
            .replace("  name: benchmark\n", &format!("  name: benchmark\n  namespace: {}\n", self.namespace));
        let text = self.here(&files.join("\n---\n"));
        let small = text.replace("requests: {cpu: 500m, memory: 1Gi}", "requests: {cpu: 50m, memory: 256Mi}");
        format!("{small}\n---\n{benchmark}")
    }

    /// Manifests of the demo as they are for this database: its names, and images that the cluster has.
    pub fn here(&self, manifests: &str) -> String {
        let image = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by `make e2e`"));
        let here = manifests
            .replace("/var/lib/howdah-demo/shop", &self.data)
            .replace("howdah-demo-shop", &self.namespace)
            .replace("howdah-demo", &self.namespace)
            .replace("localhost/howdah-postgres:demo", &image("POSTGRES_IMAGE"))
            .replace("localhost/howdah-monitoring:demo", &image("MONITORING_IMAGE"));
        assert!(!here.contains("howdah-demo"));
        here
    }

    /// The instance of the demo, under a name, not yet created.
    pub fn instance(&self, name: &str) -> PostgresInstance {
        let connection =
            Connection { secret_ref: SecretKeyReference { name: "shop-postgres".into(), key: "uri".into() } };
        let config_map = ConfigMapKeyReference { name: CONFIG_MAP.into(), key: KEY.into() };
        let workload =
            WorkloadReference { kind: WorkloadKind::StatefulSet, name: "shop-postgres".into(), container: None };
        let configuration = Configuration { config_map: Some(config_map), alter_system: None };
        let workload = Some(workload);
        PostgresInstance::new(name, PostgresInstanceSpec { connection, configuration, workload, resources: None })
    }

    /// Objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object in the namespace.
    ///
    /// # Errors
    /// What the API server says when it refuses.
    pub async fn create<K>(&self, object: &K) -> Result<K, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + std::fmt::Debug,
    {
        self.api().create(&PostParams::default(), object).await
    }

    /// Applies manifests.
    pub async fn apply(&self, manifests: &str) {
        let applied = kubectl_with(&["-n", &self.namespace, "apply", "-f", "-"], manifests).await;
        applied.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Asks the server as its superuser: columns are parted by `|`, rows by line breaks.
    pub async fn sql(&self, query: &str) -> String {
        let psql = ["psql", "-h", "/run/postgresql", "-U", "postgres", "-XAtqc", query];
        let arguments = ["-n", &self.namespace, "exec", POD, "-c", "postgres", "--"];
        kubectl(&[&arguments[..], &psql[..]].concat()).await
    }

    /// Every setting with its value and where that comes from, one per line.
    pub async fn settings(&self) -> String {
        self.sql("SELECT name, setting, source, sourcefile, pending_restart FROM pg_settings ORDER BY name").await
    }

    /// Asserts that every setting is as it was.
    pub async fn expect_settings(&self, before: &str) {
        let after = self.settings().await;
        let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), after.lines().collect());
        let changed: Vec<_> = before.symmetric_difference(&after).collect();
        assert!(changed.is_empty(), "settings before and after: {changed:#?}");
    }

    /// Value and file of a setting.
    pub async fn setting(&self, name: &str) -> (String, String) {
        let columns = "current_setting(name), coalesce(sourcefile, '')";
        let row = self.sql(&format!("SELECT {columns} FROM pg_settings WHERE name = '{name}'")).await;
        let (value, file) = row.split_once('|').unwrap_or_else(|| panic!("{name}: {row}"));
        (value.to_owned(), file.to_owned())
    }

    /// Text of our key in the ConfigMap.
    pub async fn key(&self) -> Option<String> {
        let config_map = self.api::<ConfigMap>().get(CONFIG_MAP).await.expect("the ConfigMap exists");
        config_map.data.and_then(|mut data| data.remove(KEY))
    }

    /// UID of the server's pod, and how often its containers were restarted.
    pub async fn pod(&self) -> (String, i32) {
        let pod = self.api::<Pod>().get(POD).await.expect("the server's pod exists");
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        (pod.metadata.uid.unwrap_or_default(), statuses.iter().map(|status| status.restart_count).sum())
    }

    /// Waits until an instance's `Ready` has a reason, and returns its message.
    pub async fn instance_until(&self, name: &str, reason: Reason, seconds: u64) -> String {
        let conditions = async || {
            let instance = self.api::<PostgresInstance>().get(name).await.expect("the instance exists");
            instance.status.map(|status| status.conditions).unwrap_or_default()
        };
        let look = async || {
            let conditions = conditions().await;
            let ready = howdah::control::conditions::find(&conditions, "Ready")?;
            (ready.reason == reason.word()).then(|| ready.message.clone())
        };
        eventually(&format!("instance {name} is {reason}"), seconds, look, async || told(&conditions().await)).await
    }

    /// A Secret with a connection URI.
    pub async fn secret(&self, name: &str, key: &str, uri: &str) {
        let data: Value = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: uri}
        });
        self.apply(&data.to_string()).await;
    }

    /// The URI of the server for a role.
    pub fn uri(&self, role: &str, password: &str) -> String {
        format!("postgresql://{role}:{password}@shop-postgres.{}.svc:5432/postgres?sslmode=disable", self.namespace)
    }
}
