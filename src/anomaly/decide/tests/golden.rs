//! Recorded facts with their decisions. A change here is a change of what the operator does: look at the difference,
//! and where it is meant, renew the records with `HOWDAH_RENEW_GOLDEN=1 cargo test --lib decide::tests::golden`.

use std::path::PathBuf;

use super::*;

fn assert_recorded(name: &str, facts: &Facts) {
    let path =
        |part: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.{part}.json"));
    let decided = |facts: &Facts| serde_json::to_string_pretty(&decide(facts)).unwrap() + "\n";
    if std::env::var_os("HOWDAH_RENEW_GOLDEN").is_some() {
        std::fs::write(path("facts"), serde_json::to_string(facts).unwrap() + "\n").unwrap();
        std::fs::write(path("decision"), decided(facts)).unwrap();
    }
    let recorded: Facts = serde_json::from_str(&std::fs::read_to_string(path("facts")).unwrap()).unwrap();
    assert_eq!(
        decided(&recorded),
        std::fs::read_to_string(path("decision")).unwrap(),
        "{name}: the decision changed; if it was meant to, run HOWDAH_RENEW_GOLDEN=1 cargo test --lib golden"
    );
}

#[test]
fn a_detector_with_history_trains() {
    let mut facts = untrained(json!({}));
    look(&mut facts);
    assert_recorded("detector-trains", &facts);
}

#[test]
fn an_anomaly_is_told_to_who_listens() {
    let notify = json!({"alertmanager": {"url": "http://alertmanager.monitoring:9093"}});
    let mut facts = healthy(json!({"mode": "Alert", "notify": notify}));
    sees(&mut facts, vec![incident(NOON - 120_000, 4.2)]);
    assert_recorded("detector-alarms", &facts);
}
