use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::tuning::crd::Profile;
use crate::tuning::heuristic::pgtune;

/// The settings of a PostgreSQL 15 as it is built, as far as tuning asks for them.
pub(crate) fn settings() -> Settings {
    use Context::{Internal, Postmaster, Sighup, Superuser, User};
    let integers = [
        ("work_mem", "4096", "kB", User, 64.0, 2_147_483_647.0),
        ("maintenance_work_mem", "65536", "kB", User, 1024.0, 2_147_483_647.0),
        ("autovacuum_work_mem", "-1", "kB", Sighup, -1.0, 2_147_483_647.0),
        ("autovacuum_max_workers", "3", "", Postmaster, 1.0, 262_143.0),
        ("effective_cache_size", "524288", "8kB", User, 1.0, 2_147_483_647.0),
        ("shared_buffers", "16384", "8kB", Postmaster, 16.0, 1_073_741_823.0),
        ("wal_buffers", "512", "8kB", Postmaster, -1.0, 262_143.0),
        ("wal_segment_size", "16777216", "B", Internal, 1_048_576.0, 1_073_741_824.0),
        ("max_wal_size", "1024", "MB", Sighup, 2.0, 2_147_483_647.0),
        ("min_wal_size", "80", "MB", Sighup, 2.0, 2_147_483_647.0),
        ("checkpoint_timeout", "300", "s", Sighup, 30.0, 86_400.0),
        ("wal_writer_delay", "200", "ms", Sighup, 1.0, 10_000.0),
        ("wal_writer_flush_after", "128", "8kB", Sighup, 0.0, 2_147_483_647.0),
        ("commit_delay", "0", "", Superuser, 0.0, 100_000.0),
        ("commit_siblings", "5", "", User, 0.0, 1000.0),
        ("bgwriter_delay", "200", "ms", Sighup, 10.0, 10_000.0),
        ("bgwriter_lru_maxpages", "100", "", Sighup, 0.0, 1_073_741_823.0),
        ("effective_io_concurrency", "1", "", User, 0.0, 1000.0),
        ("default_statistics_target", "100", "", User, 1.0, 10_000.0),
        ("max_worker_processes", "8", "", Postmaster, 0.0, 262_143.0),
        ("max_parallel_workers", "8", "", User, 0.0, 1024.0),
        ("max_parallel_workers_per_gather", "2", "", User, 0.0, 1024.0),
        ("max_parallel_maintenance_workers", "2", "", User, 0.0, 1024.0),
    ];
    let reals = [
        ("checkpoint_completion_target", "0.9", "", Sighup, 0.0, 1.0),
        ("bgwriter_lru_multiplier", "2", "", Sighup, 0.0, 10.0),
        ("random_page_cost", "4", "", User, 0.0, f64::MAX),
        ("seq_page_cost", "1", "", User, 0.0, f64::MAX),
        ("hash_mem_multiplier", "2", "", User, 1.0, 1000.0),
    ];
    let numbers = integers.map(|row| (VarType::Integer, row)).into_iter().chain(reals.map(|row| (VarType::Real, row)));
    let numbers = numbers.map(|(vartype, (name, value, unit, context, min, max))| Setting {
        name: name.into(),
        value: value.into(),
        unit: Some(unit.to_owned()).filter(|unit| !unit.is_empty()),
        vartype,
        context,
        min: Some(min),
        max: Some(max),
        source: "default".into(),
        ..Setting::default()
    });
    let words = [
        ("jit", "on", VarType::Bool, User, &[][..]),
        ("fsync", "on", VarType::Bool, Sighup, &[]),
        ("wal_compression", "off", VarType::Enum, Superuser, &["pglz", "lz4", "on", "off"]),
        ("synchronous_commit", "on", VarType::Enum, User, &["local", "remote_write", "remote_apply", "on", "off"]),
    ];
    let words = words.map(|(name, value, vartype, context, enumvals)| Setting {
        name: name.into(),
        value: value.into(),
        vartype,
        context,
        enumvals: enumvals.iter().map(|word| (*word).to_owned()).collect(),
        source: "default".into(),
        ..Setting::default()
    });
    numbers.chain(words).map(|setting| (setting.name.clone(), setting)).collect()
}

