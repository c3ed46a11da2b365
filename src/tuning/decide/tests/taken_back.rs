//! What a session changed is taken back, whatever else is wrong, and never what is another's.

use super::*;
use crate::tuning::crd::RestartPolicy;
use crate::tuning::reason::Reason;

#[test]
fn a_configuration_that_takes_the_pod_out_of_service_is_taken_back_while_the_server_answers() {
    for (suspended, restart) in [(false, "Never"), (true, "Never"), (true, "Always")] {
        let mut model = tuning(5, "Recommend", restart, Way::Key);
        let before = Configuration::of(&model);
        let trial = until_measuring(&mut model, Some(TrialKind::Explore));
        model.unready_with = Some(model.trials[&trial].spec.marker.clone());
        model.look(None);
        model.tuning.spec.suspend = suspended;
        for _ in 0..200 {
            model.look(None);
            // Who reads it may rely on it.
            let told = model.condition("Suspended").starts_with("True");
            assert!(!told || Configuration::of(&model) == before, "{:?}", model.status().conditions);
        }
        run(&mut model, &[]);
        assert_eq!(model.condition("Ready"), if suspended { "False Suspended" } else { "True RecommendationReady" });
        assert_eq!(Configuration::of(&model), before);
    }
}

#[test]
fn a_search_that_is_changed_and_changed_back_is_measured_again() {
    let mut model = tuning(4, "Recommend", "Never", Way::Key);
    run(&mut model, &[]);
    let first = model.status().session.unwrap().name;
    let measured = |model: &Model| model.started.len();
    let trials = measured(&model);
    model.tuning.spec.optimizer.seed += 1;
    look(&mut model, 20, &[]);
    model.tuning.spec.optimizer.seed -= 1;
    let between = measured(&model);
    run(&mut model, &[]);
    assert_ne!(model.status().session.unwrap().name, first);
    assert!(
        measured(&model) - between >= trials - 2,
        "{} trials, {between} before it, {trials} at first",
        measured(&model)
    );
    assert_eq!(model.condition("Ready"), "True RecommendationReady");
    assert_nothing_ran_twice(&model);
}

#[test]
fn a_verification_that_has_begun_keeps_its_number_of_pairs() {
    let verified = |pairs: i32| {
        let mut model = tuning(4, "Recommend", "Never", Way::Key);
        until_measuring(&mut model, Some(TrialKind::Verify));
        model.tuning.spec.budget.verification_pairs = pairs;
        run(&mut model, &[]);
        assert_eq!(model.condition("Ready"), "True RecommendationReady");
        model.trials.values().filter(|trial| trial.spec.kind == TrialKind::Verify).count()
    };
    let as_it_was = verified(2);
    assert_eq!((verified(1), verified(5)), (as_it_was, as_it_was));
}

/// A recommendation that was applied, and is the baseline of another tuning at work; and what there was before either.
fn applied_under_a_rival(way: Way) -> (Model, Configuration, Option<String>) {
    let mut model = tuning(4, "Apply", "Never", way);
    let before = Configuration::of(&model);
    run(&mut model, &[]);
    let applied = model.key.clone();
    model.rivals = vec![rival(true, false, 10, &model)];
    if matches!(way, Way::Key) {
        model.key = Some("work_mem = '6MB'\n".into());
    }
    (model, before, applied)
}

#[test]
fn deletion_waits_for_a_tuning_whose_baseline_is_the_recommendation() {
    for way in [Way::AlterSystem, Way::Key] {
        let (mut model, before, applied) = applied_under_a_rival(way);
        model.tuning.metadata.deletion_timestamp = Some(model.now());
        let measured = Configuration::of(&model);
        for _ in 0..20 {
            model.look(None);
        }
        assert_eq!(model.condition("Stalled"), "True InstanceBusy");
        assert_eq!((model.gone, Configuration::of(&model)), (false, measured));
        // It ends, and restores what it found.
        (model.key, model.rivals) = (applied, Vec::new());
        run(&mut model, &[]);
        assert_eq!((model.gone, Configuration::of(&model)), (true, before));
    }
}

#[test]
fn suspension_waits_for_it_too_and_leaves_what_replaced_the_recommendation() {
    for way in [Way::AlterSystem, Way::Key] {
        let (mut model, before, applied) = applied_under_a_rival(way);
        model.tuning.spec.suspend = true;
        for _ in 0..20 {
            model.look(None);
        }
        assert_eq!(
            (model.condition("Stalled").as_str(), model.condition("Suspended").as_str()),
            ("True InstanceBusy", "False Restoring")
        );
        (model.key, model.rivals) = (applied, Vec::new());
        run(&mut model, &[]);
        assert_eq!((model.condition("Suspended").as_str(), Configuration::of(&model)), ("True Suspended", before));
    }
    let mut model = tuning(4, "Apply", "Never", Way::Key);
    run(&mut model, &[]);
    model.key = Some("work_mem = '6MB'\n".into());
    model.tuning.spec.suspend = true;
    run(&mut model, &[]);
    assert_eq!(model.condition("Suspended"), "True Suspended");
    assert_eq!(model.key.as_deref(), Some("work_mem = '6MB'\n"));
}

#[test]
fn deletion_leaves_a_key_that_another_manager_took_over_and_has_its_text_read() {
    let mut model = tuning(4, "Recommend", "Never", Way::Key);
    until_measuring(&mut model, Some(TrialKind::Explore));
    model.key = Some("work_mem = '4MB'\n".into());
    model.other_owners = vec!["kubectl".into()];
    model.tuning.metadata.deletion_timestamp = Some(model.now());
    run(&mut model, &[]);
    assert!(model.gone && model.jobs.values().all(|job| !job.runs()));
    assert_eq!((model.key.as_deref(), model.server.shown()["work_mem"].as_str()), (Some("work_mem = '4MB'\n"), "4MB"));
}

#[test]
fn deletion_does_not_wait_for_a_restart_that_is_forbidden() {
    let mut model = tuning(4, "Recommend", "Always", Way::Key);
    let before = model.key.clone();
    until_measuring(&mut model, Some(TrialKind::Explore));
    assert!(model.restarts > 0);
    model.tuning.spec.restart_policy = RestartPolicy::Never;
    model.tuning.metadata.deletion_timestamp = Some(model.now());
    let last = run(&mut model, &[]);
    assert_eq!((model.gone, &model.key, last.because), (true, &before, Reason::Deleting));
    assert!(last.message.contains("a restart is due"), "{}", last.message);
}

#[test]
fn a_suspended_tuning_is_not_said_to_be_so_while_nobody_can_tell() {
    let mut model = tuning(5, "Recommend", "Never", Way::AlterSystem);
    let before = Configuration::of(&model);
    until_measuring(&mut model, Some(TrialKind::Explore));
    model.tuning.spec.suspend = true;
    // The server is down with the trial's values, which only it can take back.
    model.restart(10);
    for _ in 0..5 {
        model.look(None);
        assert!(model.condition("Suspended").starts_with("False"), "{:?}", model.status().conditions);
    }
    run(&mut model, &[]);
    assert_eq!(model.condition("Suspended"), "True Suspended");
    assert_eq!(Configuration::of(&model), before);
}

#[test]
fn a_file_that_the_server_does_not_read_is_told_and_not_touched_for_ever() {
    let mut model = tuning(5, "Recommend", "Never", Way::NoKey);
    model.kubelet_syncs = false;
    for _ in 0..300 {
        model.look(None);
    }
    assert_eq!(model.condition("Stalled"), "True InstanceNotReady");
    let last = model.look(None);
    assert_eq!(last.steps, []);
}
