//! What a measurement is worth: log ratios to the baseline measured next to it, and the rewards made of them.
//!
//! Log ratios are symmetric (twice as fast and half as fast cancel) and free of the machine's absolute speed, which
//! drifts by tens of percent within an hour.

use super::crd::ObjectiveMetric;
use super::measurement::Measurement;

/// Reward taken off for each unit of memory share above [`MEMORY_FREE`]: at 95 % of the limit, half the range.
const MEMORY_PENALTY: f64 = 5.0;

/// Share of the memory limit that costs nothing.
const MEMORY_FREE: f64 = 0.85;

/// Reward of a failure when nothing worse than the baseline was seen yet.
const FAILURE: f64 = -0.5;

/// Throughput and latency of the baseline at some point of the session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// Transactions per second.
    pub tps: f64,
    /// 95th percentile of the latency in milliseconds.
    pub latency_p95_ms: f64,
}

impl Reference {
    /// What a measurement shows; `None` where it completed no transaction.
    pub fn of(measurement: &Measurement) -> Option<Self> {
        let (tps, latency_p95_ms) = (measurement.tps.0, measurement.latency_p95_ms.0);
        (tps > 0.0 && latency_p95_ms > 0.0).then_some(Self { tps, latency_p95_ms })
    }
}

/// The baseline's measurements of a session, by trial number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baselines(Vec<(i32, Reference)>);

impl Baselines {
    /// From the baseline trials in any order. Those without a completed transaction are left out.
    pub fn new<'a>(trials: impl IntoIterator<Item = (i32, &'a Measurement)>) -> Self {
        let known = trials.into_iter().filter_map(|(number, m)| Some((number, Reference::of(m)?)));
        let mut trials: Vec<_> = known.collect();
        trials.sort_by_key(|(number, _)| *number);
        Self(trials)
    }

    /// What the baseline showed last.
    pub fn latest(&self) -> Option<Reference> {
        self.0.last().map(|(_, reference)| *reference)
    }

    /// What the baseline would have shown at a trial: interpolated (in logarithms, by trial number) between the nearest
    /// one up to it and the nearest one after; the nearest alone where the other is missing; `None` without any.
    pub fn at(&self, trial: i32) -> Option<Reference> {
        let after = self.0.partition_point(|(number, _)| *number <= trial);
        match (after.checked_sub(1).map(|before| self.0[before]), self.0.get(after)) {
            (Some((a, first)), Some((b, second))) if a < trial => {
                let part = f64::from(trial - a) / f64::from(b - a);
                let between = |x: f64, y: f64| (x.ln() * (1.0 - part) + y.ln() * part).exp();
                Some(Reference {
                    tps: between(first.tps, second.tps),
                    latency_p95_ms: between(first.latency_p95_ms, second.latency_p95_ms),
                })
            }
            (Some((_, only)), _) => Some(only),
            (None, only) => only.map(|(_, reference)| *reference),
        }
    }
}

/// Weights of throughput and latency.
fn weights(metric: ObjectiveMetric) -> (f64, f64) {
    match metric {
        ObjectiveMetric::Throughput => (1.0, 0.0),
        ObjectiveMetric::Latency => (0.0, 1.0),
        ObjectiveMetric::Balanced => (0.5, 0.5),
    }
}

/// The logarithm of what a metric makes of a measurement: the difference of two levels is a log gain.
pub fn level(metric: ObjectiveMetric, measurement: &Measurement) -> f64 {
    let (throughput, latency) = weights(metric);
    throughput * measurement.tps.0.ln() - latency * measurement.latency_p95_ms.0.ln()
}

