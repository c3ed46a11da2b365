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
}

/// Reads one key and `ca.crt` of a Secret.
///
/// # Errors
/// `NotFound` when the Secret is absent, `Forbidden` when it may not be read.
pub async fn read(client: &Client, namespace: &str, name: &str, key: &str) -> Result<SecretText, KubeError> {
    let mut keys = read_all(client, namespace, name).await?;
    Ok(SecretText { value: keys.remove(key).map(|text| text.trim().to_owned()), ca: keys.remove("ca.crt") })
}

/// Reads every key of a Secret whose value is UTF-8.
///
/// # Errors
/// `NotFound` when the Secret is absent, `Forbidden` when it may not be read.
pub async fn read_all(client: &Client, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, KubeError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get(name).await.map_err(|e| KubeError::of(format!("Secret {namespace}/{name}"), e))?;
    let texts = secret.data.unwrap_or_default().into_iter();
    Ok(texts.filter_map(|(key, bytes)| Some((key, String::from_utf8(bytes.0).ok()?))).collect())
}
