//! A seeded response surface that stands in for PostgreSQL, so that optimizers can be compared in seconds.
//!
//! Log throughput over the unit cube is a sum of saturating effects (buffers, WAL size), peaked ones (delays, costs)
//! and interactions of pairs; some knobs are inert, as `work_mem` is on TPC-B, and a corner of the cube runs out of
//! memory. A measurement adds multiplicative noise and, where asked for, a random walk of the whole machine's speed.
//! Its scale is what was measured on a real server: pgtune's formulas 9 to 20 % above the stock configuration, the
//! optimum 25 to 40 %.

use thiserror::Error;

use super::measurement::Measurement;
use crate::decimal::Decimal;
use crate::learn::rng::Random;

/// Transactions per second of the baseline, without noise.
const BASELINE_TPS: f64 = 1000.0;
/// Concurrent clients of the simulated load.
const CLIENTS: f64 = 16.0;
/// Length of a simulated run and of its closing checkpoint.
const SECONDS: f64 = 60.0;
const CHECKPOINT_SECONDS: f64 = 3.0;
/// Features of the state vector.
const FEATURES: usize = 24;
/// Of the knobs that matter, each matters this much of the one before: a few decide, as on real servers.
const DECAY: f64 = 0.5;
/// Levels of an axis in the search for the optimum, as many as a knob has buckets at most.
const LEVELS: usize = 32;
/// Independent streams of the seed.
const SURFACE_STREAM: u64 = 0;
const SEARCH_STREAM: u64 = 1;
const NOISE_STREAM: u64 = 2;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimulatorSpec {
    /// Seed of the surface and of the noise.
    pub seed: u64,
    /// Number of knobs, at least 4.
    pub dimensions: usize,
    /// Standard deviation of a measurement's logarithm: 0.05 is 5 %.
    pub noise: f64,
    /// Standard deviation of the machine's speed from one measurement to the next, as a logarithm: 0 for a machine
    /// without neighbours, 0.03 for one that wanders by tens of percent within a session.
    pub drift: f64,
    /// Knobs that change nothing: every gain found is noise.
    pub no_op: bool,
}

impl SimulatorSpec {
    /// 14 knobs, 5 % noise, no drift.
    pub fn new(seed: u64) -> Self {
        Self { seed, dimensions: 14, noise: 0.05, drift: 0.0, no_op: false }
    }
}

/// The simulated server ran out of memory.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the simulated server ran out of memory: knobs {first} and {second} are both close to their maximum")]
pub struct Crash {
    /// One of the two knobs.
    pub first: usize,
    /// The other.
    pub second: usize,
}

/// How one knob moves log throughput, before scaling.
#[derive(Clone, Copy, Debug)]
enum Effect {
    Inert,
    /// The first steps bring most of it.
    Saturating {
        weight: f64,
    },
    /// Falls off on both sides of an optimum.
    Peaked {
        weight: f64,
        optimum: f64,
    },
}

impl Effect {
    fn at(self, x: f64) -> f64 {
        match self {
            Self::Inert => 0.0,
            Self::Saturating { weight } => weight * (1.0 - (-5.0 * x).exp()) / (1.0 - (-5.0_f64).exp()),
            Self::Peaked { weight, optimum } => -weight * ((x - optimum) / optimum.max(1.0 - optimum)).powi(2),
        }
    }
}

/// `first` pays more the closer `second` is to `optimum`.
#[derive(Clone, Copy, Debug)]
struct Interaction {
    first: usize,
    second: usize,
    optimum: f64,
    weight: f64,
}

/// A simulated server.
#[derive(Clone, Debug)]
pub struct Simulator {
    spec: SimulatorSpec,
    effects: Vec<Effect>,
    interactions: Vec<Interaction>,
    /// Knobs that together exhaust the memory, and from which value on.
    memory: (usize, usize, f64),
    /// Log throughput per unit of effect.
    scale: f64,
    baseline: Vec<f64>,
    heuristic: Vec<f64>,
    optimum: Vec<f64>,
    /// Per feature: intercept, share of log throughput, and a coefficient for each knob.
    features: Vec<(f64, f64, Vec<f64>)>,
    speed: f64,
    noise: Random,
}

