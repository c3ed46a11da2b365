//! The operator as it is installed.

use std::fs;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::{eventually, kubectl, kubectl_with};

const NAMESPACE: &str = "howdah-system";
const LEASE: &str = "howdah-operator";

/// All tests share one operator. Whoever kills it holds this, and whoever needs it within seconds: a detector sees nothing
/// while nobody leads, and a fault lasts for 45 s.
pub static ALIVE: Mutex<()> = Mutex::const_new(());

/// The operator's deployment.
pub struct Operator {
    client: Client,
}

impl Operator {
    /// The operator that is installed in a client's cluster.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn pod(&self) -> Option<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let ours = ListParams::default().labels("app.kubernetes.io/component=operator");
        let listed = pods.list(&ours).await.expect("the operator's pods can be listed");
        listed.items.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none())
    }

    async fn holder(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let lease = leases.get_opt(LEASE).await.expect("the lease can be read");
        lease.and_then(|lease| lease.spec).and_then(|spec| spec.holder_identity)
    }

    /// Kills the operator without a word (SIGKILL) and its pod with it, and returns how long it took until another
    /// process leads.
    pub async fn kill(&self) -> Duration {
        let before = self.holder().await;
        let pod = self.pod().await.expect("the operator runs");
        let began = Instant::now();
        // A container that ends often is restarted later and later, a new pod at once. Where the node is another
        // machine, the kubelet alone ends it.
        if let Some(pid) = process_of(&pod.uid().unwrap_or_default()) {
            let killed = Command::new("kill").args(["-KILL", &pid]).status().await.expect("kill runs");
            assert!(killed.success(), "process {pid} of the operator could not be killed");
        }
        kubectl(&["-n", NAMESPACE, "delete", "pod", &pod.name_any(), "--grace-period=0", "--force"]).await;
        let successor = async || self.holder().await.filter(|holder| before.as_deref() != Some(holder));
        eventually("another process leads", 60, successor, async || format!("the lease was held by {before:?}")).await;
        began.elapsed()
    }

    /// What the operator answers to GET `path` on its port.
    ///
    /// # Errors
    /// What kubectl says when the answer is no success.
    pub async fn get(&self, path: &str) -> Result<String, String> {
        let pod = self.pod().await.map(|pod| pod.name_any()).unwrap_or_default();
        let uri = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy{path}");
        kubectl_with(&["get", "--raw", &uri], "").await
    }
}

/// The process of `howdah operator` in a pod, if it runs on this machine: processes name their pod in their cgroup.
fn process_of(pod_uid: &str) -> Option<String> {
    let in_cgroup = [pod_uid.to_owned(), pod_uid.replace('-', "_")];
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let ours = |path: &std::path::PathBuf| {
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        let (cgroup, command) = (read("cgroup"), read("cmdline"));
        in_cgroup.iter().any(|uid| cgroup.contains(uid)) && command.split('\0').any(|word| word == "operator")
    };
    processes
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok()))
        .find(ours)
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
}
