//! Each bad input has its own reason, and a sentence that says what to do.

mod golden;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::control::status;
use crate::instance::report::report;
use crate::kubernetes::pod::ConfigMapMount;
use crate::kubernetes::workload::WorkloadFacts;
use crate::postgres::server::{ContainerUse, Rights, ServerFacts};
use crate::postgres::setting::FileSetting;

/// An instance with a ConfigMap, a workload and nothing wrong.
fn healthy() -> InstanceFacts {
    let server = Server {
        facts: ServerFacts { version_num: 150_018, version: "15.18 (Debian)".into(), ..ServerFacts::default() },
        file_settings: Some(vec![FileSetting {
            source_file: "/etc/conf.d/howdah.conf".into(),
            name: "jit".into(),
            value: "off".into(),
            applied: true,
            error: None,
        }]),
        ..Server::default()
    };
    let pod = PodFacts {
        name: "db-0".into(),
        container: Some("postgres".into()),
        ready: true,
        memory_bytes: Some(2 << 30),
        cpu_millis: Some(1500),
        config_map_mounts: vec![ConfigMapMount {
            config_map: "conf".into(),
            path: "/etc/conf.d".into(),
            ..ConfigMapMount::default()
        }],
        ..PodFacts::default()
    };
    let spec = json!({
        "connection": {"secretRef": {"name": "db"}},
        "configuration": {"configMap": {"name": "conf", "key": "howdah.conf"}},
        "workload": {"name": "db"}
    });
    InstanceFacts {
        name: "orders".into(),
        namespace: "shop".into(),
        generation: Some(3),
        spec: serde_json::from_value(spec).unwrap(),
        server: Ok(server),
        workload: Some(Ok(Workload {
            facts: WorkloadFacts { replicas: 1, ..WorkloadFacts::default() },
            pod: Some(pod),
        })),
        configuration: Some(Ok(ConfigurationKey { text: Some("jit = off\n".into()), other_owners: vec![] })),
    }
}

fn server(facts: &mut InstanceFacts) -> &mut Server {
    facts.server.as_mut().unwrap()
}

fn workload(facts: &mut InstanceFacts) -> &mut Workload {
    facts.workload.as_mut().unwrap().as_mut().unwrap()
}

fn pod(facts: &mut InstanceFacts) -> &mut PodFacts {
    workload(facts).pod.as_mut().unwrap()
}

