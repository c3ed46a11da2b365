//! Which rows a model learns from, and which it is judged by.

use std::collections::HashMap;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How rows are parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The newest rows judge: what production sees.
    Time,
    /// Rows drawn at random judge, as the paper has it: repeats of a statement are on both sides.
    Random,
    /// Whole fingerprints judge: what a new query sees.
    Template,
}

impl Split {
    /// Every split, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Time, Self::Random, Self::Template];

    /// Its name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Random => "random",
            Self::Template => "template",
        }
    }
}

/// What a split looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// When the statement ended; equal for all where the log has no times.
    pub time: i64,
    /// Its fingerprint.
    pub fingerprint: u64,
}

/// Rows by their place, ascending: those to learn from, and those to judge by.
pub type Parts = (Vec<usize>, Vec<usize>);

/// Parts `rows` (places in `keys`); `share` of them, and at least one, judge.
pub fn part(split: Split, keys: &[Key], rows: &[usize], share: f64, seed: u64) -> Parts {
    let wanted = ((rows.len() as f64 * share).round() as usize).clamp(1, rows.len().max(1));
    let groups = grouped(split, keys, rows, seed);
    let mut test: Vec<usize> = Vec::new();
    let mut train: Vec<usize> = Vec::new();
    for group in groups.into_iter().rev() {
        let more = test.len() < wanted && (test.is_empty() || test.len() + group.len() <= wanted + wanted / 2);
        if more { test.extend(group) } else { train.extend(group) }
    }
    train.sort_unstable();
    test.sort_unstable();
    (train, test)
}

/// Folds of a cross-validation. By time, a fold learns from what was before it only.
pub fn folds(split: Split, keys: &[Key], rows: &[usize], count: usize, seed: u64) -> Vec<Parts> {
    let groups = grouped(split, keys, rows, seed ^ 0x5eed);
    let count = count.max(2);
    if split == Split::Time {
        let flat: Vec<usize> = groups.into_iter().flatten().collect();
        // The first two fifths only teach.
        let begin = flat.len() * 2 / 5;
        let edge = |fold: usize| begin + (flat.len() - begin) * fold / count;
        return (0..count)
            .map(|fold| (flat[..edge(fold)].to_vec(), flat[edge(fold)..edge(fold + 1)].to_vec()))
            .collect();
    }
    let mut parts: Vec<Vec<usize>> = vec![Vec::new(); count];
    for group in groups {
        // The smallest part takes the next group, so that a large template does not make a fold of its own larger.
        let smallest = (0..count).min_by_key(|part| parts[*part].len()).unwrap_or_default();
        parts[smallest].extend(group);
    }
    let fold = |index: usize| {
        let mut train: Vec<usize> = parts
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .flat_map(|(_, part)| part.iter().copied())
            .collect();
        train.sort_unstable();
        let mut test = parts[index].clone();
        test.sort_unstable();
        (train, test)
    };
    (0..count).map(fold).collect()
}

