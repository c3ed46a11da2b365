//! Which features a specification watches, and the one PromQL expression that gives them all.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::RETRAIN_ANNOTATION;
use super::crd::{AnomalyDetector, AnomalyDetectorSpec, FeatureKind, Features, ModelStatus, Pack};
use super::matrix::Kind;
use super::packs::{self, Join, Shipped};
use crate::control::training::short_hash;

/// The label by which the features of one answer are told apart.
pub const LABEL: &str = "howdah_feature";

/// A feature with the expression that gives its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its name.
    pub name: String,
    /// How its values behave.
    pub kind: FeatureKind,
    /// PromQL.
    pub expression: String,
    /// The pack that it comes from, where it is only one.
    pub pack: Option<Pack>,
}

/// The features of a specification, by name. Of a feature that several packs have, the expressions are alternatives, in
/// the order of the packs.
///
/// # Errors
/// A sentence when a name is taken twice, excluded without being there, or nothing is left to watch.
pub fn watched(features: &Features, selector: &BTreeMap<String, String>, step: i64) -> Result<Vec<Watched>, String> {
    let labels = matchers(selector);
    let mut found: BTreeMap<String, Watched> = BTreeMap::new();
    let shipped = features.packs.iter().flat_map(|pack| packs::features(*pack).iter().map(|shipped| (*pack, shipped)));
    for (pack, shipped) in shipped {
        let expression = alternatives(shipped, &labels, step);
        match found.get_mut(shipped.name) {
            Some(before) => {
                before.expression = format!("{} or {expression}", before.expression);
                before.pack = None;
            }
            None => {
                let name = shipped.name.to_owned();
                found.insert(name.clone(), Watched { name, kind: shipped.kind, expression, pack: Some(pack) });
            }
        }
    }
    for extra in &features.extra {
        // A line of its own: a query may end with a comment.
        let (name, expression) = (extra.name.clone(), format!("({}\n)", extra.query.trim()));
        let watched = Watched { name, kind: extra.kind, expression, pack: None };
        if found.insert(extra.name.clone(), watched).is_some() {
            let message = "is the name of a pack's feature or stands there twice; choose another name";
            return Err(format!("features.extra: {:?} {message}", extra.name));
        }
    }
    let unknown: Vec<&str> =
        features.exclude.iter().filter(|name| found.remove(*name).is_none()).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(format!("features.exclude names no feature: {}", unknown.join(", ")));
    }
    if found.is_empty() {
        return Err("nothing is left to watch: name packs or queries in features".into());
    }
    Ok(found.into_values().collect())
}

/// When the newest sample of each pack's series was taken, in seconds since 1970, as expressions: rows are cut from
/// samples of up to five minutes ago, which does not show in their values.
pub fn scrapes(features: &Features, selector: &BTreeMap<String, String>) -> Vec<Watched> {
    let labels = matchers(selector);
    let one = |pack: &Pack| {
        let series = packs::scraped(*pack).iter().map(|series| series.replace("SELECTOR", &labels));
        let newest: Vec<String> = series.map(|series| format!("max(timestamp({series}))")).collect();
        let (name, expression) = (format!("{pack:?}"), newest.join(" or "));
        Watched { name, kind: FeatureKind::Gauge, pack: Some(*pack), expression }
    };
    features.packs.iter().map(one).collect()
}

/// The features as a model knows them: their names and kinds, in their order.
pub fn metrics(watched: &[Watched]) -> Vec<(String, Kind)> {
    watched.iter().map(|feature| (feature.name.clone(), kind(feature.kind))).collect()
}

/// A feature's kind as the matrix names it.
pub fn kind(kind: FeatureKind) -> Kind {
    match kind {
        FeatureKind::Counter => Kind::Counter,
        FeatureKind::Gauge => Kind::Gauge,
        FeatureKind::Ratio => Kind::Ratio,
        FeatureKind::Config => Kind::Config,
    }
}

