//! How a tuning ends in each mode, wherever the process died on the way.

use std::collections::BTreeSet;

use super::server::OUR_FILE;
use super::*;
use crate::postgres::setting::FileSetting;
use crate::tuning::APPROVE_ANNOTATION;
use crate::tuning::crd::{Recommendation, SessionOutcome, TrialState};
use crate::tuning::decide::decide;
use crate::tuning::facts::{Facts, Trouble};
use crate::tuning::measurement::Parameters;
use crate::tuning::reason::Reason;

fn recommended(model: &Model) -> (Recommendation, Parameters) {
    let recommendation = model.status().recommendation.expect("a gain of 30 % is found");
    let parameters = recommendation.recommended();
    (recommendation, parameters)
}

fn approve(model: &mut Model, hash: &str) {
    model.tuning.metadata.annotations = Some([(APPROVE_ANNOTATION.to_owned(), hash.to_owned())].into());
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn a_recommendation_leaves_the_original(
        seed in 0u64..1000, way in ways(), restart in restarts(), crashes in crashes(),
    ) {
        let mut model = tuning(seed, "Recommend", restart, way);
        let before = Configuration::of(&model);
        run(&mut model, &crashes);
        prop_assert_eq!(model.condition("Ready"), "True RecommendationReady");
        prop_assert_eq!(model.condition("Improved"), "True Verified");
        prop_assert_eq!(&Configuration::of(&model), &before);
        prop_assert!(restart == "Always" || model.restarts == 0);
        prop_assert!(model.trials.values().all(|t| t.status.as_ref().unwrap().state == TrialState::Observed));
        assert_nothing_ran_twice(&model);
        assert_at_rest(&mut model);
    }

    #[test]
    fn what_is_applied_is_the_recommendation_and_deletion_takes_it_back(
        seed in 0u64..1000, way in ways(), restart in restarts(), crashes in crashes(), retain in any::<bool>(),
    ) {
        let mut model = tuning(seed, "Apply", restart, way);
        let before = Configuration::of(&model);
        run(&mut model, &crashes);
        prop_assert_eq!(model.condition("Ready"), "True Applied");
        prop_assert_eq!(model.condition("Applied"), "True Applied");
        let (_, parameters) = recommended(&model);
        prop_assert_eq!(model.differing(), parameters);
        assert_nothing_ran_twice(&model);
        assert_at_rest(&mut model);

        let applied = Configuration::of(&model);
        if retain {
            model.tuning.spec.deletion_policy = crate::tuning::crd::DeletionPolicy::Retain;
        }
        model.tuning.metadata.deletion_timestamp = Some(model.now());
        run(&mut model, &crashes);
        prop_assert!(model.gone);
        prop_assert_eq!(Configuration::of(&model), if retain { applied } else { before });
    }

    #[test]
    fn an_approval_is_bound_to_its_recommendation(
        seed in 0u64..1000, way in ways(), restart in restarts(), crashes in crashes(),
    ) {
        let mut model = tuning(seed, "RequireApproval", restart, way);
        let before = Configuration::of(&model);
        run(&mut model, &[]);
        prop_assert_eq!(model.condition("Ready"), "True AwaitingApproval");
        approve(&mut model, "000000000000");
        run(&mut model, &[]);
        prop_assert_eq!(model.condition("Ready"), "True AwaitingApproval");
        prop_assert_eq!(&Configuration::of(&model), &before);

        let (recommendation, parameters) = recommended(&model);
        approve(&mut model, &recommendation.hash);
        run(&mut model, &crashes);
        prop_assert_eq!(model.condition("Ready"), "True Applied");
        prop_assert_eq!(model.differing(), parameters);
        assert_at_rest(&mut model);

        // Withdrawn, the baseline is in effect again.
        approve(&mut model, "");
        run(&mut model, &crashes);
        prop_assert_eq!(&Configuration::of(&model), &before);
    }
}

