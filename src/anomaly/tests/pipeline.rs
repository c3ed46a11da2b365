//! From samples to features.

use proptest::prelude::*;

use super::super::matrix::{Column, Kind, Matrix, MatrixError, Rates};
use super::super::pipeline::Pipeline;
use super::super::rows::{Roles, rates};
use super::super::season::Season;
use super::super::watch::Watch;

const STEP: i64 = 1_000;

fn gauge(name: &str, values: Vec<f64>) -> Column {
    Column { name: name.into(), kind: Kind::Gauge, values }
}

fn pipeline(kind: Kind) -> Pipeline {
    Pipeline { step_ms: STEP, kinds: vec![kind], used: vec![0], relative: true, season: None }
}

proptest! {
    #[test]
    fn a_rate_is_never_negative_and_never_a_spike(
        growth in prop::collection::vec(0_u32..1000, 2..40),
        reset in prop::option::of(0_usize..40),
        gap in prop::option::of(0_usize..40),
    ) {
        let mut rates = Rates::new(vec![Kind::Counter], STEP);
        let (mut time, mut count, mut missing) = (0, 5000.0, 0);
        for (row, step) in growth.iter().enumerate() {
            count = if Some(row) == reset { 0.0 } else { count + f64::from(*step) };
            time += if Some(row) == gap { 10 * STEP } else { STEP };
            let rate = rates.push(time, vec![count])[0];
            missing += usize::from(rate.is_nan());
            prop_assert!(rate.is_nan() || (0.0..=1000.0).contains(&rate), "{} in row {}", rate, row);
        }
        // The first row has none; a reset and a gap cost one more each.
        prop_assert!((1..=3).contains(&missing));
    }

    #[test]
    fn a_constant_offset_vanishes_from_the_features(level in 1.0..1e9_f64, values in prop::collection::vec(0.9..1.1_f64, 30..60)) {
        let deviations = |factor: f64| -> Vec<f64> {
            let mut stream = pipeline(Kind::Gauge).stream();
            let mut last = Vec::new();
            for (row, value) in values.iter().enumerate() {
                let (pushed, _) = stream.push(row as i64 * STEP, vec![1e6 * factor * value]);
                stream.accept(row as i64 * STEP, pushed.levels.clone());
                last = pushed.deviations;
            }
            last
        };
        prop_assert!((deviations(1.0)[0] - deviations(level)[0]).abs() < 1e-3);
    }

    #[test]
    fn what_never_moved_is_watched_and_no_feature(
        columns in prop::collection::vec((0..3_u8, -1e6..1e6_f64, prop::collection::vec(any::<bool>(), 40)), 1..8),
        moved in 1.0..1e3_f64,
    ) {
        // Of each metric: still, moving or a setting; its level; where it has no value (in the last row it has one).
        let column = |(index, (nature, level, there)): (usize, &(u8, f64, Vec<bool>))| {
            let value = |row: usize| match there[row] || row + 1 == there.len() {
                false => f64::NAN,
                true if *nature == 1 => level + moved * (row % 3) as f64,
                true => *level,
            };
            let kind = if *nature == 2 { Kind::Config } else { Kind::Gauge };
            Column { name: format!("m{index}"), kind, values: (0..there.len()).map(value).collect() }
        };
        let count = columns.len();
        let columns: Vec<Column> = columns.iter().enumerate().map(column).collect();
        let names: Vec<(String, Kind)> = columns.iter().map(|column| (column.name.clone(), column.kind)).collect();
        let values: Vec<Vec<f64>> = columns.iter().map(|column| column.values.clone()).collect();
        let matrix = Matrix::new(STEP, (0..40).map(|row| row * STEP).collect(), vec![0; 40], columns).unwrap();
        let rows = rates(&matrix);
        let Ok(Roles { used, constants, dropped }) = Roles::of(&matrix, &rows) else { return Ok(()) };
        let mut all: Vec<usize> = used.iter().chain(&dropped).copied().chain(constants.iter().map(|c| c.index)).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
        for index in used {
            let seen: Vec<f64> = values[index].iter().copied().filter(|value| !value.is_nan()).collect();
            prop_assert!(seen.iter().any(|value| *value != seen[0]), "{:?}", seen);
        }
        // The rows that they come from move none of them; what comes later does, once, and a missing value never.
        let mut watch = Watch::new(names, constants.clone());
        let quiet = (0..40).all(|row| watch.push(row as i64, &rows[row]).is_empty());
        prop_assert!(quiet && watch.deviations().all(|deviation| deviation == 0.0));
        prop_assert!(watch.push(40, &vec![f64::NAN; count]).is_empty());
        let later: Vec<f64> = (0..count).map(|index| values[index][39] + moved).collect();
        prop_assert_eq!(watch.push(41, &later).len(), constants.len());
        prop_assert!(watch.push(42, &later).is_empty() && watch.deviations().all(|deviation| deviation > 0.0));
    }

    #[test]
    fn no_value_gives_an_infinite_feature(values in prop::collection::vec(prop::num::f64::ANY, 5..40)) {
        let columns = vec![gauge("a", values.clone())];
        let matrix = Matrix::new(STEP, (0..values.len() as i64).map(|row| row * STEP).collect(), vec![0; values.len()], columns).unwrap();
        let mut stream = pipeline(Kind::Gauge).stream();
        for row in 0..matrix.rows() {
            let (pushed, _) = stream.push(matrix.times()[row], matrix.row(row));
            stream.accept(matrix.times()[row], pushed.levels.clone());
            prop_assert!(pushed.deviations.iter().all(|value| !value.is_infinite()));
        }
    }

    #[test]
    fn rows_are_sorted_whatever_the_clock_did(times in prop::collection::vec((0_i64..50, 0_u32..3), 1..60)) {
        let values = (0..times.len()).map(|row| row as f64).collect();
        let matrix = Matrix::new(
            STEP,
            times.iter().map(|row| row.0).collect(),
            times.iter().map(|row| row.1).collect(),
            vec![gauge("a", values)],
        )
        .unwrap();
        for row in 1..matrix.rows() {
            let order = (matrix.groups()[row - 1], matrix.times()[row - 1]) < (matrix.groups()[row], matrix.times()[row]);
            prop_assert!(order, "row {}", row);
        }
        prop_assert_eq!(matrix.rows() + matrix.repeated(), times.len());
        // Of equal times the first counts.
        let first = times.iter().position(|row| *row == (matrix.times()[0], matrix.groups()[0])).unwrap();
        prop_assert_eq!(matrix.columns()[0].values[0], first as f64);
    }
}

