//! A session's course over its space: what the operator, `howdah tune` and the simulator's benches share.

use super::crd::{Algorithm, Budget, PostgresTuningSpec, RewardKind, TrialKind};
use super::knobs::Resources;
use super::measurement::{Measurement, Parameters};
use super::objective::{self, Baselines};
use super::optimizer::{Observation, Request};
use super::safety::{self, Kernel};
use super::session::{self, Next, Outcome, Record, Rules, Scores, exploration_total};
use super::space::Space;
use crate::duration::seconds;
use crate::postgres::setting::Settings;

/// Steps in which a knob is moved when a proposal was measured already: as many as a knob has values.
const BUCKETS: u16 = 32;

/// Everything that a session's next step depends on.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The specification of the tuning.
    pub spec: &'a PostgresTuningSpec,
    /// The space that the session froze.
    pub space: Space,
    /// The server's settings at the baseline.
    pub settings: Settings,
    /// What the server may use.
    pub resources: Resources,
    /// What the formulas say of the space's knobs, before the safety kernel.
    pub formulas: Parameters,
    /// Every knob that a trial may change, with its value before the first change.
    pub baseline: Parameters,
    /// The trials so far, all ended.
    pub records: Vec<Record>,
    /// The session's age in seconds.
    pub elapsed_seconds: i64,
    /// Pairs of the verification.
    pub verification_pairs: i32,
}

/// A proposal after the safety kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// Its point.
    pub point: Vec<f64>,
    /// Knobs that differ from the baseline.
    pub parameters: Parameters,
    /// What the kernel changed.
    pub repairs: Vec<String>,
}

/// A trial's score as it is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scored {
    /// Log gain over the baseline measured nearest to it.
    pub log_gain: Option<f64>,
    /// Reward for the learner.
    pub reward: Option<f64>,
}

