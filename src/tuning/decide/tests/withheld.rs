//! What would harm the server or its users is not done, and the status says why.

use super::*;
use crate::postgres::setting::Setting;
use crate::tuning::facts::Trouble;
use crate::tuning::reason::Reason;

#[test]
fn clients_that_would_take_every_connection_are_refused() {
    for (clients, refused) in [(93, false), (94, true)] {
        let mut model = tuning(1, "Recommend", "Never", Way::Key);
        model.tuning.spec.workload.pgbench.clients = clients;
        // Of a hundred, three are for superusers.
        let reserved = Setting {
            name: "superuser_reserved_connections".into(),
            value: "3".into(),
            ..model.server.settings["max_connections"].clone()
        };
        model.server.settings.insert(reserved.name.clone(), reserved);
        look(&mut model, 10, &[]);
        let stalled = model.condition("Stalled") == "True InvalidSpecification";
        assert_eq!((stalled, model.trials.is_empty()), (refused, refused), "{:?}", model.status().conditions);
    }
}

#[test]
fn while_nothing_can_be_proposed_the_baseline_is_in_effect() {
    let mut model = tuning(2, "Recommend", "Never", Way::Key);
    until_measuring(&mut model, Some(TrialKind::Explore));
    model.no_proposal =
        Some(Trouble { reason: Reason::ModelStoreUnavailable, message: "the bucket does not answer".into() });
    look(&mut model, 60, &[]);
    assert_eq!(model.condition("Stalled"), "True ModelStoreUnavailable");
    assert_eq!(model.server.shown()["work_mem"], "8MB");
    let waiting = model.started.len();
    model.no_proposal = None;
    run(&mut model, &[]);
    assert!(model.started.len() > waiting);
    assert_eq!(model.condition("Ready"), "True RecommendationReady");
}

#[test]
fn what_was_planned_for_more_memory_does_not_take_effect() {
    // While it searches.
    let mut model = tuning(3, "Apply", "Never", Way::Key);
    until_measuring(&mut model, Some(TrialKind::Explore));
    model.memory_bytes /= 2;
    look(&mut model, 60, &[]);
    assert_eq!(model.condition("Stalled"), "True InstanceNotReady");
    assert_eq!(model.server.shown()["work_mem"], "8MB");
    // While the recommendation takes effect.
    let mut model = tuning(3, "Apply", "Never", Way::Key);
    while model.status().session.is_none_or(|session| session.outcome.is_none()) {
        model.look(None);
    }
    model.look(None);
    model.memory_bytes /= 2;
    run(&mut model, &[]);
    assert_eq!(
        (model.condition("Stalled"), model.condition("Applied")),
        ("True InstanceNotReady".into(), "False NotApplied".into())
    );
    assert_eq!(model.server.shown()["work_mem"], "8MB");
    // Before a late approval.
    let mut model = tuning(3, "RequireApproval", "Never", Way::Key);
    run(&mut model, &[]);
    let before = Configuration::of(&model);
    let hash = model.status().recommendation.unwrap().hash;
    model.memory_bytes /= 2;
    model.tuning.metadata.annotations = Some([(crate::tuning::APPROVE_ANNOTATION.to_owned(), hash)].into());
    run(&mut model, &[]);
    assert_eq!((model.condition("Stalled"), Configuration::of(&model)), ("True InstanceNotReady".into(), before));
    model.memory_bytes *= 2;
    run(&mut model, &[]);
    assert_eq!(model.condition("Applied"), "True Applied");
}

#[test]
fn a_recommendation_that_was_replaced_is_not_told_to_be_in_effect() {
    let mut model = tuning(4, "Apply", "Never", Way::Key);
    run(&mut model, &[]);
    assert_eq!((model.condition("Applied"), model.condition("Ready")), ("True Applied".into(), "True Applied".into()));
    for theirs in [Some("work_mem = '5MB'\n"), Some(ORIGINAL), None] {
        let theirs = theirs.map(str::to_owned);
        (model.key, model.server.file) = (theirs.clone(), theirs.clone());
        run(&mut model, &[]);
        assert_eq!(model.condition("Applied"), "False NotApplied");
        assert_eq!((model.condition("Ready"), model.key.clone()), ("True NotApplied".into(), theirs));
        assert_at_rest(&mut model);
    }
    // While a server is away nothing else is known.
    model.server.down = 3;
    model.look(None);
    assert_eq!(model.condition("Applied"), "False NotApplied");
}

#[test]
fn a_benchmark_that_was_evicted_is_measured_again_and_not_for_ever() {
    let aborted = |model: &Model, reason: Reason| {
        let of = |trial: &&crate::tuning::crd::TuningTrial| {
            trial.status.as_ref().and_then(|status| status.reason.as_deref()) == Some(reason.word())
        };
        model.trials.values().filter(of).count()
    };
    let mut model = tuning(5, "Recommend", "Never", Way::Key);
    until_measuring(&mut model, Some(TrialKind::Explore));
    model.evicts = true;
    while aborted(&model, Reason::Interrupted) == 0 {
        model.look(None);
    }
    model.evicts = false;
    run(&mut model, &[]);
    assert_eq!(model.condition("Ready"), "True RecommendationReady");
    assert_eq!((aborted(&model, Reason::Interrupted), aborted(&model, Reason::BenchmarkFailed)), (1, 0));
    model.evicts = true;
    model.tuning.spec.optimizer.seed += 1;
    run(&mut model, &[]);
    assert_eq!(model.condition("Stalled"), "True TooManyFailures");
}
