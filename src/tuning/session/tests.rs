use super::*;
use crate::decimal::Decimal;
use crate::learn::rng::Random;
use crate::tuning::crd::{Durability, KnobSelection, RestartPolicy};
use crate::tuning::space::tests::{resources, settings};

/// A session whose measurements come from a function of a trial's record and a source of chance.
struct Course {
    rules: Rules,
    space: Space,
    heuristic: Parameters,
    records: Vec<Record>,
    elapsed_seconds: i64,
    random: Random,
    is_safe: fn(&Parameters) -> bool,
    measure: fn(&Record, &mut Random) -> Outcome,
}

impl Course {
    fn new(seed: u64, measure: fn(&Record, &mut Random) -> Outcome) -> Self {
        let knobs = KnobSelection { include: vec!["commit_siblings".into()], ..KnobSelection::default() };
        let space = Space::build(&knobs, RestartPolicy::Never, Durability::Strict, &settings(), &resources()).unwrap();
        let heuristic = [("max_wal_size", "8GB"), ("checkpoint_timeout", "15min")];
        Self {
            rules: Rules {
                trials: 20,
                max_seconds: 3600,
                patience: 100,
                verification_pairs: 5,
                max_consecutive_failures: 3,
                algorithm: Algorithm::LHS,
                metric: ObjectiveMetric::Throughput,
                min_improvement_percent: 2.0,
                seed,
            },
            space,
            heuristic: heuristic.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            records: Vec::new(),
            elapsed_seconds: 0,
            random: Random::new(seed, 1),
            is_safe: |_| true,
            measure,
        }
    }

    fn next(&self) -> Next {
        super::next(&self.rules, &self.space, &self.heuristic, &self.records, self.elapsed_seconds, &self.is_safe)
    }

    /// Runs one trial; the conclusion when there is none left.
    fn step(&mut self) -> Option<Conclusion> {
        let Assignment { kind, arm, parameters } = match self.next() {
            Next::Conclude(conclusion) => return Some(conclusion),
            Next::Measure(assignment) => assignment,
            Next::Propose(kind) => {
                let point: Vec<f64> = self.space.dimensions().iter().map(|_| self.random.uniform()).collect();
                let (mut parameters, baseline) = (self.space.decode(&point), self.space.baseline());
                parameters.retain(|name, value| baseline[name] != *value);
                Assignment { kind, arm: None, parameters }
            }
        };
        let mut complete = self.space.baseline();
        complete.extend(parameters.clone());
        let mut record = Record {
            number: self.records.len() as i32 + 1,
            kind,
            arm,
            point: self.space.encode(&complete),
            parameters,
            outcome: Outcome::Interrupted,
        };
        record.outcome = (self.measure)(&record, &mut self.random);
        self.records.push(record);
        None
    }

    fn run(&mut self) -> Conclusion {
        (0..500).find_map(|_| self.step()).expect("a session ends")
    }

    fn kinds(&self) -> Vec<TrialKind> {
        self.records.iter().map(|record| record.kind).collect()
    }

    fn arms(&self) -> Vec<Arm> {
        self.records.iter().filter_map(|record| record.arm).collect()
    }
}

fn measured(log_gain: f64) -> Outcome {
    let tps = 1000.0 * log_gain.exp();
    Outcome::Measured(Box::new(Measurement {
        tps: Decimal(tps),
        latency_mean_ms: Decimal(16_000.0 / tps),
        latency_p95_ms: Decimal(27_000.0 / tps),
        latency_p99_ms: Decimal(40_000.0 / tps),
        ..Measurement::default()
    }))
}

/// Throughput grows with the logarithm of `max_wal_size`, 7 % with each doubling, and with nothing else.
fn wal_matters(record: &Record, random: &mut Random) -> Outcome {
    let doublings = record.parameters.get("max_wal_size").map_or(0.0, |size| {
        let megabytes = size.strip_suffix("GB").map_or_else(
            || size.trim_end_matches("MB").parse::<f64>().unwrap(),
            |size| 1024.0 * size.parse::<f64>().unwrap(),
        );
        (megabytes / 1024.0).log2()
    });
    measured(0.07 * doublings + 0.002 * random.normal())
}

