//! A statement's features by name: tokens, which are counted, and values.

use super::fingerprint::{Fingerprint, digest, normalised};
use super::lexer::{Lexed, lex};
use super::predicates;
use super::structure::{self, Tables};

/// Which features a text has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Mode {
    /// Two views: n-grams of the words without literals; columns with operators and literals, with counts beside them.
    #[default]
    Lexed,
    /// The plain bag of words over the raw SQL, of two characters and more, as the paper has it.
    Paper,
}

/// A statement, read once.
#[derive(Clone, Debug, PartialEq)]
pub struct Text<'a> {
    /// As it came.
    pub sql: &'a str,
    /// Its lexemes.
    pub lexed: Lexed,
    /// Its words without literals.
    pub normalised: String,
    /// The same as a number.
    pub fingerprint: Fingerprint,
    /// The tables that it names.
    pub tables: Tables,
}

impl<'a> Text<'a> {
    /// Reads a statement. Never fails.
    pub fn read(sql: &'a str) -> Self {
        let lexed = lex(sql);
        let normalised = normalised(&lexed);
        let fingerprint = Fingerprint(digest(&normalised));
        let tables = Tables::find(&lexed.lexemes);
        Self { sql, lexed, normalised, fingerprint, tables }
    }
}

/// The largest value of a feature, with either sign.
pub const LARGEST: f64 = 1e30;

/// Takes features by their names.
pub struct Sink<'f> {
    /// Takes a token (no value) or a value.
    each: &'f mut dyn FnMut(&str, Option<f64>),
}

impl Sink<'_> {
    /// A token; told twice, it counts twice.
    pub fn token(&mut self, name: &str) {
        (self.each)(name, None);
    }

    /// A value; of several under one name the largest counts. Trees keep values as f32, and their bounds a little above.
    pub fn value(&mut self, name: &str, value: f64) {
        if !value.is_nan() {
            (self.each)(name, Some(value.clamp(-LARGEST, LARGEST)));
        }
    }
}

/// Tells a statement's features: tokens without a value, and values, whose names begin with `#` or `@`.
pub fn features(text: &Text<'_>, mode: Mode, ngrams: usize, each: &mut dyn FnMut(&str, Option<f64>)) {
    let mut sink = Sink { each };
    match mode {
        Mode::Paper => paper(text.sql, &mut sink),
        Mode::Lexed => {
            words(&text.normalised, ngrams, &mut sink);
            structure::tell(text.sql, &text.lexed.lexemes, &text.tables, &mut sink);
            predicates::tell(&text.lexed.lexemes, &text.tables, &mut sink);
        }
    }
}

/// n-grams of the words without literals; marks part no words.
fn words(normalised: &str, ngrams: usize, sink: &mut Sink<'_>) {
    let words: Vec<&str> =
        normalised.split(' ').filter(|word| !matches!(*word, "" | "," | "." | "(" | ")" | ";")).collect();
    let mut name = String::new();
    for begin in 0..words.len() {
        name.clear();
        for word in words.iter().skip(begin).take(ngrams.max(1)) {
            if !name.is_empty() {
                name.push(' ');
            }
            name.push_str(word);
            sink.token(&name);
        }
    }
}

/// Words of two characters and more, in lower case, as scikit-learn's vectorizers part them by default.
fn paper(sql: &str, sink: &mut Sink<'_>) {
    for word in sql.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
        if word.chars().nth(1).is_some() {
            sink.token(&word.to_lowercase());
        }
    }
}
