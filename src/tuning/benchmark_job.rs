//! The benchmark's Job: restricted, bounded in time, and named after its trial, so that it can't run twice.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, KeyToPath,
    PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecretKeySelector,
    SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::TUNING_LABEL;
use super::benchmark::{BenchmarkRequest, ScriptFile};
use super::crd::{ConfigMapKeySelector, Pgbench, TrialKind, TuningTrial};
use super::facts::Facts;

/// Seconds that preparing the database may take, for each unit of the scale and besides.
const PREPARE_SECONDS_PER_SCALE: i64 = 10;
const PREPARE_SECONDS: i64 = 600;
/// A finished Job is kept for a day, for people to look at.
const KEEP_SECONDS: i32 = 86_400;
/// The numeric user of the image: restricted pod security wants one that is not root.
const USER: i64 = 65_532;

const SCRIPTS: &str = "/etc/howdah/scripts";
const INIT: &str = "/etc/howdah/init";
const CONNECTION: &str = "/etc/howdah/connection";

/// Labels of everything that belongs to a tuning.
pub fn labels(tuning: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "howdah"),
        ("app.kubernetes.io/component", "tuning"),
        ("app.kubernetes.io/managed-by", "howdah"),
        (TUNING_LABEL, tuning),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// The Job that measures a trial.
