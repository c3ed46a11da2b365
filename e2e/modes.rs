//! Each mode to its end: what stays in the database, and that nothing was restarted for it.

use std::time::Duration;

use howdah::tuning::crd::{DeletionPolicy, Mode, PostgresTuning, Recommendation, TrialKind, TrialState};
use howdah::tuning::reason::Reason;
use howdah::tuning::{APPROVE_ANNOTATION, FINALIZER};
use kube::ResourceExt;
use serde_json::json;
use tokio::time::sleep;

use crate::harness::{Database, KEY, Operator, in_state, kubectl, reason, sleeping};

/// Seconds that a whole tuning of [`sleeping`] may take: seven trials, on a busy machine.
const WHOLE: u64 = 240;

#[tokio::test]
async fn recommend_restores_the_baseline_and_others_wait() {
    let database = Database::start("recommend").await;
    // The database runs already; from here on only pods of the strictest Pod Security Standard are admitted.
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(&["label", "namespace", &database.namespace, restricted, "--overwrite"]).await;
    let (settings, pod) = (database.settings().await, database.pod().await);

    database.create(&sleeping("first")).await.unwrap();
    database.trial_in("first", 1, TrialState::Measuring, 60).await;
    database.create(&sleeping("second")).await.unwrap();
    let second = database.reason_until("second", Reason::InstanceBusy, 30).await;
    assert!(reason(&second).1.contains("tuning first"), "{}", reason(&second).1);
    database.condition_until("second", "Stalled", true, 10).await;
    assert_eq!(database.trials("second").await, []);

    let first = database.reason_until("first", Reason::RecommendationReady, WHOLE).await;
    let recommendation = recommendation(&first);
    assert_eq!(recommendation.parameters.len(), 1);
    assert_eq!(recommendation.parameters[0].name, "work_mem");
    assert!(recommendation.gain_low_percent.0 > 100.0, "the benchmark is twenty times as fast: {recommendation:?}");
    database.condition_until("first", "Improved", true, 5).await;
    database.condition_until("first", "Applied", false, 5).await;
    let trials = database.trials("first").await;
    let kinds: Vec<TrialKind> = trials.iter().map(|trial| trial.spec.kind).collect();
    assert_eq!(kinds[..2], [TrialKind::Baseline, TrialKind::Heuristic]);
    assert_eq!(kinds[2..], [TrialKind::Verify; 4], "two pairs");
    assert!(trials.iter().all(|trial| in_state(trial, TrialState::Observed)));

    let columns = kubectl(&["-n", &database.namespace, "get", "pgt", "first", "--no-headers"]).await;
    let columns: Vec<&str> = columns.split_whitespace().collect();
    assert_eq!(columns[..5], ["first", "shop", "Recommend", "2/4", "verify"], "{columns:?}");
    assert!(columns.contains(&"RecommendationReady"), "{columns:?}");

    // The one that waited goes on now, and what the first has found stays.
    database.trial_in("second", 1, TrialState::Measuring, 60).await;
    let first = database.tuning("first").await.unwrap();
    assert_eq!(reason(&first).0, Reason::RecommendationReady.word(), "{}", reason(&first).1);
    database.delete_tuning("second", 60).await;
    assert_eq!(database.key().await, None, "{KEY} is absent again");
    database.expect_settings(&settings).await;
    assert_eq!(database.pod().await, pod, "restartPolicy Never restarts nothing");

    idle(&database, &first).await;
    served(&database).await;
    database.end().await;
}

/// A tuning that has ended is left alone.
async fn idle(database: &Database, tuning: &PostgresTuning) {
    let before = database.tuning(&tuning.name_any()).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    let after = database.tuning(&tuning.name_any()).await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version(), "{:?}", after.status);
}

/// Probes and metrics speak of the tunings that ran. Another test may kill the operator at the same time, so it is
/// asked until it answers.
async fn served(database: &Database) {
    let operator = Operator::new(database.client.clone());
    let namespace = &database.namespace;
    let trials =
        format!("howdah_tuning_trials_total{{namespace=\"{namespace}\",tuning=\"first\",state=\"Observed\"}} 6");
    let of_second = format!("namespace=\"{namespace}\",tuning=\"second\"");
    let look = async || {
        let metrics = operator.get("/metrics").await.ok()?;
        let told = metrics.contains("controller_runtime_reconcile_total") && metrics.contains(&trials);
        let forgotten = !metrics.contains(&of_second);
        (told && forgotten && operator.get("/readyz").await.ok()?.trim() == "ok").then_some(())
    };
    let story = async || operator.get("/metrics").await.unwrap_or_else(|error| error);
    crate::harness::eventually(&trials, 60, look, story).await;
}

