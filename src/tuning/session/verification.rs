//! The final word: the best configurations against the baseline in interleaved runs, judged on the lower end of a
//! confidence interval; then the knobs without effect are put back and the leaner configuration is verified the same way.

use super::{Assignment, Conclusion, Next, Outcome, Record, Rules, Scores};
use crate::tuning::crd::{Arm, SessionOutcome, TrialKind};
use crate::tuning::evidence::{self, Interval};
use crate::tuning::measurement::{Measurement, Parameters};
use crate::tuning::objective;
use crate::tuning::safety;
use crate::tuning::space::Space;

/// A leaner configuration may cost this much of the verified gain, as a log ratio, and is still preferred.
const PRUNING_TOLERANCE: f64 = 0.01;

/// What the verification found of one configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmResult {
    /// Which configuration.
    pub arm: Arm,
    /// Knobs that differ from the baseline.
    pub parameters: Parameters,
    /// Gain over the baseline, as a log ratio of the objective.
    pub gain: Interval,
    /// Mean transactions per second.
    pub tps: f64,
    /// Mean 95th percentile of the latency in milliseconds.
    pub latency_p95_ms: f64,
    /// Change of the 95th percentile against the baseline, as a log ratio; negative is better.
    pub latency_log_change: f64,
    /// Runs that were measured.
    pub runs: usize,
}

/// A configuration that was verified to be better.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The winner.
    pub winner: ArmResult,
    /// Its gain over the pgtune formulas, as a log ratio, where both were measured.
    pub log_gain_over_heuristic: Option<f64>,
}

/// One stage: a baseline and its challengers, measured in an order that cancels steady drift.
struct Stage<'a> {
    challengers: Vec<(Arm, &'a Parameters)>,
    pairs: usize,
}

impl Stage<'_> {
    /// `B I H | H I B | B I H …`, closed by a baseline, so that each challenger's run lies between two of the baseline.
    fn order(&self) -> Vec<Arm> {
        let mut order = Vec::new();
        for round in 0..self.pairs {
            let mut arms: Vec<Arm> =
                std::iter::once(Arm::Baseline).chain(self.challengers.iter().map(|c| c.0)).collect();
            if round % 2 == 1 {
                arms.reverse();
            }
            order.extend(arms);
        }
        if order.last() != Some(&Arm::Baseline) {
            order.push(Arm::Baseline);
        }
        order
    }

    /// Matches the records to the order: the stage's own runs and those after it, or the run that is due. A challenger
    /// that failed once is out of the race; a failed baseline is repeated.
    fn split<'r, 'a>(&self, records: &'r [&'a Record]) -> Result<(&'r [&'a Record], &'r [&'a Record]), Arm> {
        let mut position = 0;
        for arm in self.order() {
            while records.get(position).is_some_and(|r| r.is_baseline() && r.measurement().is_none()) {
                position += 1;
            }
            let failed = |r: &&Record| r.arm == Some(arm) && r.measurement().is_none();
            if records.get(position).is_some_and(|r| r.arm == Some(arm)) {
                position += 1;
            } else if arm == Arm::Baseline || !records[..position].iter().any(failed) {
                return Err(arm);
            }
        }
        Ok(records.split_at(position))
    }

    fn verify(&self, arm: Arm) -> Next {
        let parameters = self.challengers.iter().find(|c| c.0 == arm).map(|c| c.1.clone()).unwrap_or_default();
        Next::Measure(Assignment { kind: TrialKind::Verify, arm: Some(arm), parameters })
    }
}