/// What spoils a healthy instance, and the reason and the words that must tell of it.
type Spoiled = (fn(&mut InstanceFacts), Reason, &'static str);

const SPOILED: &[Spoiled] = &[
    (|f| server(f).facts.version_num = 120_022, Reason::UnsupportedVersion, "13 or newer"),
    (|f| server(f).facts.in_recovery = true, Reason::InRecovery, "primary"),
    (
        |f| server(f).rights = Rights { missing: vec!["GRANT pg_monitor TO app".into()], optional: vec![] },
        Reason::MissingRights,
        "GRANT pg_monitor TO app",
    ),
    (|f| workload(f).pod = None, Reason::PodMissing, "StatefulSet db has no pod"),
    (|f| pod(f).container = None, Reason::ContainerMissing, "spec.workload.container"),
    (
        |f| (pod(f).ready, pod(f).last_termination) = (false, Some("OOMKilled".into())),
        Reason::PodNotReady,
        "db-0 is not ready: OOMKilled",
    ),
    (|f| pod(f).config_map_mounts.clear(), Reason::ConfigMapNotMounted, "mount the ConfigMap as a directory"),
    (
        |f| pod(f).config_map_mounts.iter_mut().for_each(|mount| mount.by_sub_path = true),
        Reason::ConfigMapMountedBySubPath,
        "subPath",
    ),
    (
        |f| f.configuration.as_mut().unwrap().as_mut().unwrap().other_owners.push("argocd".into()),
        Reason::FieldConflict,
        "field manager argocd",
    ),
    (|f| server(f).file_settings = Some(vec![]), Reason::NotIncluded, "include_dir = '/etc/conf.d'"),
    (|f| pod(f).memory_bytes = None, Reason::ResourcesUnknown, "memory of the server unknown"),
    (
        |f| f.spec.resources = Some(serde_json::from_value(json!({"memory": "2GB"})).unwrap()),
        Reason::InvalidResources,
        "spec.resources.memory",
    ),
];

#[test]
fn each_bad_input_has_its_own_reason() {
    assert_eq!(decide(&healthy()).reason, Reason::Ready);
    for (spoil, reason, words) in SPOILED {
        let mut facts = healthy();
        spoil(&mut facts);
        let decision = decide(&facts);
        assert_eq!(decision.reason, *reason);
        assert!(decision.message.contains(words), "{reason}: {}", decision.message);
    }
}

#[test]
fn what_could_not_be_seen_is_told_as_it_is() {
    for reason in Reason::ALL.iter().copied().filter(|reason| *reason != Reason::Ready) {
        let mut facts = healthy();
        facts.server = Err(Trouble::new(reason, "as seen"));
        assert_eq!(decide(&facts).reason, reason);
        let mut facts = healthy();
        facts.workload = Some(Err(Trouble::new(reason, "as seen")));
        assert_eq!(decide(&facts).reason, reason);
        let mut facts = healthy();
        facts.configuration = Some(Err(Trouble::new(reason, "as seen")));
        assert_eq!(decide(&facts).reason, reason);
    }
}

#[test]
fn a_pod_that_is_not_ready_explains_a_server_that_does_not_answer() {
    let mut facts = healthy();
    pod(&mut facts).ready = false;
    facts.server = Err(Trouble::new(Reason::Unreachable, "nothing listens"));
    assert_eq!(decide(&facts).reason, Reason::PodNotReady);
    facts.server = Err(Trouble::new(Reason::WrongPassword, "rejected"));
    assert_eq!(decide(&facts).reason, Reason::WrongPassword);
}

#[test]
fn declared_resources_win_over_the_limits_and_those_over_the_cgroup_but_lift_no_limit_of_memory() {
    let mut facts = healthy();
    let cgroup = ContainerUse { memory_limit_bytes: Some(1 << 30), cpu_limit_millis: Some(500), ..Default::default() };
    server(&mut facts).container = Some(cgroup);
    assert_eq!(decide(&facts).resources.shown().memory.as_deref(), Some("2Gi"));
    for (declared, memory) in [("1536Mi", "1536Mi"), ("3Gi", "2Gi")] {
        facts.spec.resources = Some(serde_json::from_value(json!({"memory": declared})).unwrap());
        let shown = decide(&facts).resources.shown();
        assert_eq!((shown.memory.as_deref(), shown.cpu.as_deref()), (Some(memory), Some("1500m")));
    }
    facts.workload = None;
    assert_eq!(decide(&facts).resources.shown().cpu.as_deref(), Some("500m"));
}

#[test]
fn a_guardrail_that_lacks_a_right_is_said_to_be_off() {
    let mut facts = healthy();
    assert!(!decide(&facts).message.contains("guardrail"));
    server(&mut facts).rights.optional = vec!["GRANT pg_read_server_files TO app".into()];
    let Decision { reason, message, .. } = decide(&facts);
    assert_eq!(reason, Reason::Ready);
    assert!(message.contains("without the guardrail") && message.contains("GRANT pg_read_server_files"), "{message}");
}

#[test]
fn the_file_of_our_key_is_what_the_volume_makes_of_it() {
    let mut facts = healthy();
    assert_eq!(facts.configuration_file(), Some("howdah.conf"));
    pod(&mut facts).config_map_mounts[0].items = vec![("howdah.conf".into(), "late/90-howdah.conf".into())];
    assert_eq!(facts.configuration_file(), Some("90-howdah.conf"));
    workload(&mut facts).pod = None;
    assert_eq!(facts.configuration_file(), Some("howdah.conf"));
}

#[test]
fn an_empty_key_says_nothing_about_its_inclusion() {
    let mut facts = healthy();
    server(&mut facts).file_settings = Some(vec![]);
    facts.configuration = Some(Ok(ConfigurationKey { text: Some("# nothing yet\n".into()), other_owners: vec![] }));
    assert_eq!(decide(&facts).reason, Reason::Ready);
}

proptest! {
    /// The fixed point: what was written once is not written again, whatever the facts are.
    #[test]
    fn the_same_facts_write_nothing_twice(spoils in proptest::collection::vec(0..SPOILED.len(), 0..4), later in 1i64..10_000) {
        let mut facts = healthy();
        for spoil in spoils {
            // A spoiled instance may lack what the next one would spoil.
            if facts.pod().is_some() {
                SPOILED[spoil].0(&mut facts);
            }
        }
        let now = |second| k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
        let status = |facts: &InstanceFacts| report(facts, &decide(facts)).status.unwrap();
        let written = status::to_write(&serde_json::Value::Null, status(&facts), now(1)).unwrap();
        prop_assert_eq!(status::to_write(&written, status(&facts), now(later)), None);
        let replayed: InstanceFacts = serde_json::from_value(serde_json::to_value(&facts).unwrap()).unwrap();
        prop_assert_eq!(decide(&replayed), decide(&facts));
    }
}
