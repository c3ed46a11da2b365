//! `howdah anomaly explain NAMESPACE/NAME`: draws an incident of a detector. It reads the model store and Prometheus, so it
//! is run where both are in reach: in the operator's pod.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::anomaly::crd::{AnomalyDetector, CauseStatus, ContributionStatus, IncidentStatus};
use crate::anomaly::drawing;
use crate::anomaly::facts::SETTLE_MS;
use crate::anomaly::features::{learnt_from, metrics, scrapes, watched};
use crate::anomaly::fetch;
use crate::anomaly::incident::{ChangeEvent, Incident, Recorder};
use crate::anomaly::matrix::Kind;
use crate::anomaly::model::Model;
use crate::anomaly::model_path;
use crate::anomaly::score::{Contribution, Direction, Scored, Scorer};
use crate::anomaly::sentence;
use crate::anomaly::signature::Cause;
use crate::anomaly::watching::signatures;
use crate::cli::cluster;
use crate::duration;
use crate::world::store::Store;

/// Rows after an incident's end that are drawn, in milliseconds.
const AFTER_MS: i64 = 1_800_000;

/// Whose incident is drawn. Which one, and where to, the arguments say that files have, too.
#[derive(Debug, Args)]
pub struct ExplainDetector {
    /// The AnomalyDetector, as NAMESPACE/NAME.
    #[arg(value_name = "NAMESPACE/NAME")]
    detector: String,
    /// Where models are kept: `file:///directory` or `s3://bucket/prefix`.
    #[arg(long, env = "HOWDAH_MODEL_STORE")]
    model_store: String,
    /// Base URL of Prometheus, where it is not the specification's from here.
    #[arg(long)]
    prometheus: Option<String>,
}

/// Prints the incident and draws it.
///
/// # Errors
/// What could not be read, in a sentence.
pub async fn run(arguments: ExplainDetector, incident: Option<&str>, out: &Path) -> Result<()> {
    super::super::choose_tls_provider();
    let store = Store::open(&arguments.model_store)?;
    let client = cluster::connect().await?;
    let detector: AnomalyDetector = cluster::read(&client, &arguments.detector).await?;
    let wanted = find(&detector, incident)?;
    let model = detector.status.as_ref().and_then(|status| status.model.as_ref());
    let model = model.with_context(|| format!("{} has no model yet", arguments.detector))?;
    let namespace = detector.namespace().unwrap_or_default();
    let path = model_path(&namespace, &detector.uid().unwrap_or_default(), Some(&model.name));
    let spec = &detector.spec;
    let step = duration::seconds(&spec.step).max(1);
    let features = watched(&spec.features, &spec.prometheus.selector, step).map_err(anyhow::Error::msg)?;
    let other =
        "its specification gives other rows by now than its model learnt from: wait until the new one is trained";
    ensure!(learnt_from(model, &detector, &features, step), "{}: {other}", arguments.detector);
    let bytes = store.get(&path).await?.with_context(|| format!("the model store has nothing at {path}"))?;
    let mut scorer = Scorer::new(Arc::new(Model::load(&bytes)?));
    scorer.model().check(&metrics(&features))?;
    let mut access = fetch::source(&client, &namespace, &spec.prometheus).await?;
    access.url = arguments.prometheus.unwrap_or(access.url);
    let prometheus = fetch::open(&access)?;
    let now = prometheus.now().await.map_err(|error| fetch::trouble(&error))? - SETTLE_MS;
    let begin = wanted.since.0.as_millisecond();
    let end = wanted.until.as_ref().map_or(now, |until| (until.0.as_millisecond() + AFTER_MS).min(now));
    let aligned = |time: i64| time.div_euclid(step * 1000) * step * 1000;
    let range = (aligned(begin - scorer.memory_ms()), aligned(end));
    let scrapes = scrapes(&spec.features, &spec.prometheus.selector);
    let rows = fetch::rows(&prometheus, &features, &scrapes, range, step).await?;

    let settings = scorer.model().alarm.clone();
    let known = scorer.model().signatures.iter().cloned().chain(signatures(detector.status.as_ref())).collect();
    let mut recorder = Recorder::new(settings, scorer.names(), known);
    let mut found: Vec<Incident> = Vec::new();
    let mut judged: Vec<Scored> = Vec::new();
    for (row, time) in rows.times.iter().enumerate() {
        let raw: Vec<f64> = rows.columns.iter().map(|column| column[row]).collect();
        let scored = scorer.push(*time, &raw);
        recorder.push(&scored);
        judged.push(scored);
        if let Some(incident) = recorder.incident() {
            match found.last_mut() {
                Some(last) if last.id == incident.id => last.clone_from(incident),
                _ => found.push(incident.clone()),
            }
        }
    }
    ensure!(
        judged.iter().any(|scored| scored.score.is_some()),
        "Prometheus no longer has the rows of {} at {}: there is nothing to draw",
        arguments.detector,
        wanted.since.0
    );
    let shown = pick(found, wanted).map(|incident| Incident { changes: coincidences(wanted), ..incident });
    let incident = shown.unwrap_or_else(|| {
        eprintln!(
            "the model that is used by now would not alarm on it: its scores are drawn beside what was said then"
        );
        recorded(wanted, &scorer.model().metrics)
    });
    // The picture itself may go to the standard output, out of a pod.
    eprintln!("{}", sentence::incident(&incident, range.1));
    std::fs::write(out, drawing::svg(&incident, &judged))
        .with_context(|| format!("{} can't be written", out.display()))?;
    eprintln!("picture: {}", out.display());
    Ok(())
}

