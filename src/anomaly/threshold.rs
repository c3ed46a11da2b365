//! The threshold from a budget of alarms: peaks over a high level of held-out normal scores follow a generalised Pareto
//! distribution (Pickands 1975), whose tail says which score is exceeded as rarely as the budget allows.

use serde::{Deserialize, Serialize};

use super::scale::quantile;

/// Peaks are what exceeds this quantile.
const PEAKS_FROM: f64 = 0.98;
/// Peaks that a tail is fitted to, by the highest of each stretch of them; below, the empirical quantile decides.
const FEWEST_PEAKS: usize = 200;
/// And stretches: one long one says nothing of how high others are.
const FEWEST_STRETCHES: usize = 50;
/// No tail is taken to be lighter: the normal distribution's looks as if it ended somewhere, and does not, so that there would
/// be twice the alarms.
const LIGHTEST: f64 = -0.1;
/// What the budget allows more rarely than the scores can show is put above the largest of them, which is exceeded again
/// as often as it was seen, by this share of what remains up to the highest score that there can be.
const BEYOND: f64 = 0.15;
/// No threshold is closer to the highest possible score than this share of what remains above the largest one seen: a
/// threshold that nothing can reach is none.
const REACHABLE: f64 = 0.5;
const WEEK_MS: f64 = 7.0 * 24.0 * 3_600_000.0;

/// How a threshold was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// By the tail that was fitted to the peaks.
    PeaksOverThreshold,
    /// By counting.
    EmpiricalQuantile,
}

/// A threshold and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The score that raises an alarm.
    pub score: f64,
    /// How it was found.
    pub method: Method,
    /// Held-out scores above the level that peaks begin at.
    pub tail_points: usize,
    /// Held-out scores.
    pub scores: usize,
}

/// The threshold that `alarms_per_week` of the held-out runs would exceed. `runs` are the levels at which an alarm would
/// be raised, row after row and run after run, all of normal rows that no fit has seen; `step_ms` lies between two of
/// them. `ceiling` is the highest score that there can be. None without any.
///
/// Levels above the threshold that follow each other are one alarm, not several: the budget is of those.
pub fn calibrate(runs: &[Vec<f64>], step_ms: i64, alarms_per_week: f64, ceiling: f64) -> Option<Threshold> {
    let mut levels: Vec<f64> = runs.iter().flatten().copied().collect();
    levels.sort_by(f64::total_cmp);
    let scores = levels.len();
    let begin = quantile(&levels, PEAKS_FROM)?;
    let largest = *levels.last()?;
    let above_largest = |share: f64| largest + share * (ceiling - largest).max(0.0);
    let peaks = levels.iter().filter(|level| **level > begin).count();
    // The highest of each stretch: of those the budget is, and the further out, the shorter they are.
    let mut highest: Vec<f64> =
        runs.iter().flat_map(|run| episodes(run, begin)).map(|highest| highest - begin).collect();
    highest.sort_by(f64::total_cmp);
    let rows_per_week = WEEK_MS / step_ms as f64;
    let (method, score) = if peaks >= FEWEST_PEAKS && highest.len() >= FEWEST_STRETCHES {
        let (shape, scale) = fit_tail(&highest);
        let ratio = alarms_per_week * scores as f64 / rows_per_week / highest.len() as f64;
        let above = if shape.abs() < 1e-6 { -scale * ratio.ln() } else { scale / shape * (ratio.powf(-shape) - 1.0) };
        (Method::PeaksOverThreshold, (begin + above.max(0.0)).min(above_largest(REACHABLE)))
    } else {
        // Share of rows that may be above: an alarm lasts for as many rows as peaks stand together.
        let rows_per_alarm = peaks as f64 / highest.len().max(1) as f64;
        let share = (alarms_per_week * rows_per_alarm.max(1.0) / rows_per_week).min(1.0);
        let rare = share * (scores as f64) < 1.0;
        (Method::EmpiricalQuantile, if rare { above_largest(BEYOND) } else { quantile(&levels, 1.0 - share)? })
    };
    Some(Threshold { score, method, tail_points: peaks, scores })
}

/// The highest of each stretch of a run that is above a level.
fn episodes(run: &[f64], level: f64) -> impl Iterator<Item = f64> {
    let stretches = run.chunk_by(move |before, next| (*before > level) == (*next > level));
    let highest = |stretch: &[f64]| stretch.iter().copied().fold(f64::MIN, f64::max);
    stretches.map(highest).filter(move |highest| *highest > level)
}

