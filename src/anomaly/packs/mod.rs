//! The shipped features, as data: a name, how its values behave, how series are joined into one, and the expressions
//! that give it, of which the first with a value counts.

mod cloud_native_pg;
mod node_exporter;
mod postgres_exporter;

use super::crd::{FeatureKind, Pack};

/// How several series become one, so that the number of features does not depend on how many databases, disks or
/// cores there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// Their mean.
    Mean,
    /// How many there are.
    Count,
    /// The expression gives one series by itself.
    Already,
}

/// A shipped feature.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name: where there is one, PostgreSQL's own of the column or the setting.
    pub name: &'static str,
    /// How its values behave.
    pub kind: FeatureKind,
    /// How its series become one.
    pub join: Join,
    /// Alternative expressions: versions of the exporter. `SELECTOR` stands for the selector's labels, and comes last
    /// between its braces.
    pub any_of: &'static [&'static str],
}

/// The features of a pack.
pub fn features(pack: Pack) -> &'static [Shipped] {
    match pack {
        Pack::PostgresExporter => postgres_exporter::FEATURES,
        Pack::NodeExporter => node_exporter::FEATURES,
        Pack::CloudNativePg => cloud_native_pg::FEATURES,
    }
}

/// Series of a pack of which every scrape gives the first that there is, whatever the exporter's version: also one that
/// finds no server. A selector by labels that only the server's own series have does not find that one.
pub fn scraped(pack: Pack) -> &'static [&'static str] {
    match pack {
        Pack::PostgresExporter => &["pg_up{SELECTOR}", "pg_stat_database_numbackends{SELECTOR}"],
        Pack::NodeExporter => &["node_load1{SELECTOR}"],
        Pack::CloudNativePg => &["cnpg_collector_up{SELECTOR}", "cnpg_pg_stat_database_xact_commit{SELECTOR}"],
    }
}

const fn counter(name: &'static str, any_of: &'static [&'static str]) -> Shipped {
    Shipped { name, kind: FeatureKind::Counter, join: Join::Sum, any_of }
}

const fn gauge(name: &'static str, join: Join, any_of: &'static [&'static str]) -> Shipped {
    Shipped { name, kind: FeatureKind::Gauge, join, any_of }
}

const fn config(name: &'static str, join: Join, any_of: &'static [&'static str]) -> Shipped {
    Shipped { name, kind: FeatureKind::Config, join, any_of }
}

const fn ratio(name: &'static str, any_of: &'static [&'static str]) -> Shipped {
    Shipped { name, kind: FeatureKind::Ratio, join: Join::Already, any_of }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [Pack; 3] = [Pack::PostgresExporter, Pack::NodeExporter, Pack::CloudNativePg];

    #[test]
    fn every_expression_takes_the_selector_last() {
        for feature in ALL.iter().flat_map(|pack| features(*pack)) {
            assert!(!feature.any_of.is_empty(), "{}", feature.name);
            for expression in feature.any_of {
                let braces = expression.matches('{').count();
                assert!(braces > 0, "{expression} selects nothing");
                assert_eq!(expression.matches("SELECTOR}").count(), braces, "{expression}");
            }
        }
    }

    /// A fault that names a feature which no pack has could never be recognised by it.
    #[test]
    fn the_shipped_faults_speak_of_shipped_features() {
        let names: BTreeSet<&str> = ALL.iter().flat_map(|pack| features(*pack)).map(|feature| feature.name).collect();
        for fault in crate::anomaly::faults::shipped() {
            let unknown: Vec<_> = fault.change.keys().filter(|name| !names.contains(name.as_str())).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?}", fault.cause);
        }
    }

    #[test]
    fn names_are_unique_within_a_pack_and_fit_a_label() {
        for pack in ALL {
            let names: BTreeSet<&str> = features(pack).iter().map(|feature| feature.name).collect();
            assert_eq!(names.len(), features(pack).len(), "{pack:?}");
            let fits = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            assert!(names.iter().all(fits), "{names:?}");
        }
    }
}
