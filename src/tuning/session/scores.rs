//! How good each trial of the search was, and which configuration is the best so far.

use super::Record;
use crate::learn::gaussian::{GaussianProcess, Row};
use crate::tuning::crd::{ObjectiveMetric, TrialKind};
use crate::tuning::measurement::{Measurement, Parameters};
use crate::tuning::objective::{self, Baselines};

/// A run is ended early when it stays below this share of the throughput that the incumbent would have now.
const ABANDON_BELOW: f64 = 0.7;

/// A trial's gain over the baselines measured nearest to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Number of the trial.
    pub number: i32,
    /// ln(candidate / baseline) of the objective; positive is better.
    pub log_gain: f64,
}

/// The best configuration so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Incumbent<'a> {
    /// Its first trial.
    pub first_trial: i32,
    /// Its last trial.
    pub last_trial: i32,
    /// Its expected log gain over the baseline, given every measurement of the search.
    pub log_gain: f64,
    /// Knobs that differ from the baseline.
    pub parameters: &'a Parameters,
    /// Its last measurement.
    pub measurement: &'a Measurement,
}

/// The scores of the search's measured trials.
#[derive(Clone, Debug)]
pub struct Scores<'a> {
    metric: ObjectiveMetric,
    baselines: Baselines,
    scored: Vec<(&'a Record, &'a Measurement, f64)>,
}

impl<'a> Scores<'a> {
    /// Scores every measured trial of the search against the baselines before and after it.
    pub fn new(metric: ObjectiveMetric, records: &'a [Record]) -> Self {
        let measured: Vec<_> = records
            .iter()
            .filter(|r| r.kind != TrialKind::Verify)
            .filter_map(|r| r.measurement().map(|m| (r, m)))
            .collect();
        let baselines = Baselines::new(measured.iter().filter(|(r, _)| r.is_baseline()).map(|(r, m)| (r.number, *m)));
        let scored = measured
            .into_iter()
            .filter_map(|(record, measurement)| {
                let gain = objective::log_gain(metric, measurement, &baselines.at(record.number)?)?;
                Some((record, measurement, gain))
            })
            .collect();
        Self { metric, baselines, scored }
    }

    /// The score of one trial.
    pub fn of(&self, number: i32) -> Option<Score> {
        self.scored
            .iter()
            .find(|(r, ..)| r.number == number)
            .map(|(_, _, log_gain)| Score { number, log_gain: *log_gain })
    }

    /// The configuration that is not the baseline with the highest expected gain, given all measurements together: the
    /// highest single measurement is mostly the luckiest. A censored run never makes an incumbent.
    pub fn incumbent(&self) -> Option<Incumbent<'a>> {
        let surface = self.surface()?;
        let candidates = self.scored.iter().filter(|(record, measurement, _)| {
            !record.is_baseline() && !record.parameters.is_empty() && !measurement.censored
        });
        let expected = |(record, ..): &(&Record, _, _)| surface.predict(&record.point).mean;
        let best = candidates.max_by(|a, b| expected(a).total_cmp(&expected(b)))?;
        let baseline = self.scored.iter().find(|(record, ..)| record.is_baseline())?;
        let mut runs = self.scored.iter().filter(|(record, ..)| record.parameters == best.0.parameters);
        let first = runs.next()?;
        let last = runs.next_back().unwrap_or(first);
        Some(Incumbent {
            first_trial: first.0.number,
            last_trial: last.0.number,
            log_gain: expected(best) - expected(baseline),
            parameters: &last.0.parameters,
            measurement: last.1,
        })
    }

    /// Throughput below which a run of the search is clearly worse than the incumbent, whose own has drifted with the
    /// machine as the baseline's has since. None without an incumbent, and where throughput is not what counts.
    pub fn abandon_below(&self) -> Option<f64> {
        let incumbent = self.incumbent().filter(|_| self.metric != ObjectiveMetric::Latency)?;
        let drift = self.baselines.latest()?.tps / self.baselines.at(incumbent.last_trial)?.tps;
        Some(ABANDON_BELOW * incumbent.measurement.tps.0 * drift)
    }

    /// The levels of the search's trials over the space.
    fn surface(&self) -> Option<GaussianProcess> {
        let row = |(record, measurement, _): &(&Record, &Measurement, f64)| Row {
            point: record.point.clone(),
            target: objective::level(self.metric, measurement),
            at: f64::from(record.number),
        };
        GaussianProcess::fit(&self.scored.iter().map(row).collect::<Vec<_>>())
    }

    /// The configuration and the log gain of every scored trial.
    pub fn configurations(&self) -> Vec<(Parameters, f64)> {
        self.scored.iter().map(|(record, _, gain)| (record.parameters.clone(), *gain)).collect()
    }

    /// The record of the pgtune configuration.
    pub fn heuristic(&self) -> Option<&'a Record> {
        self.scored.iter().map(|(record, ..)| *record).find(|record| record.kind == TrialKind::Heuristic)
    }
}