impl Simulator {
    /// Draws the surface of a seed and searches its optimum.
    pub fn new(spec: SimulatorSpec) -> Self {
        let mut random = Random::new(spec.seed, SURFACE_STREAM);
        let mut simulator = Self::draw(spec, &mut random);
        simulator.optimum = simulator.search();
        let range = simulator.effect(&simulator.optimum) - simulator.effect(&simulator.baseline);
        simulator.scale = if spec.no_op { 0.0 } else { random.between(1.25, 1.40).ln() / range };
        simulator.heuristic = simulator.place_heuristic(random.between(1.09, 1.20).ln(), &mut random);
        simulator
    }

    fn draw(spec: SimulatorSpec, random: &mut Random) -> Self {
        let dimensions = spec.dimensions.max(4);
        let order = random.permutation(dimensions);
        let active = &order[..(dimensions * 3).div_ceil(5)];
        let mut effects = vec![Effect::Inert; dimensions];
        let mut baseline: Vec<f64> = (0..dimensions).map(|_| random.between(0.1, 0.9)).collect();
        for (rank, knob) in active.iter().enumerate() {
            let weight = DECAY.powi(rank as i32) * random.between(0.7, 1.3);
            if rank % 2 == 0 {
                effects[*knob] = Effect::Saturating { weight };
                baseline[*knob] = random.between(0.05, 0.5);
            } else {
                effects[*knob] = Effect::Peaked { weight, optimum: random.between(0.15, 0.85) };
            }
        }
        let interactions = active
            .chunks_exact(2)
            .enumerate()
            .map(|(pair, knobs)| Interaction {
                first: knobs[0],
                second: knobs[1],
                optimum: random.between(0.2, 1.0),
                weight: DECAY.powi(2 * pair as i32) * random.between(0.1, 0.5),
            })
            .collect();
        let features = (0..FEATURES)
            .map(|_| {
                let knobs = (0..dimensions).map(|_| random.normal() * 0.2).collect();
                (random.between(-2.0, 14.0), random.normal(), knobs)
            })
            .collect();
        Self {
            spec,
            effects,
            interactions,
            memory: (active[0], active[2], random.between(0.75, 0.95)),
            scale: 1.0,
            heuristic: baseline.clone(),
            optimum: baseline.clone(),
            baseline,
            features,
            speed: 0.0,
            noise: Random::new(spec.seed, NOISE_STREAM),
        }
    }

    /// The configuration before the first change: it leaves out what larger memory and WAL bring.
    pub fn baseline_point(&self) -> &[f64] {
        &self.baseline
    }

    /// What formulas give: better than the baseline, below the optimum.
    pub fn heuristic_point(&self) -> &[f64] {
        &self.heuristic
    }

    /// Throughput of the best configuration that a long search of the surface without noise finds.
    pub fn best_known(&self) -> f64 {
        self.noise_free(&self.optimum)
    }

    /// Throughput without noise and drift, in transactions per second; 0 where the server crashes.
    pub fn noise_free(&self, point: &[f64]) -> f64 {
        if self.crashes(point) { 0.0 } else { BASELINE_TPS * self.log_gain(point).exp() }
    }

