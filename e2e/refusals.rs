//! What bad input gets: a reason, a sentence that says what to do, nothing changed, and recovery once the cause is gone.

use std::collections::BTreeMap;

use howdah::instance;
use howdah::instance::crd::{AlterSystem, Configuration, PostgresInstance};
use howdah::tuning::crd::{KnobRange, PostgresTuning, Script, TrialState};
use howdah::tuning::reason::Reason;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::DeleteParams;
use serde_json::json;

use crate::harness::{Database, INSTANCE, KEY, in_state, kubectl, kubectl_with, reason, sleeping};

/// Seconds within which an instance is looked at again after something that is not watched has changed.
const LOOKED_AT_AGAIN: u64 = 90;

#[tokio::test]
async fn bad_input_is_named_and_recovered_from() {
    let database = Database::start("refusals").await;
    let (settings, pod) = (database.settings().await, database.pod().await);

    admission(&database).await;
    connections(&database).await;
    mounts(&database).await;
    foreign_owner(&database).await;
    knobs(&database).await;
    shadowed(&database).await;
    alter_system(&database).await;
    failing_benchmark(&database).await;

    assert_eq!(database.key().await, None);
    database.expect_settings(&settings).await;
    assert_eq!(database.pod().await, pod);
    in_recovery(&database).await;
    database.end().await;
}

/// What the schema knows is refused before anything is stored.
async fn admission(database: &Database) {
    let mut both = database.instance("both-ways");
    both.spec.configuration.alter_system = Some(AlterSystem {});
    refused(database.create(&both).await, "exactly one of configuration.configMap and configuration.alterSystem");
    let mut neither = database.instance("no-way");
    neither.spec.configuration.config_map = None;
    refused(database.create(&neither).await, "exactly one of configuration.configMap and configuration.alterSystem");

    let mut scripts = sleeping("both-loads");
    scripts.spec.workload.pgbench.builtin = Some(Default::default());
    refused(database.create(&scripts).await, "set one of workload.pgbench.builtin and workload.pgbench.scripts");

    refused(database.create(&sleeping(&"a".repeat(53))).await, "metadata.name can have 52 characters at most");

    let mut suspended = sleeping("moved");
    suspended.spec.suspend = true;
    database.create(&suspended).await.unwrap();
    let moved = database.patch_tuning("moved", json!({"spec": {"instanceRef": {"name": "other"}}})).await;
    refused(moved, "instanceRef can't be changed");
    database.delete_tuning("moved", 60).await;
}

fn refused<T: std::fmt::Debug>(answer: Result<T, kube::Error>, sentence: &str) {
    match answer {
        Err(kube::Error::Api(status)) => assert!(status.message.contains(sentence), "{}", status.message),
        other => panic!("not refused with {sentence:?}: {other:?}"),
    }
}

/// Each bad connection is an instance of its own; one after another is corrected.
async fn connections(database: &Database) {
    let uri = database.uri("howdah", "shop-howdah");
    database.sql("CREATE ROLE poor LOGIN PASSWORD 'poor'").await;
    database.secret("wrong-password", "uri", &database.uri("howdah", "guess")).await;
    database.secret("no-key", "url", &uri).await;
    database.secret("unreadable", "uri", "shop-postgres:5432").await;
    database.secret("unknown-host", "uri", "postgresql://howdah:x@nowhere.invalid:5432/postgres?sslmode=disable").await;
    database.secret("no-database", "uri", &uri.replace("/postgres?", "/absent?")).await;
    database.secret("poor", "uri", &database.uri("poor", "poor")).await;
    let expected = [
        ("wrong-password", instance::Reason::WrongPassword, "correct the user and password in the URI"),
        ("no-secret", instance::Reason::SecretMissing, "no-secret"),
        ("no-key", instance::Reason::SecretKeyMissing, "put the connection URI there"),
        ("unreadable", instance::Reason::InvalidUri, "key \"uri\""),
        ("unknown-host", instance::Reason::Unreachable, "\"nowhere.invalid\" can't be resolved"),
        ("no-database", instance::Reason::NoSuchDatabase, "correct the database in the URI"),
        ("poor", instance::Reason::MissingRights, "GRANT pg_monitor TO \"poor\""),
    ];
    for (name, ..) in expected {
        let mut instance = database.instance(name);
        instance.spec.connection.secret_ref.name = name.into();
        database.create(&instance).await.unwrap();
    }
    for (name, reason, sentence) in expected {
        let message = database.instance_until(name, reason, 30).await;
        assert!(message.contains(sentence), "{name}: {message}");
    }

    // A tuning of such an instance waits and says why.
    let mut waiting = sleeping("waiting");
    waiting.spec.instance_ref.name = "wrong-password".into();
    let told = told(database, &waiting, Reason::InstanceNotReady).await;
    assert!(told.contains("WrongPassword"), "{told}");
    let mut lost = sleeping("lost");
    lost.spec.instance_ref.name = "nowhere".into();
    let told = self::told(database, &lost, Reason::InstanceMissing).await;
    assert!(told.contains("no PostgresInstance nowhere"), "{told}");

    // The statements in the message are all that the role needs.
    let message = database.instance_until("poor", instance::Reason::MissingRights, 5).await;
    database.sql(message.split_once("run as a superuser: ").expect("it says what to run").1).await;
    for name in ["wrong-password", "no-secret", "no-key"] {
        database.secret(name, "uri", &uri).await;
    }
    for name in ["wrong-password", "no-secret", "no-key", "poor"] {
        database.instance_until(name, instance::Reason::Ready, LOOKED_AT_AGAIN).await;
    }
    for (name, ..) in expected {
        database.api::<PostgresInstance>().delete(name, &DeleteParams::default()).await.unwrap();
        let _ = database.api::<Secret>().delete(name, &DeleteParams::default()).await;
    }
}

