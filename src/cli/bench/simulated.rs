//! A session on a simulated server: the operator's own course, scores, admission and verification.

use anyhow::Result;

use crate::decimal::Decimal;
use crate::postgres::setting::{Context, Setting, Settings, VarType};
use crate::tuning::crd::{
    Algorithm, Budget, InstanceReference, KnobScale, OptimizerSpec, Pgbench, PostgresTuningSpec, SessionKnob,
    TrialKind, Workload,
};
use crate::tuning::knobs::Resources;
use crate::tuning::measurement::Parameters;
use crate::tuning::optimizer;
use crate::tuning::plan::Plan;
use crate::tuning::session::{Assignment, Conclusion, Next, Outcome, Record, Scores};
use crate::tuning::simulator::{Simulator, SimulatorSpec};
use crate::tuning::space::Space;

/// The simulator's axes bear the names of knobs that no rule of the safety kernel ties to each other, so that the
/// kernel leaves every point as it is. What the knobs do is the simulator's own.
const NAMES: [&str; 14] = [
    "bgwriter_delay",
    "bgwriter_lru_maxpages",
    "bgwriter_lru_multiplier",
    "checkpoint_completion_target",
    "checkpoint_timeout",
    "commit_delay",
    "commit_siblings",
    "default_statistics_target",
    "effective_io_concurrency",
    "maintenance_work_mem",
    "random_page_cost",
    "wal_writer_delay",
    "wal_writer_flush_after",
    "work_mem",
];

/// Memory of the simulated server: so much that the kernel's memory model, which knows the names, never binds.
const MEMORY: u64 = 64 << 30;

/// What a session is run with.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Seed of the surface, of the noise and of the session.
    pub seed: u64,
    /// How configurations are proposed.
    pub algorithm: Algorithm,
    /// Trials of the search.
    pub trials: i32,
    /// Standard deviation of a measurement's logarithm.
    pub noise: f64,
    /// Standard deviation of the machine's speed between measurements, as a logarithm.
    pub drift: f64,
    /// No knob has an effect.
    pub no_op: bool,
}

/// A server whose settings are the simulator's coordinates.
pub struct Server {
    simulator: Simulator,
    spec: PostgresTuningSpec,
    space: Space,
    settings: Settings,
    formulas: Parameters,
    baseline: Parameters,
    records: Vec<Record>,
}

impl Server {
    /// A server at its baseline.
    ///
    /// # Errors
    /// Never for a simulator of these knobs; the space's own check says otherwise.
    pub fn new(conditions: &Conditions) -> Result<Self> {
        let Conditions { seed, algorithm, trials, noise, drift, no_op } = *conditions;
        let simulator = Simulator::new(SimulatorSpec { noise, drift, no_op, ..SimulatorSpec::new(seed) });
        let unlocated = Space::from_session(&knobs(&NAMES.map(|_| "0".to_owned()))).map_err(first)?;
        let named = |point: &[f64]| unlocated.decode(point);
        let baseline = named(simulator.baseline_point());
        let space = Space::from_session(&knobs(&NAMES.map(|name| baseline[name].clone()))).map_err(first)?;
        let settings = NAMES.map(|name| (name.to_owned(), setting(name, &baseline[name]))).into();
        let formulas = named(simulator.heuristic_point());
        let spec = PostgresTuningSpec {
            instance_ref: InstanceReference { name: "simulated".into() },
            mode: Default::default(),
            restart_policy: Default::default(),
            objective: Default::default(),
            workload: Workload { pgbench: Pgbench::default() },
            knobs: Default::default(),
            // Not the surface's seed itself: the session must not know what it looks for.
            optimizer: OptimizerSpec { algorithm, seed: seed as i64 + 1_000_000, ddpg: None },
            budget: Budget { trials, ..Budget::default() },
            safety: Default::default(),
            suspend: false,
            deletion_policy: Default::default(),
            benchmark_resources: None,
        };
        Ok(Self { simulator, spec, space, settings, formulas, baseline, records: Vec::new() })
    }