    /// Runs the benchmark once.
    ///
    /// # Errors
    /// The configuration lies in the region where the server runs out of memory.
    pub fn measure(&mut self, point: &[f64]) -> Result<Measurement, Crash> {
        self.speed += self.spec.drift * self.noise.normal();
        if self.crashes(point) {
            return Err(Crash { first: self.memory.0, second: self.memory.1 });
        }
        let log_gain = self.log_gain(point) + self.speed + self.spec.noise * self.noise.normal();
        let tps = BASELINE_TPS * log_gain.exp();
        let latency = 1000.0 * CLIENTS / tps;
        let transactions = tps * (SECONDS + CHECKPOINT_SECONDS);
        Ok(Measurement {
            transactions: transactions as i64,
            seconds: Decimal(SECONDS),
            checkpoint_seconds: Decimal(CHECKPOINT_SECONDS),
            tps: Decimal::rounded(tps),
            latency_mean_ms: Decimal::rounded(latency),
            latency_p95_ms: Decimal::rounded(1.7 * latency),
            latency_p99_ms: Decimal::rounded(2.6 * latency),
            latency_stddev_ms: Decimal::rounded(0.5 * latency),
            wal_bytes: (transactions * 700.0) as i64,
            state: self.state(point, log_gain),
            ..Measurement::default()
        })
    }

    /// Features that depend on the configuration and on the speed at which it ran, with the noise of their sampling.
    fn state(&mut self, point: &[f64], log_gain: f64) -> Vec<Decimal> {
        let noise = &mut self.noise;
        let features = self.features.iter().map(|(intercept, share, knobs)| {
            let moved: f64 = knobs.iter().zip(point).map(|(coefficient, x)| coefficient * x).sum();
            Decimal::rounded((intercept + share * log_gain + moved + 0.02 * noise.normal()).exp())
        });
        features.collect()
    }

    fn crashes(&self, point: &[f64]) -> bool {
        let (first, second, from) = self.memory;
        !self.spec.no_op && point[first] > from && point[second] > from
    }

    /// Log ratio of a configuration's throughput to the baseline's.
    fn log_gain(&self, point: &[f64]) -> f64 {
        self.scale * (self.effect(point) - self.effect(&self.baseline))
    }

    fn effect(&self, point: &[f64]) -> f64 {
        let alone: f64 = self.effects.iter().zip(point).map(|(effect, x)| effect.at(*x)).sum();
        let together = self.interactions.iter().map(|pair| {
            let closeness = 1.0 - ((point[pair.second] - pair.optimum) / 0.5).powi(2);
            pair.weight * point[pair.first] * closeness.max(-1.0)
        });
        alone + together.sum::<f64>()
    }

    /// Coordinate ascent over a grid from many random points.
    fn search(&self) -> Vec<f64> {
        let mut random = Random::new(self.spec.seed, SEARCH_STREAM);
        let mut best = self.baseline.clone();
        for _ in 0..40 {
            let mut point: Vec<f64> = self.baseline.iter().map(|_| random.between(0.0, 0.7)).collect();
            // The order decides which of the two knobs that share the memory gets more of it.
            let order = random.permutation(point.len());
            while self.improve(&mut point, &order) {}
            if self.effect(&point) > self.effect(&best) {
                best = point;
            }
        }
        best
    }

    /// One round over the axes; whether anything became better.
    fn improve(&self, point: &mut [f64], order: &[usize]) -> bool {
        let mut best = self.effect(point);
        let before = best;
        for &axis in order {
            let mut chosen = point[axis];
            for level in 0..LEVELS {
                point[axis] = level as f64 / (LEVELS - 1) as f64;
                let effect = self.effect(point);
                if effect > best && !self.crashes(point) {
                    (chosen, best) = (point[axis], effect);
                }
            }
            point[axis] = chosen;
        }
        best > before
    }

