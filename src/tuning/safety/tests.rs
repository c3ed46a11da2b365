use proptest::prelude::*;

use super::*;
use crate::postgres::setting::VarType;
use crate::tuning::crd::{Durability, KnobSelection, Profile};
use crate::tuning::knobs::{CATALOGUE, GIB};
use crate::tuning::space::Space;
use crate::tuning::space::tests::{resources, settings};

fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn projected(pairs: &[(&str, &str)], resources: &Resources, restart: RestartPolicy) -> Projection {
    let (settings, safety) = (settings(), Safety::default());
    project(&parameters(pairs), &Kernel { settings: &settings, resources, safety: &safety, restart })
}

#[test]
fn what_may_not_be_set_is_left_out_and_said() {
    let found = projected(
        &[
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("cpu_tuple_cost", "1"),
            ("shared_buffers", "1GB"),
            ("jit", "off"),
            ("wal_compression", "zstd"),
        ],
        &resources(),
        RestartPolicy::Never,
    );
    assert_eq!(found.parameters, parameters(&[("jit", "off")]));
    assert_eq!(found.repairs.len(), 5);
    assert!(found.repairs.iter().any(|repair| repair.contains("restartPolicy is Never")), "{:?}", found.repairs);
    assert!(found.repairs.iter().any(|repair| repair.contains("\"zstd\" is none of")), "{:?}", found.repairs);
}

#[test]
fn values_are_brought_within_the_servers_bounds() {
    let found =
        projected(&[("commit_delay", "1000000"), ("bgwriter_delay", "1ms")], &resources(), RestartPolicy::Never);
    assert_eq!(found.parameters, parameters(&[("commit_delay", "100000"), ("bgwriter_delay", "10ms")]));
}

#[test]
fn work_mem_yields_before_the_shared_buffers() {
    let found = projected(
        &[
            ("work_mem", "100MB"),
            ("maintenance_work_mem", "256MB"),
            ("shared_buffers", "2GB"),
            ("effective_cache_size", "4GB"),
        ],
        &resources(),
        RestartPolicy::Always,
    );
    assert_eq!(found.parameters["shared_buffers"], "2GB");
    assert_eq!(found.parameters["maintenance_work_mem"], "256MB");
    // 0.85·8 GiB − 1000 MB − 2 GiB − 4 MB − 6·256 MB leaves 2375 MB for 25·2.5·2 areas: a quarter of the
    // 100 connections are more than the benchmark's 16.
    assert_eq!(found.parameters["work_mem"], "19MB");
    assert_eq!(found.repairs.len(), 1);
}

#[test]
fn a_baseline_above_the_model_is_kept_not_worsened() {
    let small = Resources { memory_bytes: 256 << 20, ..resources() };
    let found = projected(&[("work_mem", "64MB"), ("maintenance_work_mem", "1GB")], &small, RestartPolicy::Never);
    assert_eq!(found.parameters, parameters(&[("work_mem", "4MB"), ("maintenance_work_mem", "64MB")]));
    assert!(found.repairs[0].contains("no room for more than the baseline's"), "{:?}", found.repairs);
}

#[test]
fn the_wal_fits_the_volume_and_the_recovery_time() {
    let wal = |volume, seconds| {
        let (settings, resources) = (settings(), Resources { data_volume_bytes: volume, ..resources() });
        let safety = Safety { max_recovery_seconds: seconds, ..Safety::default() };
        let kernel =
            Kernel { settings: &settings, resources: &resources, safety: &safety, restart: RestartPolicy::Never };
        let found = project(&parameters(&[("max_wal_size", "64GB")]), &kernel);
        (found.parameters["max_wal_size"].clone(), found.parameters["min_wal_size"].clone())
    };
    assert_eq!(wal(Some(10 << 30), 300), ("4GB".into(), "1GB".into()));
    assert_eq!(wal(Some(1 << 40), 300), ("12000MB".into(), "3000MB".into()));
    // Checkpoints every 300 s, spread over 0.9 of that, bound recovery to 570 s of load.
    assert_eq!(wal(Some(1 << 40), 570), ("64GB".into(), "16GB".into()));
    assert_eq!(wal(None, 300), ("4GB".into(), "1GB".into()));
}