#[tokio::test]
async fn apply_and_approval_leave_the_recommendation_until_it_is_reverted() {
    let database = Database::start("apply").await;
    let (settings, pod) = (database.settings().await, database.pod().await);

    apply(&database).await;
    database.delete_tuning("apply", 60).await;
    assert_eq!(database.key().await, None, "deletionPolicy Revert restores");
    database.expect_settings(&settings).await;

    approval(&database).await;
    // What is applied stays with deletionPolicy Retain.
    let retain = json!({"spec": {"deletionPolicy": DeletionPolicy::Retain}});
    database.patch_tuning("approval", retain).await.unwrap();
    let (work_mem, _) = database.setting("work_mem").await;
    database.delete_tuning("approval", 60).await;
    assert_eq!(database.setting("work_mem").await.0, work_mem);
    assert!(database.key().await.is_some(), "deletionPolicy Retain leaves {KEY}");
    assert_eq!(database.pod().await, pod, "restartPolicy Never restarts nothing");
    database.end().await;
}

async fn apply(database: &Database) {
    let mut tuning = sleeping("apply");
    tuning.spec.mode = Mode::Apply;
    database.create(&tuning).await.unwrap();
    let tuning = database.reason_until("apply", Reason::Applied, WHOLE).await;
    assert!(tuning.finalizers().contains(&FINALIZER.to_owned()));
    database.condition_until("apply", "Applied", true, 5).await;
    in_effect(database, &recommendation(&tuning)).await;
}

/// The database runs the recommended values, from our file.
async fn in_effect(database: &Database, recommendation: &Recommendation) {
    for change in &recommendation.parameters {
        let (value, file) = database.setting(&change.name).await;
        assert_eq!(value, change.new);
        assert!(file.ends_with(KEY), "{} comes from {file}", change.name);
        let key = database.key().await.unwrap_or_default();
        assert!(key.contains(&format!("{} = '{}'", change.name, change.new)), "{key}");
    }
}

async fn approval(database: &Database) {
    let before = database.settings().await;
    let mut tuning = sleeping("approval");
    tuning.spec.mode = Mode::RequireApproval;
    database.create(&tuning).await.unwrap();
    let tuning = database.reason_until("approval", Reason::AwaitingApproval, WHOLE).await;
    let recommendation = recommendation(&tuning);
    assert!(reason(&tuning).1.contains(&recommendation.hash), "{}", reason(&tuning).1);
    database.expect_settings(&before).await;

    approve(database, "0000").await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(database.key().await, None, "another recommendation's hash approves nothing");
    assert_eq!(reason(&database.tuning("approval").await.unwrap()).0, Reason::AwaitingApproval.word());

    approve(database, &recommendation.hash).await;
    database.condition_until("approval", "Applied", true, 60).await;
    in_effect(database, &recommendation).await;
}

async fn approve(database: &Database, hash: &str) {
    let patch = json!({"metadata": {"annotations": {APPROVE_ANNOTATION: hash}}});
    database.patch_tuning("approval", patch).await.unwrap();
}

fn recommendation(tuning: &PostgresTuning) -> Recommendation {
    tuning.status.as_ref().and_then(|status| status.recommendation.clone()).expect("there is a recommendation")
}

#[tokio::test]
async fn two_instances_are_tuned_at_once() {
    let (left, right) = tokio::join!(Database::start("left"), Database::start("right"));
    for database in [&left, &right] {
        database.create(&sleeping("both")).await.unwrap();
    }
    let measuring = async |database: &Database| {
        database.trial_until("both", "one is measured", 60, |trial| in_state(trial, TrialState::Measuring)).await
    };
    tokio::join!(measuring(&left), measuring(&right));
    for database in [&left, &right] {
        database.reason_until("both", Reason::RecommendationReady, WHOLE).await;
        assert_eq!(database.key().await, None);
        assert_eq!(database.setting("work_mem").await, ("4MB".to_owned(), String::new()));
    }
    left.end().await;
    right.end().await;
}