/// Gain over the baseline as a log ratio, positive is better: `w_T·ln(T/T_base) + w_L·ln(L_base/L)`. Of a censored
/// measurement it is an upper bound. `None` where the candidate completed no transaction.
pub fn log_gain(metric: ObjectiveMetric, candidate: &Measurement, baseline: &Reference) -> Option<f64> {
    let candidate = Reference::of(candidate)?;
    let (throughput, latency) = weights(metric);
    Some(
        throughput * (candidate.tps / baseline.tps).ln()
            + latency * (baseline.latency_p95_ms / candidate.latency_p95_ms).ln(),
    )
}

/// The level of a measurement, less what memory above 85 % of the limit costs: what the response surface is made of.
/// `None` where no transaction was completed.
pub fn worth(metric: ObjectiveMetric, measurement: &Measurement, memory_limit_bytes: u64) -> Option<f64> {
    Reference::of(measurement)?;
    Some(level(metric, measurement) - memory_penalty(measurement, memory_limit_bytes))
}

fn memory_penalty(measurement: &Measurement, memory_limit_bytes: u64) -> f64 {
    let share = measurement.memory_peak_bytes.map_or(0.0, |peak| peak as f64 / (memory_limit_bytes.max(1)) as f64);
    MEMORY_PENALTY * (share - MEMORY_FREE).max(0.0)
}

/// Reward of a measured trial: its log gain, less a penalty for memory above 85 % of the limit, clipped to \[−1, 1\].
///
/// A censored run was ended for being clearly worse than the incumbent, and its closing checkpoint was never charged:
/// whatever it showed, it earns nothing above the baseline. `None` where the candidate completed no transaction.
pub fn reward(
    metric: ObjectiveMetric,
    candidate: &Measurement,
    baseline: &Reference,
    memory_limit_bytes: u64,
) -> Option<f64> {
    let gain = log_gain(metric, candidate, baseline)?;
    let gain = if candidate.censored { gain.min(0.0) } else { gain };
    Some((gain - memory_penalty(candidate, memory_limit_bytes)).clamp(-1.0, 1.0))
}

/// Reward of a failed trial: half the worst seen, i.e. half its throughput or twice its latency, clipped to \[−1, 1\];
/// −0.5 when nothing worse than the baseline was seen. `seen` are the rewards of the trials before it.
pub fn failure_reward(seen: &[f64]) -> f64 {
    let worst = seen.iter().copied().fold(0.0, f64::min);
    if worst < 0.0 { (worst - std::f64::consts::LN_2).max(-1.0) } else { FAILURE }
}

/// CDBTune's published reward (SIGMOD 2019, section 4.2): from the changes Δ against the first and the previous
/// measurement, `((1+Δ₀)²−1)·|1+Δₜ|` for Δ₀ > 0, `−((1−Δ₀)²−1)·|1−Δₜ|` otherwise, and 0 for a gain that got smaller.
/// `None` where one of the measurements completed no transaction.
pub fn cdbtune(
    metric: ObjectiveMetric,
    candidate: &Measurement,
    first: &Measurement,
    previous: &Measurement,
) -> Option<f64> {
    let (candidate, first, previous) = (Reference::of(candidate)?, Reference::of(first)?, Reference::of(previous)?);
    let (throughput, latency) = weights(metric);
    let of = |change: fn(&Reference, &Reference) -> f64| {
        published(change(&candidate, &first), change(&candidate, &previous))
    };
    Some(
        throughput * of(|now, then| (now.tps - then.tps) / then.tps)
            + latency * of(|now, then| (then.latency_p95_ms - now.latency_p95_ms) / then.latency_p95_ms),
    )
}

