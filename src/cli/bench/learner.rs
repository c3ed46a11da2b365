//! `howdah bench learner`: one step of the DDPG agent, as a trial pays for it.

use anyhow::Result;

use super::process::{Resident, cpu_seconds};
use super::simulated::{Conditions, Server};
use super::{build, mib, verdict};
use crate::tuning::crd::{Algorithm, TrialKind};
use crate::tuning::optimizer;

/// A step may take this long on one core.
const MOST_MILLISECONDS: f64 = 200.0;
const HISTORIES: [usize; 3] = [10, 20, 40];
/// The steps of a sample are timed together: the kernel counts processor time in hundredths of a second.
const SAMPLE: usize = 10;
const SAMPLES: usize = 5;

/// Prints times and memory; whether the promise is kept.
pub fn run() -> Result<bool> {
    println!("One DDPG step (load, learn a new trial with 40 updates, propose, save) on one core, {}.", build());
    println!("Processor time, mean of {SAMPLE} steps in each of {SAMPLES} samples:\n");
    println!("{:>8} {:>10} {:>10}", "history", "median", "max");
    let conditions =
        Conditions { seed: 1, algorithm: Algorithm::DDPG, trials: 40, noise: 0.05, drift: 0.0, no_op: false };
    let mut server = Server::new(&conditions)?;
    server.run(true)?;
    let process = std::process::id();
    let mut kept = true;
    for history in HISTORIES {
        // A session that ran out of patience has fewer trials.
        let history = history.min(server.plan().observations().len());
        // The agent has learned all but the last trial: that one is what the step learns.
        let mut request = server.plan().request(TrialKind::Policy, None);
        request.history.truncate(history - 1);
        let learned = optimizer::propose(&request)?.checkpoint;
        let mut request = server.plan().request(TrialKind::Policy, learned);
        request.history.truncate(history);
        let mut times = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            let before = cpu_seconds(process)?;
            for _ in 0..SAMPLE {
                optimizer::propose(&request)?;
            }
            times.push(1000.0 * (cpu_seconds(process)? - before) / SAMPLE as f64);
        }
        times.sort_by(f64::total_cmp);
        let median = times[SAMPLES / 2];
        let longest = times[SAMPLES - 1];
        println!("{:>8} {median:>7.1} ms {longest:>7.1} ms", request.history.len());
        kept &= median <= MOST_MILLISECONDS;
    }
    let resident = Resident::of_process(process)?;
    println!(
        "\nResident memory: {:.1} MiB, and {:.1} MiB of libtorch's libraries.",
        mib(resident.own),
        mib(resident.libtorch)
    );
    println!("A step's median is at most {MOST_MILLISECONDS:.0} ms: {}", verdict(kept));
    Ok(kept)
}
