//! A model's object in memory: what is decided is taken for done, and its status is written as the loop writes it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::control::golden::assert_recorded;
use crate::control::training::TrainingState;
use crate::control::{conditions, status};
use crate::cost::FINALIZER;
use crate::cost::QueryCost;
use crate::cost::act::Outcome;
use crate::cost::crd::{CostModelStatus, DriftStatus, QueryCostModel};
use crate::cost::facts::{DeploymentFacts, Pattern};
use crate::cost::report::report;
use crate::cost::training::{TrainingResult, spec_hash};
use crate::decimal::Decimal;
use crate::kubernetes::job::{JobFacts, JobPhase};

/// 2026-03-02T12:00:00Z, a Monday.
const NOON: i64 = 1_772_452_800;

fn time(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

/// An object whose finalizer is set, with nothing trained.
fn untrained(spec: Value) -> Facts {
    let mut whole = json!({
        "source": {"instanceRef": {"name": "shop"}},
        "targets": [{"name": "cpu", "unit": "seconds", "bounds": ["30", "18000"]}],
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut model = QueryCostModel::new("queries", serde_json::from_value(whole).unwrap());
    model.metadata.namespace = Some("shop".into());
    model.metadata.uid = Some("5f0c".into());
    model.metadata.generation = Some(3);
    model.metadata.finalizers = Some(vec![FINALIZER.into()]);
    let pattern = Pattern { namespace: "howdah-system".into(), image: "howdah:1".into() };
    Facts {
        now: time(NOON),
        model,
        unseen: None,
        source: Ok(()),
        job: None,
        result: None,
        pattern: Ok(pattern),
        explain: None,
        deployment: None,
    }
}

/// Looks once: decides, takes the steps for done and writes the status.
fn look(facts: &mut Facts) -> Decision {
    looked(facts, None)
}

/// The same where a step fails.
fn looked(facts: &mut Facts, fails: Option<fn(&Step) -> bool>) -> Decision {
    let decision = decide(facts);
    let failed = fails.and_then(|fails| decision.steps.iter().position(fails));
    let failed = failed.map(|index| (index, Trouble::new(Reason::StepFailed, "no")));
    let report = report(facts, &decision, &Outcome { failed });
    let old = serde_json::to_value(&facts.model.status).unwrap();
    if let Some(new) = report.status.and_then(|new| status::to_write(&old, new, facts.now.0)) {
        facts.model.status = serde_json::from_value(new).unwrap();
    }
    decision
}

fn condition(facts: &Facts, kind: &str) -> String {
    let status = facts.status();
    let found = conditions::find(&status.conditions, kind).unwrap();
    format!("{} {}", found.status, found.reason)
}

fn message(facts: &Facts, kind: &str) -> String {
    conditions::find(&facts.status().conditions, kind).unwrap().message.clone()
}

/// The Job ended with a model of that accuracy.
fn succeed(facts: &mut Facts, accuracy: f64, drift: Option<DriftStatus>) {
    let left = TrainingResult::Trained { at: facts.now.clone(), drift };
    facts.job = Some(JobFacts {
        phase: JobPhase::Succeeded,
        termination_message: Some(serde_json::to_string(&left).unwrap()),
        ..JobFacts::default()
    });
    let training = facts.status().training.unwrap();
    facts.result = Some(Ok(CostModelStatus {
        name: training.job,
        version: format!("v{accuracy}"),
        trained_at: Some(facts.now.clone()),
        spec_hash: training.spec_hash,
        accuracy: Decimal(accuracy),
        ..CostModelStatus::default()
    }));
}

/// What the cluster makes of the steps.
fn settle(facts: &mut Facts, decision: &Decision) {
    if decision.steps.iter().any(|step| matches!(step, Step::Serve { .. })) {
        let model = facts.status().model.unwrap();
        let path = model_path("shop", "5f0c", Some(&model.name));
        let explain = facts.explain.as_ref().and_then(|found| found.as_deref().ok());
        let hash = deployment::hash(&path, &facts.model.spec.serving, "howdah:1", explain);
        facts.deployment = Some(DeploymentFacts { hash, ready: 2, rolled_out: true, message: None, service: true });
    }
}

/// From nothing to a model that is served.
fn served(spec: Value, accuracy: f64) -> Facts {
    let mut facts = untrained(spec);
    look(&mut facts);
    look(&mut facts);
    succeed(&mut facts, accuracy, None);
    let decision = look(&mut facts);
    settle(&mut facts, &decision);
    (facts.job, facts.result) = (None, None);
    look(&mut facts);
    facts
}

/// A week later the schedule has a model trained anew.
fn retrained(facts: &mut Facts, accuracy: f64, drift: Option<DriftStatus>) -> Decision {
    facts.now = time(facts.now.0.as_second() + 7 * 86_400);
    assert_eq!(look(facts).steps, []);
    assert!(matches!(look(facts).steps[..], [Step::StartTraining { .. }]));
    succeed(facts, accuracy, drift);
    let decision = look(facts);
    settle(facts, &decision);
    (facts.job, facts.result) = (None, None);
    decision
}

#[test]
fn a_model_is_trained_and_then_served() {
    let mut facts = untrained(json!({}));
    facts.model.metadata.finalizers = None;
    assert_eq!(look(&mut facts).steps, [Step::AddFinalizer]);
    facts.model.metadata.finalizers = Some(vec![FINALIZER.into()]);
    assert_eq!(look(&mut facts).steps, []);
    let job = facts.status().training.unwrap().job;
    assert_eq!(look(&mut facts).steps, [Step::StartTraining { name: job.clone() }]);
    facts.job = Some(JobFacts { progress: Some("500 statements are read".into()), ..JobFacts::default() });
    assert_eq!(look(&mut facts).steps, []);
    assert_eq!(
        (condition(&facts, "Ready"), condition(&facts, "Serving")),
        ("False Training".into(), "False NotTrained".into())
    );
    assert!(message(&facts, "Ready").contains("500 statements"), "{}", message(&facts, "Ready"));

    succeed(&mut facts, 0.91, None);
    let decision = look(&mut facts);
    assert_eq!(decision.steps, [Step::Serve { name: job.clone() }]);
    assert_eq!(
        (condition(&facts, "Ready"), condition(&facts, "Trained")),
        ("False NotServing".into(), "True Trained".into())
    );
    let status = facts.status();
    assert_eq!(status.versions, [job]);
    assert!(status.endpoint.unwrap().ends_with(".howdah-system.svc:8080"));
    settle(&mut facts, &decision);
    assert_eq!(look(&mut facts).steps, []);
    assert_eq!(
        (condition(&facts, "Ready"), condition(&facts, "Drifted")),
        ("True Serving".into(), "False DriftUnknown".into())
    );
}

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
    assert_eq!(decision.steps, [Step::Serve { name: now.clone() }]);
    assert_eq!(facts.status().versions, [now.clone(), rejected.clone(), first.clone()]);
    let rolled_out = facts.deployment.clone();
    facts.deployment.as_mut().unwrap().rolled_out = false;
    assert_eq!((look(&mut facts).steps, condition(&facts, "Ready")), (vec![], "True RollingOut".into()));
    facts.deployment = rolled_out;
    assert_eq!(look(&mut facts).steps, [Step::RemoveVersion { name: first }]);
    assert_eq!(facts.status().versions, [now, rejected]);
}

#[test]
fn what_others_remove_comes_back() {
    let mut facts = served(json!({}), 0.9);
    let name = facts.status().model.unwrap().name;
    facts.deployment.as_mut().unwrap().service = false;
    assert_eq!(look(&mut facts).steps, [Step::Serve { name: name.clone() }]);
    assert_eq!(condition(&facts, "Ready"), "False NotServing");
    facts.deployment = None;
    assert_eq!(look(&mut facts).steps, [Step::Serve { name }]);
}

#[test]
fn on_new_statements_the_one_before_counts_as_it_does_now() {
    let mut facts = served(json!({}), 0.95);
    let name = facts.status().model.unwrap().name;
    let drift = |accuracy, unknown| {
        Some(DriftStatus {
            name: name.clone(),
            rows: 400,
            accuracy: Decimal(accuracy),
            unknown_fingerprints: Decimal(unknown),
        })
    };
    retrained(&mut facts, 0.88, drift(0.93, 0.1));
    look(&mut facts);
    assert_eq!(
        (condition(&facts, "Trained"), condition(&facts, "Drifted")),
        ("True ModelRejected".into(), "False NoDrift".into())
    );
    retrained(&mut facts, 0.6, drift(0.7, 0.1));
    look(&mut facts);
    assert_eq!(
        (condition(&facts, "Trained"), condition(&facts, "Drifted")),
        ("True ModelRejected".into(), "True Drifted".into())
    );
    assert!(message(&facts, "Drifted").contains("70.0 %"), "{}", message(&facts, "Drifted"));
    // What the new one is measured by is not what the old one once was.
    retrained(&mut facts, 0.85, drift(0.7, 0.8));
    look(&mut facts);
    assert_eq!(
        (condition(&facts, "Trained"), condition(&facts, "Drifted")),
        ("True Trained".into(), "False DriftUnknown".into())
    );
}

#[test]
fn plans_are_asked_for_while_there_is_a_connection_and_answers_go_on_without() {
    let mut facts = served(json!({"explain": {"enabled": true, "secretRef": {"name": "reader"}}}), 0.9);
    let serve = |decision: &Decision| decision.steps.iter().any(|step| matches!(step, Step::Serve { .. }));
    facts.explain = Some(Ok("s/1".into()));
    let decision = look(&mut facts);
    assert!(serve(&decision), "{:?}", decision.steps);
    settle(&mut facts, &decision);
    assert_eq!((look(&mut facts).steps, condition(&facts, "Serving")), (vec![], "True Serving".into()));
    // Another password is another connection.
    facts.explain = Some(Ok("s/2".into()));
    let decision = look(&mut facts);
    assert!(serve(&decision));
    settle(&mut facts, &decision);
    // The API server is away: nothing changes. The Secret is gone: the tier is off, and it is said.
    facts.explain = Some(Err(Trouble::new(Reason::StepFailed, "explain: away")));
    assert_eq!((look(&mut facts).steps, condition(&facts, "Serving")), (vec![], "True StepFailed".into()));
    facts.explain = Some(Err(Trouble::new(Reason::SecretMissing, "explain: there is no Secret")));
    let decision = look(&mut facts);
    assert!(serve(&decision));
    settle(&mut facts, &decision);
    look(&mut facts);
    assert_eq!(condition(&facts, "Serving"), "True Serving");
    assert!(message(&facts, "Serving").ends_with("; no plans are asked for: explain: there is no Secret"));
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
    assert_eq!(decision.steps, [Step::Serve { name: new.name.clone() }]);
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
    let left = TrainingResult::failed(Reason::SourceUnreadable, "the server writes no jsonlog");
    facts.job = Some(JobFacts {
        phase: JobPhase::Failed,
        termination_message: Some(serde_json::to_string(&left).unwrap()),
        ..JobFacts::default()
    });
    assert_eq!(look(&mut facts).steps, []);
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
    assert_eq!(condition(&facts, "Ready"), "False StepFailed");
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
        let termination_message = left.map(|left| serde_json::to_string(&left).unwrap());
        facts.job = Some(JobFacts { phase: JobPhase::Failed, termination_message, ..JobFacts::default() });
        look(&mut facts);
        assert_eq!(
            (condition(&facts, "Ready"), condition(&facts, "DataAvailable")),
            ("True Serving".into(), data.into())
        );
    }
}

#[test]
fn what_is_in_the_way_is_said() {
    let mut facts = untrained(json!({}));
    facts.source = Err(Trouble::new(Reason::InstanceMissing, "there is no PostgresInstance shop/shop"));
    assert_eq!(look(&mut facts).steps, []);
    assert_eq!((condition(&facts, "Ready"), facts.status().training), ("False InstanceMissing".into(), None));
    for (spec, told) in [
        (json!({"targets": [{"name": "cpu", "bounds": ["30", "slow"]}]}), "\"slow\" is no bound"),
        (json!({"targets": [{"name": "cpu", "bounds": ["30", "3"]}]}), "must ascend"),
        (json!({"training": {"schedule": "often a b c d"}}), "can't be read as cron"),
        (json!({"training": {"grid": {"eta": ["3"]}}}), "must lie above 0"),
        (json!({"serving": {"routing": {"target": "cpu", "groups": ["a", "b"]}}}), "cpu has 3 classes"),
        (json!({"source": {"files": {"url": "s3://b/p", "format": "Csv"}}}), "columns is missing"),
    ] {
        let mut facts = untrained(spec);
        assert_eq!(look(&mut facts).steps, []);
        assert_eq!(condition(&facts, "Ready"), "False InvalidSpecification");
        assert!(message(&facts, "Ready").contains(told), "{}", message(&facts, "Ready"));
    }
    let mut facts = served(json!({}), 0.9);
    facts.deployment =
        Some(DeploymentFacts { ready: 0, message: Some("quota exceeded".into()), ..facts.deployment.unwrap() });
    look(&mut facts);
    assert_eq!(condition(&facts, "Ready"), "False NotServing");
    assert!(message(&facts, "Ready").contains("quota exceeded"));
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
fn a_model_with_a_log_trains() {
    let mut facts = untrained(json!({}));
    look(&mut facts);
    assert_recorded::<QueryCost>("model-trains", &facts);
}

#[test]
fn a_better_model_is_promoted() {
    let mut facts = served(json!({"promotion": {"minAccuracyGainPercent": 1}}), 0.90);
    facts.now = time(facts.now.0.as_second() + 7 * 86_400);
    look(&mut facts);
    look(&mut facts);
    succeed(&mut facts, 0.93, None);
    assert_recorded::<QueryCost>("model-promotes", &facts);
}

#[test]
fn deletion_takes_everything_along() {
    let mut facts = served(json!({}), 0.9);
    facts.model.metadata.deletion_timestamp = Some(time(NOON));
    assert_eq!(decide(&facts).steps, [Step::Release]);
    facts.model.metadata.finalizers = None;
    assert_eq!(decide(&facts).steps, []);
}

proptest! {
    /// Deciding again once the steps have succeeded and the cluster has settled gives no steps.
    #[test]
    fn it_comes_to_rest(accuracies in prop::collection::vec(0.1..1.0_f64, 1..5), keep in 1..4, gain in -3..3) {
        let mut facts = served(json!({"promotion": {"minAccuracyGainPercent": gain, "keepVersions": keep}}), accuracies[0]);
        for accuracy in &accuracies[1..] {
            retrained(&mut facts, *accuracy, None);
            look(&mut facts);
        }
        let again = look(&mut facts);
        prop_assert_eq!(again.steps, vec![]);
        prop_assert_eq!(&again.status.versions, &facts.status().versions);
        let status = facts.status();
        prop_assert!(status.versions.len() <= usize::try_from(keep).unwrap());
        prop_assert!(status.versions.contains(&status.model.unwrap().name), "the served version is kept");
        // Recorded facts replay the decision.
        let recorded: Facts = serde_json::from_str(&serde_json::to_string(&facts).unwrap()).unwrap();
        prop_assert_eq!(decide(&recorded), decide(&facts));
    }
}
