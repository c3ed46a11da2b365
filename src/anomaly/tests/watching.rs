//! A model at work over pauses and restarts: whoever reads the rows finds the same incidents, once.

use std::sync::Arc;

use super::*;
use crate::anomaly::alarm::State;
use crate::anomaly::answer::Rows;
use crate::anomaly::crd::AnomalyDetectorStatus;
use crate::anomaly::facts::time;
use crate::anomaly::model::{Model, ModelType};
use crate::anomaly::replay::Replay;
use crate::anomaly::score::Scorer;
use crate::anomaly::train::train;
use crate::anomaly::watching::Watching;

/// A model, and rows that it has not seen: three quarters of an hour of them, a fault of ten minutes, and an hour.
fn rows() -> (Arc<Model>, Vec<(i64, Vec<f64>)>) {
    let mut database = Simulated::new(11);
    let history = database.rows(2 * 5760, Fault::None);
    let options = Options { model_type: ModelType::Pca, ..quick() };
    let (model, _) = train(&matrix(&history), &options, &mut |_, _| {}).unwrap();
    let mut rows = history[history.len() - 400..].to_vec();
    rows.extend(database.rows(180, Fault::None));
    rows.extend(database.rows(40, Fault::SequentialScans));
    rows.extend(database.rows(240, Fault::None));
    (Arc::new(model), rows)
}

fn batch(rows: &[(i64, Vec<f64>)]) -> Rows {
    Rows {
        times: rows.iter().map(|(time, _)| *time).collect(),
        columns: (0..NAMES.len()).map(|column| rows.iter().map(|(_, row)| row[column]).collect()).collect(),
        ..Rows::default()
    }
}

#[test]
fn rows_of_other_metrics_are_none_of_its() {
    let (model, _) = rows();
    let watching = watching(&model, 0);
    assert!(watching.is("m", &[], &names()) && !watching.is("n", &[], &names()));
    let mut other = names();
    other.pop();
    assert!(!watching.is("m", &[], &other));
    other.push(("seq_scan".to_owned(), Kind::Gauge));
    assert!(!watching.is("m", &[], &other));
}

fn watching(model: &Arc<Model>, trusted_from: i64) -> Watching {
    let replay = Replay { from: 0, learns_until: trusted_from, trusted_from };
    Watching::new("m", model.clone(), Vec::new(), &replay)
}

/// What is said after these rows by whoever begins with the row of number `now`, of the newest rows and a status.
fn begun_anew(model: &Arc<Model>, rows: &[(i64, Vec<f64>)], now: usize, incidents: &[(usize, Option<usize>)]) -> State {
    let at = |row: usize| time(rows[row].0);
    let incident = |(since, until): &(usize, Option<usize>)| {
        serde_json::json!({
            "id": "x", "since": at(*since), "raised": at(*since), "until": until.map(at), "peak": "2", "message": ""})
    };
    let incidents: Vec<_> = incidents.iter().map(incident).collect();
    let status: AnomalyDetectorStatus = serde_json::from_value(serde_json::json!({"incidents": incidents})).unwrap();
    let memory = Scorer::new(model.clone()).memory_ms();
    let replay = Replay::of(Some(&status), rows[now].0, memory);
    let read = rows.partition_point(|(time, _)| *time < replay.from);
    Watching::new("m", model.clone(), Vec::new(), &replay).push(&batch(&rows[read..])).0.alarm
}

#[test]
fn what_was_told_as_an_incident_is_no_measure_after_a_restart() {
    let (model, _) = rows();
    let mut database = Simulated::new(13);
    let mut rows = database.rows(900, Fault::None);
    rows.extend(database.rows(480, Fault::SequentialScans));
    rows.extend(database.rows(520, Fault::None));
    assert_eq!(begun_anew(&model, &rows, 1500, &[(900, Some(1380))]), State::Quiet);
    assert!(matches!(begun_anew(&model, &rows, 1500, &[]), State::Standing { .. }), "this is what it would be");

    // The same fault again, shortly after it seemed to be over.
    let mut rows = database.rows(900, Fault::None);
    for (count, fault) in [(240, Fault::SequentialScans), (60, Fault::None), (100, Fault::SequentialScans)] {
        rows.extend(database.rows(count, fault));
    }
    let known = [(1200, None), (900, Some(1140))];
    assert!(matches!(begun_anew(&model, &rows, 1299, &known), State::Standing { .. }));
}

