//! What statements cost before: the first tier of the cascade. It answers where it has seen enough of a statement and the
//! spread of what it has seen lies within one class.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::classes::quantile;

/// Costs that a record keeps, the newest.
const RECENT: usize = 32;

/// What is known of one statement or fingerprint, for one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// How often it was seen.
    pub count: u32,
    /// Weight of each class, the older ones decayed.
    pub classes: Vec<f32>,
    /// The newest costs, the newest last.
    pub recent: Vec<f32>,
}

impl Record {
    /// Adds what it cost this time; what was before counts `decay` of what it did.
    pub fn add(&mut self, class: usize, classes: usize, cost: f64, weight: f32, decay: f32) {
        self.classes.resize(classes, 0.0);
        self.classes.iter_mut().for_each(|old| *old *= decay);
        self.classes[class] += weight;
        self.count = self.count.saturating_add(1);
        if self.recent.len() == RECENT {
            self.recent.remove(0);
        }
        self.recent.push(cost.min(f64::from(f32::MAX)) as f32);
    }

    /// The class that it mostly was in, and its share.
    pub fn verdict(&self) -> (usize, f32) {
        let sum: f32 = self.classes.iter().sum();
        let most =
            (0..self.classes.len()).max_by(|a, b| self.classes[*a].total_cmp(&self.classes[*b])).unwrap_or_default();
        (most, self.classes.get(most).copied().unwrap_or_default() / sum.max(f32::MIN_POSITIVE))
    }

    /// A quantile of the newest costs.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut costs: Vec<f64> = self.recent.iter().map(|cost| f64::from(*cost)).collect();
        costs.sort_by(f64::total_cmp);
        if costs.is_empty() { 0.0 } else { quantile(&costs, share) }
    }

    /// Probabilities of the classes. `doubt` is a weight that is spread over all classes evenly, also over those that were
    /// never seen.
    pub fn probabilities(&self, doubt: f32) -> Vec<f64> {
        let doubt = f64::from(doubt);
        let prior = doubt / self.classes.len() as f64;
        let sum: f64 = self.classes.iter().map(|weight| f64::from(*weight)).sum::<f64>() + doubt;
        self.classes.iter().map(|weight| (f64::from(*weight) + prior) / sum).collect()
    }
}

/// How much must be known, and how clear it must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Least {
    /// Least count; absent: it never answers.
    pub count: Option<u32>,
    /// Least share of the class.
    pub share: f32,
}

impl Least {
    /// Never enough.
    pub const NEVER: Self = Self { count: None, share: 1.0 };

    /// Whether a record is enough.
    pub fn is_met(&self, count: u32, share: f32) -> bool {
        self.count.is_some_and(|least| count >= least) && share >= self.share
    }
}

/// When the history answers. Chosen by cross-validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What an older cost counts beside the next newer one.
    pub decay: f32,
    /// For the same text, literals included.
    pub text: Least,
    /// For the same fingerprint.
    pub fingerprint: Least,
    /// How little a record is trusted: see [`Record::probabilities`].
    pub doubt: f32,
}

impl Rule {
    /// The history never answers.
    pub const NEVER: Self = Self { decay: 1.0, text: Least::NEVER, fingerprint: Least::NEVER, doubt: 0.5 };
}

/// What is known of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// When it answers.
    pub rule: Rule,
    /// By the digest of the text.
    pub texts: HashMap<u64, Record>,
    /// By fingerprint.
    pub fingerprints: HashMap<u64, Record>,
    classes: usize,
}

impl History {
    /// An empty history of a target with so many classes.
    pub fn new(rule: Rule, classes: usize) -> Self {
        Self { rule, texts: HashMap::new(), fingerprints: HashMap::new(), classes }
    }

    /// Adds what a statement cost. Oldest first: the newest counts most.
    pub fn add(&mut self, text: u64, fingerprint: u64, class: usize, cost: f64, weight: f32) {
        let decay = self.rule.decay;
        self.texts.entry(text).or_default().add(class, self.classes, cost, weight, decay);
        self.fingerprints.entry(fingerprint).or_default().add(class, self.classes, cost, weight, decay);
    }

    /// The record that answers for a statement, where one does.
    pub fn answer(&self, text: u64, fingerprint: u64) -> Option<&Record> {
        let enough = |record: Option<&'_ Record>, least: Least| {
            record.is_some_and(|record| least.is_met(record.count, record.verdict().1))
        };
        let by_text = self.texts.get(&text);
        if enough(by_text, self.rule.text) {
            return by_text;
        }
        let by_fingerprint = self.fingerprints.get(&fingerprint);
        by_fingerprint.filter(|_| enough(by_fingerprint, self.rule.fingerprint))
    }

    /// Forgets all but the statements that were seen most often.
    pub fn keep(&mut self, most: usize) {
        for records in [&mut self.texts, &mut self.fingerprints] {
            if records.len() > most {
                let mut counts: Vec<(u32, u64)> = records.iter().map(|(key, record)| (record.count, *key)).collect();
                counts.sort_unstable_by(|a, b| b.cmp(a));
                counts.iter().skip(most).for_each(|(_, key)| {
                    records.remove(key);
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_when_it_has_seen_enough_of_one_class() {
        let rule = Rule {
            decay: 0.9,
            text: Least { count: Some(2), share: 0.9 },
            fingerprint: Least { count: Some(4), share: 0.6 },
            doubt: 0.5,
        };
        let mut history = History::new(rule, 2);
        history.add(1, 10, 0, 1.0, 1.0);
        assert_eq!(history.answer(1, 10), None);
        history.add(1, 10, 0, 3.0, 1.0);
        let record = history.answer(1, 10).unwrap();
        assert_eq!((record.verdict().0, record.quantile(0.5)), (0, 2.0));
        history.add(2, 10, 1, 99.0, 1.0);
        assert_eq!(history.answer(2, 10), None);
        history.add(3, 10, 1, 99.0, 1.0);
        assert_eq!(history.answer(9, 10), None, "both classes are as likely");
        for _ in 0..4 {
            history.add(3, 10, 1, 99.0, 1.0);
        }
        assert_eq!(history.answer(9, 10).unwrap().verdict().0, 1, "the newer counts more");
        let sum: f64 = history.fingerprints[&10].probabilities(0.5).iter().sum();
        assert!((sum - 1.0).abs() < 1e-9);
        history.keep(1);
        assert_eq!(history.texts.keys().collect::<Vec<_>>(), [&3]);
    }
}
