//! Who is to be told what: each receiver hears of an incident's begin and of its end, once each, and an Alertmanager
//! again and again in between, as its API wants it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::crd::{AnomalyDetectorStatus, Delivery, DeliveryState, IncidentStatus, Mode};
use super::super::facts::{Facts, Receiver, Trouble, time};
use super::super::reason::Reason;
use super::Step;

/// An Alertmanager is told again after this, in milliseconds.
pub(super) const AGAIN_MS: i64 = 60_000;
/// An alert that is not repeated ends by itself after this, in milliseconds.
const EXPIRES_MS: i64 = 300_000;
/// A receiver that took nothing is left alone for this long, in milliseconds; it doubles each time up to the longest.
const FIRST_RETRY_MS: i64 = 15_000;
/// No longer than an alert is repeated after, so that one does not end by itself while its receiver is back.
const LONGEST_RETRY_MS: i64 = AGAIN_MS;

/// What a receiver is to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Who.
    pub receiver: Receiver,
    /// Of which incident.
    pub incident: String,
    /// What of it.
    pub state: DeliveryState,
    /// The document.
    pub body: Value,
}

/// How long a receiver is left alone that took nothing so many times, in milliseconds.
pub fn retry_after(times: u32) -> i64 {
    (FIRST_RETRY_MS << times.clamp(1, 16).saturating_sub(1)).min(LONGEST_RETRY_MS)
}

/// Whether somebody is told again and again of an incident that is open.
pub(super) fn is_repeated(status: &AnomalyDetectorStatus) -> bool {
    let fires = |delivery: &Delivery| {
        delivery.state == DeliveryState::Firing && delivery.receiver == Receiver::Alertmanager.word()
    };
    status.deliveries.iter().any(fires)
}

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub steps: Vec<Step>,
    /// Why something is not told yet that should be.
    pub held: Option<Trouble>,
}

/// The notices that are due, recorded as delivered. With `ending`, and in mode `Observe`, nothing new is told: only what
/// was begun is ended.
pub(super) fn due(facts: &Facts, status: &mut AnomalyDetectorStatus, ending: bool) -> Due {
    let notify = &facts.detector.spec.notify;
    let alerting = facts.detector.spec.mode == Mode::Alert;
    let receivers =
        [(Receiver::Alertmanager, notify.alertmanager.is_some()), (Receiver::Webhook, notify.webhook.is_some())];
    // Who is deleted says goodbye once, and whoever it was.
    let deleted = facts.detector.metadata.deletion_timestamp.is_some();
    let refused = |receiver: Receiver| {
        facts.refused.iter().find(|refusal| refusal.receiver == receiver && facts.now.0 < refusal.again.0 && !deleted)
    };
    let mut due = Due::default();
    for (receiver, listens) in receivers {
        let known = status.deliveries.iter().position(|delivery| delivery.receiver == receiver.word());
        if !listens {
            // Who is no longer told of anything is told everything anew when he comes back.
            known.map(|index| status.deliveries.remove(index));
            continue;
        }
        let before = known.map(|index| status.deliveries[index].clone());
        let forgotten = |told: &Delivery| status.incidents.iter().all(|incident| incident.id != told.incident);
        if let Some(index) = known.filter(|index| !alerting && forgotten(&status.deliveries[*index])) {
            // Newer ones have pushed it out: of that one nothing can be told any more.
            status.deliveries.remove(index);
            continue;
        }
        let Some((incident, state)) = next(facts, status, receiver, before.as_ref(), ending || !alerting) else {
            continue;
        };
        if let Some(refusal) = refused(receiver) {
            due.held = Some(Trouble::new(Reason::NotDelivered, &refusal.message));
            continue;
        }
        let body = match receiver {
            Receiver::Alertmanager => alert(facts, &incident, state),
            Receiver::Webhook => document(facts, &incident, state),
        };
        let delivery = Delivery { receiver: receiver.word().into(), incident: incident.id.clone(), state };
        match known {
            Some(index) => status.deliveries[index] = delivery,
            None => status.deliveries.push(delivery),
        }
        due.steps.push(Step::Notify(Box::new(Notice { receiver, incident: incident.id, state, body })));
    }
    due
}

fn next(
    facts: &Facts,
    status: &AnomalyDetectorStatus,
    receiver: Receiver,
    before: Option<&Delivery>,
    ending: bool,
) -> Option<(IncidentStatus, DeliveryState)> {
    let open = super::incidents::open(status);
    let firing = before.filter(|delivery| delivery.state == DeliveryState::Firing);
    // An incident that newer ones have pushed out can't be told of any more: the receiver hears of the next one.
    let known = |told: &Delivery| status.incidents.iter().find(|incident| incident.id == told.incident);
    if let Some(known) = firing.and_then(known) {
        if known.until.is_some() || facts.detector.spec.mode == Mode::Observe {
            return Some((known.clone(), DeliveryState::Resolved));
        }
        let again = facts.alerted.as_ref().is_none_or(|last| facts.now_ms() - last.0.as_millisecond() >= AGAIN_MS);
        return (receiver == Receiver::Alertmanager && again && !ending)
            .then(|| (known.clone(), DeliveryState::Firing));
    }
    let open = open.filter(|_| !ending)?;
    Some((open.clone(), DeliveryState::Firing))
}

/// An alert as an Alertmanager knows it. Its labels are its fingerprint: they are the same from its begin to its end.
fn alert(facts: &Facts, incident: &IncidentStatus, state: DeliveryState) -> Value {
    let metadata = &facts.detector.metadata;
    let ends: Time = match (&incident.until, state) {
        (Some(until), DeliveryState::Resolved) => until.clone(),
        // It goes on, but nobody is to be told any more.
        (None, DeliveryState::Resolved) => facts.now.clone(),
        _ => time(facts.now_ms() + EXPIRES_MS),
    };
    let mut labels = json!({
        "alertname": "HowdahAnomaly",
        "severity": "warning",
        "namespace": metadata.namespace,
        "detector": metadata.name,
    });
    if let Some(instance) = &facts.detector.spec.instance_ref {
        labels["postgresinstance"] = json!(instance.name);
    }
    json!([{
        "labels": labels,
        "annotations": {
            "summary": format!("{} departs from its normal behaviour", subject(facts)),
            "description": incident.message,
            "incident": incident.id,
        },
        "startsAt": incident.since,
        "endsAt": ends,
    }])
}

fn document(facts: &Facts, incident: &IncidentStatus, state: DeliveryState) -> Value {
    let metadata = &facts.detector.metadata;
    json!({
        "apiVersion": "howdah.dev/v1alpha1",
        "kind": "AnomalyNotice",
        "state": state,
        "namespace": metadata.namespace,
        "detector": metadata.name,
        "instance": facts.detector.spec.instance_ref.as_ref().map(|instance| &instance.name),
        "message": incident.message,
        "incident": incident,
    })
}

fn subject(facts: &Facts) -> String {
    let metadata = &facts.detector.metadata;
    let name = facts.detector.spec.instance_ref.as_ref().map(|instance| instance.name.as_str());
    let name = name.or(metadata.name.as_deref()).unwrap_or_default();
    format!("{}/{name}", metadata.namespace.as_deref().unwrap_or_default())
}
