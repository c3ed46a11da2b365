//! A log, read once: its rows as numbers, and the distinct texts as counted features.

use std::collections::HashMap;

use super::TrainError;
use crate::cost::log::{Cost, Log, Reading};
use crate::cost::model::vocabulary::{each_word, fold, is_value};
use crate::cost::splits::Key;
use crate::cost::sqltext::features::{Mode, Text, features};
use crate::cost::sqltext::fingerprint::digest;
use crate::learn::boost::Rows;

/// A row's text is not among those of which features are kept.
pub const NO_TEXT: u32 = u32::MAX;
/// Distinct features that are counted before the rarest are dropped.
const COUNTED: usize = 4_000_000;
/// Bytes of a statement that a fingerprint is shown with.
const SHOWN: usize = 1000;

/// One statement of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Time and fingerprint.
    pub key: Key,
    /// Digest of the text.
    pub digest: u64,
    /// Place of its text in [`Prepared::texts`], or [`NO_TEXT`].
    pub text: u32,
    /// Statements that it stands for.
    pub weight: f32,
}

/// A log as numbers.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Its rows, in the log's order.
    pub rows: Vec<Row>,
    /// Costs: as many for each row as there are targets.
    pub costs: Vec<Cost>,
    /// How many targets there are.
    pub targets: usize,
    /// Whether every row has a time.
    pub timed: bool,
    /// Distinct texts, of which features are made. Where there are too many, a sample of them.
    pub texts: Vec<String>,
    /// Rows with features in each text's place, plan features behind.
    pub plans: Vec<Option<(f32, f32)>>,
    /// Statements without literals, by fingerprint, with how often they were seen. Where there are too many, the rarest are
    /// forgotten.
    pub statements: HashMap<u64, (String, u64)>,
    /// What the reading found.
    pub reading: Reading,
}

/// What is kept of a log's texts, at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Distinct texts.
    pub texts: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Fingerprints with their statement.
    pub statements: usize,
}

impl Prepared {
    /// The cost of a row.
    pub fn cost(&self, row: usize, target: usize) -> Cost {
        self.costs[row * self.targets + target]
    }

    /// Times and fingerprints of the rows.
    pub fn keys(&self) -> Vec<Key> {
        self.rows.iter().map(|row| row.key).collect()
    }

    /// Reads a log; of its texts as many are kept as there is room for.
    ///
    /// # Errors
    /// The log can't be read, or has no statement.
    pub fn read(log: &dyn Log, room: Room, progress: &mut dyn FnMut(u64)) -> Result<Self, TrainError> {
        let targets = log.targets().len();
        let mut prepared = Self {
            rows: Vec::new(),
            costs: Vec::new(),
            targets,
            timed: true,
            texts: Vec::new(),
            plans: Vec::new(),
            statements: HashMap::new(),
            reading: Reading::default(),
        };
        let mut bytes = 0;
        let mut places: HashMap<u64, (u32, u64)> = HashMap::new();
        // Texts with a digest up to here are kept: halved whenever there are too many, which keeps a fair sample.
        let mut limit = u64::MAX;
        let reading = log.read(&mut |statement| {
            let digest = digest(&statement.query);
            let known = places.get(&digest).copied();
            let (text, fingerprint) = known.unwrap_or_else(|| {
                let text = Text::read(&statement.query);
                prepared.statements.entry(text.fingerprint.0).or_insert_with(|| shown(&text));
                let mut place = NO_TEXT;
                if digest <= limit {
                    place = u32::try_from(prepared.texts.len()).unwrap_or(NO_TEXT);
                    bytes += statement.query.len();
                    prepared.texts.push(statement.query.clone());
                    prepared.plans.push(statement.plan);
                    places.insert(digest, (place, text.fingerprint.0));
                }
                (place, text.fingerprint.0)
            });
            // A server that explains a sample of its statements has the plan of a later one.
            if let Some(plan) = prepared.plans.get_mut(text as usize) {
                *plan = plan.or(statement.plan);
            }
            // One that was forgotten may come again.
            let kept = prepared.statements.entry(fingerprint);
            kept.or_insert_with(|| shown(&Text::read(&statement.query))).1 += 1;
            if prepared.statements.len() > room.statements {
                prepared.forget(room.statements / 2);
            }
            prepared.timed &= statement.time_ms.is_some();
            let key = Key { time: statement.time_ms.unwrap_or_default(), fingerprint };
            prepared.rows.push(Row { key, digest, text, weight: statement.weight });
            prepared.costs.extend_from_slice(&statement.costs);
            while prepared.texts.len() > room.texts || bytes > room.bytes {
                limit /= 2;
                prepared.thin(&mut places, limit);
                bytes = prepared.texts.iter().map(String::len).sum();
            }
            if prepared.rows.len().is_multiple_of(4096) {
                progress(prepared.rows.len() as u64);
            }
        })?;
        if prepared.rows.is_empty() {
            return Err(TrainError::Empty { reading: Box::new(reading) });
        }
        prepared.reading = reading;
        Ok(prepared)
    }

