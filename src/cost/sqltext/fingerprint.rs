//! What stays of a statement when its literals are taken out.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lexer::{Lexed, Lexeme};

/// Equal for statements that differ in literals, the length of their lists, letter case, comments and white space only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

/// The first 8 bytes of a text's SHA-256: the same in every process and version.
pub fn digest(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// The fingerprint of a lexed statement.
pub fn fingerprint(lexed: &Lexed) -> Fingerprint {
    Fingerprint(digest(&normalised(lexed)))
}

/// The statement's words in lower case, with `?` for each literal and for each list of literals.
pub fn normalised(lexed: &Lexed) -> String {
    let mut words: Vec<&str> = Vec::with_capacity(lexed.lexemes.len());
    for (at, lexeme) in lexed.lexemes.iter().enumerate() {
        match lexeme {
            Lexeme::Word(word) if word == "null" && !matches!(words.last(), Some(&("is" | "not"))) => {
                literal(&mut words)
            }
            Lexeme::Word(word) => words.push(word),
            Lexeme::Number(_) | Lexeme::Text(_) | Lexeme::Parameter => literal(&mut words),
            // A sign belongs to its number.
            Lexeme::Operator("-" | "+") if signs(&lexed.lexemes, at) => {}
            Lexeme::Operator(operator) => words.push(operator),
            Lexeme::Mark(mark) => {
                words.push(spelled(*mark));
                rows(&mut words);
            }
        }
    }
    while words.last() == Some(&";") {
        words.pop();
    }
    words.join(" ")
}

/// A list of literals is one literal.
fn literal(words: &mut Vec<&str>) {
    if words.ends_with(&["?", ","]) {
        words.pop();
    } else {
        words.push("?");
    }
}

/// A list of rows of literals is one row.
fn rows(words: &mut Vec<&str>) {
    if words.ends_with(&["(", "?", ")", ",", "(", "?", ")"]) {
        words.truncate(words.len() - 4);
    }
}

/// Whether the sign at a place is that of a number, and does not compute.
pub fn signs(lexemes: &[Lexeme], at: usize) -> bool {
    let number = matches!(lexemes.get(at + 1), Some(Lexeme::Number(_) | Lexeme::Parameter));
    number
        && match at.checked_sub(1).and_then(|before| lexemes.get(before)) {
            None | Some(Lexeme::Operator(_)) => true,
            Some(Lexeme::Mark(mark)) => !matches!(mark, ')' | ']'),
            Some(Lexeme::Word(word)) => EXPECTS_A_VALUE.contains(&word.as_str()),
            Some(_) => false,
        }
}

/// Words after which a value begins, so that a minus is a sign.
const EXPECTS_A_VALUE: &[&str] = &[
    "select",
    "where",
    "and",
    "or",
    "not",
    "between",
    "in",
    "like",
    "then",
    "else",
    "when",
    "limit",
    "offset",
    "by",
    "on",
    "having",
    "case",
    "set",
    "values",
    "return",
    "top",
    "interval",
    "distinct",
    "all",
    "to",
    "from",
    "for",
    "is",
    "ilike",
    "rlike",
    "regexp",
    "escape",
    "using",
    "with",
    "default",
    "minvalue",
    "maxvalue",
    "returning",
    "div",
    "xor",
    "if",
    "elsif",
    "elseif",
    "while",
    "until",
];

/// A mark as text. Those of ASCII are static; of others only that there was one is kept.
fn spelled(mark: char) -> &'static str {
    const ASCII: &str =
        "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";
    match u32::from(mark).checked_sub(0x21) {
        // A question mark here is an operator, not a literal.
        Some(0x1e) => "??",
        Some(at) if (at as usize) < ASCII.len() => &ASCII[at as usize..=at as usize],
        _ => "\u{fffd}",
    }
}
