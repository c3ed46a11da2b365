//! Literals as quantities: numbers, days, lengths of time, texts.

use super::fingerprint::signs;
use super::lexer::Lexeme;

/// Casts around a literal that are looked through; what has more is no literal that anybody writes.
const CASTS: usize = 8;

/// What a literal says.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal<'a> {
    /// A number.
    Number(f64),
    /// A day or a moment, in days since 1970.
    Day(f64),
    /// A length of time, in seconds.
    Seconds(f64),
    /// Any other text.
    Text(&'a str),
    /// A placeholder: its value is not in the text.
    Unknown,
}

/// The literal that begins at a place, with arithmetic on dates done, and the place behind it.
pub fn literal_at(lexemes: &[Lexeme], at: usize) -> Option<(Literal<'_>, usize)> {
    let (mut literal, mut next) = single(lexemes, at)?;
    while let Some(Lexeme::Operator(sign @ ("+" | "-"))) = lexemes.get(next) {
        let Some((other, behind)) = single(lexemes, next + 1) else { break };
        let factor = if *sign == "-" { -1.0 } else { 1.0 };
        literal = match (literal, other) {
            (Literal::Day(day), Literal::Seconds(seconds)) => Literal::Day(day + factor * seconds / 86_400.0),
            (Literal::Day(day), Literal::Number(days)) => Literal::Day(day + factor * days),
            (Literal::Number(a), Literal::Number(b)) => Literal::Number(a + factor * b),
            (first, _) => first,
        };
        next = behind;
    }
    Some((literal, next))
}

/// The one literal that begins at a place, in casts or without them, and the place behind it.
pub fn single(lexemes: &[Lexeme], at: usize) -> Option<(Literal<'_>, usize)> {
    let opens = |at: usize| matches!((lexemes.get(at), lexemes.get(at + 1)), (Some(Lexeme::Word(word)), Some(Lexeme::Mark('('))) if word == "cast");
    let casts = (0..=CASTS).take_while(|cast| opens(at + 2 * cast)).count();
    if casts > CASTS {
        return None;
    }
    let (literal, mut next) = plain(lexemes, at + 2 * casts)?;
    next = behind_types(lexemes, next);
    for _ in 0..casts {
        if !matches!(lexemes.get(next), Some(Lexeme::Word(word)) if word == "as") {
            return None;
        }
        // `as decimal(10, 2))`
        let mut depth = 0;
        let closes = |lexeme: &Lexeme| {
            depth += i32::from(*lexeme == Lexeme::Mark('(')) - i32::from(*lexeme == Lexeme::Mark(')'));
            depth < 0
        };
        let closing = lexemes.iter().skip(next).take(12).position(closes)?;
        next = behind_types(lexemes, next + closing + 1);
    }
    Some((literal, next))
}

/// The place behind `::date`, however often.
fn behind_types(lexemes: &[Lexeme], mut next: usize) -> usize {
    while lexemes.get(next) == Some(&Lexeme::Operator("::")) && matches!(lexemes.get(next + 1), Some(Lexeme::Word(_))) {
        next += 2;
    }
    next
}

