//! Carries a decision's steps out, in their order, and stops at the first that fails.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::crd::{PostgresTuning, TrialState, TuningTrial, TuningTrialStatus};
use super::decide::{Decision, Step, Write};
use super::facts::Trouble;
use super::reason::Reason;
use super::surroundings::{Surroundings, instance_trouble};
use super::{FINALIZER, checkpoint_path, checkpoints};
use crate::control::status::FIELD_MANAGER;
use crate::instance;
use crate::world::kubernetes::{KubeError, job};

/// What became of the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Steps that were carried out.
    pub done: usize,
    /// Why the next one was not.
    pub trouble: Option<Trouble>,
}

/// Carries the steps out.
pub async fn act(surroundings: &Surroundings, tuning: &PostgresTuning, decision: &Decision) -> Outcome {
    let mut outcome = Outcome::default();
    for step in &decision.steps {
        if let Err(trouble) = take(surroundings, tuning, step).await {
            tracing::warn!(reason = trouble.reason.word(), message = trouble.message, "a step failed");
            outcome.trouble = Some(trouble);
            break;
        }
        outcome.done += 1;
    }
    outcome
}

async fn take(surroundings: &Surroundings, tuning: &PostgresTuning, step: &Step) -> Result<(), Trouble> {
    let namespace = tuning.namespace().unwrap_or_default();
    let client = &surroundings.client;
    let tunings: Api<PostgresTuning> = Api::namespaced(client.clone(), &namespace);
    let trials: Api<TuningTrial> = Api::namespaced(client.clone(), &namespace);
    let failed = |error: kube::Error| failed(KubeError::of("the tuning", error).to_string());
    match step {
        Step::AddFinalizer => finalizers(&tunings, tuning, true).await.map_err(failed),
        Step::RemoveFinalizer => {
            forget_checkpoints(surroundings, tuning, None).await;
            finalizers(&tunings, tuning, false).await.map_err(failed)?;
            let states = TrialState::FINAL.map(|state| format!("{state:?}"));
            surroundings.metrics.tuning.forget(&namespace, &tuning.name_any(), &states.each_ref().map(String::as_str));
            Ok(())
        }
        Step::SaveCheckpoint { number, checkpoint } => {
            // It only saves time: without it the agent learns the trials anew.
            if let Err(error) = surroundings.store.put(&checkpoint_path(tuning, *number), checkpoint.clone()).await {
                tracing::warn!(%error, number, "the agent's checkpoint was not stored");
            }
            Ok(())
        }
        Step::ForgetSession { session, trials: past } => {
            forget_checkpoints(surroundings, tuning, Some(session)).await;
            for name in past {
                match trials.delete(name, &DeleteParams::background()).await {
                    Err(kube::Error::Api(answer)) if answer.is_not_found() => {}
                    deleted => drop(deleted.map_err(failed)?),
                }
            }
            Ok(())
        }
        Step::CreateTrial(trial) => {
            match trials.create(&PostParams::default(), trial).await {
                Ok(_) => {}
                // Created before a restart: the name says that it is the same trial. How far it is stands in its status.
                Err(kube::Error::Api(answer)) if answer.is_already_exists() => {
                    let known = trials.get_opt(&trial.name_any()).await.map_err(failed)?;
                    if known.is_some_and(|known| known.status.is_some()) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(failed(error)),
            }
            let status =
                TuningTrialStatus { state: TrialState::Applying, since: Some(now()), ..TuningTrialStatus::default() };
            set_trial(&trials, &trial.name_any(), &status).await.map_err(failed)
        }
        Step::SetTrial { name, status } => set_trial(&trials, name, status).await.map_err(failed),
        Step::StartBenchmark { trial, job, server_started_at_ms } => {
            let uid = job::create_job(client, job).await.map_err(kube)?;
            let status = TuningTrialStatus {
                state: TrialState::Measuring,
                since: Some(now()),
                job: Some(uid),
                server_started_at_ms: *server_started_at_ms,
                ..TuningTrialStatus::default()
            };
            set_trial(&trials, trial, &status).await.map_err(failed)
        }
        Step::DeleteJob { name } => {
            job::delete_job(client, &namespace, name, PropagationPolicy::Foreground).await.map_err(kube)
        }
        Step::WriteConfiguration(Write::ConfigMapKey(text)) => {
            let instance = surroundings.instance(tuning).await?;
            instance::act::write_key(client, &instance, text.as_deref()).await.map_err(instance_trouble)
        }
        Step::WriteConfiguration(Write::AlterSystem { set, reset }) => {
            let (server, _) = surroundings.server(tuning).await?;
            let session = tuning.status.as_ref().and_then(|status| status.session.as_ref());
            let knobs: Vec<String> = session.iter().flat_map(|s| s.baseline_parameters.keys().cloned()).collect();
            instance::act::alter_system(&server, set, reset, &knobs).await.map_err(instance_trouble)
        }
        Step::TouchPod { pod, value } => {
            let instance = surroundings.instance(tuning).await?;
            instance::act::touch(client, &instance, pod, value).await.map_err(instance_trouble)
        }
        Step::Reload => {
            let (server, _) = surroundings.server(tuning).await?;
            instance::act::reload(&server).await.map_err(instance_trouble)
        }
        Step::Restart { marker } => {
            let instance = surroundings.instance(tuning).await?;
            instance::act::restart(client, &instance, marker).await.map_err(instance_trouble)
        }
    }
}

fn now() -> Time {
    Time(Timestamp::now())
}

fn failed(message: impl Into<String>) -> Trouble {
    Trouble { reason: Reason::StepFailed, message: message.into() }
}

fn kube(error: KubeError) -> Trouble {
    failed(error.to_string())
}

/// The trial's status under our field manager, whole: what is absent is removed.
async fn set_trial(trials: &Api<TuningTrial>, name: &str, status: &TuningTrialStatus) -> Result<(), kube::Error> {
    let patch = json!({"apiVersion": "howdah.dev/v1alpha1", "kind": "TuningTrial", "status": status});
    trials.patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(patch)).await?;
    Ok(())
}

/// Checkpoints of no use to anybody must not keep a tuning from going, or from a new session.
async fn forget_checkpoints(surroundings: &Surroundings, tuning: &PostgresTuning, session: Option<&str>) {
    if let Err(error) = surroundings.store.delete_prefix(&checkpoints(tuning, session)).await {
        tracing::warn!(%error, "checkpoints that are of no use any more stay in the model store");
    }
}

/// Adds or removes our finalizer. The resource version keeps others' finalizers from being lost.
async fn finalizers(tunings: &Api<PostgresTuning>, tuning: &PostgresTuning, ours: bool) -> Result<(), kube::Error> {
    let mut finalizers: Vec<String> = tuning.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
    if ours {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": tuning.metadata.resource_version}});
    match tunings.patch(&tuning.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(answer)) if !ours && answer.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