#[test]
fn without_a_gain_nothing_is_applied() {
    let mut model = tuning(3, "Apply", "Never", Way::Key);
    model.gain = 0.0;
    let before = Configuration::of(&model);
    run(&mut model, &[]);
    assert_eq!(model.condition("Ready"), "True NoSignificantGain");
    assert_eq!(model.condition("Improved"), "False NoSignificantGain");
    assert_eq!(model.status().session.unwrap().outcome, Some(SessionOutcome::NoSignificantGain));
    assert_eq!(Configuration::of(&model), before);
    assert_at_rest(&mut model);
}

#[test]
fn a_changed_search_restores_the_baseline_and_begins_anew() {
    let mut model = tuning(4, "Recommend", "Always", Way::Key);
    let before = Configuration::of(&model);
    look(&mut model, 60, &[]);
    let first = model.status().session.unwrap().name;
    model.tuning.spec.optimizer.seed += 1;
    run(&mut model, &[]);
    assert_ne!(model.status().session.unwrap().name, first);
    assert_eq!(model.condition("Ready"), "True RecommendationReady");
    assert_eq!(Configuration::of(&model), before);
    assert_nothing_ran_twice(&model);
}

#[test]
fn a_session_does_not_begin_where_it_would_do_harm_or_get_stuck() {
    let mut model = tuning(4, "Recommend", "Always", Way::NoKey);
    model.look(None);
    let told = |change: fn(&mut Facts)| {
        let mut facts = model.facts();
        change(&mut facts);
        let decision = decide(&facts);
        (decision.session.is_some(), decision.message)
    };
    fn volume(facts: &mut Facts) {
        let declared = serde_json::from_value(json!({"dataVolume": "20Gi"})).unwrap();
        facts.instance.as_mut().unwrap().spec.resources = Some(declared);
    }
    assert!(told(volume).0);
    type Change = fn(&mut Facts);
    let changes: [(Change, &str); 3] = [
        (
            |facts| {
                volume(facts);
                facts.tuning.spec.workload.pgbench.scale = 1000;
            },
            "lower workload.pgbench.scale",
        ),
        (
            |facts| {
                let message = "the ConfigMap load has no key a.sql".into();
                facts.scripts = Some(Trouble { reason: Reason::InvalidSpecification, message });
            },
            "no key a.sql",
        ),
        (
            |facts| {
                let workload = facts.instance.as_mut().unwrap().workload.as_mut().unwrap().as_mut().unwrap();
                workload.facts.restart_hazard = Some("two servers would share the data".into());
            },
            "two servers would share the data",
        ),
    ];
    for (change, why) in changes {
        let (begun, message) = told(change);
        assert!(!begun && message.contains(why), "{message}");
    }
}

#[test]
fn what_wins_over_our_file_is_told_before_anything_is_changed() {
    let mut model = tuning(4, "Recommend", "Never", Way::NoKey);
    model.look(None);
    let told = |source: Option<&str>, file: Option<&str>| {
        let mut facts = model.facts();
        let server = facts.instance.as_mut().unwrap().server.as_mut().unwrap();
        let setting = server.settings.get_mut("work_mem").unwrap();
        setting.source = source.unwrap_or(&setting.source).to_owned();
        let line = |file: &str| FileSetting {
            source_file: OUR_FILE.replace("howdah.conf", file),
            name: "work_mem".into(),
            value: "4MB".into(),
            applied: true,
            error: None,
        };
        server.file_settings.as_mut().unwrap().extend(file.map(line));
        let decision = decide(&facts);
        (decision.because, decision.message)
    };
    assert_eq!(told(None, None).0, Reason::Preflight);
    assert_eq!(told(None, Some("a.conf")).0, Reason::Preflight);
    for (source, file, remedy) in [
        (Some("command line"), None, "remove it there"),
        (Some("database user"), None, "ALTER ROLE … RESET work_mem"),
        (Some("database"), None, "ALTER DATABASE … RESET work_mem"),
        (None, Some("zz.conf"), "zz.conf, which the server reads after our file"),
    ] {
        let (because, message) = told(source, file);
        assert_eq!(because, Reason::Shadowed);
        assert!(message.contains(remedy), "{message}");
    }
}

