//! Knobs that need a restart, where restarts are allowed.

use howdah::tuning::crd::{RestartPolicy, TrialState, TuningTrial};
use howdah::tuning::reason::Reason;

use crate::harness::{Database, in_state, sleeping};

#[tokio::test]
async fn a_postmaster_knob_restarts_through_the_workload_and_comes_back() {
    let database = Database::start("restarts").await;
    let (settings, (pod, _)) = (database.settings().await, database.pod().await);
    assert_eq!(database.setting("shared_buffers").await.0, "128MB");
    let mut tuning = sleeping("restarts");
    tuning.spec.restart_policy = RestartPolicy::Always;
    tuning.spec.knobs.include = vec!["shared_buffers".into()];
    database.create(&tuning).await.unwrap();

    let second = database.trial_in("restarts", 2, TrialState::Measuring, 150).await;
    let wanted = second.spec.parameters.get("shared_buffers").expect("the formulas set it");
    assert_eq!(&database.setting("shared_buffers").await.0, wanted);
    assert_ne!(database.pod().await.0, pod, "the workload has replaced the pod");

    database.reason_until("restarts", Reason::RecommendationReady, 480).await;
    let trials = database.trials("restarts").await;
    let not_observed: Vec<&TuningTrial> = trials.iter().filter(|t| !in_state(t, TrialState::Observed)).collect();
    assert!(not_observed.is_empty(), "{not_observed:?}");
    assert_eq!(database.key().await, None);
    database.expect_settings(&settings).await;
    assert_eq!(database.sql("SELECT count(*) FROM pg_settings WHERE pending_restart").await, "0");
    database.end().await;
}
