//! A detector in memory: what is decided is taken for done, and its status is written as the loop writes it.

mod course;
mod golden;
mod incidents;
mod inputs;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::anomaly::FINALIZER;
use crate::anomaly::act::Outcome;
use crate::anomaly::crd::{AnomalyDetector, Backtest};
use crate::anomaly::facts::{Data, Receiver, Scoring, time};
use crate::anomaly::features::spec_hash;
use crate::anomaly::incident::Incident;
use crate::anomaly::matrix::Kind;
use crate::anomaly::report::report;
use crate::anomaly::score::{Contribution, Direction};
use crate::anomaly::signature::Cause;
use crate::anomaly::training::{TrainedModel, TrainingResult};
use crate::control::room::Report;
use crate::control::{conditions, status};
use crate::kubernetes::job::{JobFacts, JobPhase};

/// 2026-03-02T12:00:00Z.
const NOON: i64 = 1_772_452_800_000;

/// A detector whose finalizer is set, with history and nothing trained.
fn untrained(spec: Value) -> Facts {
    let mut whole = json!({
        "instanceRef": {"name": "shop"},
        "prometheus": {"url": "http://prometheus:9090", "selector": {"instance": "shop"}},
        "training": {"minHistory": "24h"},
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut detector = AnomalyDetector::new("orders", serde_json::from_value(whole).unwrap());
    detector.metadata.namespace = Some("shop".into());
    detector.metadata.uid = Some("5f0c".into());
    detector.metadata.generation = Some(3);
    detector.metadata.finalizers = Some(vec![FINALIZER.into()]);
    Facts {
        now: time(NOON),
        detector,
        unseen: None,
        data: Ok(Data {
            server_ms: NOON,
            found: vec!["blks_hit".into(), "xact_commit".into()],
            missing: vec!["seq_scan".into()],
            history_ms: Some(48 * 3_600_000),
            not_finite: 0,
            scraped_ms: None,
        }),
        scoring: None,
        trials: Vec::new(),
        job: None,
        trainer: Ok(()),
        alerted: None,
        refused: Vec::new(),
    }
}

/// The same with a model that scores normal rows.
fn healthy(spec: Value) -> Facts {
    let mut facts = untrained(spec);
    let model = trained(&facts, 1, 3.0).status("howdah-train-0123456789");
    facts.detector.status = Some(AnomalyDetectorStatus { model: Some(model), ..AnomalyDetectorStatus::default() });
    if let Ok(data) = &mut facts.data {
        data.history_ms = None;
    }
    facts.scoring = Some(Ok(Scoring {
        time: NOON - 15_000,
        score: Some(0.42),
        constant: vec!["shared_buffers".into()],
        ..Scoring::default()
    }));
    look(&mut facts);
    facts
}

fn trained(facts: &Facts, alarms: i32, days: f64) -> TrainedModel {
    TrainedModel {
        trained_at: time(NOON - 3_600_000),
        spec_hash: spec_hash(&facts.detector),
        data_hash: None,
        rows: 11_520,
        rows_left_out: 120,
        features: 41,
        epochs: 60,
        loss: Decimal(0.031),
        threshold: Decimal(4.5),
        threshold_method: "EmpiricalQuantile of 120 in 3400 rows".into(),
        backtest: Backtest {
            alarms,
            days: Decimal(days),
            message: format!("would have raised {alarms} alarms in the last {days} d"),
        },
        pca: None,
    }
}

/// Looks once: decides, takes the steps for done and writes the status.
fn look(facts: &mut Facts) -> (Decision, Report) {
    looked(facts, &[])
}

/// The same where steps fail.
fn looked(facts: &mut Facts, failing: &[fn(&Step) -> bool]) -> (Decision, Report) {
    let decision = decide(facts);
    let mut outcome = Outcome::default();
    for (index, step) in decision.steps.iter().enumerate() {
        if failing.iter().any(|fails| fails(step)) {
            let reason = if matches!(step, Step::Notify(_)) { Reason::NotDelivered } else { Reason::StepFailed };
            outcome.failed.push((index, Trouble::new(reason, "it failed")));
            continue;
        }
        match step {
            Step::AddFinalizer => facts.detector.metadata.finalizers = Some(vec![FINALIZER.into()]),
            Step::StartTraining { .. } => facts.job = Some(JobFacts::default()),
            Step::EndTraining { .. } => facts.job = None,
            Step::Notify(notice) if notice.receiver == Receiver::Alertmanager => {
                facts.alerted = Some(facts.now.clone())
            }
            Step::Notify(_) | Step::RemoveModel { .. } => {}
            Step::Release => facts.detector.metadata.finalizers = None,
        }
    }
    let report = report(facts, &decision, &outcome);
    if let Some(new) = report.status.clone() {
        let old = serde_json::to_value(&facts.detector.status).unwrap();
        if let Some(written) = status::to_write(&old, new, facts.now.0) {
            facts.detector.status = Some(serde_json::from_value(written).unwrap());
        }
    }
    (decision, report)
}

/// What the condition says: `True Scoring`.
fn condition(facts: &Facts, kind: &str) -> String {
    let status = facts.status();
    let found = conditions::find(&status.conditions, kind).unwrap_or_else(|| panic!("there is no {kind}"));
    format!("{} {}", found.status, found.reason)
}

fn message(facts: &Facts, kind: &str) -> String {
    let status = facts.status();
    conditions::find(&status.conditions, kind).unwrap().message.clone()
}

/// Time passes.
fn pass(facts: &mut Facts, ms: i64) {
    facts.now = Time(Timestamp::from_millisecond(facts.now_ms() + ms).unwrap());
    if let Ok(data) = &mut facts.data {
        data.server_ms += ms;
    }
    if let Some(Ok(scoring)) = &mut facts.scoring {
        scoring.time += ms;
    }
}

/// The model sees an incident that began at a time, and lasts.
fn incident(since: i64, peak: f64) -> Incident {
    Incident {
        id: format!("i{}", since / 1000),
        since,
        until: None,
        peak,
        contributors: vec![Contribution {
            metric: "seq_tup_read".into(),
            kind: Kind::Counter,
            now: 480_000.0,
            expected: Some(1200.0),
            direction: Direction::Up,
            share: 0.61,
            onset: Some(since),
        }],
        causes: vec![Cause { cause: "missing index".into(), similarity: 0.87 }],
        changes: Vec::new(),
        change: [("seq_tup_read".to_owned(), 9.5), ("idx_scan".to_owned(), -4.0)].into(),
    }
}

fn sees(facts: &mut Facts, incidents: Vec<Incident>) {
    let Some(Ok(scoring)) = &mut facts.scoring else { panic!("nothing scores") };
    scoring.alarm = match incidents.last() {
        Some(Incident { since, until: None, .. }) => alarm::State::Standing { since: *since },
        _ => alarm::State::Quiet,
    };
    scoring.incidents = incidents;
}
