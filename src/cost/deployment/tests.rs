use serde_json::json;

use super::*;
use crate::cost::crd::{Autoscaling, RoutingGroups};

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "howdah-1", "namespace": "howdah-system", "labels": {"app.kubernetes.io/name": "howdah"}},
        "spec": {
            "serviceAccountName": "howdah",
            "securityContext": {"runAsNonRoot": true},
            "containers": [{
                "name": "operator", "image": "howdah:1", "args": ["operator"],
                "securityContext": {"readOnlyRootFilesystem": true},
                "volumeMounts": [
                    {"name": "models", "mountPath": "/var/lib/howdah"}, {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "logs", "mountPath": "/logs/shop"}
                ]
            }],
            "volumes": [
                {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}, {"name": "tmp", "emptyDir": {}},
                {"name": "logs", "persistentVolumeClaim": {"claimName": "logs"}}
            ]
        }
    }))
    .unwrap()
}

fn made(serving: &Serving) -> Objects {
    let served = Served {
        object: ("shop", "queries"),
        uid: "u1",
        path: "cost/shop/u1/a",
        serving,
        store: "file:///var/lib/howdah",
        planner: None,
    };
    objects(&served, &pod()).unwrap()
}

#[test]
fn replicas_are_locked_down_and_never_all_gone() {
    let objects = made(&Serving::default());
    let spec = objects.deployment.spec.unwrap();
    assert_eq!(spec.replicas, Some(2));
    assert_eq!(spec.strategy.unwrap().rolling_update.unwrap().max_unavailable, Some(IntOrString::Int(0)));
    let pod = spec.template.spec.unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.containers[0].security_context.as_ref().unwrap().read_only_root_filesystem, Some(true));
    let mounts = pod.containers[0].volume_mounts.as_ref().unwrap();
    assert_eq!(mounts.iter().map(|mount| mount.read_only).collect::<Vec<_>>(), [Some(true), None]);
    assert_eq!(pod.volumes.as_ref().unwrap().len(), 2, "logs are for trainings");
    let arguments = pod.containers[0].args.as_ref().unwrap().join(" ");
    assert!(arguments.contains("--model-name cost/shop/u1/a") && !arguments.contains("--route"), "{arguments}");
    assert_eq!(spec.selector.match_labels, objects.service.spec.unwrap().selector);
    assert!(objects.autoscaler.is_none());
}

#[test]
fn an_autoscaler_counts_alone() {
    let routing = RoutingGroups { target: "cpu".into(), groups: vec!["a".into(), "b".into()] };
    let serving = Serving { autoscaling: Some(Autoscaling { max: 5 }), routing: Some(routing), ..Serving::default() };
    let objects = made(&serving);
    let spec = objects.deployment.spec.unwrap();
    assert_eq!(spec.replicas, None);
    assert!(
        spec.template.spec.unwrap().containers[0]
            .args
            .as_ref()
            .unwrap()
            .ends_with(&["--route".into(), "cpu=a,b".into()])
    );
    let scaler = objects.autoscaler.unwrap().spec.unwrap();
    assert_eq!((scaler.min_replicas, scaler.max_replicas), (Some(2), 5));
    assert_ne!(hash("a", &serving, "i", None), hash("b", &serving, "i", None));
}

#[test]
fn the_groups_are_read_back_as_they_were_written() {
    let routing = RoutingGroups { target: "cpu".into(), groups: vec!["a".into(), "b=c".into()] };
    let serving = Serving { routing: Some(routing), ..Serving::default() };
    assert_eq!(super::routing(&made(&serving).deployment), serving.routing);
    assert_eq!(super::routing(&made(&Serving::default()).deployment), None);
}

