//! What a statement asks of its columns: `column operator literal`, ranges, lists, patterns, limits.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::features::Sink;
use super::lexer::Lexeme;
use super::literal::{Literal, literal_at, single};
use super::structure::{RESERVED, Tables};

/// Members of a list that become tokens of their own; a longer list still tells its length.
const MEMBERS: usize = 32;
/// How far the opening parenthesis of an operand is looked for.
const REACH: usize = 64;

/// Tells every predicate, limit and literal argument.
pub fn tell(lexemes: &[Lexeme], tables: &Tables, sink: &mut Sink<'_>) {
    let mut walk = Walk { lexemes, tables, sink, ranges: BTreeMap::new(), name: String::new() };
    for (at, lexeme) in lexemes.iter().enumerate() {
        match lexeme {
            Lexeme::Operator(operator @ ("=" | "<>" | "<" | ">" | "<=" | ">=" | "~")) => walk.comparison(at, operator),
            Lexeme::Word(word) => match word.as_str() {
                "between" => walk.between(at),
                "in" => walk.list(at),
                "like" | "ilike" | "rlike" | "regexp" => walk.pattern(at, word),
                "is" => walk.null(at),
                "limit" | "offset" | "top" | "first" | "next" => walk.limit(at, word),
                "interval" => walk.interval(at),
                _ => {}
            },
            _ => {}
        }
    }
    walk.widths();
    arguments(lexemes, sink);
}

struct Walk<'a, 's, 'f> {
    lexemes: &'a [Lexeme],
    tables: &'a Tables,
    sink: &'s mut Sink<'f>,
    /// Lower and upper bounds by column.
    ranges: BTreeMap<String, (Option<f64>, Option<f64>)>,
    name: String,
}