/// Incidents by name and end, of batches of so many rows.
fn found(watching: &mut Watching, rows: &[(i64, Vec<f64>)], size: usize) -> Vec<(String, Option<i64>)> {
    let mut found: Vec<(String, Option<i64>)> = Vec::new();
    for chunk in rows.chunks(size) {
        for incident in watching.push(&batch(chunk)).0.incidents {
            found.retain(|(id, _)| *id != incident.id);
            found.push((incident.id, incident.until));
        }
    }
    found
}

#[test]
fn a_pause_and_a_restart_find_what_a_steady_look_finds() {
    let (model, rows) = rows();
    let steady = found(&mut watching(&model, 0), &rows, 1);
    assert!(!steady.is_empty() && steady.iter().all(|(_, until)| until.is_some()), "{steady:?}");
    assert_eq!(found(&mut watching(&model, 0), &rows, rows.len()), steady);
    assert_eq!(found(&mut watching(&model, 0), &rows, 37), steady);
    // Killed in the middle of the fault, the rows before it are read again.
    let restarted = found(&mut watching(&model, 0), &rows[150..600], 450);
    let fault = steady.last().unwrap();
    assert_eq!(restarted.last().map(|(id, until)| (id, *until)), Some((&fault.0, None)));
}

#[test]
fn what_is_read_in_parts_is_told_at_the_end() {
    let (model, rows) = rows();
    let whole = watching(&model, 0).push(&batch(&rows)).0;
    let mut parted = watching(&model, 0);
    let (first, second) = rows.split_at(640);
    let (said, _) = parted.push(&batch(first));
    assert!(!said.incidents.is_empty() && !parted.catches_up());
    let told = parted.hold(said, rows.last().unwrap().0);
    assert!(parted.catches_up() && told.message.contains("rows are read again"), "{told:?}");
    assert_eq!(parted.push(&batch(second)).0, whole);
    assert!(!parted.catches_up());
}

#[test]
fn rows_that_come_again_are_neither_judged_nor_counted() {
    let (model, rows) = rows();
    let mut watching = watching(&model, 0);
    let (first, counted) = watching.push(&batch(&rows));
    assert!(counted.scored > 800, "{counted:?}");
    let (again, nothing) = watching.push(&batch(&rows));
    assert_eq!((nothing.scored, nothing.skipped.len()), (0, 0));
    assert_eq!((again.score, again.incidents.last()), (first.score, first.incidents.last()));
}

#[test]
fn what_ended_before_the_model_knew_its_past_is_not_told() {
    let (model, rows) = rows();
    let newest = rows.last().unwrap().0;
    assert!(found(&mut watching(&model, newest), &rows, rows.len()).is_empty());
}

#[test]
fn a_history_that_begins_with_something_unusual_is_not_the_measure_for_ever() {
    let (model, _) = rows();
    // A quarter of an hour in which a database is filled, and then what the model knows.
    let mut database = Simulated::new(12);
    let mut rows = database.rows(60, Fault::SequentialScans);
    rows.extend(database.rows(240, Fault::None));
    let state = |trusted_from: i64| watching(&model, trusted_from).push(&batch(&rows)).0.alarm;
    assert_eq!(state(rows[200].0), State::Quiet);
    assert!(matches!(state(0), State::Standing { .. }), "this is what it would be");
}

#[test]
fn a_metric_that_went_away_is_stale() {
    let (model, mut rows) = rows();
    for (_, row) in rows.iter_mut().rev().take(20) {
        row[3] = f64::NAN;
    }
    let mut watching = watching(&model, 0);
    let (scoring, _) = watching.push(&batch(&rows));
    assert_eq!(scoring.stale, ["sessions_active"]);
    assert!(scoring.constant.contains(&"shared_buffers".to_owned()));
    let missing: Vec<&str> =
        NAMES.iter().zip(watching.found()).filter(|(_, found)| !found).map(|((name, _), _)| *name).collect();
    assert_eq!(missing, ["sessions_active", "replication_lag"]);
}
