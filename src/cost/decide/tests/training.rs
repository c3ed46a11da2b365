//! When a model is trained, and which one is used.

use super::*;

#[test]
fn a_model_is_replaced_by_a_better_one_only() {
    let mut facts = served(json!({"promotion": {"minAccuracyGainPercent": 1, "keepVersions": 2}}), 0.90);
    let first = facts.status().model.unwrap().name;
    let decision = retrained(&mut facts, 0.905, None);
    assert_eq!((decision.steps.as_slice(), condition(&facts, "Trained")), (&[][..], "True ModelRejected".into()));
    assert_eq!(facts.status().model.unwrap().name, first);
    assert!(message(&facts, "Trained").contains("91.0 %"), "{}", message(&facts, "Trained"));

    let rejected = facts.status().versions[0].clone();
    let decision = retrained(&mut facts, 0.92, None);
    let now = facts.status().model.unwrap().name;
    assert_ne!(now, first);
    // Until every replica serves the new one, one that is started anew needs the one before.
    assert_eq!(decision.steps, [serve_step(&now)]);
    assert_eq!(facts.status().versions, [now.clone(), rejected.clone(), first.clone()]);
    let rolled_out = facts.deployment.clone();
    let replicas = facts.deployment.as_mut().unwrap();
    (replicas.rolled_out, replicas.message) = (false, Some("the image can't be pulled".into()));
    assert_eq!((look(&mut facts).steps, condition(&facts, "Ready")), (vec![], "True RollingOut".into()));
    assert!(message(&facts, "Ready").ends_with("with model v0.92: the image can't be pulled"));
    assert_eq!(facts.status().served_version.as_deref(), Some("v0.9"), "what answers is told");
    facts.deployment = rolled_out;
    assert_eq!(look(&mut facts).steps, [Step::RemoveVersion { name: first }]);
    assert_eq!(facts.status().versions, [now, rejected]);
    assert_eq!(facts.status().served_version.as_deref(), Some("v0.92"));
}

#[test]
fn on_new_statements_the_one_before_counts_as_it_does_now() {
    let mut facts = served(json!({}), 0.95);
    let name = facts.status().model.unwrap().name;
    let drift = |accuracy, retrained, unknown| {
        Some(DriftStatus {
            name: name.clone(),
            rows: 400,
            accuracy: Decimal(accuracy),
            retrained_accuracy: Some(Decimal(retrained)),
            unknown_fingerprints: Decimal(unknown),
        })
    };
    // What each was once judged by counts for nothing: these are other statements.
    retrained(&mut facts, 0.99, drift(0.93, 0.91, 0.1));
    look(&mut facts);
    assert_eq!(
        (condition(&facts, "Trained"), condition(&facts, "Drifted")),
        ("True ModelRejected".into(), "False NoDrift".into())
    );
    assert!(message(&facts, "Trained").contains("91.0 % on 400 statements that are new to both"));
    retrained(&mut facts, 0.99, drift(0.7, 0.6, 0.1));
    look(&mut facts);
    assert_eq!(
        (condition(&facts, "Trained"), condition(&facts, "Drifted")),
        ("True ModelRejected".into(), "True Drifted".into())
    );
    assert!(message(&facts, "Drifted").contains("70.0 %"), "{}", message(&facts, "Drifted"));
    retrained(&mut facts, 0.5, drift(0.7, 0.72, 0.8));
    look(&mut facts);
    assert_eq!(
        (condition(&facts, "Trained"), condition(&facts, "Drifted")),
        ("True Trained".into(), "False DriftUnknown".into())
    );
}

#[test]
fn a_split_is_compared_with_the_same_split_only() {
    // New templates are harder than newer statements: that says nothing of the model.
    let mut facts = served(json!({}), 0.95);
    facts.model.spec.training.split = SplitSpec::Template;
    look(&mut facts);
    look(&mut facts);
    succeed(&mut facts, 0.96, None);
    facts.result.as_mut().unwrap().as_mut().unwrap().accuracy = Decimal(0.54);
    assert!(matches!(look(&mut facts).steps[..], [Step::Serve { .. }]));
    assert_eq!(condition(&facts, "Trained"), "True Trained");
    // Nor is a model worse than it was because it was judged by new templates.
    let mut facts = served(json!({}), 0.95);
    let name = facts.status().model.unwrap().name;
    let drift = DriftStatus { name, rows: 400, accuracy: Decimal(0.93), ..DriftStatus::default() };
    let status = facts.model.status.as_mut().unwrap();
    (status.drift, status.model.as_mut().unwrap().accuracy) = (Some(drift), Decimal(0.99));
    look(&mut facts);
    assert_eq!(condition(&facts, "Drifted"), "False NoDrift");
}

