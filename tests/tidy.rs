//! The architecture, enforced: which module may name which other (the table of src/README.md), read from the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Files of a room that do IO, or hold what it is done with.
const IO_FILES: &[&str] = &["observe", "act", "measure", "fetch", "surroundings"];
const ROOMS: &[&str] = &["instance", "tuning", "anomaly", "cost"];
/// What a file that decides must not know: the outside, the clock, chance.
const IMPURE: &[&str] = &[
    "crate::world",
    "async ",
    ".await",
    "tokio::",
    "tokio_postgres",
    "kube::Client",
    "kube::Api",
    "std::fs",
    "std::net",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "rand::rng",
    "rand::random",
];

struct Source {
    path: PathBuf,
    /// Path of the module from `src/` (`["instance", "decide"]`).
    module: Vec<String>,
    /// Its text without comments and without its tests.
    code: String,
}

impl Source {
    fn is_in(&self, module: &[&str]) -> bool {
        self.module.len() >= module.len() && self.module.iter().zip(module).all(|(mine, other)| mine == other)
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 20, "the sources were not found in {}", root.display());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).unwrap().with_extension("");
            let module: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            // Tests may do what the code that they test may not.
            if module.iter().any(|part| part == "tests") {
                continue;
            }
            let code = code(&fs::read_to_string(&path).unwrap());
            found.push(Source { path: relative, module, code });
        }
    }
}

fn code(text: &str) -> String {
    let own = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = own.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether the code names a path, also inside `use crate::{…}`. What follows must end the word.
fn names(code: &str, path: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let begins = |before: &str| !before.ends_with(|last: char| last.is_alphanumeric() || last == '_');
    let directly = code.match_indices(path).any(|(at, _)| {
        let word = path.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        begins(&code[..at]) && (!word || ends(&code[at + path.len()..]))
    });
    let in_group = path.strip_prefix("crate::").is_some_and(|name| {
        code.split("crate::{").skip(1).any(|group| {
            let group = group.split(';').next().unwrap_or_default();
            group.split([',', '{', '}']).any(|item| item.trim().split("::").next() == Some(name))
        })
    });
    directly || in_group
}

/// Every file that `applies` names nothing of `forbidden`.
fn check(rule: &str, applies: impl Fn(&Source) -> bool, forbidden: &[&str]) {
    let all = sources();
    let mut broken = Vec::new();
    for source in all.iter().filter(|source| applies(source)) {
        for path in forbidden.iter().filter(|path| names(&source.code, path)) {
            broken.push(format!("  src/{}.rs names {path:?}", source.path.display()));
        }
    }
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

fn rooms(prefixed: bool) -> Vec<String> {
    ROOMS.iter().map(|room| if prefixed { format!("crate::{room}") } else { (*room).to_owned() }).collect()
}

/// The paths of the rooms and of what stands above them.
fn above(more: &[&'static str]) -> Vec<String> {
    let mut paths = rooms(true);
    paths.extend(["crate::kinds", "crate::cli", "crate::serve"].iter().chain(more).map(|path| (*path).to_owned()));
    paths
}

fn strs(paths: &[String]) -> Vec<&str> {
    paths.iter().map(String::as_str).collect()
}

#[test]
fn what_decides_is_pure() {
    // A room's mod.rs joins its files to the loop; it may await, but not reach for the world itself.
    let domain = |source: &Source| {
        ROOMS.contains(&source.module[0].as_str())
            && !source.module.iter().any(|part| part == "mod" || IO_FILES.contains(&part.as_str()))
    };
    check("a room's domain files are pure: IO belongs to observe, act, measure and fetch", domain, IMPURE);
    let joint = |source: &Source| ROOMS.iter().any(|room| source.is_in(&[room, "mod"]));
    check("only observe, act, measure and fetch reach for the world", joint, &["crate::world"]);
}

#[test]
fn what_describes_is_pure() {
    let plain = |source: &Source| {
        ["postgres", "kubernetes", "decimal", "duration", "markup"].contains(&source.module[0].as_str())
    };
    check("postgres, kubernetes, decimal, duration and markup are pure", plain, IMPURE);
    check(
        "postgres, kubernetes, decimal, duration and markup know no room",
        plain,
        &strs(&above(&["crate::control", "crate::learn"])),
    );
}

#[test]
fn the_learner_knows_numbers_only() {
    let learner = |source: &Source| source.is_in(&["learn"]);
    let mut forbidden = above(&["crate::control", "crate::world", "crate::postgres", "crate::kubernetes"]);
    forbidden.extend(["kube::", "k8s_openapi", "tokio_postgres"].map(str::to_owned));
    check("learn knows no Kubernetes, no PostgreSQL, no room", learner, &strs(&forbidden));
}

#[test]
fn native_code_stays_in_its_room() {
    check(
        "tch is named only under src/learn/torch",
        |source| !source.is_in(&["learn", "torch"]),
        &["tch::", "use tch"],
    );
}

#[test]
fn the_world_knows_no_room() {
    let world = |source: &Source| source.is_in(&["world"]);
    check("world knows no room and no loop", world, &strs(&above(&["crate::control"])));
}

#[test]
fn the_loop_knows_no_particular_kind() {
    let control = |source: &Source| source.is_in(&["control"]);
    check("control knows no particular kind", control, &strs(&above(&[])));
    let instance = |source: &Source| source.is_in(&["instance"]);
    check("tuning builds on instance, not the other way round", instance, &["crate::tuning"]);
}

#[test]
fn a_path_is_found_however_it_is_imported() {
    assert!(names("use crate::world::store;", "crate::world"));
    assert!(names("use crate::{decimal::Decimal, world};", "crate::world"));
    assert!(!names("use crate::worldly;", "crate::world"));
    assert!(!names("use crate::{decimal::world};", "crate::world"));
    assert!(!names("let patch::x = 1;", "tch::"));
}
