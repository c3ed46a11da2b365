//! One pod by its name, and the operator's own.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};

use tokio::sync::OnceCell;

use super::KubeError;
use crate::kubernetes::training_job;

/// Reads a pod. It is listed by its name, because pods are listed anyway: no further permission is needed.
///
/// # Errors
/// `NotFound` when it is absent, `Forbidden` when pods may not be listed.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Pod, KubeError> {
    let object = format!("Pod {namespace}/{name}");
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let listed = pods.list(&ListParams::default().fields(&format!("metadata.name={name}"))).await;
    let found = listed.map_err(|error| KubeError::of(&object, error))?.items.into_iter().next();
    found.ok_or(KubeError::NotFound { object })
}

/// The operator's own pod: the pattern of what it runs beside itself, in the same namespace.
#[derive(Debug, Default)]
pub struct OwnPod {
    /// Namespace and name; absent outside of a cluster.
    place: Option<(String, String)>,
    /// Read once: it does not change.
    pod: OnceCell<Pod>,
}

impl OwnPod {
    /// The pod of that namespace and name; absent outside of a cluster.
    pub fn new(place: Option<(String, String)>) -> Self {
        Self { place, pod: OnceCell::new() }
    }

    /// Its namespace, where there is one.
    pub fn namespace(&self) -> Option<&str> {
        self.place.as_ref().map(|(namespace, _)| namespace.as_str())
    }

    /// The pod, as the pattern of `what` (in words) that uses the model store at this URL.
    ///
    /// # Errors
    /// A sentence when there is none, it can't be read, or what is made after it could not use the store.
    pub async fn pattern(&self, client: &Client, store: &str, what: &str) -> Result<&Pod, String> {
        let Some((namespace, name)) = &self.place else {
            return Err(format!(
                "the operator does not run in a pod, so there is no pattern for {what}; install it by its chart"
            ));
        };
        let read = self.pod.get_or_try_init(|| read(client, namespace, name));
        let pod = read.await.map_err(|error| error.to_string())?;
        training_job::check(pod, store)?;
        Ok(pod)
    }
}
