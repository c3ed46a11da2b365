//! What a statement is made of: tables with their aliases, and counts.

use std::collections::{BTreeSet, HashMap};

use super::features::Sink;
use super::lexer::Lexeme;

/// Words that name no column, function or alias.
pub const RESERVED: &[&str] = &[
    "select",
    "from",
    "where",
    "and",
    "or",
    "not",
    "in",
    "like",
    "ilike",
    "rlike",
    "regexp",
    "between",
    "is",
    "null",
    "as",
    "on",
    "join",
    "inner",
    "left",
    "right",
    "full",
    "outer",
    "cross",
    "natural",
    "lateral",
    "case",
    "when",
    "then",
    "else",
    "end",
    "group",
    "by",
    "order",
    "having",
    "limit",
    "offset",
    "union",
    "intersect",
    "except",
    "all",
    "distinct",
    "exists",
    "interval",
    "values",
    "set",
    "using",
    "with",
    "over",
    "partition",
    "asc",
    "desc",
    "insert",
    "into",
    "update",
    "delete",
    "create",
    "table",
    "returning",
    "any",
    "some",
    "fetch",
    "window",
    "qualify",
    "unnest",
    "only",
    "for",
    "nulls",
    "rows",
    "range",
    "tablesample",
    "array",
];

/// Characters of a table's name, at the most.
const LONGEST_NAME: usize = 256;

/// The tables of a statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// Names in the order of their first mention, with their schema where the text has it.
    pub names: Vec<String>,
    /// Mentions, repeated ones too.
    pub mentions: usize,
    places: HashMap<String, usize>,
    aliases: HashMap<String, usize>,
}

impl Tables {
    /// Finds what follows FROM, JOIN, INTO, UPDATE and TABLE.
    pub fn find(lexemes: &[Lexeme]) -> Self {
        let mut tables = Self::default();
        let word = |at: usize| match lexemes.get(at) {
            Some(Lexeme::Word(word)) => Some(word.as_str()),
            _ => None,
        };
        let mut at = 0;
        while at < lexemes.len() {
            let begins = match word(at) {
                Some("from") => !is_argument(lexemes, at),
                Some("join" | "into" | "update" | "table") => true,
                _ => false,
            };
            at += 1;
            let mut more = begins;
            while more {
                while matches!(word(at), Some("only" | "lateral" | "if" | "not" | "exists")) {
                    at += 1;
                }
                let Some(behind) = tables.read(lexemes, at) else { break };
                at = behind;
                more = lexemes.get(at) == Some(&Lexeme::Mark(','));
                at += usize::from(more);
            }
        }
        tables
    }

    /// Reads `schema.table AS alias` and returns the place behind it.
    fn read(&mut self, lexemes: &[Lexeme], begin: usize) -> Option<usize> {
        let word = |at: usize| match lexemes.get(at) {
            Some(Lexeme::Word(word)) if !RESERVED.contains(&word.as_str()) => Some(word.as_str()),
            _ => None,
        };
        let mut name = word(begin)?.to_owned();
        let mut next = begin + 1;
        while lexemes.get(next) == Some(&Lexeme::Mark('.')) {
            let Some(part) = word(next + 1) else { break };
            name.push('.');
            name.push_str(part);
            next += 2;
        }
        if lexemes.get(next) == Some(&Lexeme::Mark('(')) {
            return None;
        }
        let known = self.places.get(&name).copied();
        let index = known.unwrap_or(self.names.len());
        if known.is_none() {
            self.aliases.insert(last_part(&name).to_owned(), index);
            self.places.insert(name.clone(), index);
            self.names.push(name);
        }
        self.mentions += 1;
        let named = matches!(lexemes.get(next), Some(Lexeme::Word(as_)) if as_ == "as");
        next += usize::from(named);
        if let Some(alias) = word(next) {
            self.aliases.insert(alias.to_owned(), index);
            next += 1;
        }
        Some(next)
    }

    /// A column by its table's name, where its qualifier is that of a table.
    pub fn column(&self, qualifier: Option<&str>, name: &str) -> String {
        match qualifier
            .map(|qualifier| self.aliases.get(qualifier).map_or(qualifier, |index| self.names[*index].as_str()))
        {
            Some(table) => format!("{}.{name}", last_part(table)),
            None if self.names.len() == 1 => format!("{}.{name}", last_part(&self.names[0])),
            None => name.to_owned(),
        }
    }
}