/// A literal without casts.
fn plain(lexemes: &[Lexeme], at: usize) -> Option<(Literal<'_>, usize)> {
    Some(match lexemes.get(at)? {
        Lexeme::Number(number) => (Literal::Number(*number), at + 1),
        Lexeme::Text(text) => (of_text(text), at + 1),
        Lexeme::Parameter => (Literal::Unknown, at + 1),
        Lexeme::Operator(sign @ ("-" | "+")) if signs(lexemes, at) => match lexemes.get(at + 1)? {
            Lexeme::Number(number) => (Literal::Number(if *sign == "-" { -number } else { *number }), at + 2),
            _ => (Literal::Unknown, at + 2),
        },
        Lexeme::Word(word) => match (word.as_str(), lexemes.get(at + 1)?) {
            ("date" | "timestamp" | "timestamptz" | "time", Lexeme::Text(text)) => (of_text(text), at + 2),
            ("interval", Lexeme::Text(text)) => interval(text, lexemes, at + 2),
            ("interval", Lexeme::Number(number)) => {
                let (seconds, behind) = unit_at(lexemes, at + 2);
                (Literal::Seconds(number * seconds), behind)
            }
            ("date" | "timestamp" | "to_date" | "from_iso8601_date" | "from_iso8601_timestamp", Lexeme::Mark('(')) => {
                match (lexemes.get(at + 2)?, lexemes.get(at + 3)?) {
                    (Lexeme::Text(text), Lexeme::Mark(')')) => (of_text(text), at + 4),
                    _ => return None,
                }
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// `'9 days'`, `'1' day`, `'02:00:00'`.
fn interval<'a>(text: &str, lexemes: &[Lexeme], next: usize) -> (Literal<'a>, usize) {
    if let Ok(number) = text.trim().parse::<f64>() {
        let (seconds, behind) = unit_at(lexemes, next);
        return (Literal::Seconds(number * seconds), behind);
    }
    let mut seconds = 0.0;
    let mut number = None;
    for word in text.split_whitespace() {
        if let Ok(value) = word.parse::<f64>() {
            number = Some(value);
        } else if let Some(unit) = unit(word) {
            seconds += number.take().unwrap_or(1.0) * unit;
        } else if word.contains(':') {
            let parts = word.split(':').filter_map(|part| part.parse::<f64>().ok());
            seconds += parts.zip([3600.0, 60.0, 1.0]).map(|(value, unit)| value * unit).sum::<f64>();
        }
    }
    (Literal::Seconds(seconds), next)
}

fn unit_at(lexemes: &[Lexeme], at: usize) -> (f64, usize) {
    match lexemes.get(at) {
        Some(Lexeme::Word(word)) => unit(word).map_or((1.0, at), |seconds| (seconds, at + 1)),
        _ => (1.0, at),
    }
}

fn unit(word: &str) -> Option<f64> {
    let word = word.to_lowercase();
    let word = word.trim_end_matches(',').strip_suffix('s').unwrap_or(word.as_str());
    Some(match word {
        "second" | "sec" => 1.0,
        "minute" | "min" => 60.0,
        "hour" | "hr" => 3600.0,
        "day" => 86_400.0,
        "week" => 604_800.0,
        "month" | "mon" => 2_629_800.0,
        "quarter" => 7_889_400.0,
        "year" | "yr" => 31_557_600.0,
        _ => return None,
    })
}

/// A string that is a number or begins with a date says so much.
fn of_text(text: &str) -> Literal<'_> {
    if let Some(day) = day(text) {
        return Literal::Day(day);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && text.len() < 20 => Literal::Number(number),
        _ => Literal::Text(text),
    }
}

/// Days since 1970 of `2023-01-31`, `20230131`, or either with a time behind.
fn day(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = bytes.get(range)?;
        digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let dashed = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
    let (year, month, day, rest) = if dashed {
        (number(0..4)?, number(5..7)?, number(8..10)?, bytes.get(10..)?)
    } else if bytes.len() == 8 {
        (number(0..4)?, number(4..6)?, number(6..8)?, &bytes[8..])
    } else {
        return None;
    };
    if !(1800..2200).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days of the proleptic Gregorian calendar, with years that begin in March.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let hour = (rest.len() >= 6).then(|| number(11..13).zip(number(14..16))).flatten();
    Some(days as f64 + hour.map_or(0.0, |(hour, minute)| (hour * 60 + minute) as f64 / 1440.0))
}

#[cfg(test)]
mod tests {
    use super::super::lexer::lex;
    use super::*;

    fn read(sql: &str) -> Literal<'static> {
        let lexed = lex(sql);
        match literal_at(&lexed.lexemes, 0).map(|(literal, _)| literal) {
            Some(Literal::Text(text)) => Literal::Text(Box::leak(text.to_owned().into_boxed_str())),
            Some(Literal::Number(n)) => Literal::Number(n),
            Some(Literal::Day(n)) => Literal::Day(n),
            Some(Literal::Seconds(n)) => Literal::Seconds(n),
            Some(Literal::Unknown) | None => Literal::Unknown,
        }
    }

    #[test]
    fn literals_are_quantities() {
        assert_eq!(read("42"), Literal::Number(42.0));
        assert_eq!(read("-4.5e1"), Literal::Number(-45.0));
        assert_eq!(read("'17'"), Literal::Number(17.0));
        assert_eq!(read("'1970-01-02'"), Literal::Day(1.0));
        assert_eq!(read("date '2000-03-01'"), Literal::Day(11_017.0));
        assert_eq!(read("'1970-01-02 12:00:00'::timestamp"), Literal::Day(1.5));
        assert_eq!(read("timestamp '1970-01-01' + interval '9 days'"), Literal::Day(9.0));
        assert_eq!(read("date '1970-01-31' - interval '1' month"), Literal::Day(30.0 - 30.4375));
        assert_eq!(read("interval '1 day 02:00:00'"), Literal::Seconds(93_600.0));
        assert_eq!(read("cast('1970-01-03' as date)"), Literal::Day(2.0));
        assert_eq!(read("cast(cast('1970-01-03'::text as varchar(10)) as date)::date + 1"), Literal::Day(3.0));
        assert_eq!(read("'abc'"), Literal::Text("abc"));
    }
}