#[test]
fn trials_of_the_last_session_stay_and_those_before_it_go() {
    let mut model = tuning(4, "Recommend", "Never", Way::Key);
    let mut sessions = Vec::new();
    for _ in 0..3 {
        run(&mut model, &[]);
        sessions.push(model.status().session.unwrap().name);
        model.tuning.spec.optimizer.seed += 1;
    }
    let kept: BTreeSet<&str> = model.trials.values().map(|trial| trial.spec.session.as_str()).collect();
    assert_eq!(kept, sessions[1..].iter().map(String::as_str).collect());
}

#[test]
fn deletion_takes_back_what_a_session_before_applied() {
    for (way, retain) in [(Way::Key, false), (Way::AlterSystem, false), (Way::Key, true)] {
        let mut model = tuning(4, "Apply", "Never", way);
        let before = Configuration::of(&model);
        run(&mut model, &[]);
        let applied = Configuration::of(&model);
        assert_ne!(applied, before);
        // The next session begins with it in effect, and finds nothing better.
        model.gain = 0.0;
        model.tuning.spec.optimizer.seed += 1;
        run(&mut model, &[]);
        assert_eq!(model.condition("Ready"), "True NoSignificantGain");
        assert_eq!(Configuration::of(&model).shown, applied.shown);
        // What others write now is theirs, also in the end.
        let mut changed = model.clone();
        changed.tuning.metadata.deletion_timestamp = Some(changed.now());
        if matches!(way, Way::AlterSystem) {
            // Of what the server itself keeps, each value stands for itself.
            let knob = changed.server.auto.keys().next().cloned().expect("the recommendation is stored");
            let theirs = before.shown[&knob].clone();
            changed.server.auto.insert(knob.clone(), theirs.clone());
            changed.server.reload();
            run(&mut changed, &[]);
            let mut rest = changed.server.auto.clone();
            assert_eq!((changed.gone, rest.remove(&knob)), (true, Some(theirs)));
            assert!(rest.iter().all(|(name, value)| before.auto.get(name) == Some(value)), "{rest:?}");
        } else {
            changed.key = Some("work_mem = '6MB'\n".into());
            run(&mut changed, &[]);
            assert_eq!((changed.gone, changed.key.as_deref()), (true, Some("work_mem = '6MB'\n")));
        }
        if retain {
            model.tuning.spec.deletion_policy = crate::tuning::crd::DeletionPolicy::Retain;
        }
        model.tuning.metadata.deletion_timestamp = Some(model.now());
        run(&mut model, &[]);
        assert!(model.gone);
        assert_eq!(Configuration::of(&model), if retain { applied } else { before });
    }
}

#[test]
fn an_approval_that_is_taken_back_half_way_leaves_nothing() {
    type Change = fn(&mut Model);
    let suspended: Change = |model| model.tuning.spec.suspend = true;
    let withdrawn: Change = |model| model.tuning.metadata.annotations = None;
    let deleted: Change = |model| model.tuning.metadata.deletion_timestamp = Some(model.now());
    // The next session may find the very same, which would be approved, too.
    let anew: Change = |model| {
        model.tuning.spec.optimizer.seed += 1;
        model.tuning.metadata.annotations = None;
    };
    for way in [Way::Key, Way::AlterSystem] {
        for (number, change) in [suspended, withdrawn, deleted, anew].into_iter().enumerate() {
            let mut model = tuning(4, "RequireApproval", "Always", way);
            let before = Configuration::of(&model);
            run(&mut model, &[]);
            let (recommendation, _) = recommended(&model);
            approve(&mut model, &recommendation.hash);
            let written = |model: &Model| (&model.key, &model.server.auto) != (&before.key, &before.auto);
            for _ in 0..50 {
                if written(&model) {
                    break;
                }
                model.look(None);
            }
            assert!(written(&model) && model.status().session.unwrap().settled.is_none());
            change(&mut model);
            run(&mut model, &[]);
            assert_eq!(Configuration::of(&model), before, "{way:?} {number}");
        }
    }
}