/// The expression that gives every feature, each under its own value of [`LABEL`]. Halves are joined with halves: in a
/// chain every `or` would go through all features before it, at every step.
pub fn together(watched: &[Watched]) -> String {
    match watched {
        [] => String::new(),
        [Watched { name, expression, .. }] => {
            format!("label_replace(({expression}), \"{LABEL}\", \"{name}\", \"\", \"\")")
        }
        several => {
            let (left, right) = several.split_at(several.len() / 2);
            format!("({} or {})", together(left), together(right))
        }
    }
}

/// Hash of what a model is trained for, by the specification and the annotation that asks for another training: another
/// hash needs another model.
pub fn spec_hash(detector: &AnomalyDetector) -> String {
    let AnomalyDetectorSpec { prometheus, features, step, model, detection, .. } = &detector.spec;
    let mut trained_for = vec![
        serde_json::json!(prometheus.selector),
        serde_json::json!(features),
        serde_json::json!(step),
        serde_json::json!(model),
        serde_json::json!(detection),
    ];
    trained_for.extend(detector.annotations().get(RETRAIN_ANNOTATION).map(|text| serde_json::json!(text)));
    short_hash(&serde_json::Value::from(trained_for).to_string())
}

/// Hash of what the rows are: their features, the queries of these, and the seconds between two rows.
pub fn data_hash(watched: &[Watched], step: i64) -> String {
    let one = |Watched { name, kind, expression, .. }: &Watched| serde_json::json!([name, kind, expression]);
    short_hash(&serde_json::json!([watched.iter().map(one).collect::<Vec<_>>(), step]).to_string())
}

/// Whether a model learnt from such rows as the specification gives now. Rows of other queries (another instance's, say)
/// under the same names would be nothing but unusual to it.
pub fn learnt_from(model: &ModelStatus, detector: &AnomalyDetector, watched: &[Watched], step: i64) -> bool {
    match &model.data_hash {
        Some(hash) => *hash == data_hash(watched, step),
        // Of a model that was trained before this was recorded, the whole is known.
        None => model.spec_hash == spec_hash(detector),
    }
}

/// `instance="shop",job="x"`, with what PromQL reserves escaped.
fn matchers(selector: &BTreeMap<String, String>) -> String {
    let one = |(name, value): (&String, &String)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    };
    selector.iter().map(one).collect::<Vec<_>>().join(",")
}

fn alternatives(shipped: &Shipped, labels: &str, step: i64) -> String {
    let one = |text: &&str| {
        let series = text.replace("SELECTOR", labels);
        // One series that is NaN (an index scan count of a table without an index) must not make the whole NaN.
        let numbers = format!("{series} > -Inf");
        match shipped.join {
            Join::Already => series,
            Join::Max => format!("max({numbers})"),
            Join::Mean => format!("avg({numbers})"),
            Join::Count => format!("count({series})"),
            Join::Sum if shipped.kind == FeatureKind::Counter => {
                // A series that joins or leaves the sum would look like a jump of the counter: there is no value then.
                let before = format!("{series} offset {step}s > -Inf");
                format!("(sum({numbers}) unless count(({numbers} unless {before}) or ({before} unless {numbers})))")
            }
            Join::Sum => format!("sum({numbers})"),
        }
    };
    shipped.any_of.iter().map(one).collect::<Vec<_>>().join(" or ")
}