/// Creates a tuning, waits for its reason, asserts that it stalls without a trial, deletes it, and returns its message.
async fn told(database: &Database, tuning: &PostgresTuning, wanted: Reason) -> String {
    let name = tuning.metadata.name.clone().unwrap_or_default();
    database.create(tuning).await.unwrap();
    let tuning = database.reason_until(&name, wanted, 60).await;
    database.condition_until(&name, "Stalled", true, 5).await;
    assert_eq!(database.trials(&name).await, []);
    let message = reason(&tuning).1.to_owned();
    database.delete_tuning(&name, 60).await;
    message
}

async fn mounts(database: &Database) {
    let mut elsewhere = database.instance("not-mounted");
    elsewhere.spec.configuration.config_map.as_mut().unwrap().name = "benchmark".into();
    database.create(&elsewhere).await.unwrap();
    let not_mounted = instance::Reason::ConfigMapNotMounted;
    let message = database.instance_until("not-mounted", not_mounted, 30).await;
    assert!(message.contains("benchmark"), "{message}");

    database.apply(&database.here(include_str!("fixtures/subpath.yaml"))).await;
    let mut by_sub_path = database.instance("by-subpath");
    by_sub_path.spec.workload.as_mut().unwrap().name = "by-subpath".into();
    database.create(&by_sub_path).await.unwrap();
    let reason = instance::Reason::ConfigMapMountedBySubPath;
    let message = database.instance_until("by-subpath", reason, 60).await;
    assert!(message.contains("mount it as a directory"), "{message}");
    for name in ["not-mounted", "by-subpath"] {
        database.api::<PostgresInstance>().delete(name, &DeleteParams::default()).await.unwrap();
    }
    kubectl(&["-n", &database.namespace, "delete", "statefulset", "by-subpath"]).await;
}

/// Another field manager writes our key: we do not fight, and go on when it gives the key up.
async fn foreign_owner(database: &Database) {
    // kubectl hands them the user's keys too, which must stay.
    let users = database.api::<ConfigMap>().get("shop-postgres-config").await.unwrap().data.unwrap_or_default();
    let apply = async |data: &BTreeMap<String, String>| {
        let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop-postgres-config"}, "data": data});
        let arguments = ["-n", &database.namespace, "apply", "--server-side", "--field-manager=argocd", "-f", "-"];
        kubectl_with(&arguments, &theirs.to_string()).await.unwrap();
    };
    let mut theirs = users.clone();
    theirs.insert(KEY.into(), "jit = off\n".into());
    apply(&theirs).await;
    database.create(&sleeping("conflict")).await.unwrap();
    let tuning = database.reason_until("conflict", Reason::InstanceNotReady, 30).await;
    let message = reason(&tuning).1;
    assert!(message.contains("FieldConflict") && message.contains("argocd"), "{message}");
    database.instance_until(INSTANCE, instance::Reason::FieldConflict, LOOKED_AT_AGAIN).await;
    assert_eq!(database.key().await.as_deref(), Some("jit = off\n"));

    apply(&users).await;
    database.trial_in("conflict", 1, TrialState::Measuring, LOOKED_AT_AGAIN).await;
    database.delete_tuning("conflict", 60).await;
}

async fn knobs(database: &Database) {
    let including = |name: &str, knob: &str| {
        let mut tuning = sleeping(name);
        tuning.spec.knobs.include = vec![knob.into()];
        tuning
    };
    let message = told(database, &including("unknown", "work_memm"), Reason::InvalidKnobs).await;
    assert!(message.contains("did you mean work_mem?"), "{message}");
    let message = told(database, &including("denied", "fsync"), Reason::InvalidKnobs).await;
    assert!(message.contains("fsync is never tuned"), "{message}");
    let message = told(database, &including("restart", "shared_buffers"), Reason::InvalidKnobs).await;
    assert!(message.contains("set restartPolicy to Always"), "{message}");

    let range = |name: &str, min: &str, max: &str| {
        let mut tuning = sleeping(name);
        tuning.spec.knobs.ranges =
            vec![KnobRange { name: "work_mem".into(), min: Some(min.into()), max: Some(max.into()) }];
        tuning
    };
    let message = told(database, &range("reversed", "64MB", "8MB"), Reason::InvalidKnobs).await;
    assert!(message.contains("above the largest"), "{message}");
    let message = told(database, &range("outside", "1kB", "8MB"), Reason::InvalidKnobs).await;
    assert!(message.contains("which this server accepts"), "{message}");
}

