//! What an instance's status says.

use std::time::Duration;

use super::crd::PostgresInstanceStatus;
use super::decide::Decision;
use super::facts::InstanceFacts;
use super::reason::Reason;
use crate::control::conditions::condition;
use crate::control::room::Report;

const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// What may pass by itself is looked at more often.
const LOOK_SOON: Duration = Duration::from_secs(10);

/// The status: `Ready`, and as kstatus reads them `Reconciling` (it may pass by itself) and `Stalled` (somebody must
/// change something).
pub fn report(facts: &InstanceFacts, decision: &Decision) -> Report {
    let Decision { reason, message, resources } = decision;
    let ready = *reason == Reason::Ready;
    let transient = reason.is_transient();
    let told = |kind, status| condition(kind, status, reason.word(), message.as_str(), facts.generation);
    let headline = told("Ready", ready);
    let status = PostgresInstanceStatus {
        observed_generation: facts.generation,
        conditions: vec![headline.clone(), told("Reconciling", transient), told("Stalled", !ready && !transient)],
        server_version: facts.server.as_ref().ok().map(|server| short(&server.facts.version)),
        resources: Some(resources.shown()),
        pod: facts.pod().map(|pod| pod.name.clone()),
    };
    Report {
        status: serde_json::to_value(status).ok(),
        seen: None,
        headline: Some(headline),
        events: Vec::new(),
        next: if transient { LOOK_SOON } else { LOOK_AGAIN },
        backoff: false,
    }
}

/// `15.18` of `15.18 (Debian 15.18-0+deb12u1)`.
fn short(version: &str) -> String {
    version.split_whitespace().next().unwrap_or_default().to_owned()
}
