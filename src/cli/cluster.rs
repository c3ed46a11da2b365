//! The cluster that a command talks to, and an object in it that an argument names.

use std::fmt::Debug;

use anyhow::{Context, Result};
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// A client of the cluster: of the pod's service account, or of the kubeconfig.
///
/// # Errors
/// There is neither, or it can't be used.
pub async fn connect() -> Result<Client> {
    Client::try_default().await.context("no cluster: neither a service account nor a kubeconfig")
}

/// Reads an object by NAMESPACE/NAME.
///
/// # Errors
/// It does not exist, or the API server does not answer.
pub async fn read<K>(client: &Client, object: &str) -> Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let (namespace, name) = object.split_once('/').with_context(|| format!("{object:?} is not NAMESPACE/NAME"))?;
    let found = Api::<K>::namespaced(client.clone(), namespace).get_opt(name).await;
    let found = found.context("the API server did not answer")?;
    found.with_context(|| format!("there is no {} {object}", K::kind(&())))
}