/// ALTER SYSTEM wins over our file, so a search would measure nothing.
async fn shadowed(database: &Database) {
    database.sql("ALTER SYSTEM SET work_mem = '5MB'").await;
    database.sql("SELECT pg_reload_conf()").await;
    database.create(&sleeping("shadowed")).await.unwrap();
    let tuning = database.reason_until("shadowed", Reason::Shadowed, 30).await;
    assert!(reason(&tuning).1.contains("ALTER SYSTEM RESET work_mem"), "{}", reason(&tuning).1);
    assert_eq!(database.trials("shadowed").await, []);

    database.sql("ALTER SYSTEM RESET work_mem").await;
    database.sql("SELECT pg_reload_conf()").await;
    database.trial_in("shadowed", 1, TrialState::Applying, 60).await;
    database.delete_tuning("shadowed", 60).await;
}

/// Where there is no volume, ALTER SYSTEM changes the settings. The role needs a right for each, and is told which.
async fn alter_system(database: &Database) {
    let name = "by-statement";
    let mut instance = database.instance(name);
    instance.spec.configuration = Configuration { config_map: None, alter_system: Some(AlterSystem {}) };
    database.create(&instance).await.unwrap();
    let mut tuning = sleeping(name);
    tuning.spec.instance_ref.name = name.into();
    database.create(&tuning).await.unwrap();
    let denied = database.reason_until(name, Reason::ConfigurationNotWritten, 90).await;
    let grant = "GRANT ALTER SYSTEM ON PARAMETER \"work_mem\" TO \"howdah\"";
    assert!(reason(&denied).1.contains(grant), "{}", reason(&denied).1);

    database.sql(grant).await;
    database.trial_in(name, 2, TrialState::Measuring, 120).await;
    let (value, file) = database.setting("work_mem").await;
    assert!(value != "4MB" && file.ends_with("postgresql.auto.conf"), "{value} from {file}");
    database.delete_tuning(name, 60).await;
    assert_eq!(database.setting("work_mem").await, ("4MB".to_owned(), String::new()));
}

/// A standby can't be tuned. Promoted, it can.
async fn in_recovery(database: &Database) {
    let namespace = database.namespace.as_str();
    let signal = format!("{}/standby.signal", database.sql("SHOW data_directory").await.trim());
    kubectl(&["-n", namespace, "exec", "shop-postgres-0", "-c", "postgres", "--", "touch", &signal]).await;
    kubectl(&["-n", namespace, "rollout", "restart", "statefulset/shop-postgres"]).await;
    kubectl(&["-n", namespace, "rollout", "status", "statefulset/shop-postgres", "--timeout=120s"]).await;
    let message = database.instance_until(INSTANCE, instance::Reason::InRecovery, LOOKED_AT_AGAIN).await;
    assert!(message.contains("name the primary in the connection URI"), "{message}");
    let told = told(database, &sleeping("standby"), Reason::InstanceNotReady).await;
    assert!(told.contains("InRecovery"), "{told}");
    database.sql("SELECT pg_promote()").await;
    database.instance_until(INSTANCE, instance::Reason::Ready, LOOKED_AT_AGAIN).await;
}

async fn failing_benchmark(database: &Database) {
    let mut tuning = sleeping("failing");
    let mut script: Script = tuning.spec.workload.pgbench.scripts.take().unwrap().remove(0);
    script.config_map_key_ref.key = "broken.sql".into();
    tuning.spec.workload.pgbench.scripts = Some(vec![script]);
    database.create(&tuning).await.unwrap();
    let tuning = database.reason_until("failing", Reason::TooManyFailures, 120).await;
    assert!(reason(&tuning).1.contains("division by zero"), "{}", reason(&tuning).1);
    database.condition_until("failing", "Stalled", true, 5).await;
    let trials = database.trials("failing").await;
    assert_eq!(trials.len(), 3, "safety.maxConsecutiveFailures");
    for trial in trials {
        assert!(in_state(&trial, TrialState::Failed), "{trial:?}");
        assert_eq!(trial.status.unwrap().reason.as_deref(), Some(Reason::BenchmarkFailed.word()));
    }
    assert_eq!(database.key().await, None);
    database.delete_tuning("failing", 60).await;
}
