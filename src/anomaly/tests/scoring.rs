//! From rows to scores and incidents.

use std::sync::{Arc, OnceLock};

use super::super::alarm::{State, Transition};
use super::super::drawing;
use super::super::incident::{ChangeEvent, Incident, Recorder};
use super::super::matrix::{Column, Kind, Matrix};
use super::super::model::{Model, ModelType};
use super::super::score::{Direction, Scored, Scorer, SkipReason};
use super::super::sentence;
use super::super::signature::Signature;
use super::super::train::{Options, train};
use super::{Fault, NAMES, Simulated, matrix, quick};
use crate::learn::rng::Random;

/// A model of two days, and the database where it was left.
fn trained() -> (Arc<Model>, Simulated) {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    let mut database = Simulated::new(5);
    let rows = database.rows(2 * 24 * 240, Fault::None);
    let model = MODEL.get_or_init(|| Arc::new(train(&matrix(&rows), &quick(), &mut |_, _| ()).unwrap().0));
    (model.clone(), database)
}

fn recorder(scorer: &Scorer) -> Recorder {
    Recorder::new(scorer.model().alarm.clone(), scorer.names(), scorer.model().signatures.clone())
}

/// An hour of normal rows, then a fault: what was said of each row, and the incident.
fn incident(fault: Fault, label: Option<Signature>) -> (Vec<Scored>, Incident) {
    let (model, mut database) = trained();
    let mut scorer = Scorer::new(model);
    let mut recorder = Recorder::new(
        scorer.model().alarm.clone(),
        scorer.names(),
        [scorer.model().signatures.clone(), label.into_iter().collect()].concat(),
    );
    let mut rows = database.rows(240, Fault::None);
    let begin = rows.len();
    rows.extend(database.rows(20, fault));
    let mut said = Vec::new();
    for (row, (time, values)) in rows.iter().enumerate() {
        let scored = scorer.push(*time, values);
        let transition = recorder.push(&scored);
        assert!(row >= begin || transition.is_none(), "row {row}: {transition:?}");
        said.push(scored);
    }
    (said, recorder.incident().expect("the fault is an incident").clone())
}

#[test]
fn a_dropped_index_is_found_and_explained() {
    let (said, incident) = incident(Fault::SequentialScans, None);
    let begin = said[240].time;
    assert!(incident.since >= begin && incident.since <= begin + 30_000, "{incident:?}");
    assert!(incident.peak > 1.0);
    let top: Vec<&str> = incident.contributors.iter().map(|part| part.metric.as_str()).take(3).collect();
    assert!(top.contains(&"seq_tup_read"), "{top:?}");
    let scans = incident.contributors.iter().find(|part| part.metric == "seq_tup_read").unwrap();
    assert_eq!(scans.direction, Direction::Up);
    assert!(scans.now > 50.0 * scans.expected.unwrap() && scans.onset == Some(begin), "{scans:?}");
    assert_eq!(
        incident.causes.first().map(|cause| cause.cause.as_str()),
        Some("missing index"),
        "{:?}",
        incident.causes
    );
    let text = sentence::incident(&incident, said.last().unwrap().time);
    assert!(text.starts_with("Anomaly ") && text.contains("seq_tup_read") && text.contains("missing index"), "{text}");
}

#[test]
fn a_lock_is_told_from_a_dropped_index_and_a_label_beats_both() {
    let (_, first) = incident(Fault::Waiting, None);
    assert_eq!(first.causes.first().map(|cause| cause.cause.as_str()), Some("exclusive lock"), "{:?}", first.causes);
    let label = Signature { cause: "nightly LOCK TABLE".into(), change: first.change.clone(), vocabulary: Vec::new() };
    let (_, second) = incident(Fault::Waiting, Some(label.clone()));
    assert_eq!(second.causes[0].cause, "nightly LOCK TABLE");
    assert!(second.causes[0].similarity > 0.95, "{:?}", second.causes);
    let (_, other) = incident(Fault::SequentialScans, Some(label));
    assert_ne!(other.causes.first().map(|cause| cause.cause.as_str()), Some("nightly LOCK TABLE"));
}

#[test]
fn missing_data_raises_nothing_and_clears_nothing() {
    let (model, mut database) = trained();
    let mut scorer = Scorer::new(model);
    let mut recorder = recorder(&scorer);
    let mut push = |rows: Vec<(i64, Vec<f64>)>| {
        let push = |(time, row): (i64, Vec<f64>)| {
            let scored = scorer.push(time, &row);
            (recorder.push(&scored), scored, recorder.state())
        };
        rows.into_iter().map(push).collect::<Vec<_>>()
    };
    let blank = |rows: Vec<(i64, Vec<f64>)>| -> Vec<(i64, Vec<f64>)> {
        rows.into_iter().map(|(time, row)| (time, vec![f64::INFINITY; row.len()])).collect()
    };
    push(database.rows(100, Fault::None));
    for (transition, scored, state) in push(blank(database.rows(50, Fault::None))) {
        assert_eq!((transition, scored.skipped, state), (None, Some(SkipReason::DataIncomplete), State::Quiet));
    }
    // The first row after a gap has no rates: half of the metrics are missing.
    let after = push(database.rows(10, Fault::None));
    assert_eq!(after[0].1.skipped, Some(SkipReason::DataIncomplete));
    assert!(after[1..].iter().all(|row| row.1.score.is_some_and(|score| score < 1.0)));
    let raised = push(database.rows(10, Fault::Waiting));
    assert!(raised.iter().any(|row| matches!(row.0, Some(Transition::Raised { .. }))));
    let standing = raised.last().unwrap().2;
    assert!(push(blank(database.rows(50, Fault::None))).iter().all(|row| row.0.is_none() && row.2 == standing));
}

