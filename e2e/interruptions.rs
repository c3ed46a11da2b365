//! What happens to a database when a trial is interrupted: by its owner, or because the server dies.

use howdah::instance::crd::PostgresInstance;
use howdah::tuning::crd::{Algorithm, TrialState, TuningTrial};
use howdah::tuning::reason::Reason;
use kube::api::DeleteParams;
use serde_json::json;

use crate::harness::{Database, INSTANCE, in_state, kubectl, sleeping};

/// Seconds within which the baseline is back. Another test may have killed the operator: a successor leads after 20 s.
const RESTORED: u64 = 60;

#[tokio::test]
async fn interrupted_trials_leave_the_baseline() {
    let database = Database::start("interruptions").await;
    let (settings, pod) = (database.settings().await, database.pod().await);

    deletion(&database).await;
    assert_eq!(database.key().await, None);
    database.expect_settings(&settings).await;
    database.create(&database.instance(INSTANCE)).await.unwrap();

    suspension(&database, &settings).await;
    assert_eq!(database.pod().await, pod, "restartPolicy Never restarts nothing");

    server_dies(&database, &settings).await;
    database.end().await;
}

/// Creates a tuning and waits until its second trial, the first that changes anything, is measured.
async fn changed(database: &Database, name: &str) {
    let mut tuning = sleeping(name);
    // Other configurations follow, whatever becomes of this one.
    tuning.spec.optimizer.algorithm = Algorithm::LHS;
    database.create(&tuning).await.unwrap();
    database.trial_in(name, 2, TrialState::Measuring, 90).await;
    assert_ne!(database.setting("work_mem").await.0, "4MB", "the trial's configuration is in effect");
}

/// The instance goes first, as when both are pruned together: what was changed is restored all the same.
async fn deletion(database: &Database) {
    changed(database, "deleted").await;
    database.api::<PostgresInstance>().delete(INSTANCE, &DeleteParams::default()).await.unwrap();
    database.delete_tuning("deleted", RESTORED).await;
}

async fn suspension(database: &Database, settings: &str) {
    changed(database, "suspended").await;
    database.patch_tuning("suspended", json!({"spec": {"suspend": true}})).await.unwrap();
    let suspended = |trial: &TuningTrial| trial.spec.number == 2 && why(trial) == Some(Reason::Interrupted.word());
    let trial = database.trial_until("suspended", "the second is interrupted", RESTORED, suspended).await;
    assert!(in_state(&trial, TrialState::Aborted));
    database.reason_until("suspended", Reason::Suspended, RESTORED).await;
    database.condition_until("suspended", "Suspended", true, 5).await;
    assert_eq!(database.key().await, None);
    database.expect_settings(settings).await;

    database.patch_tuning("suspended", json!({"spec": {"suspend": false}})).await.unwrap();
    database.trial_in("suspended", 3, TrialState::Measuring, RESTORED).await;
    database.condition_until("suspended", "Suspended", false, 5).await;
    let kinds: Vec<_> = database.trials("suspended").await.iter().map(|trial| trial.spec.kind).collect();
    assert_eq!(kinds[1], kinds[2], "what was interrupted is measured again");
    database.delete_tuning("suspended", RESTORED).await;
}

async fn server_dies(database: &Database, settings: &str) {
    changed(database, "outlived").await;
    kubectl(&["-n", &database.namespace, "delete", "pod", "shop-postgres-0", "--now"]).await;
    let aborted =
        |trial: &TuningTrial| trial.spec.number == 2 && trial.status.as_ref().is_some_and(|s| s.state.is_final());
    let trial = database.trial_until("outlived", "the second has ended", RESTORED, aborted).await;
    let named = [Reason::AvailabilityGuardrail, Reason::PostgresRestarted, Reason::BenchmarkFailed].map(Reason::word);
    assert!(why(&trial).is_some_and(|reason| named.contains(&reason)), "{:?}", trial.status);
    assert!(!in_state(&trial, TrialState::Observed));
    // The baseline is in effect before anything else is measured, and the session goes on.
    let third = database.trial_in("outlived", 3, TrialState::Measuring, 120).await;
    let expected = third.spec.parameters.get("work_mem").map_or("4MB", String::as_str);
    assert_eq!(database.setting("work_mem").await.0, expected);
    database.trial_in("outlived", 3, TrialState::Observed, RESTORED).await;
    database.delete_tuning("outlived", RESTORED).await;
    assert_eq!(database.key().await, None);
    database.expect_settings(settings).await;
}

fn why(trial: &TuningTrial) -> Option<&str> {
    trial.status.as_ref()?.reason.as_deref()
}
