//! The metrics of tunings, told from plain numbers: counts come from the objects, so a restart loses none.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;

use super::{Counters, Gauges, Labels};

/// What is told about one tuning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TuningSample {
    /// Namespace of the tuning.
    pub namespace: String,
    /// Name of the tuning.
    pub name: String,
    /// Transactions per second of the last measured trial.
    pub trial_tps: Option<f64>,
    /// Gain of the incumbent or the recommendation over the baseline: 0.1 is 10 % more.
    pub gain_ratio: Option<f64>,
    /// Trials that a guardrail ended, since the session began.
    pub guardrail_trips: u64,
    /// Trials of the session that have ended, by state.
    pub trials: BTreeMap<String, u64>,
}

/// The families of `howdah_tuning_*`.
#[derive(Clone, Debug, Default)]
pub struct TuningMetrics {
    trial_tps: Gauges,
    gain_ratio: Gauges,
    guardrail_trips: Counters,
    trials: Counters,
}

impl TuningMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { trial_tps, gain_ratio, guardrail_trips, trials } = metrics.clone();
        registry.register("howdah_tuning_trial_tps", "Transactions per second of the last measured trial", trial_tps);
        registry.register("howdah_tuning_gain_ratio", "Gain of the incumbent over the baseline", gain_ratio);
        registry.register("howdah_tuning_guardrail_trips", "Trials that a guardrail ended", guardrail_trips);
        registry.register("howdah_tuning_trials", "Trials of the session that have ended, by state", trials);
        metrics
    }

    /// Tells a tuning's numbers in place of what was told of it before.
    pub fn set(&self, sample: &TuningSample) {
        let labels = labels(&sample.namespace, &sample.name);
        for (family, value) in [(&self.trial_tps, sample.trial_tps), (&self.gain_ratio, sample.gain_ratio)] {
            match value {
                Some(value) => drop(family.get_or_create(&labels).set(value)),
                None => drop(family.remove(&labels)),
            }
        }
        self.guardrail_trips.get_or_create(&labels).inner().store(sample.guardrail_trips, Ordering::Relaxed);
        for (state, count) in &sample.trials {
            let mut labels = labels.clone();
            labels.push(("state", state.clone()));
            self.trials.get_or_create(&labels).inner().store(*count, Ordering::Relaxed);
        }
    }

    /// Forgets a tuning that is gone; `states` are those that its trials were told under.
    pub fn forget(&self, namespace: &str, name: &str, states: &[&str]) {
        let labels = labels(namespace, name);
        self.trial_tps.remove(&labels);
        self.gain_ratio.remove(&labels);
        self.guardrail_trips.remove(&labels);
        for state in states {
            let mut labels = labels.clone();
            labels.push(("state", (*state).to_owned()));
            self.trials.remove(&labels);
        }
    }
}

fn labels(namespace: &str, name: &str) -> Labels {
    vec![("namespace", namespace.to_owned()), ("tuning", name.to_owned())]
}

#[cfg(test)]
mod tests {
    use crate::control::metrics::Metrics;

    use super::*;

    #[test]
    fn a_tuning_is_told_and_forgotten() {
        let metrics = Metrics::default();
        let sample = TuningSample {
            namespace: "shop".into(),
            name: "orders".into(),
            trial_tps: Some(812.5),
            gain_ratio: Some(0.11),
            guardrail_trips: 2,
            trials: BTreeMap::from([("Observed".to_owned(), 7)]),
        };
        metrics.tuning.set(&sample);
        metrics.tuning.set(&sample);
        let text = metrics.text().unwrap();
        for line in [
            "howdah_tuning_trial_tps{namespace=\"shop\",tuning=\"orders\"} 812.5",
            "howdah_tuning_gain_ratio{namespace=\"shop\",tuning=\"orders\"} 0.11",
            "howdah_tuning_guardrail_trips_total{namespace=\"shop\",tuning=\"orders\"} 2",
            "howdah_tuning_trials_total{namespace=\"shop\",tuning=\"orders\",state=\"Observed\"} 7",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        metrics.tuning.forget("shop", "orders", &["Observed"]);
        assert!(!metrics.text().unwrap().contains("orders"));
    }
}