/// Whether a selector's label names can be written in PromQL.
///
/// # Errors
/// A sentence that names the first that can't.
pub fn check_selector(selector: &BTreeMap<String, String>) -> Result<(), String> {
    let fits = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match selector.keys().find(|name| !fits(name)) {
        Some(name) => Err(format!("prometheus.selector: {name:?} is no label name; use letters, digits and _")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::crd::{ExtraFeature, Pack};

    fn selector() -> BTreeMap<String, String> {
        [("instance".to_owned(), "sh\"op".to_owned())].into()
    }

    fn extra(name: &str) -> ExtraFeature {
        ExtraFeature { name: name.into(), kind: FeatureKind::Gauge, query: " sum(orders_open) ".into() }
    }

    #[test]
    fn the_selector_is_in_every_expression_of_a_pack() {
        for pack in [Pack::PostgresExporter, Pack::NodeExporter, Pack::CloudNativePg] {
            let features = Features { packs: vec![pack], ..Features::default() };
            for feature in watched(&features, &selector(), 15).unwrap() {
                assert!(!feature.expression.contains("SELECTOR"), "{}", feature.expression);
                let (braces, injected) = (
                    feature.expression.matches('{').count(),
                    feature.expression.matches(r#"instance="sh\"op"}"#).count(),
                );
                assert_eq!(braces, injected, "{}", feature.expression);
            }
        }
    }

    #[test]
    fn other_queries_or_another_step_are_other_rows_whatever_the_names() {
        let of = |features: &Features, labels: &BTreeMap<String, String>, step| {
            data_hash(&watched(features, labels, step).unwrap(), step)
        };
        let features = Features { extra: vec![extra("open_orders")], ..Features::default() };
        let mut query = features.clone();
        query.extra[0].query = "sum(orders_open{shop=\"b\"})".into();
        let hashes = [
            of(&features, &BTreeMap::new(), 15),
            of(&features, &selector(), 15),
            of(&query, &BTreeMap::new(), 15),
            of(&features, &BTreeMap::new(), 30),
        ];
        let different: std::collections::BTreeSet<&String> = hashes.iter().collect();
        assert_eq!((different.len(), &of(&features, &BTreeMap::new(), 15)), (4, &hashes[0]));
    }

    #[test]
    fn each_pack_tells_when_it_was_scraped() {
        let asked = scrapes(&Features::default(), &selector());
        let expressions: Vec<&str> = asked.iter().map(|scrape| scrape.expression.as_str()).collect();
        let of = |series: &str| format!("max(timestamp({series}{{instance=\"sh\\\"op\"}}))");
        let database = [of("pg_up"), of("pg_stat_database_numbackends")].join(" or ");
        assert_eq!(expressions, [database, of("node_load1")]);
    }

    #[test]
    fn a_series_that_joins_a_counter_gives_no_value() {
        let features = Features { packs: vec![Pack::PostgresExporter], ..Features::default() };
        let found = watched(&features, &BTreeMap::new(), 5).unwrap();
        let blocks = found.iter().find(|feature| feature.name == "blks_hit").unwrap();
        let series = "pg_stat_database_blks_hit{}";
        let (now, before) = (format!("{series} > -Inf"), format!("{series} offset 5s > -Inf"));
        let other = format!("({now} unless {before}) or ({before} unless {now})");
        assert_eq!(blocks.expression, format!("(sum({now}) unless count({other}))"));
    }

    #[test]
    fn packs_join_as_alternatives_and_extras_stand_alone() {
        let packs = vec![Pack::PostgresExporter, Pack::CloudNativePg];
        let features = Features { packs, extra: vec![extra("open_orders")], exclude: vec!["fsync".into()] };
        let found = watched(&features, &BTreeMap::new(), 15).unwrap();
        let commits = &found.iter().find(|feature| feature.name == "xact_commit").unwrap().expression;
        assert!(
            commits.contains("(pg_stat_database_xact_commit{} > -Inf)")
                && commits.contains("cnpg_pg_stat_database_xact_commit")
        );
        assert!(found.iter().any(|feature| feature.expression == "(sum(orders_open)\n)"));
        assert!(!found.iter().any(|feature| feature.name == "fsync"));
        assert!(
            together(&found)
                .contains("label_replace(((sum(orders_open)\n)), \"howdah_feature\", \"open_orders\", \"\", \"\")")
        );
    }

    #[test]
    fn names_that_clash_or_are_unknown_are_told() {
        let with = |extra, exclude| Features { packs: vec![Pack::NodeExporter], extra, exclude };
        let error = |features: Features| watched(&features, &BTreeMap::new(), 15).unwrap_err();
        assert!(error(with(vec![extra("node_load1")], vec![])).contains("\"node_load1\" is the name"));
        assert!(error(with(vec![], vec!["nope".into()])).contains("names no feature: nope"));
        let empty = Features { packs: vec![], extra: vec![], exclude: vec![] };
        assert!(error(empty).contains("nothing is left"));
        assert!(check_selector(&[("a-b".to_owned(), String::new())].into()).unwrap_err().contains("\"a-b\""));
    }
}
