//! What a server has counted of statements that the log does not have.

use std::collections::{HashMap, HashSet};

use super::CostModel;
use crate::cost::classes::class_of;
use crate::cost::history::Record;
use crate::cost::sqltext::features::Text;
use crate::postgres::statistics::StatementStatistics;

/// What is known of all executions of a fingerprint: their number, and the least, mean and highest cost.
#[derive(Clone, Copy)]
struct Spread {
    calls: u64,
    least: f64,
    mean: f64,
    most: f64,
}

impl Spread {
    /// Of both together.
    fn and(self, other: Self) -> Self {
        let calls = self.calls + other.calls;
        let share = other.calls as f64 / calls.max(1) as f64;
        Self {
            calls,
            least: self.least.min(other.least),
            mean: self.mean + share * (other.mean - self.mean),
            most: self.most.max(other.most),
        }
    }
}

impl CostModel {
    /// Adds to the history what a server counted of statements that the log does not have, where all executions lie in one
    /// class: with their literals lost, nothing tells those of several classes apart. How many fingerprints it learnt.
    pub fn add_priors(&mut self, statistics: &[StatementStatistics]) -> usize {
        let fingerprinted = statistics.iter().map(|statement| (Text::read(&statement.query).fingerprint.0, statement));
        let new: Vec<_> = fingerprinted.filter(|(fingerprint, _)| !self.known.contains_key(fingerprint)).collect();
        let mut learnt = HashSet::new();
        for target in &mut self.targets {
            let mut spreads: HashMap<u64, Option<Spread>> = HashMap::new();
            for (fingerprint, statement) in &new {
                let spread = spread(&target.info.name, statement);
                // Of what is unknown of one of them, nothing is known of all.
                let both = |before: &mut Option<Spread>| *before = before.zip(spread).map(|(a, b)| a.and(b));
                spreads.entry(*fingerprint).and_modify(both).or_insert(spread);
            }
            for (fingerprint, spread) in spreads {
                let Some(Spread { calls, least, mean, most }) = spread else { continue };
                let class = class_of(&target.info.bounds, least);
                if class != class_of(&target.info.bounds, most) {
                    continue;
                }
                let mut record = Record { count: u32::try_from(calls).unwrap_or(u32::MAX), ..Record::default() };
                record.classes = vec![0.0; target.info.labels.len()];
                record.classes[class] = calls as f32;
                record.recent = [least, mean, most].map(|cost| cost as f32).to_vec();
                target.history.fingerprints.insert(fingerprint, record);
                learnt.insert(fingerprint);
            }
        }
        if !learnt.is_empty() {
            self.version = self.digest();
        }
        learnt.len()
    }
}

/// What the server's counts say of a target of PostgreSQL's logs.
fn spread(target: &str, statement: &StatementStatistics) -> Option<Spread> {
    let &StatementStatistics { calls, least_seconds: least, mean_seconds: mean, most_seconds: most, .. } = statement;
    match target {
        "duration" => Some(Spread { calls, least, mean, most }),
        "spill" => (statement.spilled_bytes == 0.0).then_some(Spread { calls, least: 0.0, mean: 0.0, most: 0.0 }),
        _ => None,
    }
}
