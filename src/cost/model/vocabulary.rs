//! Which features a model knows, and what they weigh (TF-IDF).

use std::collections::{HashMap, HashSet};

use crate::cost::answer::Novelty;
use crate::cost::sqltext::features::{Mode, Text, features};

/// The columns of a model's rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// Which features a text has.
    pub mode: Mode,
    /// Longest n-gram of words.
    pub ngrams: usize,
    /// Name of each column.
    pub names: Vec<String>,
    /// Inverse document frequency of each column, `ln((1 + n) / (1 + df)) + 1`; 1 for values.
    pub idf: Vec<f32>,
    /// Words and tables that were seen, also those too rare to be columns.
    pub words: HashSet<Box<str>>,
    columns: HashMap<Box<str>, u32>,
}

impl Vocabulary {
    /// Columns in their order.
    pub fn new(mode: Mode, ngrams: usize, names: Vec<String>, idf: Vec<f32>, words: HashSet<Box<str>>) -> Self {
        let columns = names.iter().zip(0..).map(|(name, column)| (name.as_str().into(), column)).collect();
        Self { mode, ngrams, names, idf, words, columns }
    }

    /// A text's row: ascending columns, each with its weight.
    pub fn row(&self, text: &Text<'_>) -> Vec<(u32, f32)> {
        let mut row: Vec<(u32, f32)> = Vec::with_capacity(128);
        features(text, self.mode, self.ngrams, &mut |name, value| {
            if let Some(column) = self.columns.get(name) {
                row.push((*column, value.map_or(1.0, |value| value as f32)));
            }
        });
        fold(&mut row, |column| is_value(&self.names[column as usize]));
        self.weigh(&mut row);
        row
    }

    /// Turns counts into weights, in place.
    pub fn weigh(&self, row: &mut [(u32, f32)]) {
        for (column, weight) in row.iter_mut() {
            if !is_value(&self.names[*column as usize]) {
                let count = match self.mode {
                    Mode::Lexed => 1.0 + weight.ln(),
                    Mode::Paper => *weight,
                };
                *weight = count * self.idf[*column as usize];
            }
        }
        if self.mode == Mode::Paper {
            let length = row.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
            row.iter_mut().for_each(|(_, weight)| *weight /= length.max(f32::MIN_POSITIVE));
        }
    }

    /// How much of a text was never seen.
    pub fn novelty(&self, text: &Text<'_>, known_fingerprint: bool) -> Novelty {
        let known = |word: &str| self.words.contains(word);
        let (mut words, mut new_words, mut tables, mut new_tables) = (0, 0, 0, 0);
        each_word(text, &mut |word, table| {
            let (all, new) = if table { (&mut tables, &mut new_tables) } else { (&mut words, &mut new_words) };
            *all += 1;
            *new += u32::from(!known(word));
        });
        let share = |new: u32, all: u32| if all == 0 { 0.0 } else { f64::from(new) / f64::from(all) };
        Novelty {
            fingerprint: !known_fingerprint,
            unknown_tokens: share(new_words, words),
            unknown_tables: share(new_tables, tables),
        }
    }
}

/// Whether a column holds a value, which is no count.
pub fn is_value(name: &str) -> bool {
    name.starts_with(['#', '@'])
}

/// Tells each distinct word of a statement and each table (as `table:NAME`).
pub fn each_word(text: &Text<'_>, each: &mut dyn FnMut(&str, bool)) {
    let mut seen = HashSet::new();
    for word in text.normalised.split(' ') {
        if word.starts_with(|c: char| c.is_alphabetic() || c == '_') && seen.insert(word) {
            each(word, false);
        }
    }
    for table in &text.tables.names {
        each(&format!("table:{table}"), true);
    }
}

/// Sorts entries by column; those of one column are added up, or of values the largest is kept.
pub fn fold(row: &mut Vec<(u32, f32)>, value: impl Fn(u32) -> bool) {
    row.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    row.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 = if value(kept.0) { kept.1.max(next.1) } else { kept.1 + next.1 };
        }
        same
    });
}
