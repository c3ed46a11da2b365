use super::*;
use crate::cost::answer::{Detail, Predictor, Source};
use crate::cost::classes::parse_bounds;
use crate::cost::fetch::TextLog;
use crate::cost::log::Cost;
use crate::cost::model::CostModel;
use crate::cost::reading::Columns;
use crate::cost::replay::Replay;
use crate::cost::sqltext::features::Text;

fn specs() -> Vec<TargetSpec> {
    let spec = |name: &str, unit: &str, bounds: &[&str]| TargetSpec {
        name: name.into(),
        unit: unit.into(),
        bounds: parse_bounds(name, bounds.iter().copied()).unwrap(),
    };
    vec![spec("cpu", "seconds", &["30", "1800"]), spec("memory", "bytes", &["q0.5", "q0.9"])]
}

fn small() -> Options {
    Options {
        grid: vec![Candidate { max_depth: 6, eta: 0.3, rounds: 30 }],
        max_features: 2000,
        folds: 2,
        threads: 1,
        beside: Vec::new(),
        ..Options::default()
    }
}

fn trained(log: &dyn Log, options: &Options) -> Trained {
    train(log, &specs(), options, &mut |_| {}).unwrap()
}

fn table(text: &str) -> TextLog {
    let columns = Columns {
        query: "query".into(),
        time: text.starts_with("at,").then(|| "at".into()),
        targets: vec!["cpu".into()],
        ..Columns::default()
    };
    TextLog { bytes: text.as_bytes().to_vec(), columns, targets: vec!["cpu".into()] }
}

fn refusal(text: &str, options: &Options) -> String {
    train(&table(text), &specs()[..1], options, &mut |_| {}).unwrap_err().to_string()
}

#[test]
fn a_saved_model_answers_bit_for_bit_as_before() {
    let options = small();
    let before = trained(&Replay::new(1500, 0.8, 3), &options).model;
    let files = before.save();
    let again = trained(&Replay::new(1500, 0.8, 3), &options).model;
    assert!(files == again.save(), "the same log and seed give another model");
    let other = trained(&Replay::new(1500, 0.8, 3), &Options { seed: 8, ..options }).model;
    assert_ne!(before.version, other.version);
    let after = CostModel::load(&files).unwrap();
    assert_eq!(before.version, after.version);
    let mut queries = vec![String::new(), "not SQL at all".into(), "select '".into(), "\u{0}\u{feff}sélect".into()];
    Replay::new(300, 0.2, 4).read(&mut |statement| queries.push(statement.query)).unwrap();
    let detail = Detail { tokens: 5, nearest: 2 };
    let mut sources = std::collections::HashSet::new();
    for query in &queries {
        let (one, other) = (before.answer(query, None, &[], detail), after.answer(query, None, &[], detail));
        assert_eq!(one, other, "{query}");
        for estimate in &one.targets {
            sources.insert(estimate.source);
            let sum: f64 = estimate.probabilities.iter().sum();
            assert!((sum - 1.0).abs() < 1e-6 && estimate.p50 <= estimate.p90 && estimate.p50 >= 0.0, "{estimate:?}");
            assert_eq!(
                estimate.label,
                before.infos.iter().find(|i| i.name == estimate.target).unwrap().labels[estimate.class]
            );
        }
    }
    assert!(sources.contains(&Source::Text) && sources.contains(&Source::Default), "{sources:?}");
    let known = Predictor::predict(&after, &[queries[10].as_str()], &[1], detail);
    assert_eq!((known[0].targets.len(), known[0].targets[0].target.as_str()), (1, "memory"));
}

