//! What became of a Job.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use serde::{Deserialize, Serialize};

/// Kubernetes keeps this much of a termination message.
pub const TERMINATION_MESSAGE_BYTES: usize = 4096;

/// The annotation in which a Job tells how far it is.
pub const PROGRESS_ANNOTATION: &str = "howdah.dev/progress";

/// A Job and the newest of its pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobFacts {
    /// Its uid: a Job of the same name made later is another one.
    pub uid: String,
    /// Where it is.
    pub phase: JobPhase,
    /// It is being deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminating: bool,
    /// What the pod's first container left in its termination message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_message: Option<String>,
    /// Why the pod does not run or did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<PodTrouble>,
    /// How far it says that it is, in [`PROGRESS_ANNOTATION`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// Where a Job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobPhase {
    /// Neither completed nor failed.
    #[default]
    Running,
    /// Condition `Complete`.
    Succeeded,
    /// Condition `Failed`.
    Failed,
}

/// Why a Job's pod does not run or did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodTrouble {
    /// What kind of trouble.
    pub kind: PodTroubleKind,
    /// Kubernetes' own words.
    pub message: String,
}

/// Kinds of trouble with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodTroubleKind {
    /// The image can't be pulled.
    ImagePull,
    /// No node takes the pod.
    Unschedulable,
    /// A container could not be created (a Secret or ConfigMap that it mounts is missing).
    CreateContainer,
    /// Killed for its memory.
    OutOfMemory,
    /// `activeDeadlineSeconds` passed.
    DeadlineExceeded,
    /// Evicted or preempted: the node, not the benchmark.
    Evicted,
    /// The container ended with an error.
    Error,
}