#[test]
fn only_other_targets_make_a_worse_model_the_one_in_use() {
    let mut facts = served(json!({}), 0.95);
    let before = facts.status().model.unwrap().name;
    facts.model.spec.training.seed = 8;
    look(&mut facts);
    assert!(matches!(look(&mut facts).steps[..], [Step::StartTraining { .. }]));
    succeed(&mut facts, 0.7, None);
    assert_eq!((look(&mut facts).steps, condition(&facts, "Trained")), (vec![], "True ModelRejected".into()));
    assert_eq!(facts.status().model.unwrap().name, before);
    (facts.job, facts.result) = (None, None);
    // It was trained for this specification, and is not trained again until it is due.
    assert_eq!((look(&mut facts).steps, facts.status().training.unwrap().state), (vec![], TrainingState::Rejected));
    facts.now = time(facts.now.0.as_second() + 7 * 86_400);
    look(&mut facts);
    assert_eq!(facts.status().training.unwrap().state, TrainingState::Due);
}

#[test]
fn a_model_of_a_specification_that_is_gone_again_is_not_used() {
    let mut facts = served(json!({}), 0.9);
    facts.now = time(NOON + 7 * 86_400);
    look(&mut facts);
    look(&mut facts);
    let job = facts.status().training.unwrap().job;
    succeed(&mut facts, 0.99, None);
    let left = TrainingResult::Trained { at: facts.now.clone(), spec_hash: Some("other".into()), drift: None };
    facts.job.as_mut().unwrap().termination_message = Some(serde_json::to_string(&left).unwrap());
    assert_eq!(look(&mut facts).steps, [Step::EndTraining { name: job }]);
    assert_eq!(facts.status().model.unwrap().version, "v0.9");
}

#[test]
fn another_specification_needs_another_model_and_the_old_one_serves_until_then() {
    let mut facts = served(json!({}), 0.95);
    let old = facts.status().model.unwrap().name;
    facts.model.spec.targets[0].bounds = vec!["60".into()];
    look(&mut facts);
    assert_eq!(
        (facts.status().training.unwrap().state, condition(&facts, "Ready")),
        (TrainingState::Due, "True Serving".into())
    );
    look(&mut facts);
    succeed(&mut facts, 0.7, None);
    let decision = look(&mut facts);
    let new = facts.status().model.unwrap();
    assert_eq!(decision.steps, [serve_step(&new.name)]);
    assert_ne!(
        (new.name.as_str(), new.spec_hash.as_str()),
        (old.as_str(), spec_hash(&untrained(json!({})).model.spec).as_str())
    );
    assert_eq!(condition(&facts, "Ready"), "True RollingOut");
}

#[test]
fn a_failure_leaves_the_served_model_alone_and_is_tried_again() {
    let mut facts = served(json!({}), 0.95);
    facts.now = time(NOON + 7 * 86_400);
    look(&mut facts);
    look(&mut facts);
    fail(&mut facts, Some(&TrainingResult::failed(Reason::SourceUnreadable, "the server writes no jsonlog")));
    let job = facts.status().training.unwrap().job;
    assert_eq!(look(&mut facts).steps, [Step::RemoveVersion { name: job }], "what it had stored by then");
    facts.job = None;
    assert_eq!(
        (condition(&facts, "Ready"), condition(&facts, "DataAvailable")),
        ("True Serving".into(), "False SourceUnreadable".into())
    );
    assert!(message(&facts, "DataAvailable").contains("no jsonlog"));
    assert_eq!(facts.status().training.unwrap().reason.as_deref(), Some("SourceUnreadable"));
    assert_eq!(facts.status().training.unwrap().state, TrainingState::Failed);
    facts.now = time(NOON + 7 * 86_400 + 301);
    look(&mut facts);
    assert_eq!(facts.status().training.unwrap().attempt, 2);
    // Killed between the record and the Job: the same Job is made.
    let before = facts.status().training.unwrap().job;
    looked(&mut facts, Some(|step| matches!(step, Step::StartTraining { .. })));
    // The replicas answer all the same.
    assert_eq!(condition(&facts, "Ready"), "True StepFailed");
    assert_eq!(look(&mut facts).steps, [Step::StartTraining { name: before }]);
}