#[test]
fn whatever_replicas_take_over_from_the_operator_makes_other_ones() {
    let store = "file:///var/lib/howdah";
    let before = template_hash(&pod(), store).unwrap();
    assert_eq!(template_hash(&pod(), store).as_ref(), Ok(&before));
    // Another pod of the same Deployment is the same pattern.
    let mut same = pod();
    (same.metadata.name, same.spec.as_mut().unwrap().node_name) = (Some("howdah-2".into()), Some("n2".into()));
    assert_eq!(template_hash(&same, store).as_ref(), Ok(&before));
    let with = |change: fn(&mut PodSpec)| {
        let mut pod = pod();
        change(pod.spec.as_mut().unwrap());
        template_hash(&pod, store).unwrap()
    };
    assert_ne!(with(|spec| spec.containers[0].image = Some("howdah:2".into())), before);
    assert_ne!(with(|spec| spec.tolerations = Some(vec![Default::default()])), before);
    assert_ne!(
        with(|spec| {
            let variable = EnvVar { name: "AWS_REGION".into(), value: Some("eu".into()), value_from: None };
            spec.containers[0].env = Some(vec![variable]);
        }),
        before
    );
    assert_ne!(template_hash(&pod(), "s3://models").unwrap(), before);
    let annotated = made(&Serving::default()).deployment.metadata.annotations.unwrap();
    assert_eq!(annotated[HASH_ANNOTATION], hash("cost/shop/u1/a", &Serving::default(), &before, None));
}

#[test]
fn a_large_model_has_minutes_to_load() {
    let pod = made(&Serving::default()).deployment.spec.unwrap().template.spec.unwrap();
    let startup = pod.containers[0].startup_probe.clone().unwrap();
    assert!(startup.period_seconds.unwrap() * startup.failure_threshold.unwrap() >= 240);
}

#[test]
fn a_connection_for_plans_is_in_a_secret_and_another_one_makes_other_pods() {
    let serving = Serving::default();
    let served = |planner| Served {
        object: ("shop", "queries"),
        uid: "u1",
        path: "cost/shop/u1/a",
        serving: &serving,
        store: "file:///var/lib/howdah",
        planner,
    };
    let planner = Planner { uri: "postgresql://reader:hidden@db/shop", ca: Some("PEM"), version: "s/1" };
    let with = objects(&served(Some(planner)), &pod()).unwrap();
    let keys = with.connection.unwrap().string_data.unwrap();
    assert_eq!(keys.keys().map(String::as_str).collect::<Vec<_>>(), ["ca.crt", "uri"]);
    let deployment = serde_json::to_string(&with.deployment).unwrap();
    assert!(deployment.contains("HOWDAH_EXPLAIN_URI") && !deployment.contains("hidden"), "{deployment}");
    assert!(!format!("{planner:?}").contains("hidden"));
    let other = objects(&served(Some(Planner { version: "s/2", ..planner })), &pod()).unwrap();
    assert_ne!(other.deployment.spec.unwrap().template, with.deployment.spec.unwrap().template);
    let without = objects(&served(None), &pod()).unwrap();
    assert!(without.connection.is_none() && !serde_json::to_string(&without.deployment).unwrap().contains("EXPLAIN"));
}

#[test]
fn names_are_short_and_tell_objects_apart() {
    assert!(name(("shop", &"x".repeat(253))).len() <= 63);
    assert_ne!(name(("shop", "a.b")), name(("shop", "a-b")));
    assert!(name(("shop", "a.b")).starts_with("cost-a-b-"));
}

#[test]
fn what_selects_the_replicas_does_not_select_a_training() {
    let selected = made(&Serving::default()).deployment.spec.unwrap().selector.match_labels.unwrap();
    let trained = labels("training", (TRAINING_LABEL, "u1"));
    assert!(selected.iter().any(|(name, value)| trained.get(name) != Some(value)), "{selected:?} {trained:?}");
}

#[test]
fn a_count_is_kept_until_an_autoscaler_has_set_one() {
    let serving = Serving { replicas: 5, autoscaling: Some(Autoscaling { max: 10 }), ..Serving::default() };
    let live = |managers: &[&str]| -> Deployment {
        let entry = |manager: &&str| json!({"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        let entries: Vec<_> = managers.iter().map(entry).collect();
        serde_json::from_value(json!({
            "metadata": {"managedFields": entries},
            "spec": {"replicas": 5, "selector": {}, "template": {}},
        }))
        .unwrap()
    };
    let kept = |live: Option<&Deployment>| {
        let mut wanted = made(&serving).deployment;
        keep_count(&mut wanted, live, "howdah");
        wanted.spec.unwrap().replicas
    };
    assert_eq!(kept(None), None);
    assert_eq!(kept(Some(&live(&["howdah"]))), Some(5));
    assert_eq!(kept(Some(&live(&["kube-controller-manager"]))), None);
}
