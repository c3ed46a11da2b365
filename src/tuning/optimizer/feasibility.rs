//! Which configurations are likely to fail, as the failures so far tell.
//!
//! What kills a server is mostly two knobs that are far up (or down) together: memory for many, and much for each. Of
//! all such corners of the space those are suspected that hold every failure and no trial that could be measured.

use super::Observation;

/// A configuration is likely to fail when suspects of more than this share of all suspicion hold it: the first after no
/// failure, the others after one and after more in a row, for a third would end the session.
const LIKELY: [f64; 3] = [0.35, 0.05, 0.0];
/// A corner is taken to reach this much further than the failures that show it: the first after no failure, the others
/// after one and after more in a row.
const MARGIN: [f64; 3] = [0.05, 0.15, 0.3];
/// How much more the outermost corners are suspected.
const OUTERMOST: i32 = 4;

/// What is known of failures.
#[derive(Clone, Debug)]
pub enum Feasibility<'a> {
    /// Nothing failed.
    Unlimited,
    /// Corners that explain every failure, each with its share of the suspicion.
    Corners {
        /// The corners; the shares sum to 1.
        suspects: Vec<(Corner, f64)>,
        /// A configuration is likely to fail when suspects of more than this share hold it.
        likely: f64,
        /// How much further than the failures they reach.
        margin: f64,
    },
    /// No corner explains the failures: what lies closest to one is suspected.
    Nearest(&'a [Observation]),
}

/// Two half axes and where they begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corner([HalfAxis; 2]);

#[derive(Clone, Copy, Debug, PartialEq)]
struct HalfAxis {
    axis: usize,
    upwards: bool,
    /// Distance from the axis' other end.
    from: f64,
}

impl HalfAxis {
    fn at(axis: usize, upwards: bool, point: &[f64]) -> f64 {
        if upwards { point[axis] } else { 1.0 - point[axis] }
    }

    fn holds(&self, point: &[f64], margin: f64) -> bool {
        Self::at(self.axis, self.upwards, point) >= self.from - margin
    }
}

impl<'a> Feasibility<'a> {
    /// From all trials so far.
    pub fn of(history: &'a [Observation]) -> Self {
        let points = |feasible| history.iter().filter(move |t| t.feasible == feasible).map(|t| t.point.as_slice());
        let Some(axes) = points(false).next().map(<[f64]>::len) else { return Self::Unlimited };
        let halves: Vec<HalfAxis> = (0..axes)
            .flat_map(|axis| [true, false].map(|upwards| (axis, upwards)))
            .map(|(axis, upwards)| {
                let from = points(false).map(|point| HalfAxis::at(axis, upwards, point)).fold(1.0, f64::min);
                HalfAxis { axis, upwards, from }
            })
            .collect();
        let pairs = halves.iter().enumerate().flat_map(|(index, first)| {
            halves[index + 1..]
                .iter()
                .filter(|second| second.axis != first.axis)
                .map(|second| Corner([*first, *second]))
        });
        let suspects: Vec<(Corner, f64)> = pairs
            .filter(|corner| !points(true).any(|point| corner.0.iter().all(|half| half.holds(point, 0.0))))
            .map(|corner| (corner, (corner.0[0].from * corner.0[1].from).powi(OUTERMOST)))
            .collect();
        let total: f64 = suspects.iter().map(|(_, suspicion)| suspicion).sum();
        if total > 0.0 {
            let suspects = suspects.into_iter().map(|(corner, suspicion)| (corner, suspicion / total)).collect();
            let in_a_row = history.iter().rev().take_while(|trial| !trial.feasible).count();
            let caution = in_a_row.min(LIKELY.len() - 1);
            Self::Corners { suspects, likely: LIKELY[caution], margin: MARGIN[caution] }
        } else {
            Self::Nearest(history)
        }
    }

    /// Whether a configuration is likely to fail.
    pub fn likely_fails(&self, point: &[f64]) -> bool {
        match self {
            Self::Unlimited => false,
            Self::Corners { suspects, likely, margin } => {
                let holds = |corner: &Corner| corner.0.iter().all(|half| half.holds(point, *margin));
                suspects.iter().filter(|(corner, _)| holds(corner)).map(|(_, suspicion)| suspicion).sum::<f64>()
                    > *likely
            }
            Self::Nearest(history) => {
                let distance =
                    |trial: &Observation| -> f64 { trial.point.iter().zip(point).map(|(x, y)| (x - y).powi(2)).sum() };
                let nearest = history.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
                nearest.is_some_and(|trial| !trial.feasible)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::rng::Random;
    use crate::tuning::crd::TrialKind;

    fn trials(count: usize, fails: impl Fn(&[f64]) -> bool) -> Vec<Observation> {
        let mut random = Random::new(5, 0);
        let trial = |_| {
            let point: Vec<f64> = (0..6).map(|_| random.uniform()).collect();
            let feasible = !fails(&point);
            Observation {
                point,
                state: vec![],
                next_state: vec![],
                level: 0.0,
                reward: 0.0,
                feasible,
                kind: TrialKind::Explore,
            }
        };
        (0..count).map(trial).collect()
    }

    #[test]
    fn a_corner_that_fails_is_learnt_and_the_rest_stays_open() {
        let fails = |point: &[f64]| point[1] > 0.8 && point[4] < 0.3;
        let history = trials(200, fails);
        assert!(history.iter().any(|trial| !trial.feasible));
        let feasibility = Feasibility::of(&history);
        let mut random = Random::new(6, 0);
        let points: Vec<Vec<f64>> = (0..1000).map(|_| (0..6).map(|_| random.uniform()).collect()).collect();
        let wrong = points.iter().filter(|point| feasibility.likely_fails(point) != fails(point)).count();
        assert!(wrong < 40, "{wrong} of 1000");
        assert!(feasibility.likely_fails(&[0.5, 0.95, 0.5, 0.5, 0.1, 0.5]));
    }

    #[test]
    fn failures_without_a_corner_are_avoided_nearby() {
        let mut history = trials(40, |_| false);
        for index in [3, 17, 29] {
            history[index].feasible = false;
        }
        let feasibility = Feasibility::of(&history);
        assert!(matches!(feasibility, Feasibility::Nearest(_)));
        assert!(feasibility.likely_fails(&history[17].point) && !feasibility.likely_fails(&history[16].point));
    }

    #[test]
    fn without_a_failure_nothing_is_suspected() {
        assert!(!Feasibility::of(&trials(10, |_| false)).likely_fails(&[1.0; 6]));
    }
}
