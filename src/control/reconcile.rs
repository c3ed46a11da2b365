//! The one reconcile loop: observe, decide, act, report, and write what changed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Action};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tracing::Instrument;

use super::backoff::Backoff;
use super::conditions;
use super::metrics::{Metrics, Reconciled};
use super::room::{Report, Room};
use super::scope::Scope;
use super::shutdown::Shutdown;
use super::status;

/// With this annotation set to `true`, an object's facts are logged, so that a decision can be replayed.
const RECORD_FACTS: &str = "howdah.dev/record-facts";
/// The API server refuses longer notes.
const NOTE_BYTES: usize = 1024;

/// How a room's loop runs.
#[derive(Clone)]
pub struct Options {
    /// Reconciles that may run at once.
    pub concurrency: u16,
    /// Where the loop counts.
    pub metrics: Arc<Metrics>,
    /// Ends the loop once the running reconciles are done.
    pub shutdown: Shutdown,
    /// Name of this replica in Events.
    pub identity: String,
}

/// The API server would not take a status.
#[derive(Debug, thiserror::Error)]
#[error("the status of {object} could not be written: {source}")]
pub struct StatusNotWritten {
    object: String,
    source: kube::Error,
}

/// What a reconcile works with.
struct Loop<R> {
    room: R,
    client: Client,
    recorder: Recorder,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    controller: String,
}

/// Reconciles every object of the room's kind until the shutdown is requested.
///
/// A status write does not wake the loop again: only changes of the spec, labels, annotations and finalizers do, what
/// the room watches besides, and the time that the report names.
pub async fn run<R: Room>(room: R, scope: Scope, options: Options) {
    let controller_name = R::Kind::kind(&()).to_lowercase();
    options.metrics.controller_started(&controller_name, options.concurrency);
    let (reader, writer) = reflector::store::<DeserializeGuard<R::Kind>>();
    let wakes = predicates::generation
        .combine(predicates::labels)
        .combine(predicates::annotations)
        .combine(predicates::finalizers);
    let changes = watcher(scope.api::<DeserializeGuard<R::Kind>>(), watcher::Config::default())
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(wakes, PredicateConfig::default());
    let controller = Controller::for_stream(changes, reader)
        .with_config(kube::runtime::Config::default().concurrency(options.concurrency))
        .graceful_shutdown_on(options.shutdown.requested());
    let controller = room.watch(controller, &scope);
    let reporter = Reporter { controller: "howdah".into(), instance: Some(options.identity) };
    let context = Arc::new(Loop {
        recorder: Recorder::new(scope.client.clone(), reporter),
        client: scope.client,
        metrics: options.metrics,
        backoff: Backoff::default(),
        controller: controller_name,
        room,
    });
    tracing::info!(controller = context.controller, "watching");
    controller
        .run(reconcile, retry, context.clone())
        .for_each(|result| {
            match result {
                // What an object owned is deleted after it, and each end would wake the object.
                Ok(_) | Err(controller::Error::ObjectNotFound(_)) => {}
                Err(error) => tracing::warn!(controller = context.controller, %error, "the loop goes on"),
            }
            std::future::ready(())
        })
        .await;
    tracing::info!(controller = context.controller, "stopped");
}

/// One reconcile, counted and traced.
async fn reconcile<R: Room>(
    guarded: Arc<DeserializeGuard<R::Kind>>,
    context: Arc<Loop<R>>,
) -> Result<Action, StatusNotWritten> {
    let name = key(&*guarded);
    let controller = context.controller.clone();
    let object = match &guarded.0 {
        Ok(object) => Arc::new(object.clone()),
        Err(invalid) => {
            tracing::error!(
                controller,
                object = name,
                error = invalid.error,
                "can't be decoded; correct it and apply again"
            );
            context.metrics.reconcile_ended(&controller, Reconciled::Error, Duration::ZERO);
            return Ok(Action::await_change());
        }
    };
    let span = tracing::info_span!("reconcile", controller, object = name);
    let _active = context.metrics.reconcile_started(&controller);
    let began = Instant::now();
    // A bug that panics on one object must not end the loop for all.
    let result = AssertUnwindSafe(context.pass(object, &name)).catch_unwind().instrument(span).await;
    let (how, action) = match result {
        Ok(Ok((how, action))) => (how, Ok(action)),
        Ok(Err(error)) => (Reconciled::Error, Err(error)),
        Err(_) => {
            tracing::error!(controller, object = name, "the reconcile panicked; this is a bug");
            (Reconciled::Error, Ok(Action::requeue(context.backoff.failed(&name))))
        }
    };
    context.metrics.reconcile_ended(&controller, how, began.elapsed());
    action
}

