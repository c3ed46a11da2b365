//! Learning what is normal.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::alarm::{Alarm, Transition};
use super::super::matrix::{Column, Kind, Matrix};
use super::super::model::ModelType;
use super::super::score::Scorer;
use super::super::train::{FEWEST_ROWS, Options, TrainError, train};
use super::{Fault, NAMES, STEP_MS, Simulated, matrix, quick};

#[test]
fn a_seeded_training_replays() {
    let rows = matrix(&Simulated::new(1).rows(600, Fault::None));
    let save = |seed| {
        let mut options = quick();
        options.autoencoder.seed = seed;
        train(&rows, &options, &mut |_, _| ()).unwrap().0.save().unwrap()
    };
    assert!(save(7) == save(7));
    assert!(save(7) != save(8));
}

#[test]
fn every_metric_has_its_role() {
    let rows = matrix(&Simulated::new(1).rows(600, Fault::None));
    let mut heard = Vec::new();
    let (model, summary) = train(&rows, &quick(), &mut |epoch, _| heard.push(epoch)).unwrap();
    assert_eq!(summary.metrics_used, NAMES[..6].iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert_eq!(summary.metrics_constant, ["shared_buffers", "deadlocks"]);
    assert_eq!(summary.metrics_dropped, ["replication_lag"]);
    // The first row has no rates, and the next three no recent past.
    assert_eq!((summary.rows_used, summary.rows_skipped), (596, 4));
    assert_eq!(summary.rows_trimmed, 4);
    assert!(heard.is_sorted() && heard.len() == summary.epochs as usize, "{heard:?}");
    assert_eq!(model.variances.len(), 6);
    assert!(summary.outcome.alarms <= 1 && summary.outcome.threshold.score > 0.0, "{summary:?}");
    assert_ne!(summary.outcome.loss, summary.pca.loss);
}

/// An exporter that was taken away fills half of the history, and none of the rows to come.
#[test]
fn a_metric_that_is_gone_is_no_feature() {
    let mut rows = Simulated::new(1).rows(1000, Fault::None);
    for (_, row) in &mut rows[880..] {
        row[3] = f64::NAN;
        row[5] = f64::NAN;
    }
    let (_, summary) = train(&matrix(&rows), &quick(), &mut |_, _| {}).unwrap();
    assert_eq!(summary.metrics_dropped, ["sessions_active", "node_cpu_user", "replication_lag"]);
}

/// A fault that nobody told of is among the rows that set the threshold, and a value is missing now and then.
#[test]
fn a_fault_in_the_history_does_not_hide_the_next() {
    for model_type in [ModelType::Autoencoder, ModelType::Pca] {
        let mut database = Simulated::new(8);
        let mut rows = database.rows(17_000, Fault::None);
        rows.extend(database.rows(60, Fault::SequentialScans));
        rows.extend(database.rows(3000, Fault::None));
        for (_, row) in rows.iter_mut().step_by(7) {
            row[3] = f64::NAN;
        }
        let (model, _) = train(&matrix(&rows), &Options { model_type, ..quick() }, &mut |_, _| {}).unwrap();
        let mut scorer = Scorer::new(Arc::new(model));
        let mut raised = false;
        let mut alarm = Alarm::new(scorer.model().alarm.clone());
        for (count, fault) in [(300, Fault::None), (20, Fault::SequentialScans)] {
            assert!(!raised, "{model_type:?} alarms on normal rows");
            for (time, row) in database.rows(count, fault) {
                raised |= matches!(alarm.push(time, scorer.push(time, &row).score), Some(Transition::Raised { .. }));
            }
        }
        assert!(raised, "{model_type:?} sees nothing");
    }
}

#[test]
fn excluded_times_teach_nothing() {
    let mut database = Simulated::new(1);
    let mut rows = database.rows(300, Fault::None);
    rows.extend(database.rows(100, Fault::Waiting));
    rows.extend(database.rows(400, Fault::None));
    let exclude = vec![(rows[300].0, rows[399].0)];
    let options = Options { model_type: ModelType::Pca, exclude, ..quick() };
    let (_, summary) = train(&matrix(&rows), &options, &mut |_, _| ()).unwrap();
    assert_eq!((summary.rows_excluded, summary.rows_used), (100, 692));
    assert_eq!(summary.outcome.alarms, 0, "{summary:?}");
}

#[test]
fn the_budget_holds_on_normal_weeks_that_were_not_seen() {
    // Ten days calibrate; two more weeks have a budget of four alarms.
    let mut database = Simulated::new(3);
    let day = 24 * 240;
    let options = Options { model_type: ModelType::Pca, ..Options::default() };
    let (model, summary) = train(&matrix(&database.rows(10 * day, Fault::None)), &options, &mut |_, _| ()).unwrap();
    let mut alarm = Alarm::new(model.alarm.clone());
    let mut scorer = Scorer::new(Arc::new(model));
    let mut alarms = 0;
    for (time, row) in database.rows(14 * day, Fault::None) {
        let raised = alarm.push(time, scorer.push(time, &row).score);
        alarms += usize::from(matches!(raised, Some(Transition::Raised { .. })));
    }
    assert!(alarms <= 8, "{alarms} alarms in two weeks of a budget of 4: {summary:?}");
}

#[test]
fn a_backtest_is_of_rows_that_set_no_threshold() {
    // What happens in the last tenth of the history is above any threshold that it had no part in.
    let mut database = Simulated::new(1);
    let mut rows = database.rows(900, Fault::None);
    rows.extend(database.rows(60, Fault::SequentialScans));
    rows.extend(database.rows(40, Fault::None));
    let options = Options { model_type: ModelType::Pca, ..quick() };
    let (_, summary) = train(&matrix(&rows), &options, &mut |_, _| ()).unwrap();
    assert_eq!(summary.outcome.alarms, 1, "{summary:?}");
    let half = (summary.rows_used as f64 * 0.15) * STEP_MS as f64 / 86_400_000.0;
    assert!((summary.backtest_days - half).abs() < 0.002, "{summary:?}");
}

#[test]
fn too_little_history_says_how_much_is_missing() {
    let few = matrix(&Simulated::new(1).rows(64, Fault::None));
    let error = train(&few, &quick(), &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, TrainError::TooLittleHistory { rows: 60, needed_rows: FEWEST_ROWS, .. }), "{error:?}");
    assert!(error.to_string().contains("wait 15 minutes longer"), "{error}");
    let options = Options { min_history_ms: 24 * 3_600_000, ..quick() };
    let error = train(&matrix(&Simulated::new(1).rows(1444, Fault::None)), &options, &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("24.0 hours are needed: wait 18.0 hours longer"), "{error}");
}