impl JobFacts {
    /// Reads a Job and its pods; of several pods the newest counts.
    pub fn of(job: &Job, pods: &[Pod]) -> Self {
        let pod = pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let holds = |kind: &str| conditions.iter().find(|one| one.type_ == kind && one.status == "True");
        let failed = holds("Failed");
        let deadline = failed.filter(|condition| condition.reason.as_deref() == Some("DeadlineExceeded"));
        let phase = match failed {
            Some(_) => JobPhase::Failed,
            None if holds("Complete").is_some() => JobPhase::Succeeded,
            None => JobPhase::Running,
        };
        let trouble = match deadline {
            Some(condition) => {
                Some(trouble(PodTroubleKind::DeadlineExceeded, condition.message.clone().unwrap_or_default()))
            }
            None => pod.and_then(pod_trouble),
        };
        Self {
            uid: job.metadata.uid.clone().unwrap_or_default(),
            phase,
            terminating: job.metadata.deletion_timestamp.is_some(),
            termination_message: pod.and_then(termination_message),
            trouble,
            progress: job.metadata.annotations.as_ref().and_then(|all| all.get(PROGRESS_ANNOTATION).cloned()),
        }
    }
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

fn termination_message(pod: &Pod) -> Option<String> {
    containers(pod).first()?.state.as_ref()?.terminated.as_ref()?.message.clone()
}

fn trouble(kind: PodTroubleKind, message: impl Into<String>) -> PodTrouble {
    PodTrouble { kind, message: message.into() }
}

/// What a container ended of, and the kubelet's word for it.
fn end(ended: &ContainerStateTerminated) -> (PodTroubleKind, &str) {
    let reason = ended.reason.as_deref().unwrap_or("Error");
    (if reason == "OOMKilled" { PodTroubleKind::OutOfMemory } else { PodTroubleKind::Error }, reason)
}

/// What keeps a pod from working, if anything.
pub fn pod_trouble(pod: &Pod) -> Option<PodTrouble> {
    let status = pod.status.as_ref()?;
    // Before its containers: those that ran end with an error then.
    if let Some(reason @ ("Evicted" | "Preempting" | "NodeLost" | "Shutdown" | "Terminated")) = status.reason.as_deref()
    {
        return Some(trouble(PodTroubleKind::Evicted, status.message.as_deref().unwrap_or(reason)));
    }
    let holds = |kind: &str| status.conditions.iter().flatten().find(|one| one.type_ == kind && one.status == "True");
    if let Some(disrupted) = holds("DisruptionTarget") {
        let why = disrupted.message.as_deref().or(disrupted.reason.as_deref()).unwrap_or_default();
        return Some(trouble(PodTroubleKind::Evicted, why));
    }
    for container in containers(pod) {
        let state = container.state.as_ref();
        if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
            let kind = match waiting.reason.as_deref() {
                Some("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull") => {
                    PodTroubleKind::ImagePull
                }
                Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
                    PodTroubleKind::CreateContainer
                }
                // One that is started again and again.
                Some("CrashLoopBackOff") => {
                    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
                    let Some(last) = last else { continue };
                    let (kind, reason) = end(last);
                    let words = last.message.as_deref().and_then(|message| message.trim().lines().last());
                    let words = words.map_or_else(String::new, |words| format!(": {words}"));
                    let (name, code) = (&container.name, last.exit_code);
                    return Some(trouble(
                        kind,
                        format!("container {name} ends with exit code {code} ({reason}) each time{words}"),
                    ));
                }
                _ => continue,
            };
            let words = waiting.message.as_deref().or(waiting.reason.as_deref()).unwrap_or_default();
            return Some(trouble(kind, words));
        }
        if let Some(ended) = state.and_then(|state| state.terminated.as_ref()).filter(|ended| ended.exit_code != 0) {
            let (kind, reason) = end(ended);
            let name = &container.name;
            return Some(trouble(
                kind,
                format!("container {name} ended with exit code {} ({reason})", ended.exit_code),
            ));
        }
    }
    let unscheduled = status.conditions.iter().flatten().find(|one| {
        one.type_ == "PodScheduled" && one.status == "False" && one.reason.as_deref() == Some("Unschedulable")
    })?;
    Some(trouble(PodTroubleKind::Unschedulable, unscheduled.message.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(job: serde_json::Value, pod: serde_json::Value) -> JobFacts {
        let job = serde_json::from_value(json!({"metadata": {"uid": "u"}, "status": job})).unwrap();
        let pod = serde_json::from_value(json!({"metadata": {}, "status": pod})).unwrap();
        JobFacts::of(&job, &[pod])
    }

    fn container(state: serde_json::Value) -> serde_json::Value {
        json!({"containerStatuses": [{
            "name": "benchmark", "ready": false, "restartCount": 0, "image": "i", "imageID": "", "state": state}]})
    }

    #[test]
    fn a_completed_job_hands_over_its_message() {
        let done = facts(
            json!({"conditions": [{"type": "Complete", "status": "True"}]}),
            container(json!({"terminated": {"exitCode": 0, "message": "{\"measured\":{}}"}})),
        );
        assert_eq!(done.phase, JobPhase::Succeeded);
        assert_eq!(done.termination_message.as_deref(), Some("{\"measured\":{}}"));
        assert_eq!(done.trouble, None);
    }

    #[test]
    fn each_trouble_is_told_apart() {
        let kind = |job, pod| facts(job, pod).trouble.map(|trouble| trouble.kind);
        let running = || json!({});
        let waiting = |reason: &str| container(json!({"waiting": {"reason": reason}}));
        assert_eq!(kind(running(), waiting("ImagePullBackOff")), Some(PodTroubleKind::ImagePull));
        assert_eq!(kind(running(), waiting("CreateContainerConfigError")), Some(PodTroubleKind::CreateContainer));
        assert_eq!(kind(running(), waiting("ContainerCreating")), None);
        let ended = |reason: &str| container(json!({"terminated": {"exitCode": 1, "reason": reason}}));
        assert_eq!(kind(running(), ended("OOMKilled")), Some(PodTroubleKind::OutOfMemory));
        assert_eq!(kind(running(), ended("Error")), Some(PodTroubleKind::Error));
        let unschedulable = json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
        assert_eq!(kind(running(), unschedulable), Some(PodTroubleKind::Unschedulable));
        assert_eq!(kind(running(), json!({"reason": "Evicted"})), Some(PodTroubleKind::Evicted));
        let killed = json!([{"name": "benchmark", "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}]);
        let evicted = json!({"reason": "Evicted", "containerStatuses": killed});
        assert_eq!(kind(running(), evicted), Some(PodTroubleKind::Evicted));
        let disrupted = json!({"containerStatuses": killed,
            "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]});
        assert_eq!(kind(running(), disrupted), Some(PodTroubleKind::Evicted));
        let deadline = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]});
        assert_eq!(kind(deadline, json!({})), Some(PodTroubleKind::DeadlineExceeded));
    }
}
