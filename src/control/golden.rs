//! Recorded facts with their decisions. A change there is a change of what the operator does: look at the difference, and
//! where it is meant, renew the records with `HOWDAH_RENEW_GOLDEN=1 cargo test --lib golden`.

use std::path::PathBuf;

use super::room::Room;

/// Decides on facts as they were recorded in `tests/golden`, and compares with the decision of then. `facts` are recorded
/// where records are renewed.
pub fn assert_recorded<R: Room>(name: &str, facts: &R::Facts) {
    let path =
        |part: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.{part}.json"));
    let decided = |facts: &R::Facts| serde_json::to_string_pretty(&R::decide(facts)).unwrap() + "\n";
    if std::env::var_os("HOWDAH_RENEW_GOLDEN").is_some() {
        std::fs::write(path("facts"), serde_json::to_string(facts).unwrap() + "\n").unwrap();
        std::fs::write(path("decision"), decided(facts)).unwrap();
    }
    let recorded: R::Facts = serde_json::from_str(&std::fs::read_to_string(path("facts")).unwrap()).unwrap();
    assert_eq!(
        decided(&recorded),
        std::fs::read_to_string(path("decision")).unwrap(),
        "{name}: the decision changed; if it was meant to, run HOWDAH_RENEW_GOLDEN=1 cargo test --lib golden"
    );
}