#[test]
fn a_history_may_lack_a_row_in_fifty() {
    let asked = |rows: i64| Options { min_history_ms: rows * STEP_MS, ..quick() };
    let rows = matrix(&Simulated::new(1).rows(304, Fault::None));
    let trained = |options| train(&rows, &options, &mut |_, _| ());
    assert!(trained(asked(302)).is_ok());
    let error = trained(asked(320)).unwrap_err();
    assert!(matches!(error, TrainError::TooLittleHistory { rows: 300, needed_rows: 320, .. }), "{error:?}");
}

#[test]
fn what_never_moves_or_never_came_is_told_apart() {
    let rows = |value: f64| {
        let column = |name: &str| Column { name: name.into(), kind: Kind::Gauge, values: vec![value; 200] };
        let times = (0..200).map(|row| row * STEP_MS).collect();
        Matrix::new(STEP_MS, times, vec![0; 200], vec![column("a"), column("b")]).unwrap()
    };
    let refused = |value: f64| train(&rows(value), &quick(), &mut |_, _| ()).unwrap_err();
    assert_eq!(refused(5.0), TrainError::Constant { constant: 2, dropped: 0 });
    assert_eq!(refused(f64::NAN), TrainError::Missing(2));
    let budget = Options { false_alarms_per_week: 0.0, ..quick() };
    assert!(matches!(train(&rows(1.0), &budget, &mut |_, _| ()), Err(TrainError::Budget(_))));
}

#[test]
fn groups_do_not_see_each_other() {
    // Two runs at levels a thousand times apart: a baseline that crossed from one to the other would show it.
    let mut rows = Simulated::new(1).rows(400, Fault::None);
    let level = |row: usize| if row < 200 { 1.0 } else { 1000.0 };
    let values: Vec<f64> = rows.iter_mut().enumerate().map(|(row, (_, values))| values[3] * level(row) + 1.0).collect();
    let groups: Vec<u32> = (0..400).map(|row| u32::from(row >= 200)).collect();
    let times: Vec<i64> = rows.iter().map(|row| row.0).collect();
    let column = Column { name: "a".into(), kind: Kind::Gauge, values };
    let other =
        Column { name: "b".into(), kind: Kind::Gauge, values: rows.iter().map(|(_, values)| values[5]).collect() };
    let matrix = Matrix::new(STEP_MS, times, groups, vec![column, other]).unwrap();
    let options = Options { model_type: ModelType::Pca, ..quick() };
    let (model, summary) = train(&matrix, &options, &mut |_, _| ()).unwrap();
    assert_eq!(summary.rows_skipped, 6, "each group begins with three rows without a past");
    let mut scorer = Scorer::new(Arc::new(model));
    let mut skipped = HashSet::new();
    for row in 0..400 {
        if row == 200 {
            scorer.restart();
        }
        let scored = scorer.push(matrix.times()[row], &matrix.row(row));
        if scored.score.is_none() {
            skipped.insert(row);
        }
        assert!(scored.score.unwrap_or(0.0) < 3.0, "row {row}: {scored:?}");
    }
    assert_eq!(skipped, HashSet::from([0, 1, 2, 200, 201, 202]));
}