impl Walk<'_, '_, '_> {
    fn word(&self, at: usize) -> Option<&str> {
        match self.lexemes.get(at)? {
            Lexeme::Word(word) => Some(word),
            _ => None,
        }
    }

    fn is(&self, at: Option<usize>, mark: char) -> bool {
        at.and_then(|at| self.lexemes.get(at)) == Some(&Lexeme::Mark(mark))
    }

    /// The column (or the function of a column) that ends before a place.
    fn before(&self, end: usize) -> Option<String> {
        let mut last = end.checked_sub(1)?;
        // `x::text::date` is x.
        while last >= 2 && self.word(last).is_some() && self.lexemes[last - 1] == Lexeme::Operator("::") {
            last -= 2;
        }
        if let Some(word) = self.word(last) {
            if RESERVED.contains(&word) {
                return None;
            }
            let qualifier = (last >= 2 && self.is(Some(last - 1), '.')).then(|| self.word(last - 2)).flatten();
            return Some(self.tables.column(qualifier, word));
        }
        if !self.is(Some(last), ')') {
            return None;
        }
        let mut depth = 0;
        let from = last.saturating_sub(REACH);
        let open = (from..=last).rev().find(|at| {
            match self.lexemes[*at] {
                Lexeme::Mark(')') => depth += 1,
                Lexeme::Mark('(') => depth -= 1,
                _ => {}
            }
            depth == 0
        })?;
        let function = open.checked_sub(1).and_then(|at| self.word(at)).filter(|word| !RESERVED.contains(word));
        let inner = (open + 1..last)
            .find(|at| self.word(*at).is_some_and(|word| !RESERVED.contains(&word)) && !self.is(Some(at + 1), '('))
            .and_then(|at| self.after(at));
        match (function, inner) {
            (Some(function), Some((inner, _))) => Some(format!("{function}({inner})")),
            (Some(function), None) => Some(function.to_owned()),
            (None, inner) => inner.map(|(inner, _)| inner),
        }
    }

    /// The column that begins at a place, and the place behind it.
    fn after(&self, begin: usize) -> Option<(String, usize)> {
        let mut last = begin;
        let mut word = self.word(begin).filter(|word| !RESERVED.contains(word))?;
        let mut qualifier = None;
        while self.is(Some(last + 1), '.') {
            let Some(next) = self.word(last + 2) else { break };
            qualifier = Some(word);
            word = next;
            last += 2;
        }
        (!self.is(Some(last + 1), '(')).then(|| (self.tables.column(qualifier, word), last + 1))
    }

    fn comparison(&mut self, at: usize, operator: &str) {
        let left = self.before(at);
        if let Some((literal, _)) = literal_at(self.lexemes, at + 1) {
            if let Some(column) = left {
                self.predicate(&column, operator, &literal);
            }
            return;
        }
        let Some((right, _)) = self.after(at + 1) else { return };
        if let Some(left) = left {
            let (first, second) = if left <= right { (&left, &right) } else { (&right, &left) };
            self.token(format_args!("{first} {operator} {second}"));
            return;
        }
        // `30 < age` is `age > 30`.
        let flipped = match operator {
            "<" => ">",
            ">" => "<",
            "<=" => ">=",
            ">=" => "<=",
            same => same,
        };
        let literal = at.checked_sub(1).and_then(|before| literal_at(self.lexemes, before));
        if let Some((literal, _)) = literal {
            self.predicate(&right, flipped, &literal);
        }
    }

    fn predicate(&mut self, column: &str, operator: &str, literal: &Literal<'_>) {
        self.token(format_args!("{column}|{operator}"));
        self.literal(column, operator, literal);
        if let Some(number) = quantity(literal) {
            match operator {
                ">" | ">=" => self.bound(column, Some(number), None),
                "<" | "<=" => self.bound(column, None, Some(number)),
                _ => {}
            }
        }
    }

    /// Tokens and values of a column's literal.
    fn literal(&mut self, column: &str, operator: &str, literal: &Literal<'_>) {
        match literal {
            Literal::Number(number) => {
                let bucket = bucket(*number);
                self.token(format_args!("{column}|{operator}|~{bucket}"));
                if number.fract() == 0.0 && number.abs() < 1e6 {
                    self.token(format_args!("{column}|{operator}|{number}"));
                }
                self.value(format_args!("{column}|{operator}"), *number);
            }
            Literal::Day(day) => {
                self.token(format_args!("{column}|{operator}|month{}", (day / 30.4375).floor()));
                self.value(format_args!("{column}|{operator}"), *day);
            }
            Literal::Seconds(seconds) => self.value(format_args!("{column}|{operator}"), *seconds),
            Literal::Text(text) => {
                let shown: String = text.chars().take(48).flat_map(char::to_lowercase).collect();
                self.token(format_args!("{column}|{operator}|'{shown}'"));
            }
            Literal::Unknown => self.token(format_args!("{column}|{operator}|?")),
        }
    }

    fn bound(&mut self, column: &str, low: Option<f64>, high: Option<f64>) {
        let range = self.ranges.entry(column.to_owned()).or_default();
        *range = (low.or(range.0), high.or(range.1));
    }

    fn widths(&mut self) {
        for (column, (low, high)) in std::mem::take(&mut self.ranges) {
            if let (Some(low), Some(high)) = (low, high) {
                self.width(&column, high - low);
            }
        }
    }

    fn width(&mut self, column: &str, width: f64) {
        self.token(format_args!("{column}|width|~{}", bucket(width)));
        self.value(format_args!("{column}|width"), width);
        self.value(format_args!("width"), width);
    }

    fn between(&mut self, at: usize) {
        let negated = at > 0 && self.word(at - 1) == Some("not");
        let Some(column) = self.before(if negated { at - 1 } else { at }) else { return };
        let Some((low, next)) = literal_at(self.lexemes, at + 1) else { return };
        if self.word(next) != Some("and") {
            return;
        }
        let Some((high, _)) = literal_at(self.lexemes, next + 1) else { return };
        self.token(format_args!("{column}|{}between", if negated { "not " } else { "" }));
        self.literal(&column, ">=", &low);
        self.literal(&column, "<=", &high);
        if let Some((low, high)) = quantity(&low).zip(quantity(&high)) {
            self.width(&column, high - low);
        }
    }

    fn list(&mut self, at: usize) {
        let negated = at > 0 && self.word(at - 1) == Some("not");
        let Some(column) = self.before(if negated { at - 1 } else { at }) else { return };
        let operator = if negated { "not in" } else { "in" };
        self.token(format_args!("{column}|{operator}"));
        if !self.is(Some(at + 1), '(') {
            return;
        }
        let mut next = at + 2;
        let mut length = 0;
        while let Some((literal, behind)) = literal_at(self.lexemes, next) {
            length += 1;
            if length <= MEMBERS {
                self.literal(&column, operator, &literal);
            }
            next = behind;
            if !self.is(Some(next), ',') {
                break;
            }
            next += 1;
        }
        if length > 0 {
            self.value(format_args!("{column}|{operator}|length"), length as f64);
            self.token(format_args!("{column}|{operator}|length{}", bucket(length as f64)));
        }
    }

    fn pattern(&mut self, at: usize, word: &str) {
        let negated = at > 0 && self.word(at - 1) == Some("not");
        let Some(column) = self.before(if negated { at - 1 } else { at }) else { return };
        let operator = format!("{}{word}", if negated { "not " } else { "" });
        self.token(format_args!("{column}|{operator}"));
        let Some(Lexeme::Text(text)) = self.lexemes.get(at + 1) else { return };
        let fixed = text.chars().filter(|c| !matches!(c, '%' | '_')).count();
        let shape = match (text.starts_with('%'), text.ends_with('%')) {
            (true, true) => "%x%",
            (true, false) => "%x",
            (false, true) => "x%",
            (false, false) => "x",
        };
        self.token(format_args!("{column}|{operator}|{shape}"));
        self.token(format_args!("{operator}|{shape}|{}", fixed.min(12)));
        self.value(format_args!("{column}|{operator}|{shape}"), fixed as f64);
        let shown: String = text.chars().take(48).flat_map(char::to_lowercase).collect();
        self.token(format_args!("{column}|{operator}|'{shown}'"));
    }

    fn null(&mut self, at: usize) {
        let negated = self.word(at + 1) == Some("not");
        if self.word(at + 1 + usize::from(negated)) == Some("null")
            && let Some(column) = self.before(at)
        {
            self.token(format_args!("{column}|is {}null", if negated { "not " } else { "" }));
        }
    }

    fn limit(&mut self, at: usize, word: &str) {
        if let Some((literal, _)) = literal_at(self.lexemes, at + 1) {
            let word = if word == "offset" { word } else { "limit" };
            match quantity(&literal) {
                Some(number) => {
                    self.token(format_args!("{word}|~{}", bucket(number)));
                    self.value(format_args!("{word}"), number);
                }
                None => self.token(format_args!("{word}|?")),
            }
        }
    }

    fn interval(&mut self, at: usize) {
        if let Some((Literal::Seconds(seconds), _)) = single(self.lexemes, at) {
            self.token(format_args!("interval|~{}", bucket(seconds)));
            self.value(format_args!("interval"), seconds);
        }
    }

    fn token(&mut self, name: std::fmt::Arguments<'_>) {
        self.name.clear();
        let _ = self.name.write_fmt(name);
        self.sink.token(&self.name);
    }

    fn value(&mut self, name: std::fmt::Arguments<'_>, value: f64) {
        self.name.clear();
        self.name.push('#');
        let _ = self.name.write_fmt(name);
        self.sink.value(&self.name, value);
    }
}