const HOUR: i64 = 3_600_000;

/// Of one ratio that is usually as large as the hour of the day.
fn hourly(step_ms: i64) -> Pipeline {
    let times: Vec<i64> = (0..5 * 24).map(|row| row * HOUR).collect();
    let levels: Vec<Vec<f64>> = (0..5 * 24).map(|row| vec![f64::from(row % 24)]).collect();
    let season = Season::learn(&times, &levels);
    assert!(season.is_some());
    Pipeline { season, step_ms, kinds: vec![Kind::Ratio], ..pipeline(Kind::Ratio) }
}

#[test]
fn a_past_that_is_kept_moves_with_the_day() {
    let minute = 60_000;
    let deviation = |later: i64, value: f64| {
        let mut stream = hourly(minute).stream();
        let begin = 2 * HOUR + 25 * minute;
        for row in 0..5 {
            let (pushed, _) = stream.push(begin + row * minute, vec![2.0]);
            stream.accept(begin + row * minute, pushed.levels);
        }
        // Rows that are not taken in, minute after minute, as in a long anomaly; then they are again.
        let mut deviations = Vec::new();
        for row in 5..=later + 10 {
            let pushed = stream.push(begin + row * minute, vec![value]).0;
            if row >= later {
                deviations.push(pushed.deviations[0]);
                stream.accept(begin + row * minute, pushed.levels);
            }
        }
        deviations
    };
    // Half an hour later it is still the recent past; three hours later five is what two was.
    assert!(deviation(30, 2.0).iter().all(|deviation| deviation.abs() < 1e-9));
    assert!(deviation(180, 5.0).iter().all(|deviation| deviation.abs() < 1e-9));
    assert!(deviation(180, 2.0)[0] < -2.0);
}

#[test]
fn the_second_view_is_the_distance_from_the_usual_of_the_hour() {
    let hour = HOUR;
    let pipeline = hourly(hour);
    assert_eq!(pipeline.width(), 2);
    let mut stream = pipeline.stream();
    for row in 0..3 {
        let (pushed, _) = stream.push(row * hour, vec![0.0]);
        stream.accept(row * hour, pushed.levels);
    }
    let (pushed, _) = stream.push(3 * hour, vec![10.0]);
    // Three rows of zero before: 10 / √(1 + π/6). At three o'clock three is usual.
    assert!((pushed.deviations[0] - 10.0 / (1.0 + std::f64::consts::PI / 6.0).sqrt()).abs() < 1e-9, "{pushed:?}");
    assert_eq!(pushed.deviations[1], 7.0);
}

#[test]
fn an_excluded_time_parts_what_is_before_from_what_is_after() {
    let times: Vec<i64> = (0..6).collect();
    let matrix = Matrix::new(1, times, vec![0, 0, 0, 0, 0, 1], vec![gauge("a", vec![0.0; 6])]).unwrap();
    let without = matrix.without(&[(2, 2)]);
    assert_eq!((without.times(), without.groups()), (&[0, 1, 3, 4, 5][..], &[0, 0, 1, 1, 2][..]));
}

#[test]
fn what_is_no_matrix_is_refused() {
    let new = |step, columns| Matrix::new(step, vec![0, 1], vec![0, 0], columns);
    let a = || gauge("a", vec![0.0; 2]);
    assert_eq!(new(0, vec![a()]), Err(MatrixError::Step(0)));
    assert_eq!(new(1, vec![]), Err(MatrixError::NoColumn));
    assert_eq!(new(1, vec![a(), a()]), Err(MatrixError::Twice("a".into())));
    let short = new(1, vec![gauge("b", vec![0.0])]).unwrap_err().to_string();
    assert!(short.contains("\"b\" has 1 values for 2 rows"), "{short}");
}