pub(crate) fn resources() -> Resources {
    Resources {
        memory_bytes: 8 << 30,
        cpu_millis: 4000,
        data_volume_bytes: Some(100 << 30),
        database_bytes: 0,
        max_connections: 100,
        clients: 16,
    }
}

fn build(selection: &KnobSelection, restart: RestartPolicy) -> Result<Space, Vec<SpaceError>> {
    Space::build(selection, restart, Durability::Strict, &settings(), &resources())
}

fn whole() -> Space {
    let selection =
        KnobSelection { profile: Profile::Olap, include: vec!["commit_siblings".into()], ..Default::default() };
    build(&selection, RestartPolicy::Always).unwrap()
}

/// What is said of a selection, one line for each error.
fn said(selection: KnobSelection) -> String {
    let errors = build(&selection, RestartPolicy::Never).unwrap_err();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn ranged(name: &str, min: Option<&str>, max: Option<&str>) -> KnobSelection {
    let (min, max) = (min.map(str::to_owned), max.map(str::to_owned));
    KnobSelection { ranges: vec![KnobRange { name: name.into(), min, max }], ..Default::default() }
}

fn including(name: &str) -> KnobSelection {
    KnobSelection { include: vec![name.into()], ..Default::default() }
}

#[test]
fn restart_knobs_need_the_policy() {
    let names =
        |space: &Space| -> BTreeSet<String> { space.dimensions().iter().map(|d| d.name().to_owned()).collect() };
    let never = build(&KnobSelection::default(), RestartPolicy::Never).unwrap();
    assert!(never.restart_dimensions().is_empty());
    let always = build(&KnobSelection::default(), RestartPolicy::Always).unwrap();
    let restart: Vec<&str> = always.restart_dimensions().iter().map(|i| always.dimensions()[*i].name()).collect();
    assert_eq!(restart, ["shared_buffers", "wal_buffers"]);
    assert_eq!(names(&always).difference(&names(&never)).count(), 2);
    assert!(said(including("shared_buffers")).contains("set restartPolicy to Always"));
}

#[test]
fn words_are_those_of_the_server() {
    let space = whole();
    let words = |name: &str| space.dimensions().iter().find(|d| d.name() == name).unwrap().words().to_vec();
    assert_eq!(words("wal_compression"), ["off", "pglz", "lz4"]);
    assert_eq!(words("jit"), ["off", "on"]);
}

#[test]
fn a_mistake_in_the_selection_is_said_with_its_remedy() {
    for (selection, sentence) in [
        (including("work_men"), "did you mean work_mem?"),
        (including("fsync"), "fsync is never tuned: a crash could lose"),
        (including("synchronous_commit"), "AllowAsynchronousCommit"),
        (ranged("work_mem", Some("4mb"), None), r#""4mb" has the unit "mb""#),
        (ranged("work_mem", Some("1kB"), None), "1kB of work_mem lies outside 64kB to 2147483647kB"),
        (ranged("work_mem", Some("8MB"), Some("4MB")), "smallest value 8MB is above the largest, 4MB"),
        (ranged("commit_siblings", Some("3"), None), "add it to knobs.include"),
        (ranged("wal_compression", Some("3"), None), "takes words"),
        (KnobSelection { exclude: vec!["jitt".into()], ..Default::default() }, "did you mean jit?"),
        (
            KnobSelection {
                profile: Profile::Classic,
                exclude: CATALOGUE.iter().map(|k| k.name.into()).collect(),
                ..Default::default()
            },
            "none of the selected knobs",
        ),
    ] {
        let said = said(selection);
        assert!(said.contains(sentence), "{said}");
    }
    let both = KnobSelection { include: vec!["fsync".into(), "nonsense".into()], ..Default::default() };
    assert_eq!(said(both).lines().count(), 2);
}

#[test]
fn a_listed_knob_must_exist_and_a_knob_of_the_profile_need_not() {
    let mut settings = settings();
    settings.remove("wal_compression");
    let build = |selection: &KnobSelection| {
        Space::build(selection, RestartPolicy::Never, Durability::Strict, &settings, &resources())
    };
    assert!(build(&KnobSelection::default()).is_ok());
    let errors = build(&including("wal_compression")).unwrap_err();
    assert_eq!(errors, [SpaceError::NotOnThisServer { name: "wal_compression".into() }]);
}

#[test]
fn the_users_range_is_kept_to_its_bounds() {
    let space = build(&ranged("work_mem", Some("3MB"), Some("100MB")), RestartPolicy::Never).unwrap();
    let at = space.dimensions().iter().position(|d| d.name() == "work_mem").unwrap();
    let value = |coordinate: f64| {
        let mut point = vec![0.5; space.dimensions().len()];
        point[at] = coordinate;
        space.decode(&point)["work_mem"].clone()
    };
    assert_eq!((value(0.0), value(1.0)), ("3MB".into(), "100MB".into()));
}

#[test]
fn the_users_bounds_bind_special_values_too() {
    let lowest = |min: Option<&str>, max: Option<&str>| {
        let selection = KnobSelection { include: vec!["commit_delay".into()], ..ranged("commit_delay", min, max) };
        let space = build(&selection, RestartPolicy::Never).unwrap();
        space.decode(&vec![0.0; space.dimensions().len()])["commit_delay"].clone()
    };
    assert_eq!((lowest(None, None), lowest(None, Some("500"))), ("0".into(), "0".into()));
    assert_eq!(lowest(Some("20"), Some("500")), "20");
}

#[test]
fn special_values_have_a_share_of_their_own() {
    let space = whole();
    let zero = space.decode(&vec![0.0; space.dimensions().len()]);
    assert_eq!((zero["commit_delay"].as_str(), zero["wal_buffers"].as_str()), ("0", "-1"));
    let above = space.decode(&vec![0.101; space.dimensions().len()]);
    assert_eq!((above["commit_delay"].as_str(), above["wal_buffers"].as_str()), ("10", "16MB"));
}

#[test]
fn the_formulas_are_those_of_pgtune() {
    let parameters = pgtune(&whole(), &settings(), &resources(), Profile::Oltp);
    for (name, value) in [
        ("effective_io_concurrency", 200.0),
        ("checkpoint_timeout", 900.0),
        ("shared_buffers", 262_144.0),
        ("max_wal_size", 8192.0),
        ("work_mem", 20_971.5),
        ("random_page_cost", 1.1),
        ("commit_delay", 0.0),
    ] {
        let found = settings()[name].parse(&parameters[name]).unwrap().number().unwrap();
        // The nearest of 32 values: within half a step.
        assert!((found - value).abs() <= 0.11 * value, "{name} {found}");
    }
    assert_eq!((parameters["wal_compression"].as_str(), parameters["jit"].as_str()), ("lz4", "off"));
}

proptest! {
    #[test]
    fn a_point_and_its_configuration_are_one(point in prop::collection::vec(-0.1f64..1.1, 23)) {
        let space = whole();
        prop_assert_eq!(space.dimensions().len(), 23);
        let parameters = space.decode(&point);
        let snapped = space.snap(&point);
        prop_assert_eq!(space.snap(&snapped), snapped.clone());
        prop_assert_eq!(space.encode(&parameters), snapped.clone());
        prop_assert_eq!(space.decode(&snapped), parameters.clone());
        prop_assert!(snapped.iter().all(|coordinate| (0.0..=1.0).contains(coordinate)));
        for (name, value) in &parameters {
            let setting = &settings()[name];
            let native = setting.parse(value).unwrap();
            prop_assert!(setting.accepts(&native), "{} {}", name, value);
            prop_assert_eq!(&setting.show(&native), value, "{}", name);
        }
        let record = serde_json::to_string(&space.to_session()).unwrap();
        let frozen = Space::from_session(&serde_json::from_str::<Vec<SessionKnob>>(&record).unwrap()).unwrap();
        prop_assert_eq!(frozen, space);
    }

    #[test]
    fn a_space_fits_any_server(gigabytes in 0.25f64..256.0, cores in 1u32..64, clients in 1u32..1000) {
        let resources = Resources {
            memory_bytes: (gigabytes * knobs::GIB) as u64, cpu_millis: cores * 1000, clients, ..resources()
        };
        let selection = KnobSelection { profile: Profile::Olap, ..Default::default() };
        let space = Space::build(&selection, RestartPolicy::Always, Durability::Strict, &settings(), &resources).unwrap();
        for dimension in space.dimensions() {
            prop_assert!((2..=LEVELS_AND_SPECIALS).contains(&dimension.count()), "{}", dimension.name());
        }
    }
}

const LEVELS_AND_SPECIALS: usize = dimension::LEVELS + 1;
