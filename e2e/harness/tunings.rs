//! Tunings and their trials.

use howdah::control::conditions::find;
use howdah::tuning::crd::{
    Algorithm, Budget, ConfigMapKeySelector, InstanceReference, KnobSelection, Objective, OptimizerSpec, Pgbench,
    PostgresTuning, PostgresTuningSpec, Profile, Script, TrialState, TuningTrial, Workload,
};
use howdah::tuning::reason::Reason;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::Value;

use super::{Database, INSTANCE, eventually, told};

/// A short tuning of [`INSTANCE`] whose gain is certain: only `work_mem` is turned, and the benchmark sleeps a twentieth as
/// long when it differs from the server's default.
pub fn sleeping(name: &str) -> PostgresTuning {
    let selector = |key: &str| ConfigMapKeySelector { name: "benchmark".into(), key: key.into() };
    let others = [
        "maintenance_work_mem",
        "effective_cache_size",
        "checkpoint_timeout",
        "checkpoint_completion_target",
        "wal_writer_delay",
    ];
    PostgresTuning::new(
        name,
        PostgresTuningSpec {
            instance_ref: InstanceReference { name: INSTANCE.into() },
            mode: Default::default(),
            restart_policy: Default::default(),
            objective: Objective { min_improvement_percent: 0, ..Objective::default() },
            workload: Workload {
                pgbench: Pgbench {
                    scale: 1,
                    clients: 2,
                    threads: 1,
                    scripts: Some(vec![Script { config_map_key_ref: selector("sleep.sql"), weight: 1 }]),
                    init_script: Some(selector("init.sql")),
                    warmup_seconds: 0,
                    measure_seconds: 5,
                    ..Pgbench::default()
                },
            },
            knobs: KnobSelection {
                profile: Profile::Classic,
                exclude: others.map(String::from).to_vec(),
                ..KnobSelection::default()
            },
            optimizer: OptimizerSpec { algorithm: Algorithm::Heuristic, seed: 7, ddpg: None },
            budget: Budget { trials: 4, max_duration: "10m".into(), patience: 4, verification_pairs: 2 },
            safety: Default::default(),
            suspend: false,
            deletion_policy: Default::default(),
            benchmark_resources: None,
        },
    )
}

/// Whether a tuning's condition is true.
fn holds(tuning: &PostgresTuning, kind: &str) -> bool {
    let conditions = tuning.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

/// Reason and message of a tuning's `Ready`.
pub fn reason(tuning: &PostgresTuning) -> (&str, &str) {
    let conditions = tuning.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find(conditions, "Ready").map_or(("", ""), |ready| (&ready.reason, &ready.message))
}

/// Whether a trial is in a state.
pub fn in_state(trial: &TuningTrial, state: TrialState) -> bool {
    trial.status.as_ref().is_some_and(|status| status.state == state)
}

impl Database {
    /// The tuning, if it exists.
    pub async fn tuning(&self, name: &str) -> Option<PostgresTuning> {
        self.api().get_opt(name).await.expect("tunings can be read")
    }

    /// The trials of a tuning by number.
    pub async fn trials(&self, tuning: &str) -> Vec<TuningTrial> {
        let ours = ListParams::default().labels(&format!("{}={tuning}", howdah::tuning::TUNING_LABEL));
        let mut trials = self.api::<TuningTrial>().list(&ours).await.expect("trials can be listed").items;
        trials.sort_by_key(|trial| trial.spec.number);
        trials
    }

    /// Waits until a tuning is as wanted.
    pub async fn tuning_until(
        &self,
        name: &str,
        what: &str,
        seconds: u64,
        wanted: impl Fn(&PostgresTuning) -> bool,
    ) -> PostgresTuning {
        let look = async || self.tuning(name).await.filter(|tuning| wanted(tuning));
        eventually(&format!("tuning {name}: {what}"), seconds, look, async || self.story(name).await).await
    }

    /// Waits until a tuning's `Ready` has a reason.
    pub async fn reason_until(&self, name: &str, wanted: Reason, seconds: u64) -> PostgresTuning {
        self.tuning_until(name, wanted.word(), seconds, |tuning| reason(tuning).0 == wanted.word()).await
    }

    /// Waits until a tuning's condition is true or false.
    pub async fn condition_until(&self, name: &str, kind: &str, status: bool, seconds: u64) -> PostgresTuning {
        self.tuning_until(name, &format!("{kind} is {status}"), seconds, |tuning| holds(tuning, kind) == status).await
    }

    /// Waits until there is a trial as wanted.
    pub async fn trial_until(
        &self,
        tuning: &str,
        what: &str,
        seconds: u64,
        wanted: impl Fn(&TuningTrial) -> bool,
    ) -> TuningTrial {
        let look = async || self.trials(tuning).await.into_iter().find(|trial| wanted(trial));
        eventually(&format!("trial of {tuning}: {what}"), seconds, look, async || self.story(tuning).await).await
    }

    /// Waits until the trial of a number is in a state.
    pub async fn trial_in(&self, tuning: &str, number: i32, state: TrialState, seconds: u64) -> TuningTrial {
        let wanted = |trial: &TuningTrial| trial.spec.number == number && in_state(trial, state);
        self.trial_until(tuning, &format!("number {number} is {state:?}"), seconds, wanted).await
    }

    /// Changes a tuning by a merge patch.
    ///
    /// # Errors
    /// What the API server says when it refuses.
    pub async fn patch_tuning(&self, name: &str, patch: Value) -> Result<PostgresTuning, kube::Error> {
        self.api().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Deletes a tuning and waits until it is gone.
    pub async fn delete_tuning(&self, name: &str, seconds: u64) {
        self.api::<PostgresTuning>().delete(name, &Default::default()).await.expect("the tuning can be deleted");
        let gone = async || self.tuning(name).await.is_none().then_some(());
        eventually(&format!("tuning {name} is gone"), seconds, gone, async || self.story(name).await).await
    }

    /// What a person would want to know of a tuning that is not as it should be.
    async fn story(&self, name: &str) -> String {
        let tuning = self.tuning(name).await;
        let conditions = tuning.and_then(|tuning| tuning.status).map(|status| status.conditions).unwrap_or_default();
        let mut story = told(&conditions);
        for trial in self.trials(name).await {
            let status = trial.status.unwrap_or_default();
            let (reason, message) = (status.reason.unwrap_or_default(), status.message.unwrap_or_default());
            let (number, kind, state) = (trial.spec.number, trial.spec.kind, status.state);
            story += &format!("  trial {number} {kind:?} {state:?} {reason} {message}\n");
        }
        story
    }
}