/// Says what comes next once the search is over.
pub(super) fn next(rules: &Rules, space: &Space, records: &[Record], is_safe: &dyn Fn(&Parameters) -> bool) -> Next {
    let scores = Scores::new(rules.metric, records);
    let told: Vec<&Record> =
        records.iter().filter(|r| r.kind == TrialKind::Verify && r.outcome != Outcome::Interrupted).collect();
    let Some(incumbent) = scores.incumbent().filter(|i| i.log_gain > 0.0) else {
        return Next::Conclude(Conclusion::without_gain(SessionOutcome::NoSignificantGain, Vec::new()));
    };
    // What is verified stays what it was when the first run of it began, whatever is computed by now.
    let begun = |arm: Arm| told.iter().find(|record| record.arm == Some(arm)).map(|record| &record.parameters);
    let chosen = begun(Arm::Incumbent).unwrap_or(incumbent.parameters);
    let mut challengers = vec![(Arm::Incumbent, chosen)];
    if let Some(heuristic) = scores.heuristic()
        && heuristic.parameters != *chosen
    {
        challengers.push((Arm::Heuristic, &heuristic.parameters));
    }
    let stage = Stage { challengers, pairs: rules.verification_pairs };
    let (mine, rest) = match stage.split(&told) {
        Ok(split) => split,
        Err(due) => return stage.verify(due),
    };
    let mut arms = results(rules, &stage, mine);
    let better = |a: &&ArmResult| a.gain.low_percent() >= rules.min_improvement_percent;
    let Some(mut winner) = arms.iter().filter(better).max_by(|a, b| a.gain.mean.total_cmp(&b.gain.mean)).cloned()
    else {
        return Next::Conclude(Conclusion::without_gain(SessionOutcome::NoSignificantGain, arms));
    };
    let heuristic = arms.iter().find(|a| a.arm == Arm::Heuristic).map(|a| a.gain.mean);

    let lean = || without_inert_knobs(space, &scores, &winner.parameters, is_safe);
    if let Some(lean) = begun(Arm::Pruned).cloned().or_else(lean) {
        let stage = Stage { challengers: vec![(Arm::Pruned, &lean)], pairs: rules.verification_pairs };
        let mine = match stage.split(rest) {
            Ok((mine, _)) => mine,
            Err(due) => return stage.verify(due),
        };
        for result in results(rules, &stage, mine) {
            if better(&&result) && result.gain.mean >= winner.gain.mean - PRUNING_TOLERANCE {
                winner = result.clone();
            }
            arms.push(result);
        }
    }
    let log_gain_over_heuristic = heuristic.map(|heuristic| winner.gain.mean - heuristic);
    Next::Conclude(Conclusion {
        outcome: SessionOutcome::Improved,
        recommended: Some(Verdict { winner, log_gain_over_heuristic }),
        arms,
    })
}

fn results(rules: &Rules, stage: &Stage<'_>, records: &[&Record]) -> Vec<ArmResult> {
    let measured: Vec<(Arm, &Measurement)> = records.iter().filter_map(|r| Some((r.arm?, r.measurement()?))).collect();
    let interval = |arm: Arm, level: &dyn Fn(&Measurement) -> f64| {
        let levels: Vec<(Arm, f64)> = measured.iter().map(|(arm, m)| (*arm, level(m))).collect();
        evidence::interval(&evidence::pairs(&levels, &arm, &Arm::Baseline), rules.seed)
    };
    let passed = |arm: Arm| records.iter().filter(|r| r.arm == Some(arm)).all(|r| r.measurement().is_some());
    stage
        .challengers
        .iter()
        .filter(|(arm, _)| passed(*arm))
        .filter_map(|(arm, parameters)| {
            let runs: Vec<&Measurement> = measured.iter().filter(|(a, _)| a == arm).map(|(_, m)| *m).collect();
            let mean = |value: fn(&Measurement) -> f64| runs.iter().map(|m| value(m)).sum::<f64>() / runs.len() as f64;
            Some(ArmResult {
                arm: *arm,
                parameters: (*parameters).clone(),
                gain: interval(*arm, &|m| objective::level(rules.metric, m))?,
                tps: mean(|m| m.tps.0),
                latency_p95_ms: mean(|m| m.latency_p95_ms.0),
                latency_log_change: interval(*arm, &|m| m.latency_p95_ms.0.ln())?.mean,
                runs: runs.len(),
            })
        })
        .collect()
}

/// The configuration without the knobs that showed no effect, as far as it is safe without them: a knob's baseline may be too
/// much beside what the others were set to. `None` when there is none to put back, or nothing left.
fn without_inert_knobs(
    space: &Space,
    scores: &Scores<'_>,
    changed: &Parameters,
    is_safe: &dyn Fn(&Parameters) -> bool,
) -> Option<Parameters> {
    let mut lean = changed.clone();
    for name in evidence::inert_knobs(&scores.configurations(), space, changed, &space.baseline()) {
        let mut without = lean.clone();
        without.remove(&name);
        safety::drop_followers(&mut without);
        if is_safe(&without) {
            lean = without;
        }
    }
    (!lean.is_empty() && lean.len() < changed.len()).then_some(lean)
}