#[test]
fn a_run_is_given_up_by_what_the_incumbent_would_have_now() {
    let record = |number: i32, kind, log_gain: f64| Record {
        number,
        kind,
        arm: None,
        point: vec![f64::from(number) / 10.0],
        parameters: match kind {
            TrialKind::Baseline => Parameters::new(),
            _ => [("work_mem".to_owned(), "8MB".to_owned())].into(),
        },
        outcome: measured(log_gain),
    };
    let mut records = vec![record(1, TrialKind::Baseline, 0.0), record(2, TrialKind::Explore, 0.2)];
    let below = |records: &[Record], metric| Scores::new(metric, records).abandon_below();
    let first = below(&records, ObjectiveMetric::Throughput).unwrap();
    assert!((first - 700.0 * 0.2_f64.exp()).abs() < 1e-6, "{first}");
    assert_eq!(below(&records, ObjectiveMetric::Latency), None);
    // The machine has become slower by half: so would the incumbent be, of which half was seen before.
    records.push(record(3, TrialKind::Baseline, -0.5_f64));
    let later = below(&records, ObjectiveMetric::Throughput).unwrap();
    assert!((later - first * (-0.25_f64).exp()).abs() < 1e-6, "{later}");
}

#[test]
fn a_space_without_effect_is_hardly_ever_recommended() {
    let noise = |_: &Record, random: &mut Random| measured(0.05 * random.normal());
    let sessions = 100;
    let recommended = (0..sessions).filter(|seed| {
        let conclusion = Course::new(*seed, noise).run();
        assert_eq!(conclusion.recommended.is_some(), conclusion.outcome == SessionOutcome::Improved);
        conclusion.recommended.is_some()
    });
    let recommended = recommended.count();
    assert!((recommended as f64) < 0.05 * sessions as f64, "{recommended} of {sessions}");
}

#[test]
fn a_real_gain_is_found_and_the_knobs_without_effect_are_put_back() {
    let mut course = Course::new(1, wal_matters);
    course.rules.trials = 60;
    let conclusion = course.run();
    let winner = conclusion.recommended.unwrap().winner;
    assert_eq!(winner.arm, Arm::Pruned);
    assert!(winner.parameters.contains_key("max_wal_size"), "{winner:?}");
    let whole = conclusion.arms.iter().find(|arm| arm.arm == Arm::Incumbent).unwrap();
    assert!(winner.parameters.len() < whole.parameters.len());
    assert!(winner.gain.mean >= whole.gain.mean - 0.01 && winner.gain.low > 0.2, "{winner:?}");
}

#[test]
fn a_knob_without_effect_stays_where_its_baseline_is_not_safe_beside_the_others() {
    let verified = |is_safe: fn(&Parameters) -> bool| {
        let mut course = Course::new(1, wal_matters);
        (course.rules.trials, course.is_safe) = (60, is_safe);
        course.run();
        let pruned = course.records.iter().filter(|record| record.arm == Some(Arm::Pruned));
        pruned.map(|record| record.parameters.clone()).next()
    };
    let lean = verified(|_| true).unwrap();
    let dropped = |parameters: &Parameters, name: &str| !parameters.contains_key(name);
    assert!(dropped(&lean, "random_page_cost") && dropped(&lean, "bgwriter_delay"), "{lean:?}");
    let safe = verified(|parameters| parameters.contains_key("random_page_cost")).unwrap();
    assert!(!dropped(&safe, "random_page_cost") && dropped(&safe, "bgwriter_delay"), "{safe:?}");
    assert_eq!(verified(|_| false), None);
}

#[test]
fn the_baseline_is_measured_first_and_after_every_four_trials() {
    let mut course = Course::new(2, wal_matters);
    course.run();
    let kinds = course.kinds();
    assert_eq!(kinds[..2], [TrialKind::Baseline, TrialKind::Heuristic]);
    let search: Vec<_> = kinds.iter().take_while(|kind| **kind != TrialKind::Verify).collect();
    assert_eq!(search.len(), course.rules.trials);
    for (at, kind) in search.iter().enumerate() {
        assert_eq!(**kind == TrialKind::Baseline, at % (BASELINE_EVERY + 1) == 0, "trial {at} is {kind:?}");
    }
}

