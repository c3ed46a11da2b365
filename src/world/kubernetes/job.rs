//! Jobs: created once, read with their pod, deleted.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::KubeError;
use crate::kubernetes::job::{JobFacts, PROGRESS_ANNOTATION};

fn api(client: &Client, namespace: &str) -> Api<Job> {
    Api::namespaced(client.clone(), namespace)
}

fn object(namespace: &str, name: &str) -> String {
    format!("Job {namespace}/{name}")
}

/// Creates a Job in its own namespace and returns its uid. One that exists already under the name is left as it is,
/// and its uid returned: a Job's name says what it does, so after a crash nothing runs twice.
///
/// # Errors
/// `Forbidden`, or `Other` with the API server's words (a quota, a policy, an invalid resource).
pub async fn create_job(client: &Client, job: &Job) -> Result<String, KubeError> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let api = api(client, &namespace);
    let made = match api.create(&PostParams::default(), job).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => api.get(&name).await,
        made => made,
    };
    let made = made.map_err(|e| KubeError::of(object(&namespace, &name), e))?;
    Ok(made.metadata.uid.unwrap_or_default())
}

/// Reads a Job with its pods. `None` when it does not exist.
///
/// # Errors
/// `Forbidden` when Jobs or pods may not be read.
pub async fn job_facts(client: &Client, namespace: &str, name: &str) -> Result<Option<JobFacts>, KubeError> {
    let found = api(client, namespace).get_opt(name).await.map_err(|e| KubeError::of(object(namespace, name), e))?;
    let Some(job) = found else { return Ok(None) };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
    let pods = pods.list(&of_job).await.map_err(|e| KubeError::of(format!("Pods of Job {namespace}/{name}"), e))?;
    Ok(Some(JobFacts::of(&job, &pods.items)))
}

/// Deletes a Job with its pods. With `Foreground` it stays, terminating, until its pods are gone. One that does not
/// exist is fine.
///
/// # Errors
/// `Forbidden`, or `Other` when the API server can't be reached.
pub async fn delete_job(
    client: &Client,
    namespace: &str,
    name: &str,
    propagation: PropagationPolicy,
) -> Result<(), KubeError> {
    let params = DeleteParams { propagation_policy: Some(propagation), ..DeleteParams::default() };
    match api(client, namespace).delete(name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(drop).map_err(|e| KubeError::of(object(namespace, name), e)),
    }
}

/// Tells how far a Job is, in an annotation of its own.
///
/// # Errors
/// `NotFound` when the Job is gone, `Forbidden` when it may not be patched.
pub async fn tell_progress(client: &Client, namespace: &str, name: &str, progress: &str) -> Result<(), KubeError> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {PROGRESS_ANNOTATION: progress}}}));
    let patched = api(client, namespace).patch_metadata(name, &PatchParams::default(), &patch).await;
    patched.map(drop).map_err(|e| KubeError::of(object(namespace, name), e))
}
