use super::*;
use crate::cost::answer::Detail;
use crate::cost::classes::{TargetSpec, parse_bounds};
use crate::cost::log::Log;
use crate::cost::replay::Replay;
use crate::cost::train::{Candidate, Options, train};
use crate::postgres::statistics::StatementStatistics;

fn files() -> Files {
    let bounds = parse_bounds("cpu", ["30", "1800"]).unwrap();
    let options = Options {
        grid: vec![Candidate { max_depth: 4, eta: 0.3, rounds: 5 }],
        folds: 2,
        max_features: 300,
        beside: Vec::new(),
        threads: 1,
        ..Options::default()
    };
    let specs = [
        TargetSpec { name: "cpu".into(), unit: "seconds".into(), bounds: bounds.clone() },
        TargetSpec { name: "memory".into(), unit: "bytes".into(), bounds: parse_bounds("memory", ["q0.5"]).unwrap() },
    ];
    train(&Replay::new(400, 0.5, 1), &specs, &options, &mut |_| {}).unwrap().model.save()
}

fn refusal(files: &Files) -> String {
    CostModel::load(files).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_with_a_model_is_said() {
    let whole = files();
    CostModel::load(&whole).unwrap();
    for name in whole.keys() {
        let mut less = whole.clone();
        less.remove(name);
        assert!(refusal(&less).contains(&format!("no file {name}")), "{name}: {}", refusal(&less));
        if name != MANIFEST {
            let mut corrupted = whole.clone();
            let bytes = corrupted.get_mut(name).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            assert!(refusal(&corrupted).contains(&format!("{name} is corrupted")), "{}", refusal(&corrupted));
        }
    }
    let edited = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut other = whole.clone();
        let mut manifest: serde_json::Value = serde_json::from_slice(&other[MANIFEST]).unwrap();
        edit(&mut manifest);
        other.insert(MANIFEST.into(), serde_json::to_vec(&manifest).unwrap());
        refusal(&other)
    };
    let error = edited(&|manifest| manifest["format"] = 99.into());
    assert!(error.contains("format 99") && error.contains("reads up to 1"), "{error}");
    let error = edited(&|manifest| manifest["targets"] = serde_json::json!([]));
    assert!(error.contains("names no target"), "{error}");
    let error = edited(&|manifest| manifest["targets"][0]["bounds"] = serde_json::json!([1.0]));
    assert!(error.contains("cpu.history.json") && error.contains("has not 2 classes"), "{error}");
}

/// What the Python package writes with a scikit-learn vocabulary: no checksums, no history, no quantiles.
#[test]
fn a_model_that_was_trained_elsewhere_is_served() {
    let mut files = files();
    let manifest: serde_json::Value = serde_json::from_slice(&files[MANIFEST]).unwrap();
    let target =
        serde_json::json!({"name": "cpu", "bounds": manifest["targets"][0]["bounds"], "classes": "cpu.classes.json"});
    let mode = &manifest["mode"];
    let manifest = serde_json::json!({"format": 1, "mode": mode, "ngrams": 3, "targets": [target]});
    files.insert(MANIFEST.into(), serde_json::to_vec(&manifest).unwrap());
    files.retain(|name, _| [MANIFEST, "vocabulary.json", "cpu.classes.json"].contains(&name.as_str()));
    let model = CostModel::load(&files).unwrap();
    let answer = model.answer("select count(*) from tweets f", None, &[], Detail { tokens: 3, nearest: 3 });
    assert_eq!((answer.targets.len(), answer.targets[0].source), (1, Source::Text));
    assert!(answer.nearest.is_empty());
}

#[test]
fn plans_speak_only_where_the_text_is_in_doubt() {
    let model = CostModel::load(&files()).unwrap();
    let plain = model.judge("select count(*) from tweets f", None);
    let planned = model.judge("select count(*) from tweets f", Some((1e9, 1e9)));
    assert_eq!(plain, planned, "this model knows no plans");
    let infinite = with_plan(&[], 7, (f32::INFINITY, f32::NAN));
    assert!(infinite.iter().all(|(_, value)| value.is_finite()), "{infinite:?}");
}