#[test]
fn verification_is_interleaved_and_ends_with_the_baseline() {
    let two = |record: &Record, _: &mut Random| {
        measured(if record.kind == TrialKind::Explore || record.arm == Some(Arm::Incumbent) { 0.2 } else { 0.0 })
    };
    let mut course = Course::new(3, two);
    course.rules.verification_pairs = 3;
    course.run();
    use Arm::{Baseline as B, Heuristic as H, Incumbent as I};
    assert_eq!(course.arms()[..10], [B, I, H, H, I, B, B, I, H, B]);
}

#[test]
fn a_challenger_that_fails_is_out_and_a_baseline_that_fails_is_repeated() {
    let failing = |record: &Record, random: &mut Random| match record.arm {
        Some(Arm::Heuristic) => Outcome::Failed,
        Some(Arm::Baseline) if random.uniform() < 0.3 => Outcome::Failed,
        Some(Arm::Incumbent | Arm::Pruned) => measured(0.2),
        _ => measured(if record.kind == TrialKind::Explore { 0.2 } else { 0.0 }),
    };
    let mut course = Course::new(4, failing);
    let conclusion = course.run();
    assert_eq!(conclusion.outcome, SessionOutcome::Improved);
    assert_eq!(course.arms().iter().filter(|arm| **arm == Arm::Heuristic).count(), 1);
    assert!(conclusion.arms.iter().all(|arm| arm.arm != Arm::Heuristic));
    let incumbent = conclusion.arms.iter().find(|arm| arm.arm == Arm::Incumbent).unwrap();
    assert_eq!(incumbent.runs, course.rules.verification_pairs);
}

#[test]
fn an_interrupted_trial_is_measured_again_and_costs_no_budget() {
    let mut course = Course::new(5, wal_matters);
    let uninterrupted = {
        let mut course = Course::new(5, wal_matters);
        course.run();
        course.kinds()
    };
    let mut kinds = Vec::new();
    for at in 0..500 {
        if course.step().is_some() {
            break;
        }
        let last = course.records.last_mut().unwrap();
        if at % 3 == 2 {
            last.outcome = Outcome::Interrupted;
        } else {
            kinds.push(last.kind);
        }
    }
    let search =
        |kinds: &[TrialKind]| kinds.iter().copied().take_while(|k| *k != TrialKind::Verify).collect::<Vec<_>>();
    assert_eq!(search(&kinds), search(&uninterrupted));
}

#[test]
fn the_search_ends_with_its_time_and_its_patience() {
    let mut late = Course::new(6, wal_matters);
    for _ in 0..6 {
        assert_eq!(late.step(), None);
    }
    late.elapsed_seconds = late.rules.max_seconds;
    assert!(matches!(late.next(), Next::Measure(Assignment { kind: TrialKind::Verify, .. })));

    // The heuristic stays the incumbent, so every proposal counts.
    let heuristic =
        |record: &Record, _: &mut Random| measured(if record.kind == TrialKind::Heuristic { 0.2 } else { 0.0 });
    let proposals = |algorithm| {
        let mut patient = Course::new(7, heuristic);
        (patient.rules.algorithm, patient.rules.patience) = (algorithm, 5);
        patient.run();
        let count = |kind| patient.kinds().iter().filter(|k| **k == kind).count();
        (count(TrialKind::Explore), count(TrialKind::Policy) + count(TrialKind::Refine))
    };
    assert_eq!(proposals(Algorithm::LHS), (5, 0));
    // The samples that DDPG begins with are no attempts.
    assert_eq!(proposals(Algorithm::DDPG), (4, 5));
}

#[test]
fn failures_in_a_row_end_the_session_and_interruptions_do_not_break_the_row() {
    let mut course = Course::new(8, |_, _| Outcome::Failed);
    assert_eq!(course.step(), None);
    assert_eq!(course.step(), None);
    course.records.push(Record { outcome: Outcome::Interrupted, ..course.records[0].clone() });
    assert_eq!(course.step(), None);
    assert_eq!(course.step().unwrap().outcome, SessionOutcome::TooManyFailures);
}
