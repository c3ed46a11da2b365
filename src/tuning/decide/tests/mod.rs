//! Whole tunings against a cluster in memory: whatever happens, they end, and leave what they should.

mod ends;
mod golden;
mod guardrails;
mod interruptions;
mod model;
mod server;
mod taken_back;
mod withheld;

use model::{Crash, Model};
use proptest::prelude::*;
use serde_json::json;

use super::{Decision, IDLE};
use crate::tuning::crd::{PostgresTuningStatus, TrialKind, TrialState};
use crate::tuning::facts::Rival;

/// Looks after which a tuning that has not ended never will.
const PATIENCE: usize = 3000;

/// A configuration key as another writer left it.
const ORIGINAL: &str = "work_mem = '8MB'\nlog_min_messages = 'info'\n";

/// Reproducible, and few enough to end in seconds.
fn few() -> ProptestConfig {
    use proptest::test_runner::RngSeed;
    ProptestConfig {
        cases: 6,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        max_shrink_iters: 64,
        ..ProptestConfig::default()
    }
}

/// At which looks the process dies, and where in its steps.
fn crashes() -> impl Strategy<Value = Vec<Option<Crash>>> {
    let crash = (0usize..3, any::<bool>()).prop_map(|(steps, half)| Crash { steps, half });
    prop::collection::vec(prop::option::weighted(0.3, crash), 0..200)
}

/// A tuning in a mode, by the ConfigMap with a text of its own, without one, or by `ALTER SYSTEM`.
fn tuning(seed: u64, mode: &str, restart: &str, way: Way) -> Model {
    let spec = json!({"mode": mode, "restartPolicy": restart});
    match way {
        Way::NoKey => Model::new(seed, spec, None),
        Way::Key => Model::new(seed, spec, Some(ORIGINAL)),
        Way::AlterSystem => {
            let before = [("work_mem", "8MB"), ("log_min_messages", "info")];
            let before = before.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            Model::new(seed, spec, None).by_alter_system(before)
        }
    }
}

/// How the server is configured.
#[derive(Clone, Copy, Debug)]
enum Way {
    NoKey,
    Key,
    AlterSystem,
}

fn ways() -> impl Strategy<Value = Way> {
    prop::sample::select(vec![Way::NoKey, Way::Key, Way::AlterSystem])
}

fn restarts() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["Never", "Always"])
}

/// The decision has nothing to do and waits for nothing.
fn at_rest(decision: &Decision) -> bool {
    decision.steps.is_empty() && decision.session.is_none() && decision.next == IDLE
}

/// Looks until nothing is left to do; the process dies where `crashes` says so.
fn run(model: &mut Model, crashes: &[Option<Crash>]) -> Decision {
    let mut crashes = crashes.iter().copied();
    for _ in 0..PATIENCE {
        let decision = model.look(crashes.next().flatten());
        if model.gone || at_rest(&decision) {
            // A process that died before it told of the end tells it now.
            return if model.gone { decision } else { model.look(None) };
        }
    }
    panic!("no end after {PATIENCE} looks: {:?}", model.status().conditions);
}

/// Looks `count` times, or until the tuning is at rest.
fn look(model: &mut Model, count: usize, crashes: &[Option<Crash>]) {
    let mut crashes = crashes.iter().copied();
    for _ in 0..count {
        if at_rest(&model.look(crashes.next().flatten())) {
            break;
        }
    }
}

/// What the configuration was before, to be compared with what it is in the end.
#[derive(Debug, PartialEq)]
struct Configuration {
    key: Option<String>,
    file: Option<String>,
    auto: crate::tuning::measurement::Parameters,
    shown: crate::tuning::measurement::Parameters,
}

impl Configuration {
    fn of(model: &Model) -> Self {
        Self {
            key: model.key.clone(),
            file: model.server.file.clone(),
            auto: model.server.auto.clone(),
            shown: model.server.shown(),
        }
    }
}

/// No benchmark ran twice.
fn assert_nothing_ran_twice(model: &Model) {
    let mut names: Vec<&str> = model.started.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), model.started.len(), "{:?}", model.started);
}

/// Nothing is left to do, however often it is asked, and the status stays as it is.
fn assert_at_rest(model: &mut Model) {
    let told: PostgresTuningStatus = model.status();
    for _ in 0..2 {
        let decision = model.look(None);
        assert_eq!(decision.steps, []);
        assert_eq!(model.status(), told);
    }
}

/// Looks until a trial of the kind is measured.
fn until_measuring(model: &mut Model, kind: Option<TrialKind>) -> String {
    for _ in 0..PATIENCE {
        let decision = model.look(None);
        assert!(!at_rest(&decision), "the tuning ended");
        let trial = model.trials.values().find(|trial| {
            let state = trial.status.as_ref().map(|s| s.state);
            state == Some(TrialState::Measuring) && kind.is_none_or(|kind| trial.spec.kind == kind)
        });
        if let Some(trial) = trial {
            return trial.metadata.name.clone().unwrap();
        }
    }
    panic!("no trial is measured");
}

fn rival(running: bool, waiting: bool, age: i64, model: &Model) -> Rival {
    let created = model.tuning.metadata.creation_timestamp.as_ref().unwrap().0.as_second() - age;
    let created = k8s_openapi::jiff::Timestamp::from_second(created).unwrap();
    Rival {
        name: "other".into(),
        created: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(created)),
        running,
        waiting,
    }
}
