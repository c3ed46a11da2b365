//! `howdah bench optimizers`: the algorithms on simulated servers.

use anyhow::Result;
use clap::Args;

use super::simulated::{Conditions, Server};
use super::verdict;
use crate::tuning::crd::{Algorithm, SessionOutcome};

/// Trials after which the best configuration is looked at.
const MILESTONES: [usize; 5] = [5, 10, 20, 30, 40];
/// A configuration counts as found within this share of the best known.
const CLOSE: f64 = 0.95;
/// Share of the seeds in which DDPG must be as close.
const CLOSE_SEEDS: f64 = 0.8;
/// Share of the sessions without anything to find that may recommend something.
const FALSE_RECOMMENDATIONS: f64 = 0.05;
const ALGORITHMS: [Algorithm; 4] = [Algorithm::DDPG, Algorithm::LHS, Algorithm::Random, Algorithm::Heuristic];

/// What is compared.
#[derive(Debug, Args)]
pub struct Optimizers {
    /// Sessions of each algorithm, each on a server of its own.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first server's seed.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    first_seed: u64,
    /// Trials of a session, baselines and the heuristic included.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(i32).range(3..=200))]
    trials: i32,
    /// Standard deviation of a measurement in percent.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(..=50), value_name = "PERCENT")]
    noise: u8,
    /// The machine's speed wanders by 3 % from one measurement to the next.
    #[arg(long)]
    drift: bool,
    /// Sessions on servers on which no knob has an effect; 0 leaves them out.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=1000))]
    no_op_sessions: u64,
}

impl Optimizers {
    fn conditions(&self, algorithm: Algorithm, number: u64) -> Conditions {
        Conditions {
            seed: self.first_seed + number,
            algorithm,
            trials: self.trials,
            noise: f64::from(self.noise) / 100.0,
            drift: if self.drift { 0.03 } else { 0.0 },
            no_op: false,
        }
    }
}

/// Prints the tables; whether the promises are kept.
pub fn run(options: &Optimizers) -> Result<bool> {
    let Optimizers { seeds, first_seed, trials, noise, drift, .. } = options;
    let wandering = if *drift { ", 3 % drift" } else { "" };
    println!("{seeds} simulated servers from seed {first_seed}, {trials} trials, {noise} % noise{wandering}.");
    println!("Throughput of the best configuration so far, without noise, as a share of the best known:\n");
    let milestones: Vec<usize> = MILESTONES.into_iter().filter(|trial| *trial <= *trials as usize).collect();
    let header: String = milestones.iter().map(|trial| format!("{trial:>7}")).collect();
    println!("{:10}{header}   within 5 %", "trials");
    let mut kept = true;
    for algorithm in ALGORITHMS {
        let name = format!("{algorithm:?}");
        let (means, close) = compare(options, algorithm, &milestones)?;
        let shares: String = means.iter().map(|share| format!("{:>6.1}%", 100.0 * share)).collect();
        println!("{name:10}{shares}   {close} of {seeds} seeds");
        if algorithm == Algorithm::DDPG {
            kept = close as f64 >= CLOSE_SEEDS * *seeds as f64;
        }
    }
    println!("\nDDPG within 5 % of the best known in at least 8 of 10 seeds: {}", verdict(kept));
    Ok(no_op(options)? && kept)
}

/// Mean share at each milestone, and the number of seeds that ended close to the best known.
fn compare(options: &Optimizers, algorithm: Algorithm, milestones: &[usize]) -> Result<(Vec<f64>, usize)> {
    let mut sums = vec![0.0; milestones.len()];
    let mut close = 0;
    for number in 0..options.seeds {
        let mut server = Server::new(&options.conditions(algorithm, number))?;
        server.run(false)?;
        let shares: Vec<f64> = milestones.iter().map(|trial| server.found_after(*trial)).collect();
        sums.iter_mut().zip(&shares).for_each(|(sum, share)| *sum += share);
        close += usize::from(shares.last().is_some_and(|share| *share >= CLOSE));
    }
    Ok((sums.iter().map(|sum| sum / options.seeds as f64).collect(), close))
}

/// Whole sessions in which every gain is noise.
fn no_op(options: &Optimizers) -> Result<bool> {
    let sessions = options.no_op_sessions;
    if sessions == 0 {
        return Ok(true);
    }
    let mut recommendations = 0;
    for number in 0..sessions {
        let conditions = Conditions { no_op: true, ..options.conditions(Algorithm::DDPG, number) };
        let conclusion = Server::new(&conditions)?.run(true)?;
        recommendations += u64::from(conclusion.is_some_and(|end| end.outcome == SessionOutcome::Improved));
    }
    let kept = recommendations as f64 <= FALSE_RECOMMENDATIONS * sessions as f64;
    println!(
        "{recommendations} recommendations in {sessions} sessions without anything to find (at most 5 %): {}",
        verdict(kept)
    );
    Ok(kept)
}
