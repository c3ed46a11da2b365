//! The metrics of cost models as the operator sees them, told from plain numbers. Their replicas tell of requests.

use prometheus_client::registry::Registry;

use super::{Gauges, Labels};

/// What is told about one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostSample {
    /// Share of the held-out statements whose class was right.
    pub accuracy: Option<f64>,
    /// When the model was trained, in seconds since 1970.
    pub trained_at: Option<f64>,
    /// Each condition, and whether it holds.
    pub conditions: Vec<(String, bool)>,
}

/// The families of `howdah_cost_model_*`.
#[derive(Debug, Default)]
pub struct CostMetrics {
    accuracy: Gauges,
    trained_at: Gauges,
    condition: Gauges,
}

/// Every condition, as they are forgotten.
const CONDITIONS: [&str; 5] = ["Ready", "DataAvailable", "Trained", "Serving", "Drifted"];

impl CostMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut gauge = |name: &str, help: &str, family: &Gauges| registry.register(name, help, family.clone());
        gauge(
            "howdah_cost_model_accuracy_ratio",
            "Share of the held-out statements whose class was right",
            &metrics.accuracy,
        );
        gauge(
            "howdah_cost_model_trained_timestamp_seconds",
            "When the model that answers was trained",
            &metrics.trained_at,
        );
        gauge("howdah_cost_model_condition", "1 for each condition that holds, 0 for the others", &metrics.condition);
        metrics
    }

    /// Tells a model's numbers in place of what was told of it before.
    pub fn set(&self, namespace: &str, name: &str, sample: &CostSample) {
        let labels = labels(namespace, name);
        for (family, value) in [(&self.accuracy, sample.accuracy), (&self.trained_at, sample.trained_at)] {
            match value {
                Some(value) => drop(family.get_or_create(&labels).set(value)),
                None => drop(family.remove(&labels)),
            }
        }
        for (condition, holds) in &sample.conditions {
            self.condition.get_or_create(&of(&labels, condition)).set(f64::from(u8::from(*holds)));
        }
    }

    /// Forgets a model that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let labels = labels(namespace, name);
        self.accuracy.remove(&labels);
        self.trained_at.remove(&labels);
        for condition in CONDITIONS {
            self.condition.remove(&of(&labels, condition));
        }
    }
}

fn labels(namespace: &str, name: &str) -> Labels {
    vec![("namespace", namespace.to_owned()), ("model", name.to_owned())]
}

fn of(labels: &Labels, condition: &str) -> Labels {
    labels.iter().cloned().chain([("condition", condition.to_owned())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::metrics::Metrics;

    #[test]
    fn a_model_is_told_and_forgotten() {
        let metrics = Metrics::default();
        let conditions = CONDITIONS.map(|condition| (condition.to_owned(), condition != "Drifted")).to_vec();
        let sample = CostSample { accuracy: Some(0.9), trained_at: Some(1e9), conditions };
        metrics.cost.set("shop", "queries", &sample);
        let text = metrics.text().unwrap();
        for line in [
            "howdah_cost_model_accuracy_ratio{namespace=\"shop\",model=\"queries\"} 0.9",
            "howdah_cost_model_condition{namespace=\"shop\",model=\"queries\",condition=\"Serving\"} 1",
            "howdah_cost_model_condition{namespace=\"shop\",model=\"queries\",condition=\"Drifted\"} 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        metrics.cost.forget("shop", "queries");
        assert!(!metrics.text().unwrap().contains("queries"));
    }
}
