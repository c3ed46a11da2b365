//! The replicas that serve a model, as objects. They run as the operator does, in its own namespace, because they read the
//! model store; of the cluster they are told nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, Pod, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, Secret, SecretKeySelector, Service, ServicePort, ServiceSpec, VolumeMount,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::crd::{RoutingGroups, Serving};
use crate::control::training::short_hash;
use crate::kubernetes::training_job::{holds, labels, like, pattern};

/// The label of what serves a model, with the model's uid.
pub const MODEL_LABEL: &str = "howdah.dev/model-uid";
/// The label of what trains a model, with the model's uid. It is another one: what selects the replicas, the disruption budget
/// and the autoscaler among them, must not count a training's pod.
pub const TRAINING_LABEL: &str = "howdah.dev/trains-model-uid";
/// What the Deployment was made for.
pub const HASH_ANNOTATION: &str = "howdah.dev/made-for";
/// The version of the connection for EXPLAIN that a pod has read.
const CONNECTION_ANNOTATION: &str = "howdah.dev/explain-connection";
/// The argument of `howdah cost serve` that names the groups.
const ROUTE: &str = "--route";
const URI_KEY: &str = "uri";
const CA_KEY: &str = "ca.crt";
/// The REST API, probes and metrics.
pub const HTTP_PORT: i32 = 8080;
/// The gRPC API.
pub const GRPC_PORT: i32 = 9090;

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served<'a> {
    /// Namespace and name of the object.
    pub object: (&'a str, &'a str),
    /// Its uid.
    pub uid: &'a str,
    /// Path of the model in the model store.
    pub path: &'a str,
    /// How.
    pub serving: &'a Serving,
    /// URL of the model store.
    pub store: &'a str,
    /// Who plans statements.
    pub planner: Option<Planner<'a>>,
}

/// The connection for EXPLAIN.
#[derive(Clone, Copy, PartialEq)]
pub struct Planner<'a> {
    /// URI of the server, with the password.
    pub uri: &'a str,
    /// Its certificate authority.
    pub ca: Option<&'a str>,
    /// Changes when one of them does.
    pub version: &'a str,
}

impl std::fmt::Debug for Planner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Planner({})", self.version)
    }
}

/// Everything that serves a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The replicas.
    pub deployment: Deployment,
    /// Where they answer.
    pub service: Service,
    /// One is always there, where they are not bound to one node.
    pub budget: PodDisruptionBudget,
    /// The connection for EXPLAIN: replicas run in another namespace than the Secret that it comes from.
    pub connection: Option<Secret>,
    /// Adds pods, where it is asked for.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
}

/// The name of all of it.
pub fn name((namespace, name): (&str, &str)) -> String {
    let readable: String = name.chars().take(40).collect();
    format!(
        "cost-{}-{}",
        readable.trim_end_matches(['-', '.']).replace('.', "-"),
        short_hash(&format!("{namespace}/{name}"))
    )
}

/// What a Deployment is made for: another hash needs another one. `template` is the [`template_hash`], `planner` the version
/// of the connection for EXPLAIN.
pub fn hash(path: &str, serving: &Serving, template: &str, planner: Option<&str>) -> String {
    short_hash(&serde_json::json!([path, serving, template, planner]).to_string())
}

/// Hash of the pod that would serve no model in particular: all that replicas take over from the operator's own pod.
///
/// # Errors
/// A sentence when the pod says too little.
pub fn template_hash(pod: &Pod, store: &str) -> Result<String, String> {
    let serving = Serving::default();
    let nothing = Served { object: ("", ""), uid: "", path: "", serving: &serving, store, planner: None };
    let template = template(&nothing, pod)?;
    serde_json::to_string(&template).map(|text| short_hash(&text)).map_err(|error| error.to_string())
}

/// The groups that a Deployment's replicas answer with.
pub fn routing(deployment: &Deployment) -> Option<RoutingGroups> {
    let arguments = deployment.spec.as_ref()?.template.spec.as_ref()?.containers.first()?.args.as_ref()?;
    let at = arguments.iter().position(|argument| argument == ROUTE)?;
    let (target, groups) = arguments.get(at + 1)?.split_once('=')?;
    Some(RoutingGroups { target: target.to_owned(), groups: groups.split(',').map(str::to_owned).collect() })
}

