//! Known statements that are like another: cosine over the words and pairs of words without literals.

use std::collections::HashMap;

use super::Known;

/// Fingerprints that are compared, those seen most often.
const COMPARED: usize = 5000;

/// An index of words.
#[derive(Clone, Debug, Default)]
pub struct Nearest {
    /// Fingerprint and length of each statement's vector.
    statements: Vec<(u64, f32)>,
    /// Where a word stands.
    places: HashMap<String, Vec<u32>>,
}

impl Nearest {
    /// The index of the fingerprints seen most often.
    pub fn of(known: &HashMap<u64, Known>) -> Self {
        let mut most: Vec<(&u64, &Known)> = known.iter().collect();
        most.sort_unstable_by(|a, b| b.1.count.cmp(&a.1.count).then(a.0.cmp(b.0)));
        let mut index = Self::default();
        for (place, (fingerprint, known)) in (0..).zip(most.into_iter().take(COMPARED)) {
            let words = words(&known.statement);
            index.statements.push((*fingerprint, (words.len() as f32).sqrt()));
            for word in words {
                index.places.entry(word).or_default().push(place);
            }
        }
        index
    }

    /// The statements nearest to one, each with its cosine; at most `count`, nearest first.
    pub fn to(&self, normalised: &str, count: usize) -> Vec<(u64, f64)> {
        let words = words(normalised);
        let length = (words.len() as f32).sqrt();
        let mut shared: HashMap<u32, u32> = HashMap::new();
        for place in words.iter().filter_map(|word| self.places.get(word)).flatten() {
            *shared.entry(*place).or_default() += 1;
        }
        let cosine = |(place, shared): (u32, u32)| {
            let (fingerprint, other) = self.statements[place as usize];
            (fingerprint, f64::from(shared as f32 / (length * other).max(f32::MIN_POSITIVE)))
        };
        let mut found: Vec<(u64, f64)> = shared.into_iter().map(cosine).collect();
        found.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(count);
        found
    }
}

/// Distinct words, and pairs of neighbours.
fn words(normalised: &str) -> Vec<String> {
    let single: Vec<&str> = normalised.split(' ').filter(|word| !matches!(*word, "" | "," | "(" | ")" | ".")).collect();
    let pairs = single.windows(2).map(|pair| pair.join(" "));
    let mut all: Vec<String> = single.iter().map(|word| (*word).to_owned()).chain(pairs).collect();
    all.sort_unstable();
    all.dedup();
    all
}
