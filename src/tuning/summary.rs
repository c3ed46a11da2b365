//! What a session found, in the words of the status: shared by the operator's report and `howdah tune`.

use sha2::{Digest, Sha256};

use super::crd::{Arm, Evaluated, ObjectiveMetric, ParameterChange, Recommendation, TrialKind};
use super::measurement::{Measurement, Parameters};
use super::session::{ArmResult, Conclusion, Record, Scores, Verdict};
use crate::decimal::Decimal;
use crate::hex::hex;

/// Baseline, pgtune formulas, incumbent and recommendation of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The configuration before the first change.
    pub baseline: Option<Evaluated>,
    /// The pgtune formulas' configuration.
    pub heuristic: Option<Evaluated>,
    /// The best configuration of the search.
    pub incumbent: Option<Evaluated>,
    /// What was verified to be better.
    pub recommendation: Option<Recommendation>,
}

/// Percent of a log ratio, to three decimal places.
pub fn percent(log_ratio: f64) -> Decimal {
    Decimal::rounded(log_ratio.exp_m1() * 100.0)
}

/// Sums up the records, and the conclusion where there is one. Figures of a verification replace those of the search.
pub fn summarise(
    metric: ObjectiveMetric,
    baseline_parameters: &Parameters,
    restart_knobs: &[String],
    records: &[Record],
    conclusion: Option<&Conclusion>,
) -> Summary {
    let scores = Scores::new(metric, records);
    let heuristic = scores.heuristic().and_then(|record| {
        let gain = scores.of(record.number)?.log_gain;
        Some(evaluated(record.number, record.measurement()?, gain, &record.parameters))
    });
    let incumbent =
        scores.incumbent().map(|best| evaluated(best.last_trial, best.measurement, best.log_gain, best.parameters));
    let arm = |arm| {
        let found = conclusion?.arms.iter().find(|a| a.arm == arm)?;
        let last = records.iter().rev().find(|r| r.arm == Some(arm))?;
        Some(Evaluated {
            trial: last.number.to_string(),
            tps: Decimal::rounded(found.tps),
            latency_p95_ms: Decimal::rounded(found.latency_p95_ms),
            gain_percent: percent(found.gain.mean),
            gain_low_percent: Some(percent(found.gain.low)),
            gain_high_percent: Some(percent(found.gain.high)),
            parameters: found.parameters.clone(),
        })
    };
    Summary {
        baseline: baseline(records, conclusion.is_some_and(|c| !c.arms.is_empty())),
        heuristic: arm(Arm::Heuristic).or(heuristic),
        incumbent: arm(Arm::Incumbent).or(incumbent),
        recommendation: conclusion
            .and_then(|c| c.recommended.as_ref())
            .map(|verdict| recommendation(verdict, baseline_parameters, restart_knobs)),
    }
}

/// Means over the verification's baselines once it is over, over the search's before.
fn baseline(records: &[Record], verified: bool) -> Option<Evaluated> {
    let runs: Vec<(&Record, &Measurement)> = records
        .iter()
        .filter(|r| r.is_baseline() && (r.kind == TrialKind::Verify) == verified)
        .filter_map(|r| Some((r, r.measurement()?)))
        .collect();
    let (last, _) = runs.last()?;
    let mean = |value: fn(&Measurement) -> f64| runs.iter().map(|(_, m)| value(m)).sum::<f64>() / runs.len() as f64;
    Some(Evaluated {
        trial: last.number.to_string(),
        tps: Decimal::rounded(mean(|m| m.tps.0)),
        latency_p95_ms: Decimal::rounded(mean(|m| m.latency_p95_ms.0)),
        ..Evaluated::default()
    })
}

fn evaluated(number: i32, measurement: &Measurement, log_gain: f64, parameters: &Parameters) -> Evaluated {
    Evaluated {
        trial: number.to_string(),
        tps: Decimal::rounded(measurement.tps.0),
        latency_p95_ms: Decimal::rounded(measurement.latency_p95_ms.0),
        gain_percent: percent(log_gain),
        parameters: parameters.clone(),
        ..Evaluated::default()
    }
}

