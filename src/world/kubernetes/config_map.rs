//! The one key of a ConfigMap that holds a tuned configuration.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::KubeError;
use crate::hex::hex;

/// The field managers of tuned configurations begin so. Each key has one of its own: what a manager no longer applies is
/// removed, so that one for two keys of a ConfigMap would remove the one with the other.
const FIELD_MANAGER: &str = "howdah-configuration/";
/// The API server takes no longer name of a field manager.
const LONGEST_MANAGER: usize = 128;

/// The annotation whose change makes the kubelet sync a pod's volumes at once instead of within a minute.
const TOUCHED: &str = "howdah.dev/configuration";

/// A key of a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigMapKey {
    /// Its text; absent when the ConfigMap has no such key.
    pub text: Option<String>,
    /// Field managers other than ours that own the key.
    pub other_owners: Vec<String>,
}

fn api(client: &Client, namespace: &str) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), namespace)
}

/// Reads one key of a ConfigMap and who owns it.
///
/// # Errors
/// `NotFound` when the ConfigMap is absent, `Forbidden` when it may not be read.
pub async fn read(client: &Client, namespace: &str, name: &str, key: &str) -> Result<ConfigMapKey, KubeError> {
    let found = api(client, namespace).get(name).await.map_err(|e| KubeError::of(object(namespace, name), e))?;
    Ok(ConfigMapKey {
        text: found.data.as_ref().and_then(|data| data.get(key)).cloned(),
        other_owners: other_owners(found.metadata.managed_fields.as_deref().unwrap_or_default(), key),
    })
}

/// Sets our key to `text`, or removes it, by server-side apply without force: other keys are never touched, and a key
/// that someone else owns is a `Conflict`. The ConfigMap is never created: it must exist. Removing from an absent
/// ConfigMap succeeds.
///
/// # Errors
/// `NotFound`, `Conflict` naming the other field manager, `Forbidden`, or `Other` (an immutable ConfigMap, say).
pub async fn apply_configuration_key(
    client: &Client,
    namespace: &str,
    name: &str,
    key: &str,
    text: Option<&str>,
) -> Result<(), KubeError> {
    let object = object(namespace, name);
    let api = api(client, namespace);
    let uid = match api.get_metadata_opt(name).await.map_err(|e| KubeError::of(&object, e))? {
        Some(found) => found.metadata.uid,
        None if text.is_none() => return Ok(()),
        None => return Err(KubeError::NotFound { object }),
    };
    let patch = configuration_patch(name, uid.as_deref(), key, text);
    let params = PatchParams::apply(&field_manager(key));
    api.patch(name, &params, &Patch::Apply(patch)).await.map(drop).map_err(|e| KubeError::of(object, e))
}

/// Annotates a pod with the configuration's marker, so that the kubelet syncs its volumes at once.
///
/// # Errors
/// `NotFound` when the pod is gone, `Forbidden` when pods may not be patched.
pub async fn touch_pod(client: &Client, namespace: &str, pod: &str, marker: &str) -> Result<(), KubeError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let patch = json!({"metadata": {"annotations": {TOUCHED: marker}}});
    let patched = pods.patch_metadata(pod, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).map_err(|e| KubeError::of(format!("Pod {namespace}/{pod}"), e))
}

/// Who owns a key that we write. Keys have up to 253 characters: of those too long for a name, the hash.
fn field_manager(key: &str) -> String {
    if FIELD_MANAGER.len() + key.len() <= LONGEST_MANAGER {
        return format!("{FIELD_MANAGER}{key}");
    }
    format!("{FIELD_MANAGER}{}", hex(&Sha256::digest(key)[..16]))
}

fn object(namespace: &str, name: &str) -> String {
    format!("ConfigMap {namespace}/{name}")
}

/// With the uid in it, applying to a ConfigMap that was deleted meanwhile fails instead of creating one.
fn configuration_patch(name: &str, uid: Option<&str>, key: &str, text: Option<&str>) -> Value {
    let mut patch = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "uid": uid}});
    if let Some(text) = text {
        patch["data"] = json!({key: text});
    }
    patch
}

fn other_owners(entries: &[ManagedFieldsEntry], key: &str) -> Vec<String> {
    let field = format!("f:{key}");
    let owns = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:data").and_then(|d| d.get(&field)).is_some())
    };
    let managers = entries.iter().filter(owns).filter_map(|entry| entry.manager.clone());
    managers.filter(|manager| *manager != field_manager(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_holds_our_key_and_nothing_else() {
        let set = configuration_patch("conf", Some("u1"), "howdah.conf", Some("jit = off\n"));
        assert_eq!(set["data"], json!({"howdah.conf": "jit = off\n"}));
        let removed = configuration_patch("conf", Some("u1"), "howdah.conf", None);
        assert_eq!(
            removed,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "uid": "u1"}})
        );
    }

    #[test]
    fn owners_of_other_keys_do_not_count() {
        let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(json!([
            {"manager": "kubectl", "fieldsV1": {"f:data": {"f:postgresql.conf": {}}}},
            {"manager": "argocd", "fieldsV1": {"f:data": {".": {}, "f:howdah.conf": {}}}},
            {"manager": "howdah-configuration/howdah.conf", "fieldsV1": {"f:data": {"f:howdah.conf": {}}}}
        ]))
        .unwrap();
        assert_eq!(other_owners(&entries, "howdah.conf"), ["argocd"]);
    }

    #[test]
    fn every_key_has_a_manager_of_its_own() {
        assert_eq!(field_manager("howdah.conf"), "howdah-configuration/howdah.conf");
        let long = |end: &str| field_manager(&("k".repeat(200) + end));
        assert!(long("a") != long("b") && long("a").len() <= LONGEST_MANAGER);
    }
}