#[test]
fn ours_beats_the_majority_and_the_lookup_on_every_split() {
    let options = Options { beside: Split::ALL.to_vec(), ..small() };
    let trained = trained(&Replay::new(3000, 0.7, 5), &options);
    assert_eq!(
        trained.evaluation.splits.iter().map(|split| split.split).collect::<Vec<_>>(),
        [Split::Time, Split::Random, Split::Template]
    );
    let accuracy = |target: &TargetEvaluation, wanted: Method| {
        let said = &target.methods.iter().find(|(method, _)| *method == wanted).unwrap().1;
        said.iter().zip(&target.truth).filter(|(said, truth)| said.class == **truth).count() as f64 / said.len() as f64
    };
    for split in &trained.evaluation.splits {
        for target in &split.targets {
            let ours = accuracy(target, Method::Ours);
            for other in [Method::Majority, Method::Lookup] {
                let theirs = accuracy(target, other);
                assert!(ours > theirs, "{:?} {}: {ours} against {other:?}'s {theirs}", split.split, target.info.name);
            }
        }
    }
    let template = &trained.evaluation.splits[2];
    assert_eq!(template.test_rows, 3000, "every template is judged once");
}

#[test]
fn what_was_cancelled_counts_only_where_its_class_is_known() {
    let mut text = "at,query,cpu,state\n".to_owned();
    for row in 0..120 {
        let minute = format!("2026-01-31 {}:{:02}", 10 + row / 60, row % 60);
        text += &format!("{minute}:00,select a from small where id = {row},1,FINISHED\n");
        // Two of three are ended long before they have cost what they would.
        let large = if row % 3 == 0 { "2500,FINISHED" } else { "10,FAILED" };
        text += &format!("{minute}:20,select sum(b) from large where c > {row},{large}\n");
        text += &format!("{minute}:40,select max(d) from huge where e > {row},2000,FAILED\n");
    }
    let mut log = table(&text);
    log.columns.failed = Some("state".into());
    let trained = train(&log, &specs()[..1], &small(), &mut |_| {}).unwrap();
    let told = |query: &str| trained.model.answer(query, None, &[], Detail::default()).targets.remove(0);
    assert_eq!(told("select a from small where id = 777").class, 0);
    let large = told("select sum(b) from large where c > 5000");
    assert!(large.class == 2 && large.p50 > 1800.0, "{large:?}");
    assert_eq!(told("select max(d) from huge where e > 5000").class, 2);
    // A fifth of the rows judges, without those of which nobody knows the class.
    let target = &trained.evaluation.splits[0].targets[0];
    assert!(
        target.truth.len() == target.costs.len() && (50..60).contains(&target.truth.len()),
        "{}",
        target.truth.len()
    );
    assert!(!target.costs.contains(&Cost::AtLeast(10.0)) && target.costs.contains(&Cost::AtLeast(2000.0)));
}

#[test]
fn literals_beyond_all_bounds_do_not_end_a_training() {
    let rows = |row: usize| format!("2026-01-31,select a from t where b between -1e308 and {row}e306,{}\n", row * 50);
    let text = format!("at,query,cpu\n{}", (0..100).map(rows).collect::<String>());
    train(&table(&text), &specs()[..1], &small(), &mut |_| {}).unwrap();
}

/// auto_explain was loaded when most of the log was written.
#[test]
fn plans_that_begin_late_in_the_log_do_not_end_a_training() {
    let row = |row: usize| {
        let plan = if row < 120 { ",".to_owned() } else { format!("{},{}", row % 7 * 100, row % 7) };
        let time = format!("2026-01-01T00:{:02}:{:02}Z", row / 60, row % 60);
        format!("{time},select c{} from t where a = {row},{},{plan}\n", row % 7, row % 7 * 20)
    };
    let text = format!("at,query,cpu,pc,pr\n{}", (0..200).map(row).collect::<String>());
    let mut log = table(&text);
    log.columns.plan = Some(("pc".into(), "pr".into()));
    let options = Options { folds: 3, ..small() };
    let trained = train(&log, &specs()[..1], &options, &mut |_| {}).unwrap();
    assert!(trained.model.targets[0].plan.is_some());
    // None of those that have a plan has a cost: nothing is learnt from plans.
    let text = text.lines().enumerate().map(|(line, text)| match line {
        0..=120 => format!("{text}\n"),
        _ => text.replace(&format!(",{},", (line - 1) % 7 * 20), ",,") + "\n",
    });
    log.bytes = text.collect::<String>().into_bytes();
    assert!(train(&log, &specs()[..1], &options, &mut |_| {}).unwrap().model.targets[0].plan.is_none());
}

