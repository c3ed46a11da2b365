//! Which kernels the measurements leave plausible: from the likeliest one on, a random walk that visits each as often
//! as its posterior probability says (Metropolis and others 1953).

use super::kernel::{Kernel, LENGTHS};
use super::{Given, Member};
use crate::learn::rng::Random;

/// Scales that the likeliest kernel is chosen from, beside the lengths. Deviations are in units of the targets; of the drift,
/// from one measurement to the next.
const PAIR_SHARES: [f64; 3] = [0.1, 0.3, 0.6];
const SIGNALS: [f64; 5] = [0.2, 0.4, 0.8, 1.6, 3.2];
const NOISES: [f64; 4] = [0.03, 0.06, 0.1, 0.2];
const DRIFTS: [f64; 4] = [0.0, 0.01, 0.03, 0.1];
/// By how much the log likelihood must rise for a larger drift: a search that gets better looks like one.
const DRIFT_EVIDENCE: f64 = 2.0;
/// Times that every scale is chosen anew, the others given.
const ROUNDS: usize = 3;
/// How much more or less relevant an axis may become in a round, and by how much the log likelihood must rise for it:
/// a few axes matter, and tens of measurements can tell which, but would also fit their noise.
const RELEVANCE_FACTORS: [f64; 2] = [4.0, 0.25];
const RELEVANCE_EVIDENCE: f64 = 0.2;

/// Kernels of the walk that are kept, the steps from one to the next, and those before the first.
const MEMBERS: usize = 12;
const STEPS: usize = 12;
const FIRST_STEPS: usize = 60;
/// What is believed beforehand: an axis moves the targets by about so much, most less and few far more (half-Cauchy);
/// the noise lies around the likeliest (log-normal).
const AXIS_SIGNAL: f64 = 0.05;
const NOISE_SPREAD: f64 = 0.2;
/// Lengths of the walk's steps, as logarithms of scales and as a share.
const NOISE_STEP: f64 = 0.3;
const SIGNAL_STEP: f64 = 0.5;
const AXIS_STEP: f64 = 2.0;
const PAIRS_STEP: f64 = 0.3;

/// Processes of plausible kernels. `None` where not even the first kernel has one.
pub(super) fn members(given: &Given<'_>) -> Option<Vec<Member>> {
    let start = likeliest(given)?;
    let usual_noise = start.1.kernel.noise;
    let prior = |kernel: &Kernel| {
        let axis = |share: &f64| {
            let signal = kernel.signal * share.sqrt();
            signal.ln() - (signal / AXIS_SIGNAL).powi(2).ln_1p()
        };
        let noise = (kernel.noise / usual_noise).ln() / NOISE_SPREAD;
        kernel.relevance.iter().map(axis).sum::<f64>() - 0.5 * noise.powi(2) - kernel.pairs
    };
    let mut random = Random::new(given.rows.len() as u64, 0);
    let mut at = (start.0 + prior(&start.1.kernel), start.1);
    let mut members = Vec::with_capacity(MEMBERS);
    for step in 1..=FIRST_STEPS + MEMBERS * STEPS {
        let next = stepped(&at.1.kernel, &mut random);
        let prior = prior(&next);
        let chance = random.uniform().ln();
        if let Some((likelihood, member)) = given.condition(next)
            && chance < likelihood + prior - at.0
        {
            at = (likelihood + prior, member);
        }
        if step > FIRST_STEPS && (step - FIRST_STEPS).is_multiple_of(STEPS) {
            members.push(at.1.clone());
        }
    }
    Some(members)
}

/// One scale changed. Each change is as likely as its opposite.
fn stepped(kernel: &Kernel, random: &mut Random) -> Kernel {
    let mut next = kernel.clone();
    match random.below(next.relevance.len() + 4) {
        0 => next.noise *= (NOISE_STEP * random.normal()).exp(),
        1 => next.signal *= (SIGNAL_STEP * random.normal()).exp(),
        2 => next.length = random.below(LENGTHS.len()),
        3 => {
            let pairs = (next.pairs + PAIRS_STEP * random.normal()).abs();
            next.pairs = if pairs > 1.0 { (2.0 - pairs).max(0.0) } else { pairs };
        }
        axis => next.scale(axis - 4, (AXIS_STEP * random.normal()).exp()),
    }
    next
}

/// The kernel of the largest marginal likelihood that a search from one scale to the next finds.
fn likeliest(given: &Given<'_>) -> Option<(f64, Member)> {
    let axes = given.axes;
    let mut best = given.condition(Kernel {
        length: 0,
        pairs: 0.3,
        signal: 0.4,
        noise: 0.06,
        drift: 0.0,
        relevance: vec![1.0 / axes as f64; axes],
    })?;
    for _ in 0..ROUNDS {
        let before = best.0;
        let consider = |best: &mut (f64, Member), evidence: f64, change: &dyn Fn(&mut Kernel)| {
            let mut kernel = best.1.kernel.clone();
            change(&mut kernel);
            if kernel != best.1.kernel
                && let Some(candidate) = given.condition(kernel)
                && candidate.0 > best.0 + evidence
            {
                *best = candidate;
            }
        };
        NOISES.iter().for_each(|noise| consider(&mut best, 0.0, &|kernel| kernel.noise = *noise));
        // Together: a function that is twice as wide and moves twice as much looks much the same.
        for (length, signal) in (0..LENGTHS.len()).flat_map(|length| SIGNALS.map(|signal| (length, signal))) {
            consider(&mut best, 0.0, &|kernel| (kernel.length, kernel.signal) = (length, signal));
        }
        DRIFTS.iter().for_each(|drift| consider(&mut best, DRIFT_EVIDENCE, &|kernel| kernel.drift = *drift));
        PAIR_SHARES.iter().for_each(|share| consider(&mut best, 0.0, &|kernel| kernel.pairs = *share));
        for axis in 0..axes {
            for factor in RELEVANCE_FACTORS {
                consider(&mut best, RELEVANCE_EVIDENCE, &|kernel| kernel.weigh(axis, factor));
            }
        }
        if best.0 <= before {
            break;
        }
    }
    Some(best)
}
