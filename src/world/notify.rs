//! Telling others of an alarm: an Alertmanager by its API v2, anyone else by a JSON document.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::http::{Access, post_json};

/// A receiver that takes longer is told again later.
const WITHIN: Duration = Duration::from_secs(10);

/// An alert as an Alertmanager knows it. Its labels are its fingerprint: they must be the same from its begin to its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// `alertname` and what tells it from others.
    pub labels: BTreeMap<String, String>,
    /// What people read.
    pub annotations: BTreeMap<String, String>,
    /// When it began.
    pub starts_at: Timestamp,
    /// When it is over; in the future while it fires, so that it ends by itself when nobody repeats it.
    pub ends_at: Timestamp,
}

/// Tells an Alertmanager. Telling it the same alert again is no other alert.
///
/// # Errors
/// A sentence: it is unreachable, or what it answered.
pub async fn alertmanager(access: &Access, alert: &Alert) -> Result<(), String> {
    post_json(access, "/api/v2/alerts", &json!([alert]), WITHIN).await
}

/// Tells a webhook.
///
/// # Errors
/// A sentence: it is unreachable, or what it answered.
pub async fn webhook(access: &Access, document: &serde_json::Value) -> Result<(), String> {
    post_json(access, "", document, WITHIN).await
}
