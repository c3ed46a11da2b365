//! How good each trial of the search was, and which configuration is the best so far.

use std::collections::BTreeMap;

use super::Record;
use crate::tuning::crd::{ObjectiveMetric, TrialKind};
use crate::tuning::measurement::{Measurement, Parameters};
use crate::tuning::objective;

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
    /// Mean of its trials' log gains.
    pub log_gain: f64,
    /// Knobs that differ from the baseline.
    pub parameters: &'a Parameters,
    /// Its last measurement.
    pub measurement: &'a Measurement,
}

/// The scores of the search's measured trials.
#[derive(Clone, Debug)]
pub struct Scores<'a> {
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
        let baselines =
            objective::Baselines::new(measured.iter().filter(|(r, _)| r.is_baseline()).map(|(r, m)| (r.number, *m)));
        let scored = measured
            .into_iter()
            .filter_map(|(record, measurement)| {
                let gain = objective::log_gain(metric, measurement, &baselines.at(record.number)?)?;
                Some((record, measurement, gain))
            })
            .collect();
        Self { scored }
    }

    /// The score of one trial.
    pub fn of(&self, number: i32) -> Option<Score> {
        self.scored
            .iter()
            .find(|(r, ..)| r.number == number)
            .map(|(_, _, log_gain)| Score { number, log_gain: *log_gain })
    }

    /// The configuration with the best mean gain that is not the baseline. A censored run never makes an incumbent.
    pub fn incumbent(&self) -> Option<Incumbent<'a>> {
        let mut by_configuration: BTreeMap<&Parameters, Vec<&(&'a Record, &'a Measurement, f64)>> = BTreeMap::new();
        for entry @ (record, measurement, _) in &self.scored {
            if !record.is_baseline() && !record.parameters.is_empty() && !measurement.censored {
                by_configuration.entry(&record.parameters).or_default().push(entry);
            }
        }
        by_configuration
            .into_values()
            .filter_map(|runs| {
                let (first, last) = (runs.first()?, runs.last()?);
                Some(Incumbent {
                    first_trial: first.0.number,
                    last_trial: last.0.number,
                    log_gain: runs.iter().map(|(_, _, gain)| gain).sum::<f64>() / runs.len() as f64,
                    parameters: &last.0.parameters,
                    measurement: last.1,
                })
            })
            .max_by(|a, b| a.log_gain.total_cmp(&b.log_gain))
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
