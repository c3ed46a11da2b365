//! From the first look to a model that scores, and from one model to the next.

use super::*;
use crate::anomaly::RETRAIN_ANNOTATION;
use crate::control::training::{TrainingState, next_due};

fn result(facts: &mut Facts, result: &TrainingResult) {
    facts.job = Some(JobFacts {
        phase: JobPhase::Succeeded,
        termination_message: Some(serde_json::to_string(result).unwrap()),
        ..JobFacts::default()
    });
}

fn training(facts: &Facts) -> (TrainingState, i32, String) {
    let training = facts.status().training.unwrap();
    (training.state, training.attempt, training.job)
}

#[test]
fn a_detector_waits_for_history_trains_and_scores() {
    let mut facts = untrained(json!({}));
    facts.detector.metadata.finalizers = None;
    let (first, _) = look(&mut facts);
    assert_eq!(first.steps, [Step::AddFinalizer]);

    facts.data.as_mut().unwrap().history_ms = Some(3 * 3_600_000);
    let (early, _) = look(&mut facts);
    assert_eq!((early.steps, condition(&facts, "Ready").as_str()), (vec![], "False TooLittleHistory"));
    assert!(message(&facts, "Trained").contains("wait 21 h longer"), "{}", message(&facts, "Trained"));

    // It is recorded as due before there is a Job.
    facts.data.as_mut().unwrap().history_ms = Some(25 * 3_600_000);
    let (due, _) = look(&mut facts);
    assert_eq!((due.steps, training(&facts).0), (vec![], TrainingState::Due));
    let name = training(&facts).2;
    // Killed after the Job was made and before the status was written: the same Job is made again.
    assert_eq!(decide(&facts).steps, [Step::StartTraining { name: name.clone() }]);
    pass(&mut facts, 5000);
    let (start, _) = look(&mut facts);
    assert_eq!(start.steps, [Step::StartTraining { name: name.clone() }]);
    assert_eq!((training(&facts).0, condition(&facts, "Trained").as_str()), (TrainingState::Running, "False Training"));

    facts.job.as_mut().unwrap().progress = Some("epoch 12/200, loss 0.0310".into());
    look(&mut facts);
    assert!(message(&facts, "Ready").contains("epoch 12/200"), "{}", message(&facts, "Ready"));

    let model = trained(&facts, 1, 3.0);
    result(&mut facts, &TrainingResult::Trained(Box::new(model)));
    let (_, report) = look(&mut facts);
    assert_eq!(training(&facts).0, TrainingState::Promoted);
    assert_eq!(facts.status().model.unwrap().name, name);
    assert_eq!(report.events[0].0, "ModelPromoted");
    assert_eq!(condition(&facts, "Trained"), "True Trained");
}

#[test]
fn a_failed_training_is_tried_again_after_a_while_under_another_name() {
    let mut facts = untrained(json!({}));
    let mut names = std::collections::BTreeSet::new();
    for attempt in 1..5 {
        look(&mut facts);
        look(&mut facts);
        assert_eq!((training(&facts).0, training(&facts).1), (TrainingState::Running, attempt));
        assert!(names.insert(training(&facts).2), "a name came twice");
        match attempt {
            1 => result(&mut facts, &TrainingResult::failed(Reason::ConstantHistory, "nothing moves")),
            2 => facts.job = None,
            _ => facts.job = Some(JobFacts { phase: JobPhase::Failed, ..JobFacts::default() }),
        }
        look(&mut facts);
        // The Job's own reason, where it left one.
        let reason = ["ConstantHistory", "TrainingLost", "TrainingFailed", "TrainingFailed"][attempt as usize - 1];
        assert_eq!(condition(&facts, "Trained"), format!("False {reason}"));
        look(&mut facts);
        assert_eq!(condition(&facts, "Ready"), format!("False {reason}"));
        if attempt == 1 {
            assert!(message(&facts, "Ready").contains("nothing moves"), "{}", message(&facts, "Ready"));
        }
        let wait = 300_000 << (attempt - 1);
        pass(&mut facts, wait - 2000);
        let (waiting, _) = look(&mut facts);
        assert_eq!((waiting.steps, training(&facts).0), (vec![], TrainingState::Failed));
        pass(&mut facts, 3000);
    }
}

#[test]
fn a_quota_that_refuses_the_job_leaves_the_training_due() {
    let mut facts = untrained(json!({}));
    look(&mut facts);
    let (_, report) = looked(&mut facts, &[|step| matches!(step, Step::StartTraining { .. })]);
    assert!(report.next >= Duration::from_secs(5), "{:?}", report.next);
    assert_eq!((training(&facts).0, condition(&facts, "Ready").as_str()), (TrainingState::Due, "False StepFailed"));
    facts.trainer = Err(Trouble::new(Reason::TrainerUnknown, "no pod"));
    look(&mut facts);
    assert_eq!(condition(&facts, "Ready"), "False TrainerUnknown");
}

