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

/// What was verified may still keep the server from starting: on another node, after another restart.
#[test]
fn a_recommendation_with_which_the_server_does_not_come_up_is_taken_back() {
    let mut model = tuning(5, "Apply", "Never", Way::Key);
    let before = Configuration::of(&model);
    while model.status().session.is_none_or(|session| session.outcome.is_none()) {
        model.look(None);
    }
    let recommended = model.status().recommendation.unwrap().recommended();
    model.cannot_start_with = Some(crate::tuning::configuration::marker(&recommended));
    while !model.key.as_ref().is_some_and(|key| key.contains(model.cannot_start_with.as_ref().unwrap())) {
        model.look(None);
    }
    model.restart(4);
    look(&mut model, 9, &[]);
    assert_eq!(model.condition("Stalled"), "True InstanceNotReady", "there is time to recover");
    run(&mut model, &[]);
    assert_eq!(
        (model.condition("Ready"), model.condition("Applied")),
        ("True NotApplied".into(), "False NotApplied".into())
    );
    assert_eq!(Configuration::of(&model), before);
    // Nor is it tried again.
    model.cannot_start_with = None;
    look(&mut model, 30, &[]);
    assert_eq!(Configuration::of(&model), before);
}

/// Whoever takes the key over wants what stands in it to be in effect, and not what a trial had left in the server.
#[test]
fn a_server_reads_what_whoever_took_the_key_over_wrote() {
    let mut model = tuning(4, "Recommend", "Never", Way::Key);
    until_measuring(&mut model, Some(TrialKind::Explore));
    model.key = Some("work_mem = '4MB'\n".into());
    model.other_owners = vec!["argocd-controller".into()];
    model.tuning.spec.suspend = true;
    look(&mut model, 60, &[]);
    assert_eq!(model.server.shown()["work_mem"], "4MB");
    assert_eq!(model.key.as_deref(), Some("work_mem = '4MB'\n"));
}

#[test]
fn what_a_role_may_still_do_is_done_to_restore() {
    let mut model = tuning(4, "Recommend", "Never", Way::Key);
    until_measuring(&mut model, Some(TrialKind::Explore));
    model.missing_rights = vec!["ALTER ROLE howdah CREATEDB;".into()];
    model.tuning.spec.suspend = true;
    look(&mut model, 60, &[]);
    assert_eq!(model.differing(), crate::tuning::measurement::Parameters::new());
}

/// The baseline that the gain was measured against is not there any more.
#[test]
fn an_approval_that_comes_after_somebody_changed_a_value_changes_nothing() {
    let mut model = tuning(4, "RequireApproval", "Never", Way::Key);
    run(&mut model, &[]);
    let hash = model.status().recommendation.unwrap().hash;
    let before = model.key.clone();
    model.server.set_elsewhere("random_page_cost", "1.5");
    model.server.reload();
    model.tuning.metadata.annotations = Some([(crate::tuning::APPROVE_ANNOTATION.to_owned(), hash)].into());
    look(&mut model, 30, &[]);
    assert_eq!((model.condition("Stalled"), model.key.clone()), ("True Interrupted".into(), before));
}

/// The process died between what it wrote and the reload.
#[test]
fn what_was_written_and_not_read_is_read() {
    let mut model = tuning(4, "Recommend", "Never", Way::AlterSystem);
    let trial = until_measuring(&mut model, Some(TrialKind::Explore));
    let knobs: Vec<String> = model.trials[&trial].spec.parameters.keys().cloned().collect();
    let mut model = tuning(4, "Recommend", "Never", Way::AlterSystem);
    for knob in &knobs {
        let value = model.server.settings[knob].display();
        model.server.set_elsewhere(knob, &value);
    }
    model.server.reload();
    for _ in 0..200 {
        let writes =
            |step: &crate::tuning::decide::Step| matches!(step, crate::tuning::decide::Step::WriteConfiguration(_));
        let steps = crate::tuning::decide::decide(&model.facts()).steps;
        let crash = steps.iter().position(writes).map(|at| Crash { steps: at + 1, half: false });
        model.look(crash);
    }
    assert!(model.started.len() > 1, "{:?}", model.status().conditions);
    assert!(!model.trials.values().any(|trial| {
        trial.status.as_ref().is_some_and(|status| status.reason.as_deref() == Some(Reason::Shadowed.word()))
    }));
}

/// What a trial had set by `ALTER SYSTEM` on a primary that is none any more can't be reset, and is told for as long as the
/// session is known.
#[test]
fn what_a_failover_leaves_on_the_former_primary_is_told() {
    for (way, told) in [(Way::AlterSystem, true), (Way::Key, false)] {
        let mut model = tuning(4, "Recommend", "Never", way);
        let trial = until_measuring(&mut model, Some(TrialKind::Explore));
        // Another server, with what was there before.
        let mut promoted = tuning(4, "Recommend", "Never", way).server;
        (promoted.timeline, promoted.started_at_ms) = (2, model.now_ms);
        promoted.file.clone_from(&model.server.file);
        model.server = promoted;
        model.server.reload();
        model.look(None);
        let reason = model.trials[&trial].status.as_ref().unwrap().reason.clone();
        assert_eq!(reason.as_deref(), Some(Reason::PostgresRestarted.word()));
        model.tuning.spec.suspend = true;
        run(&mut model, &[]);
        let message = model.status().conditions.iter().find(|one| one.type_ == "Ready").unwrap().message.clone();
        assert_eq!(message.contains("timeline 1 → 2"), told, "{message}");
    }
}
