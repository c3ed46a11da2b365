//! The metrics of detectors, told from plain numbers. Labels are bounded: a rank names a place, not a feature, but for the
//! few contributions of the moment, which are removed with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use prometheus_client::registry::Registry;

use super::{Counters, Gauges, Labels};

/// Contributions that are told at once.
pub const CONTRIBUTIONS: usize = 5;

/// What is told about one detector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnomalySample {
    /// Namespace of the detector.
    pub namespace: String,
    /// Name of the detector.
    pub name: String,
    /// Score of the newest row, of which 1 is the threshold.
    pub score: Option<f64>,
    /// State of the detector; one of `states`.
    pub state: &'static str,
    /// Every state.
    pub states: Vec<&'static str>,
    /// Shares of the score by feature, largest first.
    pub contributions: Vec<(String, f64)>,
    /// When the model was trained, in seconds since 1970.
    pub model_trained_at: Option<f64>,
    /// Seconds that an open anomaly has lasted.
    pub anomalous_seconds: f64,
    /// A rule over these metrics is to alert: somebody is to be told, and nobody else tells an Alertmanager.
    pub alerts_by_rule: bool,
}

/// The families of `howdah_anomaly_*`.
#[derive(Debug, Default)]
pub struct AnomalyMetrics {
    score: Gauges,
    state: Gauges,
    contribution: Gauges,
    model_trained_at: Gauges,
    anomalous_seconds: Gauges,
    alerts_by_rule: Gauges,
    scored: Counters,
    skipped: Counters,
    /// What is told of each detector under more labels than its name: contributions, and why rows were skipped.
    told: Mutex<BTreeMap<(String, String), Told>>,
}

#[derive(Debug, Default)]
struct Told {
    contributions: Vec<Labels>,
    reasons: BTreeSet<String>,
}

impl AnomalyMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut gauge = |name: &str, help: &str, family: &Gauges| registry.register(name, help, family.clone());
        gauge("howdah_anomaly_score", "Score of the newest row; 1 is the threshold", &metrics.score);
        gauge("howdah_anomaly_state", "1 for the state that the detector is in", &metrics.state);
        gauge(
            "howdah_anomaly_contribution_ratio",
            "Share of the score of the features that contribute most, by rank",
            &metrics.contribution,
        );
        gauge(
            "howdah_anomaly_model_trained_timestamp_seconds",
            "When the model that scores was trained",
            &metrics.model_trained_at,
        );
        gauge("howdah_anomaly_anomalous_seconds", "How long the open anomaly has lasted", &metrics.anomalous_seconds);
        gauge(
            "howdah_anomaly_alerts_by_rule",
            "1 in mode Alert, unless the detector itself tells an Alertmanager",
            &metrics.alerts_by_rule,
        );
        registry.register("howdah_anomaly_rows_scored", "Rows that were scored", metrics.scored.clone());
        registry.register(
            "howdah_anomaly_rows_skipped",
            "Rows that were not scored, by reason",
            metrics.skipped.clone(),
        );
        metrics
    }

    /// Tells a detector's numbers in place of what was told of it before.
    pub fn set(&self, sample: &AnomalySample) {
        let labels = labels(&sample.namespace, &sample.name);
        for (family, value) in [(&self.score, sample.score), (&self.model_trained_at, sample.model_trained_at)] {
            match value {
                Some(value) => drop(family.get_or_create(&labels).set(value)),
                None => drop(family.remove(&labels)),
            }
        }
        self.anomalous_seconds.get_or_create(&labels).set(sample.anomalous_seconds);
        self.alerts_by_rule.get_or_create(&labels).set(f64::from(u8::from(sample.alerts_by_rule)));
        for state in &sample.states {
            let value = if *state == sample.state { 1.0 } else { 0.0 };
            self.state.get_or_create(&with(&labels, "state", state)).set(value);
        }
        let now: Vec<Labels> = (1..)
            .zip(sample.contributions.iter().take(CONTRIBUTIONS))
            .map(|(rank, (feature, _))| with(&with(&labels, "feature", feature), "rank", &rank.to_string()))
            .collect();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.entry(key(sample)).or_default();
        for gone in told.contributions.iter().filter(|before| !now.contains(before)) {
            self.contribution.remove(gone);
        }
        for (labels, (_, share)) in now.iter().zip(&sample.contributions) {
            self.contribution.get_or_create(labels).set(*share);
        }
        told.contributions = now;
    }

    /// Counts rows: scored, or skipped by reason.
    pub fn count(&self, namespace: &str, name: &str, scored: u64, skipped: &BTreeMap<String, u64>) {
        let labels = labels(namespace, name);
        self.scored.get_or_create(&labels).inc_by(scored);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.entry((namespace.to_owned(), name.to_owned())).or_default();
        for (reason, count) in skipped {
            self.skipped.get_or_create(&with(&labels, "reason", reason)).inc_by(*count);
            told.reasons.insert(reason.clone());
        }
    }

    /// Forgets a detector that is gone; `states` are those that it was told under.
    pub fn forget(&self, namespace: &str, name: &str, states: &[&str]) {
        let labels = labels(namespace, name);
        for family in [&self.score, &self.model_trained_at, &self.anomalous_seconds, &self.alerts_by_rule] {
            family.remove(&labels);
        }
        for state in states {
            self.state.remove(&with(&labels, "state", state));
        }
        self.scored.remove(&labels);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.remove(&(namespace.to_owned(), name.to_owned())).unwrap_or_default();
        for contribution in &told.contributions {
            self.contribution.remove(contribution);
        }
        for reason in &told.reasons {
            self.skipped.remove(&with(&labels, "reason", reason));
        }
    }
}

