//! From text to lexemes, on sqlparser's tokenizer. Linear in the length of the text.

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// A part of a statement, with letter case, comments and white space gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Lexeme {
    /// A keyword or an identifier, in lower case and without quotes.
    Word(String),
    /// A number.
    Number(f64),
    /// A string, without quotes.
    Text(String),
    /// A placeholder of a prepared statement, or a truth value.
    Parameter,
    /// One or two characters that compare or compute.
    Operator(&'static str),
    /// Everything else: parentheses, commas, periods.
    Mark(char),
}

/// A lexed statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Lexed {
    /// Its parts in their order.
    pub lexemes: Vec<Lexeme>,
    /// The lexer stopped before the end (an open quote, say): what follows was read as words.
    pub fell_back: bool,
}

/// Reads a statement. Never fails.
pub fn lex(sql: &str) -> Lexed {
    // What the tokenizer makes of a last character may depend on whether a space follows.
    let sql = sql.trim();
    let dialect = GenericDialect {};
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    let lexed = Tokenizer::new(&dialect, sql).tokenize_with_location_into_buf(&mut tokens);
    let mut lexemes = Vec::with_capacity(tokens.len() / 2 + 1);
    let end = tokens.last().map(|token| token.span.end);
    lexemes.extend(tokens.into_iter().filter_map(|token| lexeme(token.token)));
    let fell_back = lexed.is_err();
    if fell_back {
        let rest = end.map_or(sql, |end| &sql[Place::BEGIN.to(sql, end.line, end.column).bytes..]);
        words(rest, &mut lexemes);
    }
    Lexed { lexemes, fell_back }
}

/// The statements of a text, parted by semicolons outside of literals and comments, each with the line it begins in.
pub fn statements<'a>(text: &'a str) -> Vec<(usize, &'a str)> {
    let dialect = GenericDialect {};
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    // Where the lexer stops, the rest is one statement.
    let _ = Tokenizer::new(&dialect, text).tokenize_with_location_into_buf(&mut tokens);
    let mut found = Vec::new();
    // The first line of the part that is looked at.
    let mut line = 1;
    let mut tell = |part: &'a str| {
        let trimmed = part.trim();
        if !trimmed.is_empty() && !lex(trimmed).lexemes.is_empty() {
            let blank = part.len() - part.trim_start().len();
            found.push((line + part[..blank].matches('\n').count(), trimmed));
        }
        line += part.matches('\n').count();
    };
    let mut place = Place::BEGIN;
    let mut begin = 0;
    for token in tokens.iter().filter(|token| token.token == Token::SemiColon) {
        place = place.to(text, token.span.start.line, token.span.start.column);
        tell(&text[begin..place.bytes]);
        begin = (place.bytes + 1).min(text.len());
    }
    tell(&text[begin..]);
    found
}

/// A place in a text: the bytes before it, and its line and column, counted from 1 in characters.
#[derive(Clone, Copy)]
struct Place {
    bytes: usize,
    line: u64,
    column: u64,
}

impl Place {
    const BEGIN: Self = Self { bytes: 0, line: 1, column: 1 };

    /// The place of a line and column behind this one, or the end.
    fn to(mut self, text: &str, line: u64, column: u64) -> Self {
        for next in text[self.bytes..].chars() {
            if (self.line, self.column) >= (line, column) {
                break;
            }
            self.bytes += next.len_utf8();
            (self.line, self.column) = if next == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self
    }
}

fn lexeme(token: Token) -> Option<Lexeme> {
    Some(match token {
        Token::EOF | Token::Whitespace(_) => return None,
        Token::Word(word) => match word.value.to_lowercase() {
            truth if word.quote_style.is_none() && (truth == "true" || truth == "false") => Lexeme::Parameter,
            text => Lexeme::Word(text),
        },
        Token::Number(text, _) => number(&text),
        Token::SingleQuotedString(text)
        | Token::TripleSingleQuotedString(text)
        | Token::TripleDoubleQuotedString(text)
        | Token::SingleQuotedByteStringLiteral(text)
        | Token::DoubleQuotedByteStringLiteral(text)
        | Token::TripleSingleQuotedByteStringLiteral(text)
        | Token::TripleDoubleQuotedByteStringLiteral(text)
        | Token::SingleQuotedRawStringLiteral(text)
        | Token::DoubleQuotedRawStringLiteral(text)
        | Token::TripleSingleQuotedRawStringLiteral(text)
        | Token::TripleDoubleQuotedRawStringLiteral(text)
        | Token::NationalStringLiteral(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::HexStringLiteral(text) => Lexeme::Text(text),
        Token::DollarQuotedString(quoted) => Lexeme::Text(quoted.value),
        Token::DoubleQuotedString(text) => Lexeme::Word(text.to_lowercase()),
        Token::Placeholder(_) => Lexeme::Parameter,
        Token::Eq | Token::DoubleEq => Lexeme::Operator("="),
        Token::Neq => Lexeme::Operator("<>"),
        Token::Lt => Lexeme::Operator("<"),
        Token::Gt => Lexeme::Operator(">"),
        Token::LtEq => Lexeme::Operator("<="),
        Token::GtEq => Lexeme::Operator(">="),
        Token::Plus => Lexeme::Operator("+"),
        Token::Minus => Lexeme::Operator("-"),
        Token::Mul => Lexeme::Operator("*"),
        Token::Div => Lexeme::Operator("/"),
        Token::Mod => Lexeme::Operator("%"),
        Token::StringConcat => Lexeme::Operator("||"),
        Token::DoubleColon => Lexeme::Operator("::"),
        Token::Tilde => Lexeme::Operator("~"),
        Token::Comma => Lexeme::Mark(','),
        Token::Period => Lexeme::Mark('.'),
        Token::SemiColon => Lexeme::Mark(';'),
        Token::LParen => Lexeme::Mark('('),
        Token::RParen => Lexeme::Mark(')'),
        Token::LBracket => Lexeme::Mark('['),
        Token::RBracket => Lexeme::Mark(']'),
        other => Lexeme::Mark(other.to_string().chars().next()?),
    })
}

/// A number as text; one that is no decimal, or too large for one (`1e999`), is a parameter.
fn number(text: &str) -> Lexeme {
    text.replace('_', "")
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .map_or(Lexeme::Parameter, Lexeme::Number)
}

/// Reads text of which nothing is known: words, numbers and marks.
fn words(text: &str, lexemes: &mut Vec<Lexeme>) {
    let mut rest = text.char_indices().peekable();
    while let Some((start, first)) = rest.next() {
        let belongs = |c: char| c.is_alphanumeric() || c == '_' || (first.is_ascii_digit() && c == '.');
        if !(first.is_alphanumeric() || first == '_') {
            if first.is_ascii_graphic() && first != '\'' && first != '"' {
                lexemes.push(Lexeme::Mark(first));
            }
            continue;
        }
        let mut end = start + first.len_utf8();
        while let Some((at, next)) = rest.next_if(|(_, next)| belongs(*next)) {
            end = at + next.len_utf8();
        }
        let word = &text[start..end];
        lexemes.push(match word.parse::<f64>() {
            Ok(_) if first.is_ascii_digit() => number(word),
            _ => Lexeme::Word(word.to_lowercase()),
        });
    }
}
