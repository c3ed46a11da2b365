//! The report of `howdah tune` as JSON: every trial, what it compared, and what came of it.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::session::{Finished, Session};
use crate::tuning::session::{Outcome, Record, Scores};

pub fn write(path: &Path, session: &Session<'_>, finished: &Finished) -> Result<()> {
    let scores = Scores::new(session.spec.objective.metric, &finished.records);
    let summary = finished.summary(session);
    let recommendation = summary.recommendation;
    let report = json!({
        "specification": session.spec,
        "resources": {
            "memoryBytes": session.target.resources.memory_bytes,
            "cpuMillis": session.target.resources.cpu_millis,
            "dataVolumeBytes": session.target.resources.data_volume_bytes,
        },
        "outcome": finished.conclusion.outcome,
        "baseline": summary.baseline,
        "baselineParameters": session.target.baseline,
        "heuristic": summary.heuristic,
        "incumbent": summary.incumbent,
        "gainPercent": recommendation.as_ref().map(|r| r.gain_percent.0),
        "interval": recommendation.as_ref().map(|r| [r.gain_low_percent.0, r.gain_high_percent.0]),
        "recommendation": recommendation,
        "verification": finished.conclusion.arms.iter().map(|arm| {
            json!({
                "arm": arm.arm, "parameters": arm.parameters, "runs": arm.runs, "tps": arm.tps, "latencyP95Ms": arm.latency_p95_ms,
                "gainPercent": arm.gain.mean_percent(), "interval": [arm.gain.low_percent(), arm.gain.high_percent()],
                "latencyP95ChangePercent": arm.latency_log_change.exp_m1() * 100.0,
            })
        }).collect::<Vec<_>>(),
        "trials": finished.records.iter().map(|record| trial(record, &scores, finished)).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&report)?;
    std::fs::write(path, text).with_context(|| format!("the report can't be written to {}", path.display()))
}

fn trial(record: &Record, scores: &Scores<'_>, finished: &Finished) -> Value {
    let measurement = record.measurement();
    let message = finished.messages.iter().find(|(number, _)| *number == record.number).map(|(_, message)| message);
    json!({
        "number": record.number,
        "kind": record.kind,
        "arm": record.arm,
        "parameters": record.parameters,
        "state": if matches!(record.outcome, Outcome::Measured(_)) { "Observed" } else { "Failed" },
        "message": message,
        "tps": measurement.map(|m| m.tps.0),
        "latencyP95Ms": measurement.map(|m| m.latency_p95_ms.0),
        "score": scores.of(record.number).map(|score| score.log_gain),
        "measurement": measurement,
    })
}