    /// Runs the session. With `verify`, to its conclusion; without, to the end of the search.
    ///
    /// # Errors
    /// When the optimizer can't propose.
    pub fn run(&mut self, verify: bool) -> Result<Option<Conclusion>> {
        let mut checkpoint = None;
        loop {
            let plan = self.plan();
            let number = self.records.len() as i32 + 1;
            let (assignment, point) = match plan.next() {
                Next::Conclude(conclusion) => return Ok(Some(conclusion)),
                Next::Measure(Assignment { kind: TrialKind::Verify, .. }) if !verify => return Ok(None),
                Next::Measure(assignment) => {
                    let point = plan.space.encode(&plan.complete(&assignment.parameters));
                    (assignment, point)
                }
                Next::Propose(kind) => {
                    let proposal = optimizer::propose(&plan.request(kind, checkpoint.take()))?;
                    checkpoint = proposal.checkpoint;
                    let admitted = plan.admit(&proposal.point);
                    (Assignment { kind, arm: None, parameters: admitted.parameters }, admitted.point)
                }
            };
            let measured = self.simulator.measure(&self.coordinates(&assignment.parameters));
            let outcome = measured.map_or(Outcome::Failed, |measurement| Outcome::Measured(Box::new(measurement)));
            let Assignment { kind, arm, parameters } = assignment;
            self.records.push(Record { number, kind, arm, point, parameters, outcome });
        }
    }

    /// Throughput without noise of the configuration that a session of so many trials would verify, as a share of the
    /// best known. Without a candidate it is the baseline.
    pub fn found_after(&self, trials: usize) -> f64 {
        let records = &self.records[..trials.min(self.records.len())];
        let scores = Scores::new(self.spec.objective.metric, records);
        let incumbent = scores.incumbent().filter(|incumbent| incumbent.log_gain > 0.0);
        let changed = incumbent.map(|incumbent| incumbent.parameters.clone()).unwrap_or_default();
        self.simulator.noise_free(&self.coordinates(&changed)) / self.simulator.best_known()
    }

    /// The session's course at this moment.
    pub fn plan(&self) -> Plan<'_> {
        Plan {
            spec: &self.spec,
            space: self.space.clone(),
            settings: self.settings.clone(),
            resources: Resources {
                memory_bytes: MEMORY,
                cpu_millis: 2000,
                data_volume_bytes: None,
                database_bytes: 0,
                max_connections: 100,
                clients: 16,
            },
            formulas: self.formulas.clone(),
            baseline: self.baseline.clone(),
            records: self.records.clone(),
            elapsed_seconds: 0,
            verification_pairs: self.spec.budget.verification_pairs,
        }
    }

    fn coordinates(&self, changed: &Parameters) -> Vec<f64> {
        let value = |name| changed.get(name).unwrap_or(&self.baseline[name]);
        NAMES.iter().map(|name| value(*name).parse().unwrap_or_default()).collect()
    }
}

fn first(errors: Vec<crate::tuning::space::SpaceError>) -> anyhow::Error {
    let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
    anyhow::anyhow!(sentences.join("; "))
}

fn knobs(baseline: &[String]) -> Vec<SessionKnob> {
    let knob = |(name, baseline): (&&str, &String)| SessionKnob {
        name: (*name).to_owned(),
        baseline: baseline.clone(),
        min: Some(Decimal(0.0)),
        max: Some(Decimal(1.0)),
        scale: KnobScale::Linear,
        integer: false,
        special: Vec::new(),
        values: Vec::new(),
        unit: String::new(),
        restart: false,
    };
    NAMES.iter().zip(baseline).map(knob).collect()
}

fn setting(name: &str, value: &str) -> Setting {
    Setting {
        name: name.to_owned(),
        value: value.to_owned(),
        vartype: VarType::Real,
        context: Context::Sighup,
        min: Some(0.0),
        max: Some(1.0),
        ..Setting::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::rng::Random;

    #[test]
    fn the_kernel_leaves_every_point_as_it_is() {
        let mut random = Random::new(1, 0);
        for seed in 0..5 {
            let (algorithm, noise) = (Algorithm::DDPG, 0.05);
            let conditions = Conditions { seed, algorithm, trials: 40, noise, drift: 0.0, no_op: false };
            let server = Server::new(&conditions).unwrap();
            for _ in 0..50 {
                let point: Vec<f64> = NAMES.iter().map(|_| random.uniform()).collect();
                let admitted = server.plan().admit(&point);
                assert_eq!(admitted.repairs, [""; 0]);
                assert_eq!(admitted.point, server.space.snap(&point));
            }
        }
    }
}
