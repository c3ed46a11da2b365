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