#[test]
fn a_retrained_model_is_promoted_only_within_the_alarm_budget() {
    // Of two a week, two days allow one alarm.
    for (alarms, promoted) in [(1, true), (2, false)] {
        let mut facts = healthy(json!({"training": {"schedule": "0 3 * * *", "minHistory": "24h"}}));
        let old = facts.status().model.unwrap().name;
        pass(&mut facts, 15 * 3_600_000 - 1000);
        let (early, _) = look(&mut facts);
        assert_eq!((early.steps, facts.status().training), (vec![], None));
        // At three, or up to an hour later.
        pass(&mut facts, 3_600_000);
        look(&mut facts);
        look(&mut facts);
        let name = training(&facts).2;
        // Meanwhile the old one goes on.
        assert_eq!(condition(&facts, "Ready"), "True Scoring");
        let model = trained(&facts, alarms, 2.0);
        result(&mut facts, &TrainingResult::Trained(Box::new(model)));
        let (decision, report) = look(&mut facts);
        let (used, removed) = if promoted { (name.clone(), old) } else { (old, name.clone()) };
        assert_eq!(decision.steps, [Step::RemoveModel { name: removed }]);
        assert_eq!(facts.status().model.unwrap().name, used);
        assert_eq!(report.events[0].0, if promoted { "ModelPromoted" } else { "ModelRejected" });
        let condition = condition(&facts, "Trained");
        assert_eq!(condition, if promoted { "True Trained" } else { "True ModelRejected" });
        // Not again before the next day.
        pass(&mut facts, 23 * 3_600_000);
        assert_eq!(decide(&facts).steps, []);
        assert_eq!(training(&facts).2, name);
    }
}

#[test]
fn a_retraining_that_failed_is_told_beside_the_model_that_goes_on() {
    let mut facts = healthy(json!({"training": {"schedule": "0 3 * * *", "minHistory": "24h"}}));
    pass(&mut facts, 16 * 3_600_000);
    look(&mut facts);
    look(&mut facts);
    result(&mut facts, &TrainingResult::failed(Reason::ModelStoreUnavailable, "no space left"));
    for _ in 0..2 {
        look(&mut facts);
        assert_eq!(
            (condition(&facts, "Trained").as_str(), training(&facts).0),
            ("True Trained", TrainingState::Failed)
        );
        let told = message(&facts, "Trained");
        assert!(told.contains("retraining failed (ModelStoreUnavailable): no space left"), "{told}");
    }
    assert_eq!(condition(&facts, "Ready"), "True Scoring");
}

#[test]
fn each_value_of_the_annotation_trains_anew_once() {
    let mut facts = healthy(json!({}));
    for value in ["yes", "again"] {
        facts.detector.metadata.annotations = Some([(RETRAIN_ANNOTATION.to_owned(), value.to_owned())].into());
        look(&mut facts);
        assert_eq!((training(&facts).0, condition(&facts, "Ready").as_str()), (TrainingState::Due, "True Scoring"));
        look(&mut facts);
        // What is normal now is what was not before: that the last model would be alarmed says nothing against it.
        let model = trained(&facts, 9, 2.0);
        result(&mut facts, &TrainingResult::Trained(Box::new(model)));
        look(&mut facts);
        assert_eq!(training(&facts).0, TrainingState::Promoted);
        assert_eq!(facts.status().model.unwrap().name, training(&facts).2);
        assert_eq!((look(&mut facts).0.steps, training(&facts).0), (vec![], TrainingState::Promoted));
    }
}

#[test]
fn another_specification_or_an_unusable_model_trains_anew() {
    let mut facts = healthy(json!({}));
    facts.scoring = Some(Err(Trouble::new(Reason::ModelUnusable, "the model is damaged")));
    // Without any history there is nothing to learn from.
    look(&mut facts);
    assert_eq!((facts.status().training, condition(&facts, "Trained").as_str()), (None, "False NoSeries"));
    facts.data.as_mut().unwrap().history_ms = Some(48 * 3_600_000);
    look(&mut facts);
    assert_eq!(training(&facts).0, TrainingState::Due);
    assert_eq!(condition(&facts, "Trained"), "False Training");
    look(&mut facts);
    // Alarms in the backtest don't count against the only model that can be used.
    let model = trained(&facts, 9, 2.0);
    result(&mut facts, &TrainingResult::Trained(Box::new(model)));
    look(&mut facts);
    assert_eq!(training(&facts).0, TrainingState::Promoted);

    let mut facts = healthy(json!({}));
    facts.detector.spec.model.seed = 8;
    look(&mut facts);
    look(&mut facts);
    let (state, _, name) = training(&facts);
    assert_eq!(state, TrainingState::Running);
    // The specification changes again while it is trained.
    facts.detector.spec.model.seed = 9;
    let (decision, _) = look(&mut facts);
    assert_eq!(decision.steps, [Step::EndTraining { name }]);
    assert_eq!(facts.status().training, None);
}

#[test]
fn schedules_are_read_as_cron_in_utc() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let next = |schedule: &str, after: &str| next_due(schedule, at(after)).unwrap();
    assert_eq!(next("0 3 * * *", "2026-03-02T02:59:59Z"), at("2026-03-02T03:00:00Z"));
    assert_eq!(next("0 3 * * *", "2026-03-02T03:00:00Z"), at("2026-03-03T03:00:00Z"));
    assert_eq!(next("*/30 * * * 1-5", "2026-03-06T23:45:00Z"), at("2026-03-09T00:00:00Z"));
    assert!(next_due("0 3 * *", at("2026-03-02T00:00:00Z")).unwrap_err().contains("0 3 * * *"));
}