    /// Drops all statements but the most frequent.
    fn forget(&mut self, most: usize) {
        let mut counts: Vec<(u64, u64)> =
            self.statements.iter().map(|(fingerprint, (_, count))| (*count, *fingerprint)).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts.iter().skip(most).for_each(|(_, fingerprint)| {
            self.statements.remove(fingerprint);
        });
    }

    /// Drops texts with a digest above the limit.
    fn thin(&mut self, places: &mut HashMap<u64, (u32, u64)>, limit: u64) {
        let mut moved = vec![NO_TEXT; self.texts.len()];
        let mut kept: Vec<(u32, u64)> =
            places.iter().filter(|(digest, _)| **digest <= limit).map(|(d, (at, _))| (*at, *d)).collect();
        kept.sort_unstable();
        let texts = std::mem::take(&mut self.texts);
        let plans = std::mem::take(&mut self.plans);
        let mut all: Vec<Option<String>> = texts.into_iter().map(Some).collect();
        for (at, _) in &kept {
            moved[*at as usize] = u32::try_from(self.texts.len()).unwrap_or(NO_TEXT);
            self.texts.push(all[*at as usize].take().unwrap_or_default());
            self.plans.push(plans[*at as usize]);
        }
        places.retain(|digest, _| *digest <= limit);
        places.values_mut().for_each(|(at, _)| *at = moved[*at as usize]);
        for row in self.rows.iter_mut().filter(|row| row.text != NO_TEXT) {
            row.text = moved[row.text as usize];
        }
    }
}

/// A statement as it is shown, not yet counted.
fn shown(text: &Text<'_>) -> (String, u64) {
    (text.normalised.chars().take(SHOWN).collect(), 0)
}

/// Counted features of distinct texts.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Which features.
    pub mode: Mode,
    /// Longest n-gram.
    pub ngrams: usize,
    /// Name of each column.
    pub names: Vec<String>,
    /// One row for each text: counts of tokens, and values.
    pub rows: Rows,
    /// Words and tables of each text, as places in [`Counted::words`].
    pub text_words: Vec<Vec<u32>>,
    /// Words and tables.
    pub words: Vec<Box<str>>,
    /// Texts that the lexer could not read to their end.
    pub fell_back: u64,
}

/// Drops the rarest until no more than so many are left: with a little less room than before it would be called for each text.
fn prune(frequencies: &mut HashMap<u64, u32>, left: usize) {
    let mut rare = 1;
    while frequencies.len() > left {
        frequencies.retain(|_, count| *count > rare);
        rare *= 2;
    }
}

