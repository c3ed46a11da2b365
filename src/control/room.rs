//! What a room gives to the reconcile loop: observe, decide, act, report.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::DeserializeGuard;
use kube::runtime::Controller;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::scope::Scope;

/// The controller of a kind. The guard keeps an object that can't be decoded from stopping the others.
pub type Guarded<K> = Controller<DeserializeGuard<K>>;

/// One kind's reconciliation. `observe` and `act` do IO; `decide` and `report` are pure.
pub trait Room: Send + Sync + 'static {
    /// The custom resource.
    type Kind: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// Everything that a decision depends on. Serialisable, so that a recorded decision can be replayed.
    type Facts: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What to do, because of what, and when to look next.
    type Decision: Serialize + Send + Sync + 'static;
    /// What became of the decision's steps.
    type Outcome: Send + Sync + 'static;

    /// Adds watches on other kinds whose changes concern this room's objects (`owns`, `watches_stream`).
    fn watch(&self, controller: Guarded<Self::Kind>, _scope: &Scope) -> Guarded<Self::Kind> {
        controller
    }

    /// Gathers the facts. Not seeing something is a fact, not an error.
    fn observe(&self, object: Arc<Self::Kind>) -> impl Future<Output = Self::Facts> + Send;
    /// Decides. No clock, no randomness, no client.
    fn decide(facts: &Self::Facts) -> Self::Decision;
    /// Carries the steps out in their order and stops at the first that fails.
    fn act(
        &self,
        object: Arc<Self::Kind>,
        facts: &Self::Facts,
        decision: &Self::Decision,
    ) -> impl Future<Output = Self::Outcome> + Send;
    /// Says what happened.
    fn report(facts: &Self::Facts, decision: &Self::Decision, outcome: &Self::Outcome) -> Report;
}

/// What the loop writes after a reconcile.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The whole status, conditions included, to be applied under the status field manager when it differs from the
    /// object's. `None` writes nothing (the object is going away). Conditions keep `lastTransitionTime` from the object
    /// where their status did not change; the loop fills it, so `report` leaves it at the epoch.
    pub status: Option<serde_json::Value>,
    /// The status that the facts saw, where they were read after the loop's own copy, which may lag behind our last write.
    pub seen: Option<serde_json::Value>,
    /// The condition whose reason the loop counts in metrics, logs and, when it changes, tells as an Event.
    pub headline: Option<Condition>,
    /// Further transitions to tell as Events: (reason, message, warning).
    pub events: Vec<(&'static str, String, bool)>,
    /// When to look again, if nothing changes before.
    pub next: Duration,
    /// The steps failed: look again with exponential backoff instead of `next`.
    pub backoff: bool,
}
