//! Recorded facts with their decisions.

use super::*;
use crate::anomaly::Anomaly;
use crate::control::golden::assert_recorded;

#[test]
fn a_detector_with_history_trains() {
    let mut facts = untrained(json!({}));
    look(&mut facts);
    assert_recorded::<Anomaly>("detector-trains", &facts);
}

#[test]
fn an_anomaly_is_told_to_who_listens() {
    let notify = json!({"alertmanager": {"url": "http://alertmanager.monitoring:9093"}});
    let mut facts = healthy(json!({"mode": "Alert", "notify": notify}));
    sees(&mut facts, vec![incident(NOON - 120_000, 4.2)]);
    assert_recorded::<Anomaly>("detector-alarms", &facts);
}
