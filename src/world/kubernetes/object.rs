//! What is done with objects of any kind: our finalizer, and objects that are ours alone.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::KubeError;

/// The field manager of objects that the operator makes whole.
pub const FIELD_MANAGER: &str = "howdah";

/// Adds or removes a finalizer. The resource version keeps others' finalizers from being lost. An object that is gone
/// already has none.
///
/// # Errors
/// `Conflict` when the object has changed, `Forbidden`, or `Other`.
pub async fn set_finalizer<K>(client: &Client, object: &K, finalizer: &str, present: bool) -> Result<(), KubeError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let mut finalizers: Vec<String> = object.finalizers().iter().filter(|one| *one != finalizer).cloned().collect();
    if present {
        finalizers.push(finalizer.to_owned());
    }
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.meta().resource_version}});
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(answer)) if !present && answer.is_not_found() => Ok(()),
        patched => patched.map(drop).map_err(|error| KubeError::of(named(object), error)),
    }
}

/// Makes an object, or changes it, so that it is as given.
///
/// # Errors
/// `Forbidden`, or `Other` with the API server's words (a quota, a policy, an invalid resource).
pub async fn apply<K>(client: &Client, object: &K) -> Result<(), KubeError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let applied = api.patch(&object.name_any(), &params, &Patch::Apply(object)).await;
    applied.map(drop).map_err(|error| KubeError::of(named(object), error))
}

/// Deletes an object with what belongs to it. One that does not exist is fine.
///
/// # Errors
/// `Forbidden`, or `Other` when the API server can't be reached.
pub async fn delete<K>(client: &Client, namespace: &str, name: &str) -> Result<(), KubeError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let params = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    match api.delete(name, &params).await {
        Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(()),
        deleted => deleted.map(drop).map_err(|e| KubeError::of(format!("{} {namespace}/{name}", K::kind(&())), e)),
    }
}

fn named<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any())
}
