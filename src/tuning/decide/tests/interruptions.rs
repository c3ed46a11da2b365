//! Deletion, suspension, rivals and an API server that can't be read, at any moment of a tuning.

use super::*;

/// Looks that a tuning takes, about.
const LOOKS: usize = 160;

fn modes() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["Recommend", "RequireApproval", "Apply"])
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn deletion_at_any_moment_leaves_the_original(
        seed in 0u64..1000, way in ways(), restart in restarts(), mode in modes(), moment in 0usize..LOOKS,
        crashes in crashes(),
    ) {
        let mut model = tuning(seed, mode, restart, way);
        let before = Configuration::of(&model);
        look(&mut model, moment, &[]);
        model.tuning.metadata.deletion_timestamp = Some(model.now());
        if model.tuning.metadata.finalizers.is_some() {
            run(&mut model, &crashes);
            prop_assert!(model.gone);
        }
        prop_assert_eq!(&Configuration::of(&model), &before);
        prop_assert_eq!(model.jobs.values().filter(|job| job.runs()).count(), 0);
        assert_nothing_ran_twice(&model);
    }

    #[test]
    fn suspension_at_any_moment_leaves_the_original_and_the_session_goes_on_after_it(
        seed in 0u64..1000, way in ways(), restart in restarts(), moment in 0usize..LOOKS, crashes in crashes(),
    ) {
        let mut model = tuning(seed, "Apply", restart, way);
        let before = Configuration::of(&model);
        look(&mut model, moment, &[]);
        model.tuning.spec.suspend = true;
        run(&mut model, &crashes);
        prop_assert_eq!(model.condition("Suspended"), "True Suspended");
        prop_assert_eq!(model.condition("Applied"), "False NotApplied");
        prop_assert_eq!(&Configuration::of(&model), &before);
        prop_assert_eq!(model.jobs.values().filter(|job| job.runs()).count(), 0);
        assert_at_rest(&mut model);

        model.tuning.spec.suspend = false;
        run(&mut model, &[]);
        prop_assert_eq!(model.condition("Ready"), "True Applied");
        let interrupted = model.trials.values().filter(|t| t.status.as_ref().unwrap().state == TrialState::Aborted);
        prop_assert!(interrupted.count() <= 1);
        assert_nothing_ran_twice(&model);
    }

    #[test]
    fn approval_and_then_deletion_or_suspension_at_any_moment_leave_the_original(
        seed in 0u64..1000, way in ways(), restart in restarts(), looks in 0usize..12, deleted in any::<bool>(),
    ) {
        let mut model = tuning(seed, "RequireApproval", restart, way);
        let before = Configuration::of(&model);
        run(&mut model, &[]);
        let hash = model.status().recommendation.unwrap().hash;
        model.tuning.metadata.annotations = Some([(crate::tuning::APPROVE_ANNOTATION.to_owned(), hash)].into());
        look(&mut model, looks, &[]);
        if deleted {
            model.tuning.metadata.deletion_timestamp = Some(model.now());
        } else {
            model.tuning.spec.suspend = true;
        }
        run(&mut model, &[]);
        prop_assert_eq!(&Configuration::of(&model), &before);
    }

    #[test]
    fn what_can_not_be_read_concludes_nothing(
        seed in 0u64..1000, way in ways(), blind in prop::collection::vec(any::<bool>(), 0..150),
    ) {
        let mut model = tuning(seed, "Recommend", "Never", way);
        let before = Configuration::of(&model);
        for blind in blind {
            if blind {
                let told = model.status();
                let decision = model.look_blind();
                prop_assert_eq!(decision.steps, vec![]);
                prop_assert_eq!(decision.session, None);
                let mut tells = model.status();
                tells.conditions.clone_from(&told.conditions);
                tells.observed_generation = told.observed_generation;
                prop_assert_eq!(tells, told, "what is recorded stays");
            } else {
                model.look(None);
            }
        }
        run(&mut model, &[]);
        prop_assert_eq!(model.condition("Ready"), "True RecommendationReady");
        prop_assert_eq!(&Configuration::of(&model), &before);
    }
}

#[test]
fn a_tuning_waits_for_its_rival_and_changes_nothing() {
    for (running, waiting, age, waits) in
        [(true, false, -10, true), (false, true, 10, true), (false, true, -10, false), (false, false, 10, false)]
    {
        let mut model = tuning(1, "Apply", "Never", Way::Key);
        model.rivals = vec![rival(running, waiting, age, &model)];
        look(&mut model, 20, &[]);
        assert_eq!(model.status().session.is_none(), waits);
        assert_eq!(model.trials.is_empty(), waits);
        if waits {
            assert_eq!(model.condition("Stalled"), "True InstanceBusy");
            let ready = model.status().conditions.remove(0);
            assert!(ready.message.contains("other"), "{}", ready.message);
            model.rivals.clear();
            run(&mut model, &[]);
            assert_eq!(model.condition("Ready"), "True Applied");
        }
    }
}

#[test]
fn an_ended_tuning_does_not_mind_the_next_one() {
    let mut model = tuning(1, "Recommend", "Never", Way::Key);
    run(&mut model, &[]);
    let told = model.status();
    model.rivals = vec![rival(true, false, -10, &model)];
    model.look(None);
    assert_eq!(model.status(), told);
}
