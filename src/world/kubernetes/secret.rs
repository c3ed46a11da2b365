//! Secrets, read by name. They are never listed, watched or kept.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::KubeError;

/// A key of a Secret, and the certificate authority beside it.
#[derive(Clone)]
pub struct SecretText {
    /// The key's text; absent when the Secret has no such key or it is not UTF-8.
    pub value: Option<String>,
    /// The key `ca.crt` in PEM.
    pub ca: Option<String>,
    /// Changes whenever the Secret does, and tells nothing of it.
    pub version: String,
}

/// Reads one key and `ca.crt` of a Secret.
///
/// # Errors
/// `NotFound` when the Secret is absent, `Forbidden` when it may not be read.
pub async fn read(client: &Client, namespace: &str, name: &str, key: &str) -> Result<SecretText, KubeError> {
    let secret = get(client, namespace, name).await?;
    let version = [secret.metadata.uid.as_deref(), secret.metadata.resource_version.as_deref()];
    let version = version.map(Option::unwrap_or_default).join("/");
    let mut keys = texts(secret);
    let value = keys.remove(key).map(|text| text.trim().to_owned());
    Ok(SecretText { value, ca: keys.remove("ca.crt"), version })
}

/// Reads every key of a Secret whose value is UTF-8.
///
/// # Errors
/// `NotFound` when the Secret is absent, `Forbidden` when it may not be read.
pub async fn read_all(client: &Client, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, KubeError> {
    Ok(texts(get(client, namespace, name).await?))
}

async fn get(client: &Client, namespace: &str, name: &str) -> Result<Secret, KubeError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    secrets.get(name).await.map_err(|error| KubeError::of(format!("Secret {namespace}/{name}"), error))
}

fn texts(secret: Secret) -> BTreeMap<String, String> {
    let keys = secret.data.unwrap_or_default().into_iter();
    keys.filter_map(|(key, bytes)| Some((key, String::from_utf8(bytes.0).ok()?))).collect()
}
