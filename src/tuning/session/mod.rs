//! The course of a tuning: which trial comes next, and when the search is over.
//!
//! Pure: the same records give the same next step, so a session goes on after a restart exactly where it was, and the
//! operator, `howdah tune` and the simulator's benches run the very same course.

mod scores;
mod verification;

pub use scores::{Score, Scores};
pub use verification::{ArmResult, Verdict};

use serde::{Deserialize, Serialize};

use super::crd::{Algorithm, Arm, ObjectiveMetric, SessionOutcome, TrialKind};
use super::measurement::{Measurement, Parameters};
use super::space::Space;

/// A baseline is measured again after this many other trials, so that drift is seen and every trial has one near it.
pub const BASELINE_EVERY: usize = 4;

/// What a session goes by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Trials of the search, baselines and the heuristic included.
    pub trials: usize,
    /// The search ends after this time, in seconds.
    pub max_seconds: i64,
    /// The search ends after this many proposals without a better incumbent, not counting DDPG's covering samples.
    pub patience: usize,
    /// Pairs of the verification.
    pub verification_pairs: usize,
    /// Failed trials in a row that end the session.
    pub max_consecutive_failures: usize,
    /// The algorithm of the search.
    pub algorithm: Algorithm,
    /// The quantity that is to become better.
    pub metric: ObjectiveMetric,
    /// Lower bound of the verified gain that is worth recommending, in percent.
    pub min_improvement_percent: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// A trial as the session sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, from 1.
    pub number: i32,
    /// What it was for.
    pub kind: TrialKind,
    /// In a verification: which configuration it measured.
    pub arm: Option<Arm>,
    /// Its point in the unit cube.
    pub point: Vec<f64>,
    /// Knobs that differ from the baseline.
    pub parameters: Parameters,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was measured.
    Measured(Box<Measurement>),
    /// The configuration or the benchmark failed, or a guardrail tripped.
    Failed,
    /// It was interrupted from outside (suspended, say) and tells nothing.
    Interrupted,
}

impl Record {
    /// What was measured, if anything was.
    pub fn measurement(&self) -> Option<&Measurement> {
        match &self.outcome {
            Outcome::Measured(measurement) => Some(measurement),
            _ => None,
        }
    }

    /// The knobs are those of the baseline.
    pub fn is_baseline(&self) -> bool {
        self.kind == TrialKind::Baseline || self.arm == Some(Arm::Baseline)
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Measure a configuration that is known already.
    Measure(Assignment),
    /// Ask the optimizer for a configuration.
    Propose(TrialKind),
    /// The session is over.
    Conclude(Conclusion),
}

/// A configuration to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// What for.
    pub kind: TrialKind,
    /// In a verification: which configuration.
    pub arm: Option<Arm>,
    /// Knobs that differ from the baseline; empty for the baseline.
    pub parameters: Parameters,
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Conclusion {
    /// How it ended.
    pub outcome: SessionOutcome,
    /// The configuration that was verified to be better.
    pub recommended: Option<Verdict>,
    /// What the verification found of every configuration that it measured.
    pub arms: Vec<ArmResult>,
}

impl Conclusion {
    fn without_gain(outcome: SessionOutcome, arms: Vec<ArmResult>) -> Self {
        Self { outcome, recommended: None, arms }
    }
}

/// Number of covering samples that a search begins with.
pub fn exploration_total(rules: &Rules) -> usize {
    match rules.algorithm {
        Algorithm::DDPG => (rules.trials / 5).clamp(2, 8),
        Algorithm::LHS | Algorithm::Random => rules.trials,
        Algorithm::Heuristic => 0,
    }
}

/// Says what comes next after `records`, which are in the order of their numbers and all ended.
///
/// `heuristic` is the pgtune configuration after the safety kernel, `elapsed_seconds` the session's age, and `is_safe`
/// whether the kernel leaves a configuration as it is.
pub fn next(
    rules: &Rules,
    space: &Space,
    heuristic: &Parameters,
    records: &[Record],
    elapsed_seconds: i64,
    is_safe: &dyn Fn(&Parameters) -> bool,
) -> Next {
    if trailing_failures(records) >= rules.max_consecutive_failures {
        return Next::Conclude(Conclusion::without_gain(SessionOutcome::TooManyFailures, Vec::new()));
    }
    let verifying = records.iter().any(|r| r.kind == TrialKind::Verify);
    if !verifying && let Some(next) = search(rules, heuristic, records, elapsed_seconds) {
        return next;
    }
    verification::next(rules, space, records, is_safe)
}

/// The next step of the search; `None` when it is over.
fn search(rules: &Rules, heuristic: &Parameters, records: &[Record], elapsed_seconds: i64) -> Option<Next> {
    let told: Vec<&Record> = records.iter().filter(|r| r.outcome != Outcome::Interrupted).collect();
    let measure = |kind, parameters| Some(Next::Measure(Assignment { kind, arm: None, parameters }));
    if !told.iter().any(|r| r.kind == TrialKind::Baseline && r.measurement().is_some()) {
        return measure(TrialKind::Baseline, Parameters::new());
    }
    if !heuristic.is_empty() && !told.iter().any(|r| r.kind == TrialKind::Heuristic) {
        return measure(TrialKind::Heuristic, heuristic.clone());
    }
    if rules.algorithm == Algorithm::Heuristic || told.len() >= rules.trials || elapsed_seconds >= rules.max_seconds {
        return None;
    }
    if patience_is_over(rules, records) {
        return None;
    }
    let since_baseline = told.iter().rev().take_while(|r| !(r.is_baseline() && r.measurement().is_some())).count();
    if since_baseline >= BASELINE_EVERY {
        return measure(TrialKind::Baseline, Parameters::new());
    }
    let count = |kind| told.iter().filter(|r| r.kind == kind).count();
    if count(TrialKind::Explore) < exploration_total(rules) {
        return Some(Next::Propose(TrialKind::Explore));
    }
    // A step of the policy and one of local refinement in turns.
    let after = count(TrialKind::Policy) + count(TrialKind::Refine);
    Some(Next::Propose(if after % 2 == 1 { TrialKind::Refine } else { TrialKind::Policy }))
}

fn trailing_failures(records: &[Record]) -> usize {
    records
        .iter()
        .rev()
        .filter(|r| r.outcome != Outcome::Interrupted)
        .take_while(|r| r.outcome == Outcome::Failed)
        .count()
}

/// As many proposals as patience allows were measured since the incumbent was first. DDPG's covering samples don't count:
/// they are there to be learnt from, and the formulas are better than most of them.
fn patience_is_over(rules: &Rules, records: &[Record]) -> bool {
    let attempt = |kind: TrialKind| match kind {
        TrialKind::Policy | TrialKind::Refine => true,
        TrialKind::Explore => rules.algorithm != Algorithm::DDPG,
        _ => false,
    };
    let proposals = |since: i32| {
        let told = records.iter().filter(|r| r.number > since && r.outcome != Outcome::Interrupted);
        told.filter(|r| attempt(r.kind)).count()
    };
    // The incumbent takes a regression over all trials: it is asked for only when it matters.
    proposals(0) >= rules.patience
        && proposals(Scores::new(rules.metric, records).incumbent().map_or(0, |best| best.first_trial))
            >= rules.patience
}

#[cfg(test)]
mod tests;