/// A table's name without its schema, cut at what no database takes: every mention of a column repeats it.
fn last_part(table: &str) -> &str {
    let last = table.rsplit('.').next().unwrap_or_default();
    last.char_indices().nth(LONGEST_NAME).map_or(last, |(end, _)| &last[..end])
}

/// Whether a FROM is that of `extract(year FROM x)` or `IS DISTINCT FROM`.
fn is_argument(lexemes: &[Lexeme], at: usize) -> bool {
    let back = |steps: usize| at.checked_sub(steps).and_then(|at| lexemes.get(at));
    let named = |lexeme: Option<&Lexeme>, words: &[&str]| matches!(lexeme, Some(Lexeme::Word(word)) if words.contains(&word.as_str()));
    named(back(1), &["distinct"])
        || (2..=4).any(|steps| {
            back(steps) == Some(&Lexeme::Mark('('))
                && named(back(steps + 1), &["extract", "substring", "trim", "overlay"])
        })
}

/// Tells what the statement is made of.
pub fn tell(sql: &str, lexemes: &[Lexeme], tables: &Tables, sink: &mut Sink<'_>) {
    for name in &tables.names {
        sink.token(&format!("table:{name}"));
    }
    let mut counts = [0_u32; COUNTED.len()];
    let (mut depth, mut deepest, mut subqueries, mut literals, mut functions) = (0_i32, 0, 0, 0, 0);
    let mut columns: BTreeSet<&str> = BTreeSet::new();
    let mut stars = 0;
    for (at, lexeme) in lexemes.iter().enumerate() {
        let next = lexemes.get(at + 1);
        match lexeme {
            Lexeme::Word(word) => {
                if let Some(counted) = COUNTED.iter().position(|(_, words)| words.contains(&word.as_str())) {
                    counts[counted] += 1;
                }
                if next == Some(&Lexeme::Mark('(')) {
                    functions += u32::from(!RESERVED.contains(&word.as_str()));
                } else if !RESERVED.contains(&word.as_str()) {
                    columns.insert(word);
                }
            }
            Lexeme::Number(_) | Lexeme::Text(_) | Lexeme::Parameter => literals += 1,
            Lexeme::Mark('(') => {
                depth += 1;
                deepest = deepest.max(depth);
                subqueries += u32::from(matches!(next, Some(Lexeme::Word(word)) if word == "select"));
            }
            Lexeme::Mark(')') => depth -= 1,
            Lexeme::Operator("*") => {
                let before = at.checked_sub(1).and_then(|before| lexemes.get(before));
                stars += u32::from(
                    matches!(before, Some(Lexeme::Word(word)) if word == "select")
                        || before == Some(&Lexeme::Mark('.')),
                );
            }
            _ => {}
        }
    }
    let kind = lexemes.iter().find_map(|lexeme| match lexeme {
        Lexeme::Word(word) => Some(word.as_str()),
        _ => None,
    });
    sink.token(&format!("kind:{}", kind.unwrap_or("")));
    for ((name, _), count) in COUNTED.iter().zip(counts) {
        sink.value(name, f64::from(count));
    }
    for (name, value) in [
        ("@bytes", sql.len() as f64),
        ("@lexemes", lexemes.len() as f64),
        ("@tables", tables.names.len() as f64),
        ("@mentions", tables.mentions as f64),
        ("@depth", f64::from(deepest)),
        ("@subqueries", f64::from(subqueries)),
        ("@literals", f64::from(literals)),
        ("@functions", f64::from(functions)),
        ("@names", columns.len() as f64),
        ("@stars", f64::from(stars)),
    ] {
        sink.value(name, value);
    }
}

/// Words that are counted, by what they stand for.
const COUNTED: &[(&str, &[&str])] = &[
    ("@selects", &["select"]),
    ("@joins", &["join"]),
    ("@outer joins", &["left", "right", "full"]),
    ("@ands", &["and"]),
    ("@ors", &["or"]),
    ("@lists", &["in"]),
    ("@ranges", &["between"]),
    ("@patterns", &["like", "ilike", "rlike", "regexp"]),
    ("@aggregates", &["count", "sum", "avg", "min", "max", "array_agg", "string_agg", "approx_distinct", "stddev"]),
    ("@groups", &["group"]),
    ("@orders", &["order"]),
    ("@distincts", &["distinct"]),
    ("@unions", &["union", "intersect", "except"]),
    ("@withs", &["with"]),
    ("@windows", &["over"]),
    ("@cases", &["case"]),
    ("@exists", &["exists"]),
    ("@havings", &["having"]),
    ("@limits", &["limit", "fetch", "top"]),
];