/// Numbers among the arguments of functions: `generate_series(1, 1000)`, `date_add('day', -7, now())`.
fn arguments(lexemes: &[Lexeme], sink: &mut Sink<'_>) {
    let mut open: Vec<(Option<&str>, usize)> = Vec::new();
    for (at, lexeme) in lexemes.iter().enumerate() {
        match lexeme {
            Lexeme::Mark('(') => {
                let function = match at.checked_sub(1).and_then(|before| lexemes.get(before)) {
                    Some(Lexeme::Word(word)) if !RESERVED.contains(&word.as_str()) => Some(word.as_str()),
                    _ => None,
                };
                open.push((function, 0));
            }
            Lexeme::Mark(')') => {
                open.pop();
                continue;
            }
            Lexeme::Mark(',') => {
                if let Some((_, argument)) = open.last_mut() {
                    *argument += 1;
                }
            }
            _ => continue,
        }
        let Some((Some(function), argument)) = open.last() else { continue };
        if let Some((literal, _)) = literal_at(lexemes, at + 1)
            && let Some(number) = quantity(&literal)
        {
            sink.value(&format!("#{function}({argument})"), number);
        }
    }
}

/// A literal as one number.
fn quantity(literal: &Literal<'_>) -> Option<f64> {
    match literal {
        Literal::Number(number) | Literal::Day(number) | Literal::Seconds(number) => Some(*number),
        Literal::Text(_) | Literal::Unknown => None,
    }
}

/// Half powers of two, with the sign.
fn bucket(number: f64) -> i64 {
    let size = (2.0 * (number.abs() + 1.0).log2()).floor() as i64;
    if number < 0.0 { -size } else { size }
}
