//! Prometheus metrics: the reconcile loop's, under the names that controller-runtime made common, and Howdah's own.

pub mod anomaly;
pub mod cost;
pub mod tuning;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use anomaly::AnomalyMetrics;
use cost::CostMetrics;
use tuning::TuningMetrics;

/// The media type of [`Metrics::text`].
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// Label names and values.
pub type Labels = Vec<(&'static str, String)>;
/// A fractional gauge by labels.
pub type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
/// A counter by labels.
pub type Counters = Family<Labels, Counter>;

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// Look again when the room said.
    Done,
    /// Steps failed: look again with backoff.
    Backoff,
    /// The API server did not take the status, the object could not be decoded, or the reconcile panicked.
    Error,
}

impl Reconciled {
    fn label(self) -> &'static str {
        match self {
            Self::Done => "success",
            Self::Backoff => "requeue_after",
            Self::Error => "error",
        }
    }
}

/// Every metric of the process.
pub struct Metrics {
    registry: Registry,
    reconciles: Counters,
    errors: Counters,
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
    active: Family<Labels, Gauge>,
    concurrency: Family<Labels, Gauge>,
    reasons: Counters,
    /// The tuning's metrics.
    pub tuning: TuningMetrics,
    /// The detectors' metrics.
    pub anomaly: AnomalyMetrics,
    /// The cost models' metrics.
    pub cost: CostMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let reconciles = Counters::default();
        let errors = Counters::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let active = Family::<Labels, Gauge>::default();
        let concurrency = Family::<Labels, Gauge>::default();
        let reasons = Counters::default();
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("howdah_build", "Version of the operator, whether it leads or waits to", version);
        registry.register("controller_runtime_reconcile", "Reconciles, by result", reconciles.clone());
        registry.register("controller_runtime_reconcile_errors", "Reconciles that failed", errors.clone());
        registry.register("controller_runtime_reconcile_time_seconds", "Time of a reconcile", seconds.clone());
        registry.register("controller_runtime_active_workers", "Reconciles running now", active.clone());
        registry.register(
            "controller_runtime_max_concurrent_reconciles",
            "Reconciles that may run at once",
            concurrency.clone(),
        );
        registry.register("howdah_reconcile_reason", "Reconciles, by the headline's reason", reasons.clone());
        let tuning = TuningMetrics::register(&mut registry);
        let anomaly = AnomalyMetrics::register(&mut registry);
        let cost = CostMetrics::register(&mut registry);
        Self { registry, reconciles, errors, seconds, active, concurrency, reasons, tuning, anomaly, cost }
    }
}

impl Metrics {
    /// A controller starts with this many workers.
    pub fn controller_started(&self, controller: &str, workers: u16) {
        self.concurrency.get_or_create(&of(controller)).set(i64::from(workers));
    }

    /// A reconcile begins. Its worker counts as active until the guard is dropped.
    pub fn reconcile_started(&self, controller: &str) -> ActiveWorker {
        let gauge = self.active.get_or_create_owned(&of(controller));
        gauge.inc();
        ActiveWorker(gauge)
    }

    /// A reconcile ended.
    pub fn reconcile_ended(&self, controller: &str, how: Reconciled, took: Duration) {
        self.reconciles.get_or_create(&with(controller, "result", how.label())).inc();
        self.seconds.get_or_create(&of(controller)).observe(took.as_secs_f64());
        if how == Reconciled::Error {
            self.errors.get_or_create(&of(controller)).inc();
        }
    }

    /// A reconcile's headline.
    pub fn reason(&self, controller: &str, reason: &str) {
        self.reasons.get_or_create(&with(controller, "reason", reason)).inc();
    }

    /// Everything, as OpenMetrics text.
    ///
    /// # Errors
    /// When a metric can't be written as text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counts as a running reconcile until it is dropped.
pub struct ActiveWorker(Gauge);

impl Drop for ActiveWorker {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn of(controller: &str) -> Labels {
    vec![("controller", controller.to_owned())]
}

fn with(controller: &str, label: &'static str, value: &str) -> Labels {
    vec![("controller", controller.to_owned()), (label, value.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_existing_dashboards() {
        let metrics = Metrics::default();
        metrics.controller_started("postgresinstance", 4);
        let worker = metrics.reconcile_started("postgresinstance");
        assert!(
            metrics.text().unwrap().contains("controller_runtime_active_workers{controller=\"postgresinstance\"} 1")
        );
        drop(worker);
        metrics.reconcile_ended("postgresinstance", Reconciled::Done, Duration::from_millis(30));
        metrics.reconcile_ended("postgresinstance", Reconciled::Error, Duration::from_millis(30));
        metrics.reason("postgresinstance", "Ready");
        let text = metrics.text().unwrap();
        for line in [
            "controller_runtime_reconcile_total{controller=\"postgresinstance\",result=\"success\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"postgresinstance\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"postgresinstance\"} 2",
            "controller_runtime_active_workers{controller=\"postgresinstance\"} 0",
            "controller_runtime_max_concurrent_reconciles{controller=\"postgresinstance\"} 4",
            "howdah_reconcile_reason_total{controller=\"postgresinstance\",reason=\"Ready\"} 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
