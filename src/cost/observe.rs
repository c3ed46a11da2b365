//! Gathers the facts of a model: the source, the training's Job and result, the replicas. Not seeing something is a fact,
//! not an error.

use std::collections::BTreeSet;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::crd::{CostModelStatus, Explain, QueryCostModel};
use super::deployment::{self, HASH_ANNOTATION, MODEL_LABEL};
use super::evaluation::report::Report as Evaluated;
use super::facts::{Beside, DeploymentFacts, Facts, Pattern, Trouble};
use super::reason::Reason;
use super::surroundings::Surroundings;
use super::training::{self, TrainingResult};
use super::{REPORT, model_path};
use crate::control::metrics::cost::CostSample;
use crate::control::training::TrainingState;
use crate::instance;
use crate::instance::crd::PostgresInstance;
use crate::kubernetes::job::pod_trouble;
use crate::world::kubernetes::secret::SecretText;
use crate::world::kubernetes::{KubeError, job};

/// Characters of what a replica says when it ends.
const TROUBLE: usize = 500;

impl Surroundings {
    /// The facts of a model, read afresh: a cache that lags behind our own writes would train twice.
    pub async fn facts(&self, cached: &QueryCostModel) -> Facts {
        let mut facts = Facts {
            now: Time(Timestamp::now()),
            model: cached.clone(),
            unseen: None,
            source: Ok(()),
            job: None,
            result: None,
            pattern: self.pattern().await,
            explain: None,
            deployment: None,
        };
        if let Err(error) = self.read_cluster(&mut facts).await {
            facts.unseen = Some(Trouble::new(Reason::StepFailed, error.to_string()));
            return facts;
        }
        facts.explain = self.connection(&facts.model).await.map(|found| found.map(|connection| connection.version));
        facts.result = self.result(&facts).await;
        self.tell(&facts);
        facts
    }

    /// Tells what the last look found.
    fn tell(&self, facts: &Facts) {
        if facts.model.metadata.deletion_timestamp.is_some() {
            return;
        }
        let status = facts.status();
        let model = status.model.as_ref();
        let sample = CostSample {
            accuracy: model.map(|model| model.accuracy.0),
            trained_at: model.and_then(|model| model.trained_at.as_ref()).map(|at| at.0.as_second() as f64),
            conditions: status.conditions.iter().map(|one| (one.type_.clone(), one.status == "True")).collect(),
        };
        let (namespace, name) = (facts.model.namespace().unwrap_or_default(), facts.model.name_any());
        self.metrics.cost.set(&namespace, &name, &sample);
    }

