//! What trips a trial, and what follows.

use super::*;
use crate::instance;
use crate::tuning::crd::SessionOutcome;
use crate::tuning::decide::decide;
use crate::tuning::measurement::{BenchmarkResult, Measurement};
use crate::tuning::reason::Reason;

/// What goes wrong with the server in the middle of a trial, and how it is mended.
type Mishap = (Reason, fn(&mut Model), fn(&mut Model));

const MISHAPS: [Mishap; 5] = [
    (
        Reason::OutOfMemory,
        |model| {
            model.last_termination = Some("OOMKilled".into());
            model.restart(3);
        },
        |model| model.server.down = 0,
    ),
    (
        Reason::OutOfMemory,
        |model| {
            model.last_termination = Some("OOMKilled".into());
            model.restart(0);
        },
        |_| {},
    ),
    (Reason::PostgresRestarted, |model| model.restart(0), |_| {}),
    (Reason::MemoryGuardrail, |model| model.server.memory = 0.95, |model| model.server.memory = 0.5),
    (Reason::AvailabilityGuardrail, |model| model.server.down = 4, |model| model.server.down = 0),
];

/// Reason of a trial that was aborted.
fn aborted(model: &Model, trial: &str) -> Option<String> {
    let status = model.trials[trial].status.as_ref().unwrap();
    (status.state == TrialState::Aborted).then(|| status.reason.clone().unwrap())
}

#[test]
fn a_server_that_was_not_asked_trips_nothing() {
    let mut model = tuning(5, "Recommend", "Never", Way::Key);
    until_measuring(&mut model, Some(TrialKind::Explore));
    let because = |reason: instance::Reason| {
        let mut facts = model.facts();
        facts.instance.as_mut().unwrap().server = Err(instance::Trouble::new(reason, "it was not seen"));
        decide(&facts).because
    };
    assert_eq!(because(instance::Reason::Unreachable), Reason::AvailabilityGuardrail);
    for ours in [instance::Reason::ApiServerFailed, instance::Reason::SecretMissing, instance::Reason::WrongPassword] {
        assert_eq!(because(ours), Reason::Searching);
    }
}

#[test]
fn each_mishap_aborts_its_trial_with_its_reason_and_the_tuning_goes_on() {
    for (restart, way) in [("Never", Way::Key), ("Always", Way::AlterSystem)] {
        for (reason, strike, mend) in MISHAPS {
            let mut model = tuning(5, "Recommend", restart, way);
            let before = Configuration::of(&model);
            let trial = until_measuring(&mut model, Some(TrialKind::Explore));
            strike(&mut model);
            model.look(None);
            assert_eq!(aborted(&model, &trial).as_deref(), Some(reason.word()));
            assert_eq!(model.jobs.values().filter(|job| job.runs()).count(), 0);
            mend(&mut model);
            // That the baseline comes back before the next trial is checked where the model creates one.
            run(&mut model, &[]);
            assert_eq!(model.condition("Ready"), "True RecommendationReady", "{reason:?}");
            assert_eq!(Configuration::of(&model), before);
            assert_nothing_ran_twice(&model);
        }
    }
}

#[test]
fn an_anomaly_that_begins_in_a_trial_aborts_it() {
    // One that stood before the trial began is not the trial's, and the baseline is at no fault.
    for (kind, begins_before, aborts) in
        [(TrialKind::Explore, false, true), (TrialKind::Explore, true, false), (TrialKind::Baseline, false, false)]
    {
        let mut model = tuning(5, "Recommend", "Never", Way::Key);
        let before = model.now();
        let trial = until_measuring(&mut model, Some(kind));
        model.anomaly_since = Some(if begins_before { before } else { model.now() });
        model.look(None);
        let expected = aborts.then(|| Reason::AnomalyGuardrail.word().to_owned());
        assert_eq!(aborted(&model, &trial), expected, "{kind:?}");
        model.anomaly_since = None;
        run(&mut model, &[]);
        assert_eq!(model.condition("Ready"), "True RecommendationReady");
    }
}

#[test]
fn three_failures_in_a_row_end_the_session_with_the_baseline() {
    for way in [Way::NoKey, Way::Key, Way::AlterSystem] {
        let mut model = tuning(6, "Apply", "Always", way);
        let before = Configuration::of(&model);
        until_measuring(&mut model, Some(TrialKind::Heuristic));
        for _ in 0..3 {
            model.restart(0);
            model.look(None);
            if model.trials.len() < 4 {
                until_measuring(&mut model, None);
            }
        }
        run(&mut model, &[]);
        assert_eq!(model.condition("Stalled"), "True TooManyFailures");
        assert_eq!(model.condition("Ready"), "False TooManyFailures");
        assert_eq!(model.status().session.unwrap().outcome, Some(SessionOutcome::TooManyFailures));
        assert_eq!(Configuration::of(&model), before);
        assert_eq!(model.trials.len(), 4);
        assert_at_rest(&mut model);
    }
}

