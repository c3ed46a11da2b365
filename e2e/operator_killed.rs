//! The operator is killed in every state of a trial: the session goes on, and no benchmark runs twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use howdah::tuning::crd::{Algorithm, Budget, TrialKind, TrialState, TuningTrial};
use howdah::tuning::reason::Reason;
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt};
use tokio::time::sleep;

use crate::harness::{ALIVE, Database, Operator, in_state, sleeping};

/// Until another process leads: the lease runs out after 15 s, and the pod must start.
const TAKEOVER: Duration = Duration::from_secs(25);

/// UIDs of every Job that was ever seen, by name.
type Seen = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

/// Notes every Job until the task is aborted. A Job lives for seconds at least.
fn watch_jobs(jobs: Api<Job>) -> (Seen, tokio::task::JoinHandle<()>) {
    let seen = Seen::default();
    let noted = seen.clone();
    let watching = tokio::spawn(async move {
        loop {
            for job in jobs.list(&Default::default()).await.expect("Jobs can be listed") {
                let mut noted = noted.lock().expect("nobody panics with it");
                noted.entry(job.name_any()).or_default().insert(job.uid().unwrap_or_default());
            }
            sleep(Duration::from_millis(300)).await;
        }
    });
    (seen, watching)
}

#[tokio::test]
async fn a_killed_operator_continues_where_it_was() {
    let _alive = ALIVE.lock().await;
    let database = Database::start("killed").await;
    let (settings, pod) = (database.settings().await, database.pod().await);
    let (jobs, watching) = watch_jobs(database.api());
    // With DDPG, whose learner must come back from the model store.
    let mut tuning = sleeping("killed");
    tuning.spec.optimizer.algorithm = Algorithm::DDPG;
    tuning.spec.budget = Budget { trials: 6, ..tuning.spec.budget };
    database.create(&tuning).await.unwrap();

    let numbered = |number, state| move |t: &TuningTrial| t.spec.number == number && in_state(t, state);
    kill_when(&database, "the second is applied", numbered(2, TrialState::Applying)).await;
    kill_when(&database, "the third is measured", numbered(3, TrialState::Measuring)).await;
    kill_when(&database, "the fourth was observed", numbered(4, TrialState::Observed)).await;
    let verifying = |t: &TuningTrial| t.spec.kind == TrialKind::Verify && in_state(t, TrialState::Measuring);
    kill_when(&database, "a verification is measured", verifying).await;

    database.reason_until("killed", Reason::RecommendationReady, 240).await;
    watching.abort();
    let trials = database.trials("killed").await;
    let numbers: Vec<i32> = trials.iter().map(|trial| trial.spec.number).collect();
    assert_eq!(numbers, (1..=trials.len() as i32).collect::<Vec<_>>(), "no number is left out or given twice");
    assert!(trials.iter().any(|trial| trial.spec.kind == TrialKind::Policy), "the learner proposed: {numbers:?}");
    let jobs = jobs.lock().expect("nobody panics with it").clone();
    for trial in &trials {
        assert!(in_state(trial, TrialState::Observed), "{trial:?}");
        let recorded: BTreeSet<String> = trial.status.iter().filter_map(|status| status.job.clone()).collect();
        assert_eq!(jobs.get(&trial.name_any()), Some(&recorded), "{} has one Job", trial.name_any());
    }
    assert_eq!(jobs.len(), trials.len());
    assert_eq!(database.key().await, None);
    database.expect_settings(&settings).await;
    assert_eq!(database.pod().await, pod);
    database.end().await;
}

async fn kill_when(database: &Database, what: &str, wanted: impl Fn(&TuningTrial) -> bool) {
    database.trial_until("killed", what, 120, wanted).await;
    let took = Operator::new(database.client.clone()).kill().await;
    assert!(took <= TAKEOVER, "killed when {what}: another process led after {took:?}");
}
