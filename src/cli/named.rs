//! An object of the cluster that an argument names.

use std::fmt::Debug;

use anyhow::{Context, Result};
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

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