/// Shape and scale of the generalised Pareto distribution of excesses, by probability-weighted moments (Hosking and
/// Wallis 1987): stable for few peaks and short tails, where the likelihood may have no maximum.
fn fit_tail(ascending: &[f64]) -> (f64, f64) {
    let count = ascending.len() as f64;
    let mean = ascending.iter().sum::<f64>() / count;
    let weighted =
        ascending.iter().enumerate().map(|(rank, excess)| (count - 1.0 - rank as f64) / (count - 1.0) * excess);
    let moment = weighted.sum::<f64>() / count;
    let shape = 2.0 - mean / (mean - 2.0 * moment);
    // Heavier than this a tail has no mean: such an estimate comes from an outlier among the peaks.
    let shape = shape.clamp(LIGHTEST, 0.5);
    (shape, mean * (1.0 - shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::rng::Random;

    #[test]
    fn a_known_tail_is_fitted() {
        let mut random = Random::new(1, 0);
        let mut peaks: Vec<f64> =
            (0..20_000).map(|_| 2.0 / 0.2 * ((1.0 - random.uniform()).powf(-0.2) - 1.0)).collect();
        peaks.sort_by(f64::total_cmp);
        let (shape, scale) = fit_tail(&peaks);
        assert!((shape - 0.2).abs() < 0.03 && (scale - 2.0).abs() < 0.1, "{shape} {scale}");
    }

    /// Correlated noise, as scores are: each keeps half of the one before.
    fn noise(rows: usize, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed, 0);
        let mut value = 0.0;
        (0..rows)
            .map(|_| {
                value = 0.5 * value + random.normal();
                value
            })
            .collect()
    }

    #[test]
    fn the_budget_is_honoured_on_normal_data_that_was_not_seen() {
        // Two weeks of a row in 15 seconds calibrate two alarms a week; ten other weeks judge.
        let week = 7 * 24 * 240;
        let alarms = |seed| {
            let threshold = calibrate(&[noise(2 * week, seed)], 15_000, 2.0, 20.0).unwrap();
            assert_eq!(threshold.method, Method::PeaksOverThreshold);
            episodes(&noise(10 * week, 100 + seed), threshold.score).count()
        };
        let alarms: Vec<usize> = (0..12).map(alarms).collect();
        // Four alarms say of one calibration only so much; together they must not miss the budget by a third.
        let mean = alarms.iter().sum::<usize>() as f64 / alarms.len() as f64;
        assert!((14.0..=26.0).contains(&mean), "{mean} alarms in 10 weeks of a budget of 20: {alarms:?}");
        assert!(alarms.iter().all(|alarms| *alarms <= 60), "{alarms:?}");
    }

    #[test]
    fn one_long_stretch_is_no_tail() {
        // Three days with an hour of something else.
        let mut scores = noise(3 * 5760, 1);
        scores[9000..9360].iter_mut().for_each(|score| *score += 8.0);
        let threshold = calibrate(&[scores.clone()], 15_000, 2.0, 20.0).unwrap();
        assert_eq!((threshold.method, threshold.tail_points), (Method::EmpiricalQuantile, 346));
        let (most, usual) = (scores.iter().copied().fold(f64::MIN, f64::max), quantile(&scores, 0.5).unwrap());
        assert!(threshold.score > usual && threshold.score < most + 0.2 * (20.0 - most), "{threshold:?} {most}");
    }

    #[test]
    fn few_rows_are_counted() {
        let threshold = calibrate(&[noise(1000, 1)], 15_000, 2.0, 20.0).unwrap();
        assert_eq!((threshold.method, threshold.tail_points), (Method::EmpiricalQuantile, 20));
        let most = noise(1000, 1).into_iter().fold(f64::MIN, f64::max);
        assert!(threshold.score > most && threshold.score < 20.0, "{threshold:?} {most}");
        // A budget that the scores can show is counted in them.
        let generous = calibrate(&[noise(1000, 1)], 15_000, 500.0, 20.0).unwrap();
        assert!(generous.score < most, "{generous:?} {most}");
        assert_eq!(calibrate(&[], 15_000, 2.0, 20.0), None);
    }
}
