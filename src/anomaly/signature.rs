//! What an incident looks like: how far each metric moved, with its sign, and which known cause moved them alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scale::median;

/// How far each metric moved, in units of its usual size: its median deviation in the incident minus that before.
pub type Change = BTreeMap<String, f64>;

/// Smallest similarity that is worth a word.
const ALIKE: f64 = 0.3;
/// Moves of less than this are noise.
const NOISE: f64 = 0.5;

/// A cause and how the metrics moved in one incident of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// In words.
    pub cause: String,
    /// How far each metric moved. Metrics that are not named moved no more than usual.
    pub change: Change,
    /// Metrics that count in a comparison; all, when none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vocabulary: Vec<String>,
}

/// A cause that an incident looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// In words.
    pub cause: String,
    /// Cosine between the two, at most 1.
    pub similarity: f64,
}

/// How the metrics moved between the rows before an incident and those in it. Rows are deviations, one per name, NaN
/// where missing.
pub fn change(names: &[String], before: &[Vec<f64>], during: &[Vec<f64>]) -> Change {
    let middle = |rows: &[Vec<f64>], index: usize| {
        median(rows.iter().map(|row| row[index]).filter(|value| !value.is_nan()).collect())
    };
    let moved = names.iter().enumerate().filter_map(|(index, name)| {
        // Without rows before, the baseline that deviations are measured from stands for them.
        let distance = middle(during, index)? - middle(before, index).unwrap_or(0.0);
        (distance.abs() >= NOISE).then(|| (name.clone(), distance))
    });
    moved.collect()
}

/// The causes that a change looks like, the most similar first, at most `count`; of several signatures of one cause the
/// most similar one counts.
pub fn causes(change: &Change, signatures: &[Signature], count: usize) -> Vec<Cause> {
    let mut best: BTreeMap<&str, f64> = BTreeMap::new();
    for signature in signatures {
        let similarity = cosine(change, signature);
        let known = best.entry(&signature.cause).or_insert(similarity);
        *known = known.max(similarity);
    }
    let mut causes: Vec<Cause> = best
        .into_iter()
        .filter(|(_, similarity)| *similarity >= ALIKE)
        .map(|(cause, similarity)| Cause { cause: cause.to_owned(), similarity })
        .collect();
    causes.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    causes.truncate(count);
    causes
}

/// Cosine of the angle between a change and a signature over the metrics that the signature speaks of; 0 when either
/// did not move there.
fn cosine(change: &Change, signature: &Signature) -> f64 {
    let counts = |name: &String| signature.vocabulary.is_empty() || signature.vocabulary.contains(name);
    let length = |change: &Change| {
        change.iter().filter(|(name, _)| counts(name)).map(|(_, moved)| moved.powi(2)).sum::<f64>().sqrt()
    };
    let product: f64 = change
        .iter()
        .filter(|(name, _)| counts(name))
        .filter_map(|(name, moved)| Some(moved * signature.change.get(name)?))
        .sum();
    let lengths = length(change) * length(&signature.change);
    if lengths > 0.0 { product / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::rng::Random;

    const CAUSES: [&str; 4] = ["lock", "index", "disk", "query"];
    const METRICS: usize = 30;

    /// Rows before a fault and in it.
    type Run = [Vec<Vec<f64>>; 2];

    /// A run: twenty rows before the fault, which drift apart by run, and twenty in it, which move five metrics more.
    fn run(cause: usize, random: &mut Random) -> Run {
        let drift: Vec<f64> = (0..METRICS).map(|_| 2.0 * random.normal()).collect();
        let mut rows = |size: f64| -> Vec<Vec<f64>> {
            let moved = |metric: usize| {
                let sign = if metric.is_multiple_of(2) { 1.0 } else { -1.0 };
                if metric / 5 == cause { sign * size } else { 0.0 }
            };
            (0..20).map(|_| (0..METRICS).map(|m| drift[m] + moved(m) + random.normal()).collect()).collect()
        };
        [rows(0.0), rows(5.0)]
    }

    /// Share of runs whose cause one example of each names.
    fn named(change_of: fn(&[String], &Run) -> Change) -> f64 {
        let names: Vec<String> = (0..METRICS).map(|metric| format!("m{metric}")).collect();
        let mut random = Random::new(1, 0);
        let mut changes = |cause: usize| change_of(&names, &run(cause, &mut random));
        let example = |(index, cause): (usize, &&str)| Signature {
            cause: (*cause).to_owned(),
            change: changes(index),
            vocabulary: Vec::new(),
        };
        let examples: Vec<Signature> = CAUSES.iter().enumerate().map(example).collect();
        let hits = (0..100).filter(|number| {
            let found = causes(&changes(number % 4), &examples, 1);
            found.first().is_some_and(|first| first.cause == CAUSES[number % 4])
        });
        hits.count() as f64 / 100.0
    }

    #[test]
    fn one_example_names_the_cause_and_the_rows_before_it_do_not() {
        let in_it = named(|names, [before, during]| change(names, before, during));
        let control = named(|names, [before, _]| change(names, &[], before));
        assert!(in_it > 0.95, "{in_it}");
        assert!(control < 0.5, "{control}");
    }

    #[test]
    fn what_moved_the_other_way_is_not_alike() {
        let up = Change::from([("a".to_owned(), 3.0), ("b".to_owned(), -1.0)]);
        let down: Change = up.iter().map(|(name, moved)| (name.clone(), -moved)).collect();
        let known = |change: &Change, vocabulary: &[&str]| Signature {
            cause: "x".into(),
            change: change.clone(),
            vocabulary: vocabulary.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(causes(&up, &[known(&down, &[])], 3), []);
        let alike = causes(&up, &[known(&up, &[])], 3);
        assert!((alike[0].similarity - 1.0).abs() < 1e-12);
        // A metric that the signature does not speak of does not count.
        let mut more = up.clone();
        more.insert("c".to_owned(), 9.0);
        assert!(causes(&more, &[known(&up, &["a", "b"])], 3)[0].similarity > 0.999);
        assert!(causes(&more, &[known(&up, &[])], 3)[0].similarity < 0.5);
        assert_eq!(causes(&Change::new(), &[known(&up, &[])], 3), []);
    }
}