#[test]
fn the_wal_fits_what_the_databases_leave_of_the_volume() {
    let full = Resources { data_volume_bytes: Some(20 << 30), database_bytes: 15 << 30, ..resources() };
    let found = projected(&[("max_wal_size", "8GB")], &full, RestartPolicy::Never);
    assert_eq!(found.parameters["max_wal_size"], "4GB");
    assert!(found.repairs[0].contains("what the databases leave"), "{:?}", found.repairs);
}

#[test]
fn recovery_stays_bounded_where_the_size_of_the_wal_is_not_among_the_knobs() {
    let timeout = |live_wal_size: &str, live: &str, proposed: &str| {
        let (mut settings, resources) = (settings(), resources());
        settings.get_mut("max_wal_size").unwrap().value = live_wal_size.into();
        settings.get_mut("checkpoint_timeout").unwrap().value = live.into();
        let safety = Safety { max_recovery_seconds: 600, ..Safety::default() };
        let kernel =
            Kernel { settings: &settings, resources: &resources, safety: &safety, restart: RestartPolicy::Never };
        project(&parameters(&[("checkpoint_timeout", proposed)]), &kernel).parameters["checkpoint_timeout"].clone()
    };
    // Spread over 0.9 of the next interval, 315 s of it are 600 s of load.
    assert_eq!(timeout("65536", "300", "30min"), "315s");
    assert_eq!(timeout("65536", "1200", "30min"), "20min");
    assert_eq!(timeout("1024", "300", "30min"), "30min");
}

#[test]
fn dependencies_are_repaired() {
    let found = projected(
        &[
            ("max_parallel_workers", "1"),
            ("max_parallel_workers_per_gather", "4"),
            ("random_page_cost", "0.5"),
            ("effective_cache_size", "8kB"),
        ],
        &resources(),
        RestartPolicy::Never,
    );
    // Two live maintenance workers, which are not among the knobs, hold the pool at two.
    let repaired = [
        ("max_parallel_workers", "2"),
        ("max_parallel_workers_per_gather", "2"),
        ("random_page_cost", "1"),
        ("effective_cache_size", "128MB"),
    ];
    assert_eq!(found.parameters, parameters(&repaired));
}

/// Configurations from the space of the largest server, so that small ones get far too much.
fn proposal() -> impl Strategy<Value = Parameters> {
    let large = Resources {
        memory_bytes: 1 << 38,
        cpu_millis: 64_000,
        data_volume_bytes: Some(1 << 42),
        database_bytes: 0,
        clients: 8,
        ..resources()
    };
    let selection = KnobSelection { profile: Profile::Olap, ..Default::default() };
    let space = Space::build(&selection, RestartPolicy::Always, Durability::Strict, &settings(), &large).unwrap();
    let count = space.dimensions().len();
    (prop::collection::vec(0.0f64..=1.0, count), prop::collection::vec(prop::bool::weighted(0.7), count)).prop_map(
        move |(point, kept)| {
            space.decode(&point).into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(knob, _)| knob).collect()
        },
    )
}

/// Beginnings and ends of names that `docs/safety.md` promises never to tune.
const DENIED: [(&str, &str); 13] = [
    ("archive_", ""),
    ("primary_", ""),
    ("recovery_", ""),
    ("ssl", ""),
    ("log_", ""),
    ("enable_", ""),
    ("unix_socket_", ""),
    ("", "_timeout"),
    ("", "_file"),
    ("", "_directory"),
    ("", "_preload_libraries"),
    ("autovacuum_", "freeze_max_age"),
    ("vacuum_", "_failsafe_age"),
];