    /// The object itself, its source, the Job of its training, and its replicas.
    async fn read_cluster(&self, facts: &mut Facts) -> Result<(), KubeError> {
        let (namespace, name) = (facts.model.namespace().unwrap_or_default(), facts.model.name_any());
        let models: Api<QueryCostModel> = Api::namespaced(self.client.clone(), &namespace);
        let found = models.get_opt(&name).await.map_err(|error| KubeError::of("the QueryCostModel", error))?;
        if let Some(fresh) = found {
            facts.model = fresh;
        }
        let files = facts.model.spec.source.files.as_ref().filter(|files| files.secret_ref.is_none());
        if let Some(files) = files
            && let Err(message) = self.grants.root(&namespace, &files.url)
        {
            facts.source = Err(Trouble::new(Reason::SourceForbidden, message));
        }
        if let Some(instance) = &facts.model.spec.source.instance_ref
            && self.instance(&namespace, &instance.name).await?.is_none()
        {
            let message = format!("there is no PostgresInstance {namespace}/{}", instance.name);
            facts.source = Err(Trouble::new(Reason::InstanceMissing, message));
        }
        let Some(own) = self.own_pod.namespace() else { return Ok(()) };
        let running = facts.status().training.filter(|training| training.state == TrainingState::Running);
        if let Some(training) = running {
            facts.job = job::job_facts(&self.client, own, &training.job).await?;
        }
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), own);
        let serving = deployment::name((&namespace, &name));
        let found = deployments.get_opt(&serving).await;
        let found = found.map_err(|error| KubeError::of("the replicas' Deployment", error))?;
        if let Some(deployment) = found {
            let (service, budget, autoscaler, connection) = tokio::try_join!(
                is_there::<Service>(&self.client, own, &serving),
                is_there::<PodDisruptionBudget>(&self.client, own, &serving),
                is_there::<HorizontalPodAutoscaler>(&self.client, own, &serving),
                is_there::<Secret>(&self.client, own, &serving),
            )?;
            let beside = [
                (Beside::Service, service),
                (Beside::Budget, budget),
                (Beside::Autoscaler, autoscaler),
                (Beside::Connection, connection),
            ];
            let beside = beside.into_iter().filter_map(|(what, there)| there.then_some(what)).collect();
            let mut found = replicas(&deployment, beside);
            if !found.rolled_out && found.message.is_none() {
                found.message = self.trouble_of_replicas(own, &facts.model.uid().unwrap_or_default()).await?;
            }
            facts.deployment = Some(found);
        }
        Ok(())
    }

    /// What keeps the newest replica from coming up, if anything.
    async fn trouble_of_replicas(&self, own: &str, uid: &str) -> Result<Option<String>, KubeError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), own);
        let ours = ListParams::default().labels(&format!("{MODEL_LABEL}={uid}"));
        let mut found = pods.list(&ours).await.map_err(|error| KubeError::of("the replicas' pods", error))?.items;
        found.sort_by_key(|pod| std::cmp::Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)));
        let trouble = found.iter().find_map(pod_trouble).map(|trouble| trouble.message);
        Ok(trouble.map(|words| words.chars().take(TROUBLE).collect()))
    }

    /// The connection for EXPLAIN, where it is enabled. Its role and server are looked at by the replicas, which use it.
    pub(super) async fn connection(&self, model: &QueryCostModel) -> Option<Result<SecretText, Trouble>> {
        let explain = &model.spec.explain;
        if !explain.enabled {
            return None;
        }
        Some(self.read_connection(&model.namespace().unwrap_or_default(), explain).await)
    }

    async fn read_connection(&self, namespace: &str, explain: &Explain) -> Result<SecretText, Trouble> {
        let reference = match (&explain.secret_ref, &explain.instance_ref) {
            (Some(reference), _) => reference.clone(),
            (None, Some(instance)) => {
                let found = self.instance(namespace, &instance.name).await;
                let found = found.map_err(|error| Trouble::new(Reason::StepFailed, format!("explain: {error}")))?;
                let missing = || format!("explain: there is no PostgresInstance {namespace}/{}", instance.name);
                let found = found.ok_or_else(|| Trouble::new(Reason::InstanceMissing, missing()))?;
                found.spec.connection.secret_ref
            }
            (None, None) => {
                let message = "explain needs a server: set explain.instanceRef or explain.secretRef";
                return Err(Trouble::new(Reason::InvalidSpecification, message));
            }
        };
        let found = instance::observe::connection(&self.client, namespace, &reference).await;
        found.map(|(connection, _)| connection).map_err(|trouble| {
            let reason = match trouble.reason {
                // The cluster could not be asked, which says nothing of the Secret.
                instance::Reason::ApiServerFailed | instance::Reason::Forbidden | instance::Reason::FieldConflict => {
                    Reason::StepFailed
                }
                _ => Reason::SecretMissing,
            };
            Trouble::new(reason, format!("explain: {}", trouble.message))
        })
    }

    /// An instance that the specification names.
    async fn instance(&self, namespace: &str, name: &str) -> Result<Option<PostgresInstance>, KubeError> {
        let instances: Api<PostgresInstance> = Api::namespaced(self.client.clone(), namespace);
        instances.get_opt(name).await.map_err(|error| KubeError::of("the PostgresInstance", error))
    }

    async fn pattern(&self) -> Result<Pattern, Trouble> {
        let pod = self.own_pod().await?;
        let unknown = |message: String| Trouble::new(Reason::PatternUnknown, message);
        let template = deployment::template_hash(pod, &self.store_url).map_err(unknown)?;
        Ok(Pattern { namespace: pod.metadata.namespace.clone().unwrap_or_default(), template })
    }

    /// The operator's own pod.
    pub(super) async fn own_pod(&self) -> Result<&Pod, Trouble> {
        let pod = self.own_pod.pattern(&self.client, &self.store_url, "trainings and replicas").await;
        pod.map_err(|message| Trouble::new(Reason::PatternUnknown, message))
    }

    /// What a training left in the store, once its Job says that it left something.
    async fn result(&self, facts: &Facts) -> Option<Result<CostModelStatus, Trouble>> {
        let message = facts.job.as_ref()?.termination_message.as_deref()?;
        let TrainingResult::Trained { at, .. } = serde_json::from_str(message).ok()? else { return None };
        let training = facts.status().training?;
        let uid = facts.model.uid().unwrap_or_default();
        let path = model_path(&facts.model.namespace().unwrap_or_default(), &uid, Some(&training.job));
        let missing = |message: String| Trouble::new(Reason::ModelStoreUnavailable, message);
        let path = format!("{path}/{REPORT}");
        Some(match self.store.get(&path).await {
            Ok(Some(bytes)) => match serde_json::from_slice::<Evaluated>(&bytes) {
                Ok(report) => {
                    let targets_hash = training::targets_hash(&facts.model.spec);
                    Ok(training::status(&report, &training.job, [&training.spec_hash, &targets_hash], &at))
                }
                Err(error) => Err(missing(format!("{path} in the model store can't be read: {error}"))),
            },
            Ok(None) => Err(missing(format!("the model store has nothing at {path}"))),
            Err(error) => Err(missing(error.to_string())),
        })
    }
}

async fn is_there<K>(client: &Client, namespace: &str, name: &str) -> Result<bool, KubeError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api.get_metadata_opt(name).await;
    let found = found.map_err(|error| KubeError::of(format!("the replicas' {}", K::kind(&())), error))?;
    Ok(found.is_some())
}

fn replicas(deployment: &Deployment, beside: BTreeSet<Beside>) -> DeploymentFacts {
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let count = |number: Option<i32>| number.unwrap_or_default();
    let seen = status.observed_generation >= deployment.metadata.generation;
    let current = count(status.updated_replicas) == wanted && count(status.replicas) == wanted;
    let conditions = status.conditions.unwrap_or_default();
    let failing = conditions.iter().find(|one| one.type_ == "ReplicaFailure" && one.status == "True");
    let unavailable = || conditions.iter().find(|one| one.type_ == "Progressing" && one.status == "False");
    DeploymentFacts {
        hash: deployment.annotations().get(HASH_ANNOTATION).cloned().unwrap_or_default(),
        routing: deployment::routing(deployment),
        replicas: wanted,
        ready: count(status.ready_replicas),
        rolled_out: seen && current && count(status.available_replicas) == wanted,
        message: failing.or_else(unavailable).and_then(|one| one.message.clone()),
        beside,
    }
}
