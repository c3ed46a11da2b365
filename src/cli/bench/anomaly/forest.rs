//! Isolation forest (Liu, Ting and Zhou 2008): what few random cuts separate from the rest is unusual.

use crate::learn::rng::Random;

const TREES: usize = 100;
const SAMPLE: usize = 256;

enum Node {
    Cut { feature: usize, at: f32, below: Box<Node>, above: Box<Node> },
    Leaf { depth: f64 },
}

/// Random trees over rows.
pub struct Forest {
    trees: Vec<Node>,
    usual: f64,
}

impl Forest {
    /// Grows trees, each from a sample of the rows.
    pub fn grow(rows: &[Vec<f32>], seed: u64) -> Self {
        let mut random = Random::new(seed, 0);
        let sample = SAMPLE.min(rows.len());
        let deepest = (sample as f64).log2().ceil() as usize;
        let trees = (0..TREES)
            .map(|_| {
                let chosen: Vec<&Vec<f32>> =
                    random.permutation(rows.len())[..sample].iter().map(|i| &rows[*i]).collect();
                node(chosen, 0, deepest, &mut random)
            })
            .collect();
        Self { trees, usual: unsuccessful(sample) }
    }

    /// Between 0 and 1; about a half for what is usual.
    pub fn score(&self, row: &[f32]) -> f64 {
        let depth: f64 = self.trees.iter().map(|tree| tree.depth(row)).sum();
        (-depth / self.trees.len() as f64 / self.usual * std::f64::consts::LN_2).exp()
    }
}

impl Node {
    fn depth(&self, row: &[f32]) -> f64 {
        match self {
            Node::Leaf { depth } => *depth,
            Node::Cut { feature, at, below, above } => if row[*feature] < *at { below } else { above }.depth(row),
        }
    }
}

fn node(rows: Vec<&Vec<f32>>, depth: usize, deepest: usize, random: &mut Random) -> Node {
    let leaf = Node::Leaf { depth: depth as f64 + unsuccessful(rows.len()) };
    if depth >= deepest || rows.len() <= 1 {
        return leaf;
    }
    let feature = random.below(rows[0].len());
    let (low, high) =
        rows.iter().fold((f32::MAX, f32::MIN), |(low, high), row| (low.min(row[feature]), high.max(row[feature])));
    if low >= high {
        return leaf;
    }
    let at = random.between(f64::from(low), f64::from(high)) as f32;
    let (below, above) = rows.into_iter().partition(|row| row[feature] < at);
    let mut grow = |rows| Box::new(node(rows, depth + 1, deepest, random));
    Node::Cut { feature, at, below: grow(below), above: grow(above) }
}

/// Mean depth of an unsuccessful search in a binary tree of so many rows.
fn unsuccessful(rows: usize) -> f64 {
    match rows {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => 2.0 * (((rows - 1) as f64).ln() + 0.577_215_664_9) - 2.0 * (rows - 1) as f64 / rows as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_apart_scores_higher() {
        let mut random = Random::new(1, 0);
        let rows: Vec<Vec<f32>> = (0..500).map(|_| vec![random.normal() as f32, random.normal() as f32]).collect();
        let forest = Forest::grow(&rows, 2);
        assert!(forest.score(&[6.0, -6.0]) > 0.65 && forest.score(&[0.0, 0.1]) < 0.5);
    }
}