fn retry<R: Room>(object: Arc<DeserializeGuard<R::Kind>>, _: &StatusNotWritten, context: Arc<Loop<R>>) -> Action {
    Action::requeue(context.backoff.failed(&key(&*object)))
}

fn key(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

impl<R: Room> Loop<R> {
    async fn pass(&self, object: Arc<R::Kind>, name: &str) -> Result<(Reconciled, Action), StatusNotWritten> {
        let facts = self.room.observe(object.clone()).await;
        if object.annotations().get(RECORD_FACTS).is_some_and(|value| value == "true") {
            match serde_json::to_string(&facts) {
                Ok(facts) => tracing::info!(target: "howdah::facts", controller = self.controller, facts),
                Err(error) => tracing::warn!(target: "howdah::facts", %error, "the facts can't be recorded"),
            }
        }
        let decision = R::decide(&facts);
        let outcome = self.room.act(object.clone(), &facts, &decision).await;
        let report = R::report(&facts, &decision, &outcome);
        self.publish(&object, &report, name).await?;
        if report.backoff {
            return Ok((Reconciled::Backoff, Action::requeue(self.backoff.failed(name))));
        }
        self.backoff.forget(name);
        Ok((Reconciled::Done, Action::requeue(report.next)))
    }

    /// Writes the status where it changed, then tells the transitions.
    async fn publish(&self, object: &R::Kind, report: &Report, name: &str) -> Result<(), StatusNotWritten> {
        let cached = || serde_json::to_value(object).unwrap_or_default().get("status").cloned().unwrap_or_default();
        let old = report.seen.clone().unwrap_or_else(cached);
        if let Some(new) = &report.status
            && let Some(status) = status::to_write(&old, new.clone(), Timestamp::now())
        {
            match self.write(object, status).await {
                // The object went away meanwhile: there is nobody to tell.
                Err(kube::Error::Api(answer)) if answer.is_not_found() => return Ok(()),
                Err(source) => return Err(StatusNotWritten { object: name.to_owned(), source }),
                Ok(()) => {}
            }
        }
        let reference = object.object_ref(&());
        if let Some(headline) = &report.headline {
            self.metrics.reason(&self.controller, &headline.reason);
            let before = status::conditions_of(&old);
            let before = conditions::find(&before, &headline.type_).map(|condition| condition.reason.as_str());
            if before != Some(headline.reason.as_str()) {
                tracing::info!(reason = headline.reason, message = headline.message, "{} changed", headline.type_);
                self.tell(&reference, &headline.reason, &headline.message, headline.status == "False").await;
            }
        }
        for (reason, message, warning) in &report.events {
            self.tell(&reference, reason, message, *warning).await;
        }
        Ok(())
    }

    async fn write(&self, object: &R::Kind, status: Value) -> Result<(), kube::Error> {
        let api: Api<R::Kind> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let patch = json!({
            "apiVersion": R::Kind::api_version(&()),
            "kind": R::Kind::kind(&()),
            "metadata": {"name": object.name_any()},
            "status": status,
        });
        let params = PatchParams::apply(status::FIELD_MANAGER).force();
        api.patch_status(&object.name_any(), &params, &Patch::Apply(patch)).await.map(drop)
    }

    /// An Event that can't be published is logged: it is a courtesy, the status is the record.
    async fn tell(&self, reference: &ObjectReference, reason: &str, message: &str, warning: bool) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note(message)),
            action: "Reconcile".into(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, reference).await {
            tracing::warn!(reason, %error, "the Event could not be published");
        }
    }
}

fn note(message: &str) -> String {
    let end = (0..=NOTE_BYTES.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
    message[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(note("short"), "short");
        let long = "ä".repeat(NOTE_BYTES);
        assert_eq!(note(&long).len(), NOTE_BYTES);
        assert!(note(&format!("a{long}")).len() == NOTE_BYTES - 1);
    }
}