impl Counted {
    /// Counts; of the tokens the `most` that are in the most texts stay, and none that is in one text only.
    pub fn count(texts: &[String], mode: Mode, ngrams: usize, most: usize) -> Self {
        let mut frequencies: HashMap<u64, u32> = HashMap::new();
        let mut own: Vec<u64> = Vec::new();
        for text in texts {
            own.clear();
            features(&Text::read(text), mode, ngrams, &mut |name, _| own.push(fnv(name)));
            own.sort_unstable();
            own.dedup();
            for feature in &own {
                *frequencies.entry(*feature).or_default() += 1;
            }
            if frequencies.len() > COUNTED {
                prune(&mut frequencies, COUNTED / 2);
            }
        }
        // With very few texts every feature counts.
        let least = if texts.len() < 20 { 1 } else { 2 };
        let mut kept: Vec<(u32, u64)> = frequencies
            .into_iter()
            .filter(|(_, count)| *count >= least)
            .map(|(feature, count)| (count, feature))
            .collect();
        kept.sort_unstable_by(|a, b| b.cmp(a));
        kept.truncate(most);
        let mut columns: HashMap<u64, Option<u32>> = kept.into_iter().map(|(_, feature)| (feature, None)).collect();
        let mut counted = Self {
            mode,
            ngrams,
            names: Vec::new(),
            rows: Rows::new(),
            text_words: Vec::new(),
            words: Vec::new(),
            fell_back: 0,
        };
        let mut places: HashMap<Box<str>, u32> = HashMap::new();
        let mut row: Vec<(u32, f32)> = Vec::new();
        for text in texts {
            row.clear();
            let text = Text::read(text);
            counted.fell_back += u64::from(text.lexed.fell_back);
            let names = &mut counted.names;
            features(&text, mode, ngrams, &mut |name, value| {
                if let Some(column) = columns.get_mut(&fnv(name)) {
                    let column = *column.get_or_insert_with(|| {
                        names.push(name.to_owned());
                        u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
                    });
                    row.push((column, value.map_or(1.0, |value| value as f32)));
                }
            });
            fold(&mut row, |column| is_value(&counted.names[column as usize]));
            counted.rows.push(row.iter().copied());
            let mut own = Vec::new();
            each_word(&text, &mut |word, _| {
                let next = u32::try_from(places.len()).unwrap_or(u32::MAX);
                own.push(*places.entry(word.into()).or_insert_with(|| {
                    counted.words.push(word.into());
                    next
                }));
            });
            counted.text_words.push(own);
        }
        counted
    }
}

/// FNV-1a.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::log::{LogError, Statement};

    /// Statements, one of them again and again between the others.
    struct Endless;

    impl Log for Endless {
        fn targets(&self) -> &[String] {
            &[]
        }

        fn read(&self, each: &mut dyn FnMut(Statement)) -> Result<Reading, LogError> {
            for row in 0..2000 {
                each(Statement { query: format!("select c{row} from t where a = 'open"), ..Statement::default() });
                if row % 3 == 0 {
                    each(Statement { query: "select often from t".into(), ..Statement::default() });
                }
            }
            Ok(Reading::default())
        }
    }

    #[test]
    fn what_is_kept_of_the_texts_has_a_limit() {
        let room = Room { texts: 1000, bytes: 10_000, statements: 100 };
        let prepared = Prepared::read(&Endless, room, &mut |_| {}).unwrap();
        let bytes: usize = prepared.texts.iter().map(String::len).sum();
        assert!((1000..=10_000).contains(&bytes), "{bytes} bytes");
        assert_eq!((prepared.rows.len(), prepared.plans.len()), (2667, prepared.texts.len()));
        assert!((50..=100).contains(&prepared.statements.len()), "{}", prepared.statements.len());
        let often = Text::read("select often from t").fingerprint.0;
        assert_eq!(prepared.statements[&often].1, 667, "the rarest go");
        let counted = Counted::count(&prepared.texts, Mode::Lexed, 1, 100);
        let share = counted.fell_back as f64 / prepared.texts.len() as f64;
        assert!(share > 0.9 && share <= 1.0, "{share} of the texts");
    }

    #[test]
    fn what_is_rare_makes_room_for_long() {
        // Names of temporary tables: each in two or three statements.
        let mut frequencies: HashMap<u64, u32> = (0..1000).map(|feature| (feature, 2 + feature as u32 % 2)).collect();
        frequencies.extend((1000..1100).map(|feature| (feature, 50)));
        prune(&mut frequencies, 500);
        assert_eq!(frequencies.len(), 100);
        assert!(frequencies.values().all(|count| *count == 50));
    }
}
