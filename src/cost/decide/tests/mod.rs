//! A model's object in memory: what is decided is taken for done, and its status is written as the loop writes it.

mod serving;
mod training;

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
use crate::cost::crd::{
    Autoscaling, CostModelStatus, DriftStatus, MethodStatus, QueryCostModel, SplitSpec, SplitStatus, TargetStatus,
};
use crate::cost::facts::Pattern;
use crate::cost::report::report;
use crate::cost::training::{TrainingResult, spec_hash, targets_hash};
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
    let pattern = Pattern { namespace: "howdah-system".into(), template: "t1".into() };
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

/// A target that was judged by time alone, with that accuracy.
fn judged(accuracy: f64) -> TargetStatus {
    let ours = MethodStatus { method: "ours".into(), accuracy: Decimal(accuracy), ..MethodStatus::default() };
    let split = SplitStatus { split: "time".into(), rows: 1_000_000, methods: vec![ours], ..SplitStatus::default() };
    TargetStatus { name: "cpu".into(), splits: vec![split], ..TargetStatus::default() }
}

/// The Job ended with a model of that accuracy.
fn succeed(facts: &mut Facts, accuracy: f64, drift: Option<DriftStatus>) {
    let left = TrainingResult::Trained { at: facts.now.clone(), spec_hash: Some(spec_hash(&facts.model.spec)), drift };
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
        targets_hash: targets_hash(&facts.model.spec),
        accuracy: Decimal(accuracy),
        targets: vec![judged(accuracy)],
        ..CostModelStatus::default()
    }));
}

/// What the cluster makes of the steps.
fn settle(facts: &mut Facts, decision: &Decision) {
    for step in &decision.steps {
        let Step::Serve { name, routing } = step else { continue };
        let path = model_path("shop", "5f0c", Some(name));
        let explain = facts.explain.as_ref().and_then(|found| found.as_deref().ok());
        let serving = Serving { routing: routing.clone(), ..facts.model.spec.serving.clone() };
        let hash = deployment::hash(&path, &serving, &facts.pattern.as_ref().unwrap().template, explain);
        let mut beside = BTreeSet::from([Beside::Service, Beside::Budget]);
        beside.extend(serving.autoscaling.is_some().then_some(Beside::Autoscaler));
        beside.extend(explain.is_some().then_some(Beside::Connection));
        facts.deployment = Some(DeploymentFacts {
            hash,
            routing: routing.clone(),
            replicas: serving.replicas,
            ready: serving.replicas,
            rolled_out: true,
            message: None,
            beside,
        });
    }
}

/// The step that makes replicas serve a model without groups.
fn serve_step(name: &str) -> Step {
    Step::Serve { name: name.to_owned(), routing: None }
}

/// The Job ended without a model.
fn fail(facts: &mut Facts, left: Option<&TrainingResult>) {
    let termination_message = left.map(|left| serde_json::to_string(left).unwrap());
    facts.job = Some(JobFacts { phase: JobPhase::Failed, termination_message, ..JobFacts::default() });
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
    assert_eq!(decision.steps, [serve_step(&job)]);
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
        (json!({"targets": [{"name": "io", "bounds": ["30"]}]}), "no \"io\": it tells duration, cpu, spill"),
        (
            json!({"source": {"files": {"url": "s3://b/p", "format": "Csv", "columns": {"query": "q"}}}}),
            "spec.training.split is Time",
        ),
    ] {
        let mut facts = untrained(spec);
        assert_eq!(look(&mut facts).steps, []);
        assert_eq!(condition(&facts, "Ready"), "False InvalidSpecification");
        assert!(message(&facts, "Ready").contains(told), "{}", message(&facts, "Ready"));
    }
    let columns = json!({"url": "s3://b/p", "format": "Csv", "columns": {"query": "q", "time": "at"}});
    for spec in [
        json!({"targets": [{"name": "memory", "bounds": ["1Mi"]}]}),
        json!({"targets": [{"name": "io", "bounds": ["30"]}], "source": {"files": columns}}),
    ] {
        let mut facts = untrained(spec);
        look(&mut facts);
        assert_eq!(condition(&facts, "Ready"), "False Training");
    }
    let mut facts = served(json!({}), 0.9);
    facts.deployment =
        Some(DeploymentFacts { ready: 0, message: Some("quota exceeded".into()), ..facts.deployment.unwrap() });
    look(&mut facts);
    assert_eq!(condition(&facts, "Ready"), "False NotServing");
    assert!(message(&facts, "Ready").contains("quota exceeded"));
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