#[test]
fn a_log_is_not_blamed_for_what_it_did_not_do() {
    for (left, data) in [
        (Some(TrainingResult::failed(Reason::TooLittleData, "one class")), "False TooLittleData"),
        (Some(TrainingResult::failed(Reason::SourceForbidden, "no right")), "False SourceForbidden"),
        (Some(TrainingResult::failed(Reason::ModelStoreUnavailable, "full")), "True DataAvailable"),
        // Out of memory, say.
        (None, "True DataAvailable"),
    ] {
        let mut facts = served(json!({}), 0.95);
        facts.now = time(NOON + 7 * 86_400);
        look(&mut facts);
        look(&mut facts);
        fail(&mut facts, left.as_ref());
        look(&mut facts);
        assert_eq!(
            (condition(&facts, "Ready"), condition(&facts, "DataAvailable")),
            ("True Serving".into(), data.into())
        );
    }
}

#[test]
fn what_is_in_the_way_of_the_next_model_is_said_beside_the_one_in_use() {
    let mut facts = served(json!({}), 0.9);
    facts.now = time(NOON + 7 * 86_400);
    look(&mut facts);
    look(&mut facts);
    succeed(&mut facts, 0.95, None);
    facts.result = Some(Err(Trouble::new(Reason::ModelStoreUnavailable, "the model store does not answer")));
    assert_eq!(look(&mut facts).steps, []);
    assert_eq!(condition(&facts, "Trained"), "True Trained");
    assert!(message(&facts, "Trained").ends_with("; the model store does not answer"));
    (facts.job, facts.result) = (None, None);
    look(&mut facts);
    look(&mut facts);
    assert!(message(&facts, "Trained").contains("is tried again"), "{}", message(&facts, "Trained"));
}

#[test]
fn a_failed_training_whose_files_can_not_be_removed_is_remembered() {
    let mut facts = served(json!({"promotion": {"keepVersions": 1}}), 0.9);
    facts.now = time(NOON + 7 * 86_400);
    look(&mut facts);
    look(&mut facts);
    let removed = Step::RemoveVersion { name: facts.status().training.unwrap().job };
    fail(&mut facts, None);
    let decision = looked(&mut facts, Some(|step| matches!(step, Step::RemoveVersion { .. })));
    assert_eq!(decision.steps, std::slice::from_ref(&removed));
    facts.job = None;
    assert_eq!(look(&mut facts).steps, [removed]);
    assert_eq!(look(&mut facts).steps, []);
}

#[test]
fn suspension_ends_trainings_and_not_answers() {
    let mut facts = served(json!({}), 0.9);
    facts.now = time(NOON + 7 * 86_400);
    look(&mut facts);
    look(&mut facts);
    let job = facts.status().training.unwrap().job;
    facts.model.spec.suspend = true;
    assert_eq!(look(&mut facts).steps, [Step::EndTraining { name: job }]);
    assert_eq!(look(&mut facts).steps, []);
    assert_eq!(condition(&facts, "Ready"), "True Serving");
    let mut facts = untrained(json!({"suspend": true}));
    look(&mut facts);
    assert_eq!(condition(&facts, "Ready"), "False Suspended");
}

#[test]
fn what_two_samples_differ_by_chance_is_no_loss() {
    for (accuracy, gain, condition_is) in
        [(0.88, 0, "True Trained"), (0.86, 0, "True ModelRejected"), (0.90, 1, "True ModelRejected")]
    {
        let mut facts = served(json!({"promotion": {"minAccuracyGainPercent": gain}}), 0.90);
        // Each was judged by a hundred statements of its own.
        let few = |model: &mut CostModelStatus| model.targets[0].splits[0].rows = 100;
        few(facts.model.status.as_mut().unwrap().model.as_mut().unwrap());
        facts.now = time(facts.now.0.as_second() + 7 * 86_400);
        look(&mut facts);
        look(&mut facts);
        succeed(&mut facts, accuracy, None);
        few(facts.result.as_mut().unwrap().as_mut().unwrap());
        look(&mut facts);
        assert_eq!(condition(&facts, "Trained"), condition_is, "{accuracy} {gain}");
    }
}