#[test]
fn a_deletion_takes_back_knobs_of_which_only_the_first_session_knew() {
    for way in [Way::Key, Way::AlterSystem] {
        let mut model = tuning(4, "Apply", "Never", way);
        let before = Configuration::of(&model);
        run(&mut model, &[]);
        let (recommendation, _) = recommended(&model);
        model.gain = 0.0;
        model.tuning.spec.knobs.exclude = vec![recommendation.parameters[0].name.clone()];
        run(&mut model, &[]);
        assert_eq!(model.condition("Ready"), "True NoSignificantGain", "{way:?}");
        model.tuning.metadata.deletion_timestamp = Some(model.now());
        run(&mut model, &[]);
        assert!(model.gone);
        assert_eq!(Configuration::of(&model), before, "{way:?}");
    }
}

#[test]
fn an_approval_after_others_changed_the_configuration_changes_nothing() {
    for way in [Way::Key, Way::AlterSystem] {
        let mut model = tuning(4, "RequireApproval", "Never", way);
        run(&mut model, &[]);
        let (recommendation, _) = recommended(&model);
        let knob = recommendation.parameters[0].name.clone();
        if matches!(way, Way::AlterSystem) {
            model.server.auto.insert(knob, recommendation.parameters[0].old.clone());
            model.server.reload();
        } else {
            // Another tuning of the instance applied its own.
            model.key = Some("work_mem = '6MB'\n".into());
        }
        let before = Configuration::of(&model);
        approve(&mut model, &recommendation.hash);
        run(&mut model, &[]);
        assert_eq!(model.condition("Stalled"), "True Interrupted", "{way:?}");
        assert_eq!(Configuration::of(&model), before);
    }
}

#[test]
fn an_approval_after_the_instance_went_elsewhere_changes_nothing() {
    let mut model = tuning(4, "RequireApproval", "Never", Way::Key);
    run(&mut model, &[]);
    let (recommendation, _) = recommended(&model);
    model.instance.configuration = serde_json::from_value(json!({"alterSystem": {}})).unwrap();
    approve(&mut model, &recommendation.hash);
    let before = Configuration::of(&model);
    run(&mut model, &[]);
    assert_eq!(model.condition("Stalled"), "True Interrupted");
    assert_eq!(Configuration::of(&model), before);
}

#[test]
fn a_session_whose_instance_goes_elsewhere_restores_it_and_ends() {
    for way in [Way::Key, Way::AlterSystem] {
        let mut model = tuning(4, "Recommend", "Always", way);
        let before = Configuration::of(&model);
        look(&mut model, 60, &[]);
        model.elsewhere = Some("PostgresInstance shop was deleted in mid-session".into());
        run(&mut model, &[]);
        assert_eq!(model.condition("Ready"), "False Interrupted");
        assert_eq!(Configuration::of(&model), before);
        // Asked to, it begins anew.
        model.elsewhere = None;
        model.tuning.spec.optimizer.seed += 1;
        run(&mut model, &[]);
        assert_eq!(model.condition("Ready"), "True RecommendationReady");
        assert_eq!(Configuration::of(&model), before);
    }
}

#[test]
fn what_others_changed_meanwhile_stays_theirs() {
    let mut model = tuning(4, "Recommend", "Never", Way::NoKey);
    look(&mut model, 60, &[]);
    model.server.set_elsewhere("random_page_cost", "1.5");
    model.tuning.spec.suspend = true;
    run(&mut model, &[]);
    assert_eq!(model.condition("Ready"), "False Suspended");
    assert_eq!((model.key.as_deref(), model.server.shown()["random_page_cost"].as_str()), (None, "1.5"));
}

#[test]
fn a_value_that_waits_for_a_restart_is_no_baseline() {
    let mut model = tuning(4, "Recommend", "Always", Way::NoKey);
    model.server.set_elsewhere("shared_buffers", "2GB");
    model.server.reload();
    look(&mut model, 20, &[]);
    assert_eq!(model.condition("Stalled"), "True InstanceNotReady");
    model.restart(0);
    run(&mut model, &[]);
    assert_eq!(model.condition("Ready"), "True RecommendationReady");
}
