//! Which namespaces the operator watches.

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

/// The cluster, or one namespace of it.
#[derive(Clone)]
pub struct Scope {
    /// The client of the API server.
    pub client: Client,
    /// The one namespace to watch; without it, all.
    pub namespace: Option<String>,
}

impl Scope {
    /// The objects of a kind that are watched.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}