fn key(sample: &AnomalySample) -> (String, String) {
    (sample.namespace.clone(), sample.name.clone())
}

fn labels(namespace: &str, name: &str) -> Labels {
    vec![("namespace", namespace.to_owned()), ("detector", name.to_owned())]
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.push((name, value.to_owned()));
    labels
}

#[cfg(test)]
mod tests {
    use crate::control::metrics::Metrics;

    use super::*;

    const STATES: &[&str] = &["Normal", "Anomalous"];

    fn sample(contributions: &[(&str, f64)]) -> AnomalySample {
        AnomalySample {
            namespace: "shop".into(),
            name: "orders".into(),
            score: Some(4.2),
            state: "Anomalous",
            states: STATES.to_vec(),
            contributions: contributions.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect(),
            model_trained_at: Some(1e9),
            anomalous_seconds: 30.0,
            alerts_by_rule: true,
        }
    }

    #[test]
    fn a_detector_is_told_and_forgotten() {
        let metrics = Metrics::default();
        metrics.anomaly.set(&sample(&[("seq_tup_read", 0.6), ("idx_scan", 0.2)]));
        metrics.anomaly.count("shop", "orders", 3, &[("DataIncomplete".to_owned(), 2)].into());
        let text = metrics.text().unwrap();
        for line in [
            "howdah_anomaly_score{namespace=\"shop\",detector=\"orders\"} 4.2",
            "howdah_anomaly_state{namespace=\"shop\",detector=\"orders\",state=\"Anomalous\"} 1",
            "howdah_anomaly_state{namespace=\"shop\",detector=\"orders\",state=\"Normal\"} 0",
            "howdah_anomaly_alerts_by_rule{namespace=\"shop\",detector=\"orders\"} 1",
            "howdah_anomaly_contribution_ratio{namespace=\"shop\",detector=\"orders\",feature=\"seq_tup_read\",rank=\"1\"} 0.6",
            "howdah_anomaly_rows_scored_total{namespace=\"shop\",detector=\"orders\"} 3",
            "howdah_anomaly_rows_skipped_total{namespace=\"shop\",detector=\"orders\",reason=\"DataIncomplete\"} 2",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        metrics.anomaly.forget("shop", "orders", STATES);
        assert!(!metrics.text().unwrap().contains("orders"));
    }

    #[test]
    fn what_no_longer_contributes_is_removed() {
        let metrics = Metrics::default();
        let many: Vec<(String, f64)> = (0..9).map(|i| (format!("f{i}"), 0.1)).collect();
        let many: Vec<(&str, f64)> = many.iter().map(|(name, share)| (name.as_str(), *share)).collect();
        metrics.anomaly.set(&sample(&many));
        metrics.anomaly.set(&sample(&[("last", 1.0)]));
        let text = metrics.text().unwrap();
        let lines = text.lines().filter(|line| line.starts_with("howdah_anomaly_contribution_ratio{")).count();
        assert_eq!(lines, 1, "{text}");
    }
}