    /// A point with the given log gain: formulas know where to go, but not how far for each knob, and leave some alone.
    fn place_heuristic(&self, log_gain: f64, random: &mut Random) -> Vec<f64> {
        let mut known: Vec<bool> = self.baseline.iter().map(|_| random.uniform() < 0.7).collect();
        let pace: Vec<f64> = self.baseline.iter().map(|_| random.between(0.3, 3.0)).collect();
        let at = |way: f64, known: &[bool]| -> Vec<f64> {
            let axes = self.baseline.iter().zip(&self.optimum).zip(pace.iter().zip(known));
            axes.map(|((from, to), (pace, known))| if *known { from + (to - from) * way.powf(*pace) } else { *from })
                .collect()
        };
        // Where too little is known to reach the gain, formulas know a knob more. (Without any effect no knob helps.)
        for knob in random.permutation(known.len()) {
            if self.log_gain(&at(1.0, &known)) >= log_gain {
                break;
            }
            known[knob] = true;
        }
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..50 {
            let middle = (low + high) / 2.0;
            if self.log_gain(&at(middle, &known)) < log_gain { low = middle } else { high = middle }
        }
        at(high, &known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulators() -> impl Iterator<Item = Simulator> {
        (0..20).map(|seed| Simulator::new(SimulatorSpec::new(seed)))
    }

    #[test]
    fn heuristic_and_optimum_lie_where_they_were_measured() {
        for simulator in simulators() {
            let gain = |point: &[f64]| simulator.noise_free(point) / simulator.noise_free(simulator.baseline_point());
            let heuristic = gain(simulator.heuristic_point());
            assert!((1.089..1.201).contains(&heuristic), "{heuristic}");
            let best = simulator.best_known() / simulator.noise_free(simulator.baseline_point());
            assert!((1.249..1.401).contains(&best), "{best}");
        }
    }

    #[test]
    fn no_random_point_beats_the_best_known() {
        for simulator in simulators() {
            let mut random = Random::new(99, 0);
            for _ in 0..2_000 {
                let point: Vec<f64> = (0..14).map(|_| random.uniform()).collect();
                assert!(simulator.noise_free(&point) <= simulator.best_known());
            }
        }
    }

    #[test]
    fn the_memory_corner_crashes_and_every_seed_replays() {
        let mut simulator = Simulator::new(SimulatorSpec::new(3));
        assert!(simulator.measure(&[1.0; 14]).is_err());
        assert_eq!(simulator.noise_free(&[1.0; 14]), 0.0);
        let mut again = Simulator::new(SimulatorSpec::new(3));
        assert!(again.measure(&[1.0; 14]).is_err());
        let point = simulator.heuristic_point().to_vec();
        assert_eq!(simulator.measure(&point), again.measure(&point));
    }

    #[test]
    fn noise_is_as_large_as_asked_for() {
        let mut simulator = Simulator::new(SimulatorSpec::new(1));
        let point = simulator.baseline_point().to_vec();
        let logs: Vec<f64> = (0..2_000).map(|_| simulator.measure(&point).unwrap().tps.0.ln()).collect();
        let mean = logs.iter().sum::<f64>() / 2_000.0;
        let deviation = (logs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2_000.0).sqrt();
        assert!((mean - BASELINE_TPS.ln()).abs() < 0.005 && (deviation - 0.05).abs() < 0.004, "{mean} {deviation}");
    }

    #[test]
    fn drift_moves_the_machine_and_not_the_surface() {
        let mut simulator = Simulator::new(SimulatorSpec { noise: 0.0, drift: 0.05, ..SimulatorSpec::new(1) });
        let point = simulator.baseline_point().to_vec();
        let tps: Vec<f64> = (0..100).map(|_| simulator.measure(&point).unwrap().tps.0).collect();
        let (low, high) = tps.iter().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
        assert!(high / low > 1.2, "{low} {high}");
        assert_eq!(simulator.noise_free(&point), BASELINE_TPS);
    }

    #[test]
    fn knobs_of_a_no_op_space_change_nothing() {
        let simulator = Simulator::new(SimulatorSpec { no_op: true, ..SimulatorSpec::new(4) });
        assert_eq!(simulator.noise_free(&[1.0; 14]), simulator.noise_free(&[0.0; 14]));
    }

    #[test]
    fn states_differ_by_configuration() {
        let mut simulator = Simulator::new(SimulatorSpec::new(5));
        let (baseline, heuristic) = (simulator.baseline_point().to_vec(), simulator.heuristic_point().to_vec());
        let (a, b) = (simulator.measure(&baseline).unwrap().state, simulator.measure(&heuristic).unwrap().state);
        assert!(a.len() == FEATURES && a.iter().zip(&b).filter(|(x, y)| x != y).count() > FEATURES / 2);
    }
}