/// Names of settings, real or not, in whatever letters.
fn name() -> impl Strategy<Value = String> {
    let real =
        ["fsync", "full_page_writes", "autovacuum", "wal_level", "max_connections", "port", "work_mem ", "FSYNC"];
    let knobs: Vec<&str> = CATALOGUE.iter().map(|knob| knob.name).collect();
    prop_oneof![
        "[a-zA-Z_.]{1,24}",
        prop::sample::select(real.to_vec()).prop_map(str::to_owned),
        prop::sample::select(knobs).prop_map(str::to_owned),
        (prop::sample::select(DENIED.to_vec()), "[a-z_]{0,12}")
            .prop_map(|((head, tail), rest)| format!("{head}{rest}{tail}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// Though the server has the setting, and the user asks for it.
    #[test]
    fn whatever_its_name_nothing_but_a_knob_is_ever_set(names in prop::collection::btree_set(name(), 1..12)) {
        let mut settings = settings();
        for name in &names {
            let setting = Setting { name: name.clone(), value: "on".into(), vartype: VarType::Bool, context: Context::Sighup, ..Setting::default() };
            settings.entry(name.clone()).or_insert(setting);
        }
        let (resources, safety) = (resources(), Safety::default());
        let kernel = Kernel { settings: &settings, resources: &resources, safety: &safety, restart: RestartPolicy::Always };
        let proposal: Parameters = names.iter().map(|name| (name.clone(), "off".to_owned())).collect();
        let may_be_set = |name: &String| knobs::knob(name).is_some() && name != "synchronous_commit";
        for name in project(&proposal, &kernel).parameters.keys() {
            prop_assert!(may_be_set(name) || name == MIN_WAL_SIZE, "{name} is set");
        }
        let selection = KnobSelection { include: names.iter().cloned().collect(), ..KnobSelection::default() };
        let space = Space::build(&selection, RestartPolicy::Always, Durability::Strict, &settings, &resources);
        prop_assert!(space.is_err() || names.iter().all(may_be_set), "{names:?} can be searched");
    }

    #[test]
    fn a_name_of_a_denied_kind_is_denied((head, tail) in prop::sample::select(DENIED.to_vec()), rest in "[a-z_]{0,12}") {
        let name = format!("{head}{rest}{tail}");
        let denied = knobs::denied(&name, Durability::AllowAsynchronousCommit).is_some();
        prop_assert!(denied || knobs::knob(&name).is_some(), "{name} is not denied");
    }

    #[test]
    fn a_projection_is_safe_and_stays(
        proposal in proposal(),
        gigabytes in (-2.0f64..8.0).prop_map(f64::exp2),
        max_connections in 10u32..2000,
        clients in 1u32..200,
        volume in prop::option::of(1u64 << 30..1 << 42),
        live_buffers in 16u32..4_000_000,
        live_wal_buffers in prop::sample::select(vec!["-1", "512", "16384"]),
        live_wal_size in prop::sample::select(vec!["1024", "65536"]),
        restart in prop::sample::select(vec![RestartPolicy::Never, RestartPolicy::Always]),
    ) {
        let mut settings = settings();
        settings.get_mut("shared_buffers").unwrap().value = live_buffers.to_string();
        settings.get_mut("wal_buffers").unwrap().value = live_wal_buffers.into();
        settings.get_mut("max_wal_size").unwrap().value = live_wal_size.into();
        let resources = Resources {
            memory_bytes: (gigabytes * GIB) as u64, cpu_millis: 4000, data_volume_bytes: volume, database_bytes: 0, max_connections, clients,
        };
        let safety = Safety::default();
        let kernel = Kernel { settings: &settings, resources: &resources, safety: &safety, restart };
        let first = project(&proposal, &kernel);
        let again = project(&first.parameters, &kernel);
        prop_assert_eq!(&again.parameters, &first.parameters, "{:?}", again.repairs);
        prop_assert!(again.repairs.is_empty(), "{:?}", again.repairs);
        let (broken, before) = (violations(&first.parameters, &kernel), violations(&Parameters::new(), &kernel));
        prop_assert!(broken.len() <= before.len(), "{:?} {:?} {:?}", broken, before, first);
        for name in first.parameters.keys() {
            prop_assert!(restart == RestartPolicy::Always || settings[name].context != Context::Postmaster);
        }
    }

    #[test]
    fn any_text_is_repaired_or_left_out(values in prop::collection::vec(".{0,12}|[0-9]{1,25}(kB|GB|s)?", CATALOGUE.len())) {
        let proposal: Parameters = CATALOGUE.iter().map(|knob| knob.name.to_owned()).zip(values).collect();
        let (settings, resources, safety) = (settings(), resources(), Safety::default());
        let kernel = Kernel { settings: &settings, resources: &resources, safety: &safety, restart: RestartPolicy::Always };
        let first = project(&proposal, &kernel).parameters;
        prop_assert_eq!(violations(&first, &kernel), Vec::<String>::new());
        prop_assert_eq!(project(&first, &kernel).parameters, first);
    }
}
