//! What a kind needs of the cluster: its CustomResourceDefinition and its permissions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;

/// One kind of the operator.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its definition, generated from the Rust type.
    pub crd: CustomResourceDefinition,
    /// What its room does in the cluster.
    pub rules: Vec<Rule>,
}

impl Kind {
    /// Group and version under which the API server serves it (`howdah.dev/v1alpha1`).
    pub fn group_version(&self) -> String {
        let version = self.crd.spec.versions.first().map(|version| version.name.as_str()).unwrap_or_default();
        format!("{}/{version}", self.crd.spec.group)
    }
}

/// A permission, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// API groups; the core group is empty.
    pub api_groups: Vec<&'static str>,
    /// Resources and subresources.
    pub resources: Vec<String>,
    /// Verbs.
    pub verbs: Vec<&'static str>,
    /// Why it is needed, in a sentence.
    #[serde(skip)]
    pub why: &'static str,
}

impl Rule {
    /// A permission on resources of one API group.
    pub fn new(group: &'static str, resources: &[&str], verbs: &[&'static str], why: &'static str) -> Self {
        Self {
            api_groups: vec![group],
            resources: resources.iter().map(|&resource| resource.to_owned()).collect(),
            verbs: verbs.to_vec(),
            why,
        }
    }
}

/// What the loop itself needs, whatever the kinds are.
pub fn loop_rules() -> Vec<Rule> {
    vec![Rule::new(
        "events.k8s.io",
        &["events"],
        &["create", "patch"],
        "Transitions are told as Events on the objects.",
    )]
}

/// What the leader election needs, in the lease's own namespace.
pub fn lease_rules() -> Vec<Rule> {
    vec![Rule::new(
        "coordination.k8s.io",
        &["leases"],
        &["get", "create", "update"],
        "Of several replicas one reconciles: the holder of a Lease.",
    )]
}