///
/// # Errors
/// A sentence when the specification can't be turned into a run.
pub fn job(facts: &Facts, trial: &TuningTrial) -> Result<Job, String> {
    let pgbench = &facts.tuning.spec.workload.pgbench;
    let instance = facts.instance_spec().ok_or("the PostgresInstance is gone")?;
    let request = request(facts, trial)?;
    let request = serde_json::to_string(&request).map_err(|error| error.to_string())?;
    let secret = &instance.connection.secret_ref;
    let seconds = i64::from(pgbench.warmup_seconds) + i64::from(pgbench.measure_seconds);
    let deadline = PREPARE_SECONDS + PREPARE_SECONDS_PER_SCALE * i64::from(pgbench.scale) + 2 * seconds;
    let labels = labels(&trial.spec.tuning);

    let mut volumes = vec![
        Volume { name: "scratch".into(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() },
        Volume {
            name: "connection".into(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.name.clone()),
                items: Some(vec![KeyToPath { key: "ca.crt".into(), path: "ca.crt".into(), mode: None }]),
                optional: Some(true),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
    ];
    let mut mounts = vec![mount("scratch", "/tmp", false), mount("connection", CONNECTION, true)];
    for (index, script) in pgbench.scripts.iter().flatten().enumerate() {
        let name = format!("script-{index}");
        volumes.push(config_map(&name, &script.config_map_key_ref, "script.sql"));
        mounts.push(mount(&name, &format!("{SCRIPTS}/{index}"), true));
    }
    if let Some(init) = &pgbench.init_script {
        volumes.push(config_map("init", init, "init.sql"));
        mounts.push(mount("init", INIT, true));
    }

    let container = Container {
        name: "benchmark".into(),
        image: Some(facts.benchmark_image.clone()),
        args: Some(vec!["benchmark".into(), "--ca".into(), format!("{CONNECTION}/ca.crt")]),
        env: Some(vec![
            EnvVar {
                name: "PGURI".into(),
                value_from: Some(EnvVarSource {
                    secret_key_ref: Some(SecretKeySelector {
                        name: secret.name.clone(),
                        key: secret.key.clone(),
                        optional: None,
                    }),
                    ..EnvVarSource::default()
                }),
                ..EnvVar::default()
            },
            EnvVar { name: "HOWDAH_BENCHMARK".into(), value: Some(request), ..EnvVar::default() },
        ]),
        resources: Some(facts.tuning.spec.benchmark_resources.clone().unwrap_or_else(default_resources)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    Ok(Job {
        metadata: ObjectMeta {
            name: trial.metadata.name.clone(),
            namespace: facts.tuning.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            owner_references: trial.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            // A second pod would measure something else under the same name.
            backoff_limit: Some(0),
            active_deadline_seconds: Some(deadline),
            ttl_seconds_after_finished: Some(KEEP_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(PodSpec {
                    restart_policy: Some("Never".into()),
                    automount_service_account_token: Some(false),
                    enable_service_links: Some(false),
                    containers: vec![container],
                    volumes: Some(volumes),
                    security_context: Some(PodSecurityContext {
                        run_as_non_root: Some(true),
                        run_as_user: Some(USER),
                        run_as_group: Some(USER),
                        fs_group: Some(USER),
                        seccomp_profile: Some(SeccompProfile {
                            type_: "RuntimeDefault".into(),
                            localhost_profile: None,
                        }),
                        ..PodSecurityContext::default()
                    }),
                    ..PodSpec::default()
                }),
            },
            ..JobSpec::default()
        }),
        ..Job::default()
    })
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount { name: name.into(), mount_path: path.into(), read_only: Some(read_only), ..VolumeMount::default() }
}

fn config_map(volume: &str, selector: &ConfigMapKeySelector, file: &str) -> Volume {
    Volume {
        name: volume.into(),
        config_map: Some(ConfigMapVolumeSource {
            name: selector.name.clone(),
            items: Some(vec![KeyToPath { key: selector.key.clone(), path: file.into(), mode: None }]),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn default_resources() -> ResourceRequirements {
    let quantities = |pairs: [(&str, &str); 2]| {
        Some(pairs.into_iter().map(|(name, value)| (name.to_owned(), Quantity(value.to_owned()))).collect())
    };
    ResourceRequirements {
        requests: quantities([("cpu", "100m"), ("memory", "128Mi")]),
        // No CPU limit: a throttled load generator would be measured instead of the server.
        limits: Some([("memory".to_owned(), Quantity("1Gi".to_owned()))].into()),
        claims: None,
    }
}

/// The run that a specification and a trial ask for.
///
/// # Errors
/// A sentence when a number does not fit.
pub fn request(facts: &Facts, trial: &TuningTrial) -> Result<BenchmarkRequest, String> {
    let Pgbench { scale, clients, threads, builtin, scripts, init_script, warmup_seconds, measure_seconds, rate } =
        &facts.tuning.spec.workload.pgbench;
    let number = |name: &str, value: i32| {
        u32::try_from(value).map_err(|_| format!("workload.pgbench.{name} must not be negative, but is {value}"))
    };
    let script = |(index, script): (usize, &super::crd::Script)| {
        let path = format!("{SCRIPTS}/{index}/script.sql");
        Ok::<_, String>(ScriptFile { path, weight: number("scripts.weight", script.weight)? })
    };
    let searches = matches!(trial.spec.kind, TrialKind::Explore | TrialKind::Policy | TrialKind::Refine);
    let resources = facts.session().map(|s| &s.resources);
    Ok(BenchmarkRequest {
        scale: number("scale", *scale)?,
        clients: number("clients", *clients)?,
        threads: number("threads", *threads)?,
        builtin: builtin.unwrap_or_default(),
        scripts: scripts.iter().flatten().enumerate().map(script).collect::<Result<_, _>>()?,
        init_script: init_script.as_ref().map(|_| format!("{INIT}/init.sql")),
        warmup_seconds: number("warmupSeconds", *warmup_seconds)?,
        measure_seconds: number("measureSeconds", *measure_seconds)?,
        rate: rate.map(|rate| number("rate", rate)).transpose()?,
        // The same transactions in the same order in every trial of the tuning.
        seed: u32::try_from(facts.tuning.spec.optimizer.seed % i64::from(u32::MAX)).unwrap_or_default(),
        // A run of a verification counts whatever it shows.
        abandon_below_tps: facts.abandon_below_tps().filter(|_| searches),
        abort_above_p99_ms: facts.latency_guardrail_ms(),
        memory_bytes: resources.map(|r| r.memory_bytes),
        cpu_millis: resources.map(|r| r.cpu_millis),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The pod of a Job with every volume that there can be.
    fn pod() -> Value {
        let recorded = include_str!("../../tests/golden/heuristic-begins.facts.json");
        let mut facts: Facts = serde_json::from_str(recorded).unwrap();
        let pgbench = json!({
            "scripts": [{"configMapKeyRef": {"name": "load", "key": "a.sql"}, "weight": 1}],
            "initScript": {"name": "load", "key": "init.sql"}
        });
        facts.tuning.spec.workload.pgbench = serde_json::from_value(pgbench).unwrap();
        let job = job(&facts, &facts.trials[0]).unwrap();
        serde_json::to_value(job.spec.unwrap().template.spec.unwrap()).unwrap()
    }

    /// Every control of the Pod Security Standard `restricted`, and of `baseline` below it.
    #[test]
    fn the_pod_is_restricted() {
        let pod = pod();
        let absent = |object: &Value, fields: &[&str]| {
            for field in fields {
                assert!(object.get(field).is_none(), "{field} is set in {object:#}");
            }
        };
        absent(&pod, &["hostNetwork", "hostPID", "hostIPC", "hostUsers", "initContainers", "ephemeralContainers"]);
        let whole = &pod["securityContext"];
        assert_eq!(
            (&whole["runAsNonRoot"], &whole["seccompProfile"]["type"]),
            (&json!(true), &json!("RuntimeDefault"))
        );
        assert!(whole["runAsUser"].as_i64().unwrap() > 0);
        absent(whole, &["sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile"]);

        let containers = pod["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        absent(&containers[0], &["ports", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"]);
        let own = &containers[0]["securityContext"];
        assert_eq!(
            (&own["allowPrivilegeEscalation"], &own["capabilities"]),
            (&json!(false), &json!({"drop": ["ALL"]}))
        );
        absent(own, &["privileged", "procMount", "runAsUser", "runAsNonRoot", "seccompProfile", "seLinuxOptions"]);

        let volumes = pod["volumes"].as_array().unwrap();
        assert_eq!(volumes.len(), 4);
        for volume in volumes {
            let kinds: Vec<&String> = volume.as_object().unwrap().keys().filter(|key| *key != "name").collect();
            assert_eq!(kinds.len(), 1);
            assert!(["configMap", "emptyDir", "secret"].contains(&kinds[0].as_str()), "{volume}");
        }
    }
}