impl Plan<'_> {
    /// What comes next.
    pub fn next(&self) -> Next {
        let is_safe = |parameters: &Parameters| self.project(parameters).parameters == *parameters;
        session::next(&self.rules(), &self.space, &self.heuristic(), &self.records, self.elapsed_seconds, &is_safe)
    }

    /// What the session goes by.
    pub fn rules(&self) -> Rules {
        let Budget { trials, max_duration, patience, .. } = &self.spec.budget;
        let count = |number: i32| usize::try_from(number).unwrap_or(0);
        Rules {
            trials: count(*trials),
            max_seconds: seconds(max_duration),
            patience: count(*patience),
            verification_pairs: count(self.verification_pairs),
            max_consecutive_failures: count(self.spec.safety.max_consecutive_failures),
            algorithm: self.spec.optimizer.algorithm,
            metric: self.spec.objective.metric,
            min_improvement_percent: f64::from(self.spec.objective.min_improvement_percent),
            seed: self.spec.optimizer.seed.unsigned_abs(),
        }
    }

    /// The formulas after the safety kernel: knobs that differ from the baseline.
    pub fn heuristic(&self) -> Parameters {
        self.project(&self.formulas).parameters
    }

    /// The baseline with `changed` on top.
    pub fn complete(&self, changed: &Parameters) -> Parameters {
        let mut parameters = self.baseline.clone();
        parameters.extend(changed.clone());
        parameters
    }

    /// Passes a proposal through the safety kernel. Knobs that need a restart stay where they are between two baselines,
    /// and a configuration that was measured already is moved to the nearest that was not.
    pub fn admit(&self, proposed: &[f64]) -> Admitted {
        let mut point = self.space.snap(proposed);
        if let Some(current) = self.current_outer_setting() {
            for dimension in self.space.restart_dimensions() {
                point[dimension] = current.point[dimension];
            }
        }
        let tried = |admitted: &Admitted| {
            let mut search = self.records.iter().filter(|r| r.kind != TrialKind::Verify);
            admitted.parameters.is_empty() || search.any(|r| r.parameters == admitted.parameters)
        };
        let original = self.admitted(&point);
        if !tried(&original) {
            return original;
        }
        let outer = self.space.restart_dimensions();
        let free: Vec<usize> = (0..point.len()).filter(|d| !outer.contains(d)).collect();
        (1..=BUCKETS)
            .flat_map(|step| [f64::from(step), -f64::from(step)])
            // Another knob each time, so that a policy that repeats itself looks around in every direction.
            .flat_map(|step| (0..free.len()).map(move |i| (i, step / f64::from(BUCKETS))))
            .map(|(i, shift)| {
                let dimension = free[(i + self.records.len()) % free.len()];
                let mut near = point.clone();
                near[dimension] = (near[dimension] + shift).clamp(0.0, 1.0);
                self.admitted(&near)
            })
            .find(|near| !tried(near))
            .unwrap_or(original)
    }

    /// The last proposal since the last baseline: the knobs that need a restart are turned in an outer loop around it. After
    /// one that was not measured the baseline is in effect again: a restart is due anyway, and its values are no place to
    /// stay at.
    fn current_outer_setting(&self) -> Option<&Record> {
        self.records
            .iter()
            .rev()
            .take_while(|r| !r.is_baseline() && matches!(r.outcome, Outcome::Measured(_)))
            .find(|r| matches!(r.kind, TrialKind::Explore | TrialKind::Policy | TrialKind::Refine))
    }

    fn admitted(&self, point: &[f64]) -> Admitted {
        let projection = self.project(&self.space.decode(point));
        let point = self.space.encode(&self.complete(&projection.parameters));
        Admitted { point, parameters: projection.parameters, repairs: projection.repairs }
    }

    fn project(&self, parameters: &Parameters) -> safety::Projection {
        let kernel = Kernel {
            settings: &self.settings,
            resources: &self.resources,
            safety: &self.spec.safety,
            restart: self.spec.restart_policy,
        };
        let mut projection = safety::project(parameters, &kernel);
        projection.parameters.retain(|name, value| self.baseline.get(name).is_some_and(|baseline| baseline != value));
        safety::drop_followers(&mut projection.parameters);
        projection
    }

    /// What the optimizer is asked for the next trial.
    pub fn request(&self, kind: TrialKind, checkpoint: Option<Vec<u8>>) -> Request {
        let rules = self.rules();
        let told = |kind| self.records.iter().filter(|r| r.kind == kind && r.outcome != Outcome::Interrupted).count();
        Request {
            optimizer: self.spec.optimizer.clone(),
            kind,
            number: self.records.len() as i32 + 1,
            budget: self.spec.budget.trials,
            exploration_index: told(TrialKind::Explore),
            exploration_total: exploration_total(&rules),
            heuristic: self.space.encode(&self.complete(&self.heuristic())),
            baseline: self.space.encode(&self.baseline),
            state: self.state_before(self.records.len()),
            history: self.observations(),
            checkpoint,
        }
    }

    /// Every trial of the search that tells something: the state in which it was chosen and the measurement it caused.
    pub fn observations(&self) -> Vec<Observation> {
        let rewards = self.rewards();
        let told = self.records.iter().enumerate().zip(rewards);
        told.filter_map(|((index, record), reward)| {
            let level = match &record.outcome {
                Outcome::Measured(m) => objective::worth(self.spec.objective.metric, m, self.resources.memory_bytes),
                Outcome::Failed => None,
                Outcome::Interrupted => return None,
            };
            (record.kind != TrialKind::Verify).then(|| Observation {
                point: record.point.clone(),
                state: self.state_before(index),
                next_state: self.state_before(index + 1),
                level: level.unwrap_or_default(),
                reward: reward.unwrap_or_default(),
                feasible: level.is_some(),
                kind: record.kind,
            })
        })
        .collect()
    }

    /// The state vector of the last measurement among the first `count` records. Before the first, the server is in the
    /// state that the first will show.
    fn state_before(&self, count: usize) -> Vec<f64> {
        let (before, after) = self.records.split_at(count);
        let measured = before.iter().rev().chain(after).find_map(Record::measurement);
        measured.map_or_else(Vec::new, |m| m.state.iter().map(|x| x.0).collect())
    }

    /// The reward of each record; `None` for what tells nothing.
    fn rewards(&self) -> Vec<Option<f64>> {
        let search = || self.records.iter().filter(|r| r.kind != TrialKind::Verify);
        let baselines =
            Baselines::new(search().filter(|r| r.is_baseline()).filter_map(|r| Some((r.number, r.measurement()?))));
        let first = self.records.iter().find_map(Record::measurement);
        let published = self.spec.optimizer.algorithm == Algorithm::DDPG
            && self.spec.optimizer.ddpg.as_ref().is_some_and(|d| d.reward == RewardKind::Cdbtune);
        let metric = self.spec.objective.metric;
        let mut seen: Vec<f64> = Vec::new();
        let mut previous: Option<&Measurement> = None;
        self.records
            .iter()
            .map(|record| {
                let reward = match &record.outcome {
                    Outcome::Interrupted => None,
                    Outcome::Failed => Some(objective::failure_reward(&seen)),
                    Outcome::Measured(now) if published => {
                        objective::cdbtune(metric, now, first?, previous.unwrap_or(now))
                    }
                    Outcome::Measured(now) => {
                        objective::reward(metric, now, &baselines.at(record.number)?, self.resources.memory_bytes)
                    }
                };
                previous = record.measurement().or(previous);
                seen.extend(reward);
                reward
            })
            .collect()
    }

    /// Score and reward of a trial that is among the records.
    pub fn scored(&self, number: i32) -> Scored {
        let index = self.records.iter().position(|r| r.number == number);
        Scored {
            log_gain: Scores::new(self.spec.objective.metric, &self.records).of(number).map(|s| s.log_gain),
            reward: index.and_then(|index| self.rewards().get(index).copied().flatten()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decimal::Decimal;
    use crate::tuning::crd::{Durability, RestartPolicy};
    use crate::tuning::space::tests::{resources, settings};

    fn spec() -> PostgresTuningSpec {
        let spec = json!({"instanceRef": {"name": "shop"}, "workload": {"pgbench": {}}});
        serde_json::from_value(spec).unwrap()
    }

    fn plan(spec: &PostgresTuningSpec, records: Vec<Record>) -> Plan<'_> {
        let (settings, resources) = (settings(), resources());
        let space = Space::build(&spec.knobs, RestartPolicy::Never, Durability::Strict, &settings, &resources).unwrap();
        let (baseline, formulas) = (space.baseline(), Parameters::new());
        Plan {
            spec,
            space,
            settings,
            resources,
            formulas,
            baseline,
            records,
            elapsed_seconds: 0,
            verification_pairs: 5,
        }
    }

    /// A trial whose point is a tenth of its number, and whose state vector its number.
    fn record(number: i32, kind: TrialKind, outcome: Outcome) -> Record {
        let point = vec![f64::from(number) / 10.0];
        Record { number, kind, arm: None, point, parameters: Parameters::new(), outcome }
    }

    fn measured(number: i32, kind: TrialKind, tps: f64) -> Record {
        let measurement = Measurement {
            tps: Decimal(tps),
            latency_p95_ms: Decimal(1.0),
            state: vec![Decimal(f64::from(number))],
            ..Measurement::default()
        };
        record(number, kind, Outcome::Measured(Box::new(measurement)))
    }

    #[test]
    fn an_observation_has_the_state_before_its_trial_and_what_the_trial_showed() {
        let spec = spec();
        let plan = plan(
            &spec,
            vec![
                measured(1, TrialKind::Baseline, 100.0),
                measured(2, TrialKind::Heuristic, 110.0),
                record(3, TrialKind::Explore, Outcome::Failed),
                record(4, TrialKind::Explore, Outcome::Interrupted),
                measured(5, TrialKind::Policy, 120.0),
                measured(6, TrialKind::Verify, 200.0),
            ],
        );
        let observations = plan.observations();
        let seen: Vec<_> = observations.iter().map(|o| (o.point[0], o.state[0], o.next_state[0], o.feasible)).collect();
        // What failed leaves the state as it was; what was interrupted, or verifies, teaches nothing.
        assert_eq!(seen, [(0.1, 1.0, 1.0, true), (0.2, 1.0, 2.0, true), (0.3, 2.0, 2.0, false), (0.5, 2.0, 5.0, true)]);
        let near = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
        let expected = [(0.0, 100_f64.ln()), (1.1_f64.ln(), 110_f64.ln()), (-0.5, 0.0), (1.2_f64.ln(), 120_f64.ln())];
        for (observation, (reward, level)) in observations.iter().zip(expected) {
            near(observation.reward, reward);
            near(observation.level, level);
        }
        // The next trial is chosen in the state that the last one left, whatever it was for.
        let request = plan.request(TrialKind::Policy, None);
        assert_eq!((request.state, request.number, request.exploration_index), (vec![6.0], 7, 1));
    }

    /// A restart is due anyway, and what it failed with is no place to stay at.
    #[test]
    fn a_trial_that_failed_pins_no_knob_that_needs_a_restart() {
        let mut spec = spec();
        spec.restart_policy = RestartPolicy::Always;
        let space =
            Space::build(&spec.knobs, RestartPolicy::Always, Durability::Strict, &settings(), &resources()).unwrap();
        let outer = space.restart_dimensions();
        let width = space.baseline().len();
        let high: Vec<f64> = vec![0.8; width];
        let last = |outcome: Outcome| Record { point: high.clone(), ..record(2, TrialKind::Explore, outcome) };
        let admitted = |second: Record| {
            let mut plan = plan(&spec, vec![measured(1, TrialKind::Baseline, 100.0), second]);
            plan.space = space.clone();
            plan.baseline = space.baseline();
            plan.admit(&vec![0.2; width]).point[outer[0]]
        };
        let Record { outcome: measured, .. } = measured(2, TrialKind::Explore, 110.0);
        assert!(admitted(last(measured)) > 0.5, "a measured one does");
        assert!(admitted(last(Outcome::Failed)) < 0.5);
        assert!(admitted(last(Outcome::Interrupted)) < 0.5);
    }

    #[test]
    fn before_the_first_measurement_the_state_is_that_of_the_first() {
        let spec = spec();
        let failed = record(1, TrialKind::Baseline, Outcome::Failed);
        assert_eq!(plan(&spec, vec![failed.clone()]).observations()[0].state, Vec::<f64>::new());
        let observations = plan(&spec, vec![failed, measured(2, TrialKind::Baseline, 100.0)]).observations();
        let seen: Vec<_> = observations.iter().map(|o| (o.state[0], o.next_state[0])).collect();
        assert_eq!(seen, [(2.0, 2.0), (2.0, 2.0)]);
    }
}