#[test]
fn a_sample_judges_where_there_are_many_rows() {
    assert_eq!([1.0, 20.0, 33.0, 90.0].map(template_folds), [10, 5, 3, 2]);
    let options = Options { beside: vec![Split::Template], most_judged: 60, ..small() };
    let trained = trained(&Replay::new(1000, 0.7, 5), &options);
    for split in &trained.evaluation.splits {
        assert_eq!(split.drawn_rows, 60, "{:?}", split.split);
        assert!(split.targets.iter().all(|target| target.methods.iter().all(|(_, said)| said.len() == 60)));
    }
    let table = crate::cost::evaluation::report::Report::of(&trained).table();
    assert!(table.contains("judged by a sample: 60 of 200 rows"), "{table}");
}

#[test]
fn a_log_without_enough_in_it_is_refused_with_what_to_do() {
    let error = refusal("at,query,cpu\n", &small());
    assert!(error.contains("no statement to learn from: it is empty"), "{error}");
    let error = refusal("at,query,cpu\n2026-01-31,select 1,slow\n2026-01-31,select 2,-1\n", &small());
    assert!(error.contains("1 rows have a cost that is no number") && error.contains("e.g. "), "{error}");
    let rows = |count: usize, cost: fn(usize) -> f64| {
        (0..count).map(|row| format!("2026-01-31,select {row} from t,{}\n", cost(row))).collect::<String>()
    };
    let text = format!("at,query,cpu\n{}", rows(100, |row| row as f64 / 100.0));
    let error = refusal(&text, &small());
    assert!(error.contains("every statement is in the class [0, 30)") && error.contains("0.892"), "{error}");
    let text = format!("at,query,cpu\n{}", rows(6, |row| row as f64 * 500.0));
    let error = refusal(&text, &small());
    assert!(error.contains("6 statements have a cost of cpu, and 2 folds need at least 8"), "{error}");
    let text = format!("when,query,cpu\n{}", rows(100, |row| row as f64 * 500.0));
    let error = refusal(&text, &small());
    assert!(error.contains("can't be split by time") && error.contains("--split random"), "{error}");
    // A split beside the headline may be impossible: a single template can't judge others.
    let text = format!("at,query,cpu\n{}", rows(100, |row| row as f64 * 50.0));
    let options = Options { beside: Split::ALL.to_vec(), ..small() };
    let trained = train(&table(&text), &specs()[..1], &options, &mut |_| {}).unwrap();
    assert!(
        trained.evaluation.missing.iter().any(|(split, _)| *split == Split::Template),
        "{:?}",
        trained.evaluation.missing
    );
}

#[test]
fn a_rival_has_not_learnt_from_what_judges_it() {
    let log = Replay::new(600, 0.5, 3);
    let whole = trained(&log, &small());
    assert!(whole.rival.is_none());
    let (from, to) = whole.window.unwrap();
    let at = |share: f64| from + ((to - from) as f64 * share) as i64;
    // New to the other model, and among the newest fifth.
    for (new_from, judging) in [(at(0.5), at(0.8)), (at(0.9), at(0.9))] {
        let rival = trained(&log, &Options { new_from_ms: Some(new_from), ..small() }).rival.unwrap();
        assert!((rival.from_ms - judging).abs() < (to - from) / 100, "{} and not {judging}", rival.from_ms);
        let model = rival.model.unwrap();
        let (mut seen, mut new) = (std::collections::HashSet::new(), 0);
        log.read(&mut |statement| {
            let fingerprint = Text::read(&statement.query).fingerprint.0;
            if statement.time_ms < Some(rival.from_ms) {
                seen.insert(fingerprint);
            } else if !seen.contains(&fingerprint) {
                new += 1;
                assert!(!model.known.contains_key(&fingerprint), "{}", statement.query);
            }
        })
        .unwrap();
        assert!(new > 0 && model.known.len() == seen.len());
    }
    let few = trained(&log, &Options { new_from_ms: Some(at(0.99)), ..small() });
    assert!(few.rival.is_none());
}