#[test]
fn after_hours_without_values_the_past_is_learnt_anew() {
    let (model, mut database) = trained();
    let mut scorer = Scorer::new(model);
    for (time, row) in database.rows(100, Fault::None) {
        scorer.push(time, &row);
    }
    // An exporter is down for four hours, while Prometheus goes on.
    for (time, row) in database.rows(960, Fault::None) {
        scorer.push(time, &vec![f64::NAN; row.len()]);
    }
    let after = database.rows(20, Fault::Waiting);
    let said: Vec<Scored> = after.iter().map(|(time, row)| scorer.push(*time, row)).collect();
    assert!(said[1..4].iter().all(|scored| scored.skipped == Some(SkipReason::WarmUp)), "{said:?}");
    assert!(said.iter().all(|scored| scored.score.is_none_or(|score| score < 1.0)), "{said:?}");
    // What a database does while it starts is not the measure of what it does then.
    let said = database.rows(400, Fault::None).into_iter().map(|(time, row)| scorer.push(time, &row).score.unwrap());
    let high = said.skip(200).filter(|score| *score >= 1.0).count();
    assert!(high < 3, "{high} of the last 200, which are normal");
}

/// Rows about the threshold are those that an alarm stands on: they would end it by being what it is measured against.
#[test]
fn a_fault_that_wavers_about_the_threshold_does_not_become_the_measure() {
    let (model, mut database) = trained();
    let mut scorer = Scorer::new(model);
    let mut recorder = recorder(&scorer);
    for (time, row) in database.rows(240, Fault::None) {
        recorder.push(&scorer.push(time, &row));
    }
    let mut scans = 0.0;
    let mut said = Vec::new();
    for (index, (time, mut row)) in database.rows(720, Fault::None).into_iter().enumerate() {
        // Of each five rows one is near normal.
        scans += if index % 5 == 4 { 30_000.0 } else { 900_000.0 };
        row[1] += scans;
        let scored = scorer.push(time, &row);
        recorder.push(&scored);
        said.push(scored.score.unwrap());
    }
    assert!(matches!(recorder.state(), State::Standing { .. }), "{:?}", &said[700..]);
    assert!(
        said.iter().filter(|score| (0.8..1.0).contains(*score)).count() > 0,
        "the test is about such rows: {said:?}"
    );
}

/// Blocks read are what a cache lacks that was emptied; that the setting is another one is a fault.
#[test]
fn a_plain_restart_is_told_and_is_no_anomaly() {
    let names = [("xact_commit", Kind::Gauge), ("blks_read", Kind::Gauge), ("heap_blks_read", Kind::Gauge)];
    let settings = [("postmaster_start_time", Kind::Config), ("shared_buffers", Kind::Config)];
    let mut random = Random::new(3, 0);
    let mut normal = |row: usize| -> Vec<f64> {
        let mut noise = || 1.0 + 0.05 * random.normal();
        let load = 100.0 + 50.0 * (row as f64 / 300.0).sin();
        vec![load * noise(), load * noise() / 10.0, load * noise() / 20.0, 1e9, 128e6]
    };
    let columns = |rows: &[Vec<f64>]| {
        let named = names.iter().chain(&settings).enumerate();
        let column = |(index, (name, kind)): (usize, &(&str, Kind))| Column {
            name: (*name).into(),
            kind: *kind,
            values: rows.iter().map(|row| row[index]).collect(),
        };
        named.map(column).collect::<Vec<_>>()
    };
    let times = |from: usize, to: usize| (from..to).map(|row| row as i64 * 15_000).collect::<Vec<i64>>();
    let history: Vec<Vec<f64>> = (0..4000).map(&mut normal).collect();
    let matrix = Matrix::new(15_000, times(0, 4000), vec![0; 4000], columns(&history)).unwrap();
    let options = Options { model_type: ModelType::Pca, ..quick() };
    let model = Arc::new(train(&matrix, &options, &mut |_, _| ()).unwrap().0);

    for (buffers, alarms) in [(128e6, false), (16e6, true)] {
        let mut scorer = Scorer::new(model.clone());
        let mut recorder = recorder(&scorer);
        let mut departed = Vec::new();
        for (row, time) in (4000..4230).zip(times(4000, 4230)) {
            let mut values = normal(row);
            if row >= 4200 {
                // The cache is filled in seven minutes.
                let cold = 30.0 * (1.0 - (row - 4200) as f64 / 30.0);
                (values[1], values[2]) = (values[1] * (1.0 + cold), values[2] * (1.0 + cold));
                (values[3], values[4]) = (2e9, buffers);
            }
            let scored = scorer.push(time, &values);
            departed.extend(scored.departures.iter().map(|departure| departure.metric.clone()));
            recorder.push(&scored);
        }
        assert!(departed.contains(&"postmaster_start_time".to_owned()));
        assert_eq!(recorder.incident().is_some(), alarms, "{departed:?}");
    }
}

