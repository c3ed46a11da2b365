//! Carries a decision's steps out. They do not depend on each other: a receiver that is down holds up no training.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::PropagationPolicy;

use super::crd::{AnomalyDetector, AnomalyDetectorStatus, DeliveryState, Mode, State};
use super::decide::{Decision, Notice, Step, retry_after};
use super::facts::{Facts, Receiver, Trouble};
use super::fetch;
use super::model_path;
use super::reason::Reason;
use super::surroundings::Surroundings;
use super::{DETECTOR_LABEL, FINALIZER};
use crate::control::metrics::anomaly::AnomalySample;
use crate::kubernetes::training_job::{self, Training};
use crate::world::http::post_json;
use crate::world::kubernetes::{KubeError, job, object};

/// A receiver that takes longer is told again later.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// What became of the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The steps that failed, by their position, and why.
    pub failed: Vec<(usize, Trouble)>,
}

/// Carries the steps out.
pub async fn act(surroundings: &Surroundings, detector: &AnomalyDetector, decision: &Decision) -> Outcome {
    let mut outcome = Outcome::default();
    for (index, step) in decision.steps.iter().enumerate() {
        if let Err(trouble) = take(surroundings, detector, step).await {
            tracing::warn!(reason = trouble.reason.word(), message = trouble.message, "a step failed");
            outcome.failed.push((index, trouble));
        }
    }
    outcome
}

impl Surroundings {
    /// Says in metrics what the status will say.
    pub(super) fn tell(&self, facts: &Facts, status: &AnomalyDetectorStatus) {
        // One that goes away is forgotten, and one that was not seen stays as it was.
        if facts.unseen.is_some() || facts.detector.metadata.deletion_timestamp.is_some() {
            return;
        }
        let spec = &facts.detector.spec;
        let state = status.state.unwrap_or(State::Learning);
        let anomalous_ms = status.since.as_ref().map_or(0, |since| (facts.now_ms() - since.0.as_millisecond()).max(0));
        let scoring = facts.judging();
        let contributions = scoring.map(|scoring| scoring.contributions.as_slice()).unwrap_or_default();
        self.metrics.anomaly.set(&AnomalySample {
            namespace: facts.detector.namespace().unwrap_or_default(),
            name: facts.detector.name_any(),
            // A score that is no longer made is no score.
            score: scoring.and_then(|scoring| scoring.score),
            state: state.word(),
            states: State::ALL.map(State::word).to_vec(),
            contributions: contributions.iter().map(|one| (one.metric.clone(), one.share)).collect(),
            model_trained_at: status.model.as_ref().map(|model| model.trained_at.0.as_second() as f64),
            anomalous_seconds: anomalous_ms as f64 / 1000.0,
            alerts_by_rule: spec.mode == Mode::Alert && spec.notify.alertmanager.is_none(),
        });
    }
}

async fn take(surroundings: &Surroundings, detector: &AnomalyDetector, step: &Step) -> Result<(), Trouble> {
    let (namespace, name) = (detector.namespace().unwrap_or_default(), detector.name_any());
    let uid = detector.uid().unwrap_or_default();
    let Surroundings { client, store, .. } = surroundings;
    let failed = |error: KubeError| Trouble::new(Reason::StepFailed, error.to_string());
    let kept = |error: crate::world::store::StoreError| Trouble::new(Reason::ModelStoreUnavailable, error.to_string());
    match step {
        Step::AddFinalizer => object::set_finalizer(client, detector, FINALIZER, true).await.map_err(failed),
        Step::StartTraining { name: model } => {
            let pod = surroundings.own_pod().await?;
            // 14 days of 100 features every 15 s are 65 MB of numbers, which exist a few times over while they are scaled.
            let usual = || training_job::resources("512Mi", "2Gi", "2Gi");
            let resources = detector.spec.training_resources.clone().unwrap_or_else(usual);
            let detector = format!("{namespace}/{name}");
            let arguments = ["anomaly", "train", "--detector", &detector, "--model-name", model].map(str::to_owned);
            let owner = (DETECTOR_LABEL, uid.as_str());
            let training = Training { arguments: arguments.to_vec(), owner, name: model, resources };
            let job = training_job::job(&training, pod, &surroundings.store_url)
                .map_err(|message| Trouble::new(Reason::TrainerUnknown, message))?;
            job::create_job(client, &job).await.map(drop).map_err(failed)
        }
        Step::EndTraining { name: model } => {
            let Some(own) = surroundings.own_pod.namespace() else { return Ok(()) };
            job::delete_job(client, own, model, PropagationPolicy::Background).await.map_err(failed)?;
            store.delete(&model_path(&namespace, &uid, Some(model))).await.map_err(kept)
        }
        Step::RemoveModel { name: model } => {
            store.delete(&model_path(&namespace, &uid, Some(model))).await.map_err(kept)
        }
        Step::Notify(notice) => notify(surroundings, detector, notice).await,
        Step::Release => {
            store.delete_prefix(&model_path(&namespace, &uid, None)).await.map_err(kept)?;
            surroundings.metrics.anomaly.forget(&namespace, &name, &State::ALL.map(State::word));
            surroundings.memory.lock().remove(&uid);
            object::set_finalizer(client, detector, FINALIZER, false).await.map_err(failed)
        }
    }
}

async fn notify(surroundings: &Surroundings, detector: &AnomalyDetector, notice: &Notice) -> Result<(), Trouble> {
    let declared = &detector.spec.notify;
    let (receiver, path) = match notice.receiver {
        Receiver::Alertmanager => (declared.alertmanager.as_ref(), "/api/v2/alerts"),
        Receiver::Webhook => (declared.webhook.as_ref(), ""),
    };
    let gone = || Trouble::new(Reason::NotDelivered, format!("spec.notify names no {}", notice.receiver.word()));
    let receiver = receiver.ok_or_else(gone)?;
    let namespace = detector.namespace().unwrap_or_default();
    let access = fetch::receiver(&surroundings.client, &namespace, receiver).await?;
    let told = post_json(&access, path, &notice.body, TOLD_WITHIN).await;
    let now = Timestamp::now();
    let mut detectors = surroundings.memory.lock();
    let kept = detectors.entry(detector.uid().unwrap_or_default()).or_default();
    let target = (notice.receiver, receiver.url.clone());
    if let Err(message) = told {
        let message = format!("{} was not told: {message}", notice.receiver.word());
        let refused = kept.refused.entry(target).or_default();
        // What was long ago says nothing of now.
        let recent = now.as_millisecond() - refused.again < retry_after(u32::MAX);
        refused.times = if recent { refused.times.saturating_add(1) } else { 1 };
        refused.again = now.as_millisecond() + retry_after(refused.times);
        refused.message.clone_from(&message);
        return Err(Trouble::new(Reason::NotDelivered, message));
    }
    kept.refused.remove(&target);
    if notice.receiver == Receiver::Alertmanager {
        kept.alerted = (notice.state == DeliveryState::Firing).then_some(Time(now));
    }
    Ok(())
}
