//! One pod by its name.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};

use super::KubeError;

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