/// Of the incidents that the rows show, the one that the status speaks of: by its name, or by its time, since rows that
/// do not reach back as far as those that were looked at then may show another begin.
fn pick(found: Vec<Incident>, wanted: &IncidentStatus) -> Option<Incident> {
    let until = wanted.until.as_ref().map_or(i64::MAX, |until| until.0.as_millisecond());
    let overlaps = |incident: &Incident| {
        incident.since < until && incident.until.is_none_or(|end| end > wanted.since.0.as_millisecond())
    };
    let index = found.iter().position(|incident| incident.id == wanted.id);
    let index = index.or_else(|| found.iter().position(overlaps))?;
    found.into_iter().nth(index)
}

/// The incident as the status tells it.
fn recorded(wanted: &IncidentStatus, metrics: &[(String, Kind)]) -> Incident {
    let ms = |time: &Time| time.0.as_millisecond();
    let contribution = |one: &ContributionStatus| Contribution {
        metric: one.metric.clone(),
        kind: metrics.iter().find(|(name, _)| *name == one.metric).map_or(Kind::Gauge, |(_, kind)| *kind),
        now: one.now.0,
        expected: one.expected.map(|expected| expected.0),
        direction: if one.direction == format!("{:?}", Direction::Down) { Direction::Down } else { Direction::Up },
        share: one.share_percent.0 / 100.0,
        onset: one.onset.as_ref().map(ms),
    };
    let cause = |one: &CauseStatus| Cause { cause: one.cause.clone(), similarity: one.similarity.0 };
    Incident {
        id: wanted.id.clone(),
        since: ms(&wanted.since),
        until: wanted.until.as_ref().map(ms),
        peak: wanted.peak.0,
        contributors: wanted.contributors.iter().map(contribution).collect(),
        causes: wanted.causes.iter().map(cause).collect(),
        changes: coincidences(wanted),
        change: wanted.changes.iter().map(|(name, moved)| (name.clone(), moved.0)).collect(),
    }
}

/// What coincided, as it was seen then: the rows show only some of it.
fn coincidences(wanted: &IncidentStatus) -> Vec<ChangeEvent> {
    let since = wanted.since.0.as_millisecond();
    wanted.coincidences.iter().map(|what| ChangeEvent { time: since, what: what.clone() }).collect()
}

fn find<'a>(detector: &'a AnomalyDetector, id: Option<&str>) -> Result<&'a IncidentStatus> {
    let incidents = detector.status.as_ref().map(|status| status.incidents.as_slice()).unwrap_or_default();
    let known = || incidents.iter().map(|incident| incident.id.as_str()).collect::<Vec<_>>().join(", ");
    match id {
        Some(id) => incidents
            .iter()
            .find(|incident| incident.id == id)
            .with_context(|| format!("there is no incident {id}; there are: {}", known())),
        None => incidents.first().context("the detector has no incident: there is nothing to draw"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::anomaly::signature::Change;

    fn incident(id: &str, since: i64, until: Option<i64>) -> Incident {
        Incident {
            id: id.into(),
            since,
            until,
            peak: 2.0,
            contributors: Vec::new(),
            causes: Vec::new(),
            changes: Vec::new(),
            change: Change::new(),
        }
    }

    #[test]
    fn what_the_status_tells_is_drawn_where_the_model_of_today_sees_nothing() {
        let wanted: IncidentStatus = serde_json::from_value(json!({
            "id": "b", "since": "1970-01-01T00:01:40Z", "raised": "1970-01-01T00:01:40Z",
            "until": "1970-01-01T00:03:20Z", "peak": "4.2", "message": "",
            "contributors": [{"metric": "idx_scan", "now": "1", "expected": "9", "direction": "Down", "sharePercent": "50",
                              "onset": "1970-01-01T00:01:30Z"}],
            "causes": [{"cause": "missing index", "similarity": "0.8"}],
            "coincidences": ["index_count 5 → 4"],
        }))
        .unwrap();
        let incident = recorded(&wanted, &[("idx_scan".to_owned(), Kind::Counter)]);
        let said = sentence::incident(&incident, 0);
        for words in ["4.2× threshold", "idx_scan 9/s → 1/s (00:01:30)", "missing index (0.80)", "index_count 5 → 4"]
        {
            assert!(said.contains(words), "{said}");
        }
        let svg = drawing::svg(&incident, &[]);
        assert!(svg.contains("index_count"), "{svg}");
    }

    #[test]
    fn another_incident_is_not_drawn_for_the_one_that_is_meant() {
        let wanted: IncidentStatus = serde_json::from_value(json!({
            "id": "b", "since": "1970-01-01T00:01:40Z", "raised": "1970-01-01T00:01:40Z",
            "until": "1970-01-01T00:03:20Z", "peak": "2", "message": "",
        }))
        .unwrap();
        let picked = |found: Vec<Incident>| pick(found, &wanted).map(|incident| incident.id);
        let (before, after) = (incident("a", 10_000, Some(90_000)), incident("c", 200_000, None));
        assert_eq!(picked(vec![before.clone(), after.clone()]), None);
        let shifted = incident("x", 120_000, Some(200_000));
        assert_eq!(picked(vec![before.clone(), shifted.clone(), after]).as_deref(), Some("x"));
        assert_eq!(picked(vec![before, shifted, incident("b", 100_500, None)]).as_deref(), Some("b"));
    }
}
