//! What a server has counted of statements that the log does not have.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};

use super::CostModel;
use crate::cost::classes::class_of;
use crate::cost::history::Record;
use crate::cost::reading::postgres::MEMORY;
use crate::cost::sqltext::features::Text;
use crate::postgres::statistics::StatementStatistics;

/// Standard deviations from the mean to the two costs beside it: of three costs so far apart, the 90th percentile is that of
/// a normal distribution (1.28).
const APART: f64 = 1.6;

/// What is known of all executions of a fingerprint.
#[derive(Clone, Copy, Default)]
struct Spread {
    calls: u64,
    least: f64,
    most: f64,
    mean: f64,
    /// Mean of the squares.
    square: f64,
}

impl Spread {
    /// Of both together.
    fn and(self, other: Self) -> Self {
        let calls = self.calls + other.calls;
        let share = other.calls as f64 / calls.max(1) as f64;
        let between = |own: f64, other: f64| own + share * (other - own);
        Self {
            calls,
            least: self.least.min(other.least),
            most: self.most.max(other.most),
            mean: between(self.mean, other.mean),
            square: between(self.square, other.square),
        }
    }

    /// A record of so many costs, all in one class.
    fn record(self, class: usize, classes: usize) -> Record {
        let apart = APART * (self.square - self.mean.powi(2)).max(0.0).sqrt();
        let costs = [(self.mean - apart).max(self.least), self.mean, (self.mean + apart).min(self.most)];
        let mut weights = vec![0.0; classes];
        weights[class] = self.calls as f32;
        Record {
            count: u32::try_from(self.calls).unwrap_or(u32::MAX),
            classes: weights,
            recent: costs.map(|cost| cost as f32).to_vec(),
        }
    }
}

impl CostModel {
    /// Adds to the history what a server counted of statements that the log does not have, where all executions lie in one
    /// class: with their literals lost, nothing tells those of several classes apart. How many fingerprints it learnt.
    pub fn add_priors(&mut self, statistics: &[StatementStatistics]) -> usize {
        let fingerprinted = statistics.iter().map(|statement| (Text::read(&statement.query).fingerprint.0, statement));
        let new: Vec<_> = fingerprinted.filter(|(fingerprint, _)| !self.known.contains_key(fingerprint)).collect();
        let (mut learnt, mut added) = (HashSet::new(), false);
        for target in &mut self.targets {
            let mut spreads: HashMap<u64, Option<Spread>> = HashMap::new();
            for (fingerprint, statement) in &new {
                let spread = spread(&target.info.name, statement);
                // Of what is unknown of one of them, nothing is known of all.
                let both = |before: &mut Option<Spread>| *before = before.zip(spread).map(|(a, b)| a.and(b));
                spreads.entry(*fingerprint).and_modify(both).or_insert(spread);
            }
            for (fingerprint, spread) in spreads {
                let Some(spread) = spread else { continue };
                let class = class_of(&target.info.bounds, spread.least);
                if class == class_of(&target.info.bounds, spread.most)
                    && let Entry::Vacant(place) = target.history.fingerprints.entry(fingerprint)
                {
                    added = true;
                    let record = place.insert(spread.record(class, target.info.labels.len()));
                    // All were in this class: the record answers once it is of enough of them.
                    if target.history.rule.fingerprint.is_met(record.count, 1.0) {
                        learnt.insert(fingerprint);
                    }
                }
            }
        }
        if added {
            self.version = self.digest();
        }
        learnt.len()
    }
}

/// What the server's counts say of a target of PostgreSQL's logs. Of temporary files it is known that there were none, not
/// how they lie around their mean.
fn spread(target: &str, statement: &StatementStatistics) -> Option<Spread> {
    let calls = statement.calls;
    match target {
        "duration" => Some(Spread {
            calls,
            least: statement.least_seconds,
            most: statement.most_seconds,
            mean: statement.mean_seconds,
            square: statement.mean_seconds.powi(2) + statement.deviation_seconds.powi(2),
        }),
        "spill" | MEMORY => (statement.spilled_bytes == 0.0).then_some(Spread { calls, ..Spread::default() }),
        _ => None,
    }
}