fn recommendation(verdict: &Verdict, baseline: &Parameters, restart_knobs: &[String]) -> Recommendation {
    let Verdict { winner, log_gain_over_heuristic } = verdict;
    let ArmResult { gain, parameters, tps, latency_p95_ms, latency_log_change, runs, .. } = winner;
    let changes: Vec<ParameterChange> = parameters
        .iter()
        .map(|(name, new)| ParameterChange {
            name: name.clone(),
            old: baseline.get(name).cloned().unwrap_or_default(),
            new: new.clone(),
        })
        .collect();
    Recommendation {
        hash: hash(&changes),
        requires_restart: changes.iter().any(|c| restart_knobs.contains(&c.name)),
        parameters: changes,
        gain_percent: percent(gain.mean),
        gain_low_percent: percent(gain.low),
        gain_high_percent: percent(gain.high),
        gain_over_heuristic_percent: log_gain_over_heuristic.map(percent),
        latency_p95_change_percent: percent(*latency_log_change),
        tps: Decimal::rounded(*tps),
        latency_p95_ms: Decimal::rounded(*latency_p95_ms),
        pairs: *runs as i32,
    }
}

/// Names a set of changes: an approval is bound to exactly these old and new values.
fn hash(changes: &[ParameterChange]) -> String {
    let mut hasher = Sha256::new();
    for change in changes {
        for part in [&change.name, &change.old, &change.new] {
            hasher.update(part.as_bytes());
            hasher.update([0]);
        }
    }
    hex(&hasher.finalize()[..6])
}

fn interval(low: f64, high: f64) -> String {
    format!("95 % interval {low:+.1} … {high:+.1} %")
}

/// A gain with its interval, or with the word that there is none.
fn gain(evaluated: &Evaluated) -> String {
    let proof = match (evaluated.gain_low_percent, evaluated.gain_high_percent) {
        (Some(low), Some(high)) => interval(low.0, high.0),
        _ => "not verified".into(),
    };
    format!("{:+.1} % ({proof})", evaluated.gain_percent.0)
}

/// The result as a table for people: stock, pgtune and recommended, then the changed knobs.
pub fn table(summary: &Summary) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let _ = writeln!(text, "{:<16}{:>12}{:>12}   gain over stock", "", "tps", "p95 ms");
    let mut row = |name: &str, tps: f64, p95: f64, gain: String| {
        let _ = writeln!(text, "{name:<16}{tps:>12.1}{p95:>12.2}   {gain}");
    };
    if let Some(e) = &summary.baseline {
        row("stock", e.tps.0, e.latency_p95_ms.0, "-".into());
    }
    if let Some(e) = &summary.heuristic {
        row("heuristic", e.tps.0, e.latency_p95_ms.0, gain(e));
    }
    match (&summary.recommendation, &summary.incumbent) {
        (Some(r), _) => {
            let (low, high) = (r.gain_low_percent.0, r.gain_high_percent.0);
            let gain = format!("{:+.1} % ({})", r.gain_percent.0, interval(low, high));
            row("recommended", r.tps.0, r.latency_p95_ms.0, format!("{gain}, {} pairs", r.pairs));
        }
        (None, Some(e)) => row("best of search", e.tps.0, e.latency_p95_ms.0, gain(e)),
        (None, None) => {}
    }
    if let Some(r) = &summary.recommendation {
        if let Some(over) = r.gain_over_heuristic_percent {
            let _ = writeln!(text, "\nagainst the heuristic: {:+.1} %", over.0);
        }
        let _ = writeln!(
            text,
            "\nchanged knobs ({}):",
            if r.requires_restart { "needs a restart" } else { "a reload is enough" }
        );
        for change in &r.parameters {
            let _ = writeln!(text, "  {:<32}{:>12} -> {}", change.name, change.old, change.new);
        }
    }
    text
}