#[test]
fn a_benchmark_without_a_result_fails_its_trial() {
    let late = r#"{"latencyGuardrail":{"message":"the 99th percentile stayed at 90 ms"}}"#;
    for (message, state, reason) in [
        (Some(r#"{"failed":{"message":"the disk is full"}}"#), TrialState::Failed, Reason::BenchmarkFailed),
        (Some(late), TrialState::Aborted, Reason::LatencyGuardrail),
        (Some("no JSON"), TrialState::Failed, Reason::BenchmarkFailed),
        (None, TrialState::Failed, Reason::BenchmarkLost),
    ] {
        let mut model = tuning(7, "Recommend", "Never", Way::Key);
        let trial = until_measuring(&mut model, None);
        match message {
            Some(message) => model.end_job(&trial, message),
            None => drop(model.jobs.remove(&trial)),
        }
        model.look(None);
        let status = model.trials[&trial].status.clone().unwrap();
        assert_eq!((status.state, status.reason.as_deref()), (state, Some(reason.word())));
        run(&mut model, &[]);
        assert_eq!(model.condition("Ready"), "True RecommendationReady");
    }
}

#[test]
fn a_volume_that_never_changes_fails_the_trial_in_time() {
    let mut model = tuning(8, "Recommend", "Never", Way::Key);
    until_measuring(&mut model, Some(TrialKind::Heuristic));
    model.kubelet_syncs = false;
    let failed = |model: &Model| model.trials.values().find_map(|t| t.status.as_ref()?.reason.clone());
    for _ in 0..200 {
        model.look(None);
    }
    assert_eq!(failed(&model).as_deref(), Some(Reason::ConfigurationNotInEffect.word()));
    model.kubelet_syncs = true;
    run(&mut model, &[]);
    assert_eq!(model.condition("Ready"), "True RecommendationReady");
}

#[test]
fn a_configuration_that_keeps_the_server_down_is_taken_back_while_nobody_answers() {
    for suspended in [false, true] {
        let mut model = tuning(5, "Recommend", "Never", Way::Key);
        let before = Configuration::of(&model);
        let trial = until_measuring(&mut model, Some(TrialKind::Explore));
        model.cannot_start_with = Some(model.trials[&trial].spec.marker.clone());
        model.restart(1);
        model.look(None);
        assert_eq!(aborted(&model, &trial).as_deref(), Some(Reason::AvailabilityGuardrail.word()));
        model.tuning.spec.suspend = suspended;
        run(&mut model, &[]);
        assert_eq!(model.condition("Ready"), if suspended { "False Suspended" } else { "True RecommendationReady" });
        assert_eq!(Configuration::of(&model), before);
    }
}

#[test]
fn a_measurement_of_another_configuration_is_none() {
    let mut model = tuning(5, "Recommend", "Never", Way::Key);
    let trial = until_measuring(&mut model, Some(TrialKind::Explore));
    // Somebody took our key out, and the server read that: at the benchmark's end it ran another configuration.
    let other = Measurement { configuration: Some("another".into()), ..Measurement::default() };
    model.end_job(&trial, &serde_json::to_string(&BenchmarkResult::Measured(Box::new(other))).unwrap());
    model.look(None);
    let status = model.trials[&trial].status.clone().unwrap();
    assert_eq!(status.state, TrialState::Failed);
    assert_eq!(status.reason.as_deref(), Some(Reason::ConfigurationNotInEffect.word()));
    run(&mut model, &[]);
    assert_eq!(model.condition("Ready"), "True RecommendationReady");
}

#[test]
fn a_job_that_nobody_lets_be_created_does_not_keep_its_configuration_in_effect() {
    let mut model = tuning(5, "Recommend", "Never", Way::Key);
    until_measuring(&mut model, Some(TrialKind::Heuristic));
    let numbers = model.trials.len();
    for _ in 0..PATIENCE {
        // The process gets as far as the Job, and no further.
        let starts = crate::tuning::decide::decide(&model.facts()).steps;
        let refused = matches!(starts.first(), Some(crate::tuning::decide::Step::StartBenchmark { .. }));
        model.look(refused.then_some(Crash { steps: 0, half: false }));
        if let Some(failed) = model.trials.values().find(|t| t.status.as_ref().unwrap().state == TrialState::Failed) {
            assert_eq!(failed.spec.number as usize, numbers + 1);
            assert_eq!(failed.status.as_ref().unwrap().reason.as_deref(), Some(Reason::BenchmarkPending.word()));
            return;
        }
    }
    panic!("no trial failed");
}
