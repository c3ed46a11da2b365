//! Recorded facts with their decisions.

use super::*;
use crate::control::golden::assert_recorded;
use crate::tuning::Tuning;
use crate::tuning::crd::{TrialKind, TrialState};

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
    assert_recorded::<Tuning>("preflight", &model.facts());
}

#[test]
fn a_configuration_is_written_for_its_trial() {
    assert_recorded::<Tuning>("heuristic-begins", &at(TrialKind::Heuristic, TrialState::Applying).facts());
}

#[test]
fn a_killed_server_aborts_its_trial() {
    let mut model = at(TrialKind::Explore, TrialState::Measuring);
    model.last_termination = Some("OOMKilled".into());
    model.restart(0);
    assert_recorded::<Tuning>("out-of-memory", &model.facts());
}