#[test]
fn a_clock_that_goes_backwards_is_passed_over() {
    let (model, mut database) = trained();
    let mut scorer = Scorer::new(model);
    let rows = database.rows(50, Fault::None);
    let once: Vec<Scored> = rows.iter().map(|(time, row)| scorer.push(*time, row)).collect();
    let mut again = Scorer::new(scorer.model().clone().into());
    for ((time, row), expected) in rows.iter().zip(&once) {
        assert_eq!(&again.push(*time, row), expected);
        for earlier in [*time, *time - 1, i64::MIN] {
            assert_eq!(again.push(earlier, &[1e9; NAMES.len()]).skipped, Some(SkipReason::NotLater));
        }
    }
}

#[test]
fn a_changed_setting_stands_beside_the_incident() {
    let (model, mut database) = trained();
    let mut scorer = Scorer::new(model);
    let mut recorder = recorder(&scorer);
    let mut rows = database.rows(100, Fault::None);
    rows.extend(database.rows(20, Fault::SequentialScans));
    for (_, row) in &mut rows[100..] {
        row[6] = 16e6;
    }
    recorder.note(ChangeEvent { time: rows[98].0, what: "rollout of shop-db".into() });
    recorder.note(ChangeEvent { time: rows[0].0, what: "an old backup".into() });
    for (time, row) in &rows {
        recorder.push(&scorer.push(*time, row));
    }
    let incident = recorder.incident().unwrap();
    let changes: Vec<&str> = incident.changes.iter().map(|change| change.what.as_str()).collect();
    assert_eq!(changes, ["rollout of shop-db", "shared_buffers 128M → 16M"]);
}

#[test]
fn an_incident_ends_and_what_was_normal_stays_so() {
    let (model, mut database) = trained();
    let mut scorer = Scorer::new(model);
    let mut recorder = recorder(&scorer);
    let mut transitions = Vec::new();
    // The fault lasts for longer than the recent past: it must not become the new normal.
    for (count, fault) in [(100, Fault::None), (400, Fault::Waiting), (100, Fault::None)] {
        for (time, row) in database.rows(count, fault) {
            transitions.extend(recorder.push(&scorer.push(time, &row)));
        }
    }
    let [Transition::Raised { since }, Transition::Cleared { until }] = transitions[..] else {
        panic!("{transitions:?}")
    };
    let lasted = (until - since) / 15_000;
    assert!((398..=405).contains(&lasted), "{lasted} rows");
    assert_eq!(recorder.incident().unwrap().until, Some(until));
}

#[test]
fn twice_the_load_within_the_learnt_curve_is_no_alarm() {
    // The load swings threefold over a day; a model that saw it does not mind any hour of the next.
    let (model, mut database) = trained();
    let mut scorer = Scorer::new(model);
    let mut recorder = recorder(&scorer);
    let mut raised = 0;
    for (time, row) in database.rows(24 * 240, Fault::None) {
        raised += usize::from(recorder.push(&scorer.push(time, &row)).is_some());
    }
    assert_eq!(raised, 0, "{:?}", recorder.incident());
}

#[test]
fn principal_components_stand_behind_the_same_interface() {
    let rows = matrix(&Simulated::new(5).rows(600, Fault::None));
    let options = Options { model_type: ModelType::Pca, ..quick() };
    let (model, summary) = train(&rows, &options, &mut |_, _| ()).unwrap();
    assert_eq!((model.model_type, summary.epochs, &summary.outcome), (ModelType::Pca, 0, &summary.pca));
    let mut scorer = Scorer::new(Arc::new(model));
    let scored = (0..rows.rows()).map(|row| scorer.push(rows.times()[row], &rows.row(row)));
    assert_eq!(scored.filter(|scored| scored.score.is_some()).count(), 596);
}

#[test]
fn the_picture_shows_the_score_and_what_moved() {
    let (said, mut incident) = incident(Fault::SequentialScans, None);
    incident.changes.push(ChangeEvent { time: incident.since, what: "a<b>&c".into() });
    let picture = drawing::svg(&incident, &said);
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    assert_eq!(picture.matches("font-weight=\"bold\"").count(), 1 + incident.contributors.len());
    assert!(picture.contains("seq_tup_read") && picture.contains("a&lt;b&gt;&amp;c") && !picture.contains("NaN"));
}
