//! What is counted while a model is served.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::control::metrics::{Counters, Gauges, Labels};
use crate::cost::answer::Answer;

type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

const SECONDS: [f64; 12] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 10.0];
const SHARES: [f64; 7] = [0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0];

/// What came of a plan that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanResult {
    /// The server gave it.
    Planned,
    /// The server refused the statement, is busy with others, or away.
    Failed,
    /// The request could not wait for it any longer.
    Late,
}

impl PlanResult {
    fn word(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Failed => "failed",
            Self::Late => "late",
        }
    }
}

/// Metrics of one served model.
#[derive(Debug)]
pub struct ServingMetrics {
    registry: Registry,
    requests: Counters,
    seconds: Histograms,
    predictions: Counters,
    plans: Counters,
    unknown: Histogram,
}

impl ServingMetrics {
    /// Of a model of that version; `object` is the namespace and name of the QueryCostModel that it is served for.
    pub fn of(version: &str, object: Option<(&str, &str)>) -> Self {
        let owned = |(namespace, model): (&str, &str)| {
            [("namespace".into(), namespace.to_owned().into()), ("model".into(), model.to_owned().into())]
        };
        let mut registry = Registry::with_labels(object.map(owned).into_iter().flatten());
        let requests = Counters::default();
        let seconds = Histograms::new_with_constructor(|| Histogram::new(SECONDS));
        let (predictions, plans) = (Counters::default(), Counters::default());
        let unknown = Histogram::new(SHARES);
        let info = Gauges::default();
        info.get_or_create(&vec![("version", version.to_owned())]).set(1.0);
        registry.register("howdah_cost_requests", "Requests, by route and status", requests.clone());
        registry.register_with_unit(
            "howdah_cost_request_duration",
            "Time of a request, by route",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register(
            "howdah_cost_predictions",
            "Estimates, by target, class, the tier that spoke, and whether the model vouches for them",
            predictions.clone(),
        );
        registry.register(
            "howdah_cost_plans",
            "Plans of statements that were wanted, by what came of it: planned, failed, late",
            plans.clone(),
        );
        registry.register(
            "howdah_cost_unknown_token_share",
            "Share of a statement's tokens that the model has not seen",
            unknown.clone(),
        );
        registry.register("howdah_cost_model_info", "1, with the version of the model", info);
        Self { registry, requests, seconds, predictions, plans, unknown }
    }

    /// A request ended. `route` is the path's pattern, not the path.
    pub fn requested(&self, route: &str, status: &str, took: Duration) {
        self.requests.get_or_create(&vec![("route", route.to_owned()), ("status", status.to_owned())]).inc();
        self.seconds.get_or_create(&vec![("route", route.to_owned())]).observe(took.as_secs_f64());
    }

    /// Statements were answered for.
    pub fn answered(&self, answers: &[Answer]) {
        for answer in answers {
            self.unknown.observe(answer.novelty.unknown_tokens);
            for estimate in &answer.targets {
                let labels = vec![
                    ("target", estimate.target.clone()),
                    ("class", estimate.class.to_string()),
                    ("source", estimate.source.word().to_owned()),
                    ("confident", (!estimate.abstains).to_string()),
                ];
                self.predictions.get_or_create(&labels).inc();
            }
        }
    }

    /// A statement's plan was wanted.
    pub fn planned(&self, result: PlanResult) {
        self.plans.get_or_create(&vec![("result", result.word().to_owned())]).inc();
    }

    /// The metrics as text.
    ///
    /// # Errors
    /// They can't be written.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