#[test]
fn the_median_is_in_the_class_that_a_plan_chose() {
    let mut model = CostModel::load(&files()).unwrap();
    let target = &mut model.targets[0];
    (target.plan, target.quantiles, target.plan_below) = (Some(target.classes.clone()), None, 2.0);
    target.history.rule = crate::cost::history::Rule::NEVER;
    let bounds = target.info.bounds.clone();
    let mut classes = std::collections::HashSet::new();
    Replay::new(200, 0.2, 4)
        .read(&mut |statement| {
            for p50 in [0.001, 1e9] {
                model.targets[0].prior.p50 = p50;
                let said = model.judge(&statement.query, Some((1.0, 1.0))).1.remove(0);
                if said.source == Source::Plan {
                    classes.insert(said.class);
                    assert_eq!(crate::cost::classes::class_of(&bounds, said.p50), said.class, "{said:?}");
                    assert!(said.p90 >= said.p50);
                }
            }
        })
        .unwrap();
    assert!(classes.len() > 1, "{classes:?}");
}

/// A model of PostgreSQL's targets, whose history answers from the second time on.
fn of_a_server() -> CostModel {
    let mut model = CostModel::load(&files()).unwrap();
    for (target, name) in model.targets.iter_mut().zip(["duration", "memory"]) {
        target.info.name = name.into();
        target.history.rule.fingerprint = crate::cost::history::Least { count: Some(2), share: 0.9 };
    }
    model
}

#[test]
fn what_a_server_counted_answers_where_it_is_of_one_class() {
    let mut model = of_a_server();
    let counted = |query: &str, calls, seconds: [f64; 3], spilled_bytes| {
        let [least_seconds, mean_seconds, most_seconds] = seconds;
        StatementStatistics {
            query: query.into(),
            calls,
            least_seconds,
            mean_seconds,
            most_seconds,
            deviation_seconds: 5.0,
            spilled_bytes,
        }
    };
    let before = model.version.clone();
    let learnt = model.add_priors(&[
        counted("SELECT a FROM only_counted WHERE b = $1", 9, [40.0, 50.0, 90.0], 0.0),
        counted("SELECT a FROM of_both_classes WHERE b = $1", 9, [1.0, 20.0, 90.0], 8192.0),
        counted("SELECT a FROM in_two_parts WHERE b = $1", 5, [1.0, 2.0, 3.0], 8192.0),
        counted("SELECT a FROM in_two_parts WHERE b IN ($1, $2)", 5, [1.0, 2.0, 3.0], 8192.0),
        counted("select a from in_two_parts where b = $1", 15, [2000.0, 2000.0, 2000.0], 0.0),
    ]);
    // The last two parts of a fingerprint lie in two classes, and what one of them spilled is not known.
    assert_eq!(learnt, 2);
    assert_ne!(model.version, before);
    let told = |query: &str| {
        let targets = model.answer(query, None, &[], Detail::default()).targets;
        targets.into_iter().map(|target| (target.source, target.class, target.p50, target.p90)).collect::<Vec<_>>()
    };
    let known = told("select a from only_counted where b = 42");
    assert_eq!((known[0].0, known[0].1, known[0].2), (Source::History, 1, 50.0));
    assert!((known[0].3 - 56.4).abs() < 0.01, "{known:?}");
    assert_eq!((known[1].0, known[1].3), (Source::History, 0.0));
    for query in ["select a from of_both_classes where b = 1", "select a from in_two_parts where b = 1"] {
        assert!(told(query).iter().all(|(source, ..)| *source != Source::History), "{:?}", told(query));
    }

    // What the log says is not overruled.
    let known = model.known.values().next().unwrap().statement.clone();
    let history = model.targets[0].history.clone();
    assert_eq!(model.add_priors(&[counted(&known, 99, [1.0, 1.0, 1.0], 0.0)]), 0);
    assert_eq!(model.targets[0].history, history);
    let loaded = CostModel::load(&model.save()).unwrap();
    assert_eq!((&loaded.version, &loaded.targets[0].history), (&model.version, &history));
}
