//! Recorded facts with their decisions. A change here is a change of what the operator does: look at the difference,
//! and where it is meant, renew the records with `HOWDAH_RENEW_GOLDEN=1 cargo test --lib decide::tests::golden`.

use std::path::PathBuf;

use super::*;
use crate::tuning::crd::{TrialKind, TrialState};
use crate::tuning::decide::decide;
use crate::tuning::facts::Facts;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The facts of a model as they were when they were recorded, and their decision as it was then and is now.
fn assert_recorded(name: &str, model: &Model) {
    let (facts, decision) = (path(&format!("{name}.facts.json")), path(&format!("{name}.decision.json")));
    if std::env::var_os("HOWDAH_RENEW_GOLDEN").is_some() {
        let recorded = model.facts();
        std::fs::write(&facts, serde_json::to_string(&recorded).unwrap() + "\n").unwrap();
        let decided = serde_json::to_string_pretty(&decide(&recorded)).unwrap() + "\n";
        std::fs::write(&decision, decided).unwrap();
    }
    let recorded: Facts = serde_json::from_str(&std::fs::read_to_string(&facts).unwrap()).unwrap();
    let decided = serde_json::to_string_pretty(&decide(&recorded)).unwrap() + "\n";
    assert_eq!(
        decided,
        std::fs::read_to_string(&decision).unwrap(),
        "{name}: the decision changed; if it was meant to, run HOWDAH_RENEW_GOLDEN=1 cargo test --lib golden"
    );
}

/// Only the settings that this tuning has to do with, so that a record can be read.
fn small() -> Model {
    let spec = json!({"knobs": {"profile": "Classic", "include": ["max_wal_size"]}});
    let mut model = Model::new(9, spec, Some(ORIGINAL));
    model.server.keep_settings(&[
        "checkpoint_completion_target",
        "checkpoint_timeout",
        "effective_cache_size",
        "maintenance_work_mem",
        "max_connections",
        "max_wal_size",
        "min_wal_size",
        "shared_buffers",
        "wal_writer_delay",
        "work_mem",
    ]);
    model
}

/// Looks until the newest trial is of the kind and in the state.
fn at(kind: TrialKind, state: TrialState) -> Model {
    let mut model = small();
    for _ in 0..PATIENCE {
        model.look(None);
        let newest = model.trials.values().next_back();
        if newest.is_some_and(|t| t.spec.kind == kind && t.status.as_ref().is_some_and(|s| s.state == state)) {
            return model;
        }
    }
    panic!("no {kind:?} was {state:?}");
}

#[test]
fn a_tuning_freezes_the_facts_before_its_first_change() {
    let mut model = small();
    model.look(None);
    assert_recorded("preflight", &model);
}

#[test]
fn a_configuration_is_written_for_its_trial() {
    assert_recorded("heuristic-begins", &at(TrialKind::Heuristic, TrialState::Applying));
}

#[test]
fn a_killed_server_aborts_its_trial() {
    let mut model = at(TrialKind::Explore, TrialState::Measuring);
    model.last_termination = Some("OOMKilled".into());
    model.restart(0);
    assert_recorded("out-of-memory", &model);
}