/// The objects, after the operator's own pod.
///
/// # Errors
/// A sentence when the pod says too little.
pub fn objects(served: &Served<'_>, pod: &Pod) -> Result<Objects, String> {
    let template = template(served, pod)?;
    let bound = template.spec.as_ref().is_some_and(|spec| spec.affinity.is_some());
    let name = name(served.object);
    let labels = labels("cost", (MODEL_LABEL, served.uid));
    let metadata = |annotations: Option<BTreeMap<String, String>>| ObjectMeta {
        name: Some(name.clone()),
        namespace: pod.metadata.namespace.clone(),
        labels: Some(labels.clone()),
        annotations,
        ..ObjectMeta::default()
    };
    let selector = LabelSelector {
        match_labels: Some([(MODEL_LABEL.to_owned(), served.uid.to_owned())].into()),
        ..LabelSelector::default()
    };
    let autoscaled = served.serving.autoscaling.as_ref();
    let planner = served.planner.map(|planner| planner.version);
    let made_for = hash(served.path, served.serving, &template_hash(pod, served.store)?, planner);
    let object = format!("{}/{}", served.object.0, served.object.1);
    let deployment = Deployment {
        metadata: metadata(Some(
            [(HASH_ANNOTATION.to_owned(), made_for), ("howdah.dev/model".to_owned(), object)].into(),
        )),
        spec: Some(DeploymentSpec {
            // Where an autoscaler counts, nobody else does.
            replicas: autoscaled.is_none().then_some(served.serving.replicas),
            selector: selector.clone(),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: Some(IntOrString::Int(1)),
                }),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    };
    let service_port = |name: &str, port: i32, protocol: &str| ServicePort {
        name: Some(name.to_owned()),
        port,
        target_port: Some(IntOrString::String(name.to_owned())),
        app_protocol: Some(protocol.to_owned()),
        ..ServicePort::default()
    };
    let service = Service {
        metadata: metadata(None),
        spec: Some(ServiceSpec {
            selector: selector.match_labels.clone(),
            ports: Some(vec![
                service_port("http", HTTP_PORT, "http"),
                service_port("grpc", GRPC_PORT, "kubernetes.io/h2c"),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    let budget = PodDisruptionBudget {
        metadata: metadata(None),
        spec: Some(PodDisruptionBudgetSpec {
            // One pod alone may be moved: it could never be evicted otherwise. Where all are bound to the node of a volume,
            // those that are left would hold it there, and the first would wait for it elsewhere.
            max_unavailable: Some(if bound { IntOrString::String("100%".into()) } else { IntOrString::Int(1) }),
            selector: Some(selector),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    };
    let autoscaler = autoscaled.map(|autoscaling| HorizontalPodAutoscaler {
        metadata: metadata(None),
        spec: Some(HorizontalPodAutoscalerSpec {
            min_replicas: Some(served.serving.replicas),
            max_replicas: autoscaling.max.max(served.serving.replicas),
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".into()),
                kind: "Deployment".into(),
                name: name.clone(),
            },
            metrics: Some(vec![MetricSpec {
                type_: "Resource".into(),
                resource: Some(ResourceMetricSource {
                    name: "cpu".into(),
                    target: MetricTarget {
                        type_: "Utilization".into(),
                        average_utilization: Some(70),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]),
            ..HorizontalPodAutoscalerSpec::default()
        }),
        ..HorizontalPodAutoscaler::default()
    });
    let connection = served.planner.map(|planner| Secret {
        metadata: metadata(None),
        string_data: Some(
            [(URI_KEY, Some(planner.uri)), (CA_KEY, planner.ca)]
                .into_iter()
                .filter_map(|(key, text)| Some((key.to_owned(), text?.to_owned())))
                .collect(),
        ),
        ..Secret::default()
    });
    Ok(Objects { deployment, service, budget, connection, autoscaler })
}

/// Keeps the number of replicas for as long as nobody but `manager` has set one, an autoscaler say: a field that its only
/// owner leaves out is set to its default, which is one.
pub fn keep_count(wanted: &mut Deployment, live: Option<&Deployment>, manager: &str) {
    let count = |deployment: &Deployment| deployment.spec.as_ref()?.replicas;
    let is_ours = |live: &Deployment| {
        let managed = live.metadata.managed_fields.iter().flatten();
        let counts = |fields: &serde_json::Value| fields.pointer("/f:spec/f:replicas").is_some();
        let mut others = managed.filter(|entry| entry.manager.as_deref() != Some(manager));
        !others.any(|entry| entry.fields_v1.as_ref().is_some_and(|fields| counts(&fields.0)))
    };
    if let (Some(spec), Some(count)) = (&mut wanted.spec, live.filter(|live| is_ours(live)).and_then(count)) {
        spec.replicas = Some(count);
    }
}

/// A replica, after the operator's own pod.
fn template(served: &Served<'_>, pod: &Pod) -> Result<PodTemplateSpec, String> {
    let spec = pod.spec.as_ref().ok_or("the operator's pod has no spec")?;
    let own = pattern(spec).ok_or("the operator's pod has no container")?;
    let container = Container {
        name: "serving".into(),
        image: own.image.clone(),
        image_pull_policy: own.image_pull_policy.clone(),
        args: Some(arguments(served)),
        env: Some(own.env.iter().flatten().cloned().chain(environment(served, &name(served.object))).collect()),
        env_from: own.env_from.clone(),
        ports: Some(vec![port("http", HTTP_PORT), port("grpc", GRPC_PORT)]),
        // A large model of a slow store takes minutes to load: five, and only then is it stuck.
        startup_probe: Some(Probe { failure_threshold: Some(150), ..probe("/healthz", 2) }),
        readiness_probe: Some(probe("/readyz", 2)),
        liveness_probe: Some(probe("/healthz", 10)),
        resources: Some(served.serving.resources.clone().unwrap_or_else(default_resources)),
        security_context: own.security_context.clone(),
        // Why one does not start is told in the model's condition.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: own
            .volume_mounts
            .clone()
            .map(|mounts| mounts.into_iter().filter_map(|mount| needed(mount, spec, served.store)).collect()),
        ..Container::default()
    };
    let connection = |planner: Planner<'_>| [(CONNECTION_ANNOTATION.to_owned(), planner.version.to_owned())].into();
    Ok(PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels("cost", (MODEL_LABEL, served.uid))),
            // Another connection is read by other pods.
            annotations: served.planner.map(connection),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            // Readiness goes first, then requests end: 5 s and up to 20 s.
            termination_grace_period_seconds: Some(30),
            ..like(pod, spec, container)
        }),
    })
}

/// Where `howdah cost serve` finds the connection for EXPLAIN.
fn environment(served: &Served<'_>, secret: &str) -> Vec<EnvVar> {
    let Some(planner) = served.planner else { return Vec::new() };
    let variable = |name: &str, key: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector { name: secret.to_owned(), key: key.to_owned(), optional: None }),
            ..EnvVarSource::default()
        }),
    };
    let ca = planner.ca.map(|_| variable("HOWDAH_EXPLAIN_CA", CA_KEY));
    [variable("HOWDAH_EXPLAIN_URI", URI_KEY)].into_iter().chain(ca).collect()
}

/// Replicas need scratch space, and read the model store: its volume, which others share, stays as it is.
fn needed(mount: VolumeMount, spec: &PodSpec, store: &str) -> Option<VolumeMount> {
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
    if volume.empty_dir.is_some() {
        return Some(mount);
    }
    let directory = store.strip_prefix("file://")?;
    holds(&mount, directory).then_some(VolumeMount { read_only: Some(true), ..mount })
}

fn arguments(served: &Served<'_>) -> Vec<String> {
    let mut arguments: Vec<String> = ["cost", "serve", "--model-store", served.store, "--model-name", served.path]
        .into_iter()
        .chain(["--listen", "[::]:8080", "--grpc-listen", "[::]:9090", "--log-format", "json"])
        .map(str::to_owned)
        .chain(["--served-for".to_owned(), format!("{}/{}", served.object.0, served.object.1)])
        .collect();
    if let Some(routing) = &served.serving.routing {
        arguments.extend([ROUTE.to_owned(), format!("{}={}", routing.target, routing.groups.join(","))]);
    }
    arguments
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort { name: Some(name.to_owned()), container_port: number, ..ContainerPort::default() }
}

fn probe(path: &str, seconds: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(seconds),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn default_resources() -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: quantities(&[("cpu", "100m"), ("memory", "192Mi")]),
        limits: quantities(&[("memory", "512Mi")]),
        claims: None,
    }
}

#[cfg(test)]
mod tests;