/// So many of the rows at the most, drawn at random, in their order.
pub fn sample(rows: &[usize], most: usize, seed: u64) -> Vec<usize> {
    if rows.len() <= most {
        return rows.to_vec();
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut places = rand::seq::index::sample(&mut random, rows.len(), most).into_vec();
    places.sort_unstable();
    places.into_iter().map(|place| rows[place]).collect()
}

/// Draws so many rows at the most from those that come one after another, each with the same chance.
#[derive(Clone, Debug)]
pub struct Reservoir {
    most: usize,
    seen: usize,
    random: ChaCha8Rng,
}

impl Reservoir {
    /// An empty one.
    pub fn new(most: usize, seed: u64) -> Self {
        Self { most, seen: 0, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Where the next row is kept: behind those before it, or in place of one. None: it is not kept.
    pub fn place(&mut self) -> Option<usize> {
        self.seen += 1;
        let place = if self.seen <= self.most { self.seen - 1 } else { self.random.random_range(0..self.seen) };
        (place < self.most).then_some(place)
    }
}

/// Rows that stay together: each by itself, in the order of time or of chance, or all of a fingerprint.
fn grouped(split: Split, keys: &[Key], rows: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    match split {
        Split::Time => {
            let mut sorted = rows.to_vec();
            sorted.sort_by_key(|row| keys[*row].time);
            sorted.into_iter().map(|row| vec![row]).collect()
        }
        Split::Random => {
            let mut shuffled = rows.to_vec();
            shuffled.shuffle(&mut random);
            shuffled.into_iter().map(|row| vec![row]).collect()
        }
        Split::Template => {
            let mut places: HashMap<u64, usize> = HashMap::new();
            let mut groups: Vec<Vec<usize>> = Vec::new();
            for row in rows {
                let place = *places.entry(keys[*row].fingerprint).or_insert_with(|| {
                    groups.push(Vec::new());
                    groups.len() - 1
                });
                groups[place].push(*row);
            }
            groups.shuffle(&mut random);
            groups
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = Vec<Key>> {
        prop::collection::vec((0..50_i64, 0..9_u64).prop_map(|(time, fingerprint)| Key { time, fingerprint }), 4..120)
    }

    fn check(split: Split, keys: &[Key], (train, test): &Parts) -> Result<(), TestCaseError> {
        let both: BTreeSet<usize> = train.iter().chain(test).copied().collect();
        prop_assert_eq!(both.len(), train.len() + test.len(), "a row is on both sides");
        let of = |rows: &[usize]| -> BTreeSet<u64> { rows.iter().map(|row| keys[*row].fingerprint).collect() };
        match split {
            Split::Template => prop_assert!(of(train).is_disjoint(&of(test))),
            Split::Time => {
                let last = train.iter().map(|row| keys[*row].time).max();
                let first = test.iter().map(|row| keys[*row].time).min();
                prop_assert!(last.zip(first).is_none_or(|(last, first)| last <= first));
            }
            Split::Random => {}
        }
        Ok(())
    }

    #[test]
    fn a_sample_is_the_same_for_a_seed_and_in_order() {
        let rows: Vec<usize> = (0..1000).map(|row| row * 3).collect();
        let drawn = sample(&rows, 100, 7);
        assert_eq!((drawn.len(), drawn.is_sorted()), (100, true));
        assert!(drawn.iter().all(|row| row % 3 == 0) && drawn[50] > 600, "{drawn:?}");
        assert_eq!(drawn, sample(&rows, 100, 7));
        assert_ne!(drawn, sample(&rows, 100, 8));
        assert_eq!(sample(&rows, 1000, 7), rows);
    }

    #[test]
    fn a_reservoir_keeps_a_fair_share_of_what_comes() {
        let mut reservoir = Reservoir::new(100, 7);
        let mut kept = Vec::new();
        for row in 0..10_000 {
            match reservoir.place() {
                Some(place) if place == kept.len() => kept.push(row),
                Some(place) => kept[place] = row,
                None => {}
            }
        }
        let late = kept.iter().filter(|row| **row >= 5000).count();
        assert!(kept.len() == 100 && (30..=70).contains(&late), "{late} of {} are of the second half", kept.len());
    }

    proptest! {
        #[test]
        fn nothing_leaks(keys in keys(), seed in any::<u64>(), count in 2..5_usize) {
            let rows: Vec<usize> = (0..keys.len()).collect();
            for split in Split::ALL {
                let parts = part(split, &keys, &rows, 0.2, seed);
                prop_assert!(!parts.1.is_empty());
                prop_assert_eq!(parts.0.len() + parts.1.len(), rows.len());
                check(split, &keys, &parts)?;
                prop_assert_eq!(&parts, &part(split, &keys, &rows, 0.2, seed));
                let folds = folds(split, &keys, &rows, count, seed);
                prop_assert_eq!(folds.len(), count);
                for fold in &folds {
                    check(split, &keys, fold)?;
                }
                let judged: usize = folds.iter().map(|fold| fold.1.len()).sum();
                if split != Split::Time {
                    prop_assert_eq!(judged, rows.len());
                }
            }
        }
    }
}