fn published(since_first: f64, since_previous: f64) -> f64 {
    if since_first > 0.0 {
        let reward = ((1.0 + since_first).powi(2) - 1.0) * (1.0 + since_previous).abs();
        if since_previous < 0.0 { 0.0 } else { reward }
    } else {
        -((1.0 - since_first).powi(2) - 1.0) * (1.0 - since_previous).abs()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decimal::Decimal;

    fn run(tps: f64, latency: f64) -> Measurement {
        Measurement { tps: Decimal(tps), latency_p95_ms: Decimal(latency), ..Measurement::default() }
    }

    #[test]
    fn a_drifting_baseline_is_interpolated() {
        let (first, last) = (run(1000.0, 10.0), run(4000.0, 2.5));
        let baselines = Baselines::new([(9, &last), (1, &first), (4, &run(0.0, 0.0))]);
        let middle = baselines.at(5).unwrap();
        assert!((middle.tps - 2000.0).abs() < 1e-6 && (middle.latency_p95_ms - 5.0).abs() < 1e-9);
        assert_eq!(baselines.at(0).unwrap().tps, 1000.0);
        assert_eq!(baselines.at(9).unwrap().tps, 4000.0);
        assert_eq!(baselines.at(30).unwrap().tps, 4000.0);
        assert_eq!(Baselines::default().at(3), None);
    }

    #[test]
    fn the_gain_follows_the_metric() {
        let baseline = Reference { tps: 1000.0, latency_p95_ms: 10.0 };
        let candidate = run(2000.0, 20.0);
        let gain = |metric| log_gain(metric, &candidate, &baseline).unwrap();
        assert_eq!(gain(ObjectiveMetric::Throughput), 2f64.ln());
        assert_eq!(gain(ObjectiveMetric::Latency), -(2f64.ln()));
        assert_eq!(gain(ObjectiveMetric::Balanced), 0.0);
        assert_eq!(log_gain(ObjectiveMetric::Throughput, &run(0.0, 0.0), &baseline), None);
    }

    #[test]
    fn memory_near_the_limit_and_censored_runs_cost() {
        let baseline = Reference { tps: 1000.0, latency_p95_ms: 10.0 };
        let full = Measurement { memory_peak_bytes: Some(95), ..run(1000.0, 10.0) };
        let of = |m: &Measurement| reward(ObjectiveMetric::Throughput, m, &baseline, 100).unwrap();
        assert!((of(&full) + 0.5).abs() < 1e-9);
        let censored = Measurement { censored: true, ..run(1200.0, 10.0) };
        assert_eq!(of(&censored), 0.0);
        assert_eq!(of(&run(1e9, 1.0)), 1.0);
    }

    #[test]
    fn a_failure_is_half_the_worst() {
        assert_eq!(failure_reward(&[]), -0.5);
        assert_eq!(failure_reward(&[0.2, 0.1]), -0.5);
        assert!((failure_reward(&[0.2, -0.1]) - (-0.1 - 2f64.ln())).abs() < 1e-12);
        assert_eq!(failure_reward(&[-0.9]), -1.0);
    }

    #[test]
    fn the_published_reward_turns_noise_into_reward() {
        let (first, previous) = (run(1000.0, 10.0), run(1500.0, 10.0));
        let of = |tps| cdbtune(ObjectiveMetric::Throughput, &run(tps, 10.0), &first, &previous).unwrap();
        assert!((of(1500.0) - 1.25).abs() < 1e-12);
        // 3 % of noise decides between nothing and everything.
        assert_eq!(of(1455.0), 0.0);
        assert!(of(1545.0) > 1.4);
        assert!(of(500.0) < -1.0);
    }

    proptest! {
        #[test]
        fn rewards_stay_within_bounds(tps in 1e-3f64..1e7, latency in 1e-3f64..1e6, peak in 0i64..1 << 40) {
            let baseline = Reference { tps: 1000.0, latency_p95_ms: 10.0 };
            let candidate = Measurement { memory_peak_bytes: Some(peak), ..run(tps, latency) };
            for metric in [ObjectiveMetric::Throughput, ObjectiveMetric::Latency, ObjectiveMetric::Balanced] {
                let reward = reward(metric, &candidate, &baseline, 1 << 30).unwrap();
                prop_assert!((-1.0..=1.0).contains(&reward));
                prop_assert!(failure_reward(&[reward]) <= reward.min(-0.5));
            }
        }
    }
}
