//! Carries a decision's steps out, in their order.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::PropagationPolicy;
use kube::{Api, ResourceExt};

use super::crd::{QueryCostModel, Serving};
use super::decide::{Decision, Step};
use super::deployment::{self, Planner, Served, TRAINING_LABEL};
use super::facts::Trouble;
use super::reason::Reason;
use super::surroundings::Surroundings;
use super::{FINALIZER, model_path};
use crate::kubernetes::training_job::{self, Training};
use crate::world::kubernetes::{KubeError, job, object};
use crate::world::store::StoreError;

/// What became of the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The step that failed, by its position, and why. Those after it were not tried.
    pub failed: Option<(usize, Trouble)>,
}

/// Carries the steps out and stops at the first that fails.
pub async fn act(surroundings: &Surroundings, model: &QueryCostModel, decision: &Decision) -> Outcome {
    for (index, step) in decision.steps.iter().enumerate() {
        if let Err(trouble) = take(surroundings, model, step).await {
            tracing::warn!(reason = trouble.reason.word(), message = trouble.message, "a step failed");
            return Outcome { failed: Some((index, trouble)) };
        }
    }
    Outcome::default()
}

async fn take(surroundings: &Surroundings, model: &QueryCostModel, step: &Step) -> Result<(), Trouble> {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let uid = model.uid().unwrap_or_default();
    let Surroundings { client, store, store_url, .. } = surroundings;
    let failed = |error: KubeError| Trouble::new(Reason::StepFailed, error.to_string());
    let kept = |error: StoreError| Trouble::new(Reason::ModelStoreUnavailable, error.to_string());
    let unknown = |message: String| Trouble::new(Reason::PatternUnknown, message);
    match step {
        Step::AddFinalizer => object::set_finalizer(client, model, FINALIZER, true).await.map_err(failed),
        Step::StartTraining { name: job } => {
            let pod = surroundings.own_pod().await?;
            let object = format!("{namespace}/{name}");
            // The specification may change before the Job reads it, so it asks for itself what is granted.
            let grants = surroundings.grants.to_string();
            let arguments = ["cost", "train-object", "--object", &object, "--model-name", job, "--query-logs", &grants];
            // A million statements with 20,000 features; the server's log beside them, at its most.
            let usual = || training_job::resources("512Mi", "4Gi", "16Gi");
            let training = Training {
                arguments: arguments.map(str::to_owned).to_vec(),
                owner: (TRAINING_LABEL, uid.as_str()),
                name: job,
                resources: model.spec.training.resources.clone().unwrap_or_else(usual),
            };
            let job = training_job::job(&training, pod, store_url).map_err(unknown)?;
            job::create_job(client, &job).await.map(drop).map_err(failed)
        }
        Step::EndTraining { name: job } => {
            let Some(own) = surroundings.own_pod.namespace() else { return Ok(()) };
            job::delete_job(client, own, job, PropagationPolicy::Background).await.map_err(failed)?;
            store.delete_prefix(&model_path(&namespace, &uid, Some(job))).await.map_err(kept)
        }
        Step::RemoveVersion { name: version } => {
            store.delete_prefix(&model_path(&namespace, &uid, Some(version))).await.map_err(kept)
        }
        Step::Serve { name: version, routing } => {
            let pod = surroundings.own_pod().await?;
            let path = model_path(&namespace, &uid, Some(version));
            let connection = match surroundings.connection(model).await {
                Some(Err(trouble)) if trouble.reason == Reason::StepFailed => return Err(trouble),
                // Without the connection the replicas answer all the same, as the condition says.
                found => found.and_then(Result::ok),
            };
            let planner = connection.as_ref().and_then(|found| {
                let (uri, ca) = (found.value.as_deref()?, found.ca.as_deref());
                Some(Planner { uri, ca, version: &found.version })
            });
            let served = Served {
                object: (&namespace, &name),
                uid: &uid,
                path: &path,
                serving: &Serving { routing: routing.clone(), ..model.spec.serving.clone() },
                store: store_url,
                planner,
            };
            let objects = deployment::objects(&served, pod).map_err(unknown)?;
            object::apply(client, &objects.service).await.map_err(failed)?;
            object::apply(client, &objects.budget).await.map_err(failed)?;
            let (own, name) = (objects.service.namespace().unwrap_or_default(), objects.service.name_any());
            match &objects.connection {
                Some(secret) => object::apply(client, secret).await.map_err(failed)?,
                None => object::delete::<Secret>(client, &own, &name).await.map_err(failed)?,
            }
            let mut replicas = objects.deployment;
            if objects.autoscaler.is_some() {
                let deployments: Api<Deployment> = Api::namespaced(client.clone(), &own);
                let live = deployments.get_opt(&name).await;
                let live = live.map_err(|error| failed(KubeError::of("the replicas' Deployment", error)))?;
                deployment::keep_count(&mut replicas, live.as_ref(), object::FIELD_MANAGER);
            }
            object::apply(client, &replicas).await.map_err(failed)?;
            match &objects.autoscaler {
                Some(autoscaler) => object::apply(client, autoscaler).await.map_err(failed),
                None => object::delete::<HorizontalPodAutoscaler>(client, &own, &name).await.map_err(failed),
            }
        }
        Step::Release => {
            if let Some(own) = surroundings.own_pod.namespace() {
                let name = deployment::name((&namespace, &name));
                object::delete::<HorizontalPodAutoscaler>(client, own, &name).await.map_err(failed)?;
                object::delete::<Deployment>(client, own, &name).await.map_err(failed)?;
                object::delete::<Service>(client, own, &name).await.map_err(failed)?;
                object::delete::<Secret>(client, own, &name).await.map_err(failed)?;
                object::delete::<PodDisruptionBudget>(client, own, &name).await.map_err(failed)?;
            }
            store.delete_prefix(&model_path(&namespace, &uid, None)).await.map_err(kept)?;
            surroundings.metrics.cost.forget(&namespace, &name);
            object::set_finalizer(client, model, FINALIZER, false).await.map_err(failed)
        }
    }
}
