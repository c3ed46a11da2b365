//! PostgreSQL's notation for the value of a setting: what may stand in a configuration file (`4MB`, `30 s`, `0.9`,
//! `-1`, `yes`), and what `SHOW` prints of it.
//!
//! The rules are those of PostgreSQL's `guc.c` (`parse_int`, `parse_real`, `parse_bool`, `convert_to_base_unit`,
//! `ShowGUCOption`): units are case-sensitive, words are not, a fraction is rounded to the next smaller unit.

use thiserror::Error;

use super::setting::{Setting, VarType};

/// Units of memory with their size in bytes, greatest first.
const MEMORY: [(&str, f64); 5] =
    [("TB", 1_099_511_627_776.0), ("GB", 1_073_741_824.0), ("MB", 1_048_576.0), ("kB", 1024.0), ("B", 1.0)];

/// Units of time with their length in microseconds, greatest first.
const TIME: [(&str, f64); 6] = [("d", 86_400e6), ("h", 3600e6), ("min", 60e6), ("s", 1e6), ("ms", 1e3), ("us", 1.0)];

/// A value in its setting's own unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Native {
    /// Of a `bool`.
    Bool(bool),
    /// Of an `integer`, in the setting's unit.
    Integer(i64),
    /// Of a `real`, in the setting's unit.
    Real(f64),
    /// Of an `enum` or a `string`.
    Text(String),
}

impl Native {
    /// The value as a number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Real(value) => Some(*value),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }
}

/// Why a text isn't a value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// It doesn't begin with a number.
    #[error("{0:?} is not a number")]
    NotANumber(String),
    /// The setting has no unit, or one of another kind.
    #[error("{text:?} has the unit {given:?}, but valid units are {valid}")]
    WrongUnit {
        /// The text.
        text: String,
        /// The unit in it.
        given: String,
        /// The units that would do.
        valid: String,
    },
    /// It is none of the words for true and false.
    #[error("{0:?} is neither on nor off")]
    NotABoolean(String),
    /// It is none of the enumeration's values.
    #[error("{text:?} is none of {valid}")]
    NotAnOption {
        /// The text.
        text: String,
        /// The server's values.
        valid: String,
    },
}

/// What a unit measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Bytes.
    Memory,
    /// Microseconds.
    Time,
}

/// What a unit of `pg_settings` (`8kB`, `ms`) measures, and its size in bytes or microseconds.
pub fn unit_size(unit: &str) -> Option<(Measure, f64)> {
    let digits = unit.len() - unit.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, word) = unit.split_at(digits);
    let count: f64 = if count.is_empty() { 1.0 } else { count.parse().ok()? };
    let find = |table: &[(&str, f64)]| table.iter().find(|(name, _)| *name == word).map(|(_, size)| size * count);
    find(&MEMORY).map(|size| (Measure::Memory, size)).or_else(|| find(&TIME).map(|size| (Measure::Time, size)))
}

fn table(measure: Measure) -> &'static [(&'static str, f64)] {
    match measure {
        Measure::Memory => &MEMORY,
        Measure::Time => &TIME,
    }
}

/// Reads a number with an optional unit into the setting's own unit.
pub fn parse_number(text: &str, unit: Option<&str>, integer: bool) -> Result<Native, ValueError> {
    let (mut value, written) = leading_number(text, integer)?;
    if !written.is_empty() {
        value = in_own_unit(value, text, written, unit)?;
    }
    Ok(if integer { Native::Integer(value.round_ties_even() as i64) } else { Native::Real(value) })
}

/// The number that a text begins with, and the rest without surrounding spaces.
fn leading_number(text: &str, integer: bool) -> Result<(f64, &str), ValueError> {
    let trimmed = text.trim();
    let not_a_number = || ValueError::NotANumber(text.to_owned());
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    let hexadecimal = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")).map(|digits| (digits, 16));
    // As in C, a whole number that begins with 0 is octal.
    let octal = (integer && unsigned.starts_with('0') && !unsigned.contains(['.', 'e', 'E'])).then_some((unsigned, 8));
    if let Some((digits, radix)) = hexadecimal.or(octal) {
        let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
        let value = i64::from_str_radix(&digits[..end], radix).map_err(|_| not_a_number())? as f64;
        return Ok((if trimmed.starts_with('-') { -value } else { value }, digits[end..].trim()));
    }
    // The longest prefix that reads as a number: `1e3` is one, the `e` of `1eB` is not part of one.
    let end = trimmed.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(trimmed.len());
    let number = (1..=end).rev().find_map(|end| Some((trimmed[..end].parse::<f64>().ok()?, end)));
    let (value, end) = number.filter(|(value, _)| value.is_finite()).ok_or_else(not_a_number)?;
    Ok((value, trimmed[end..].trim()))
}

fn in_own_unit(value: f64, text: &str, written: &str, unit: Option<&str>) -> Result<f64, ValueError> {
    let wrong_unit = |valid: String| ValueError::WrongUnit { text: text.into(), given: written.into(), valid };
    let (measure, own) = unit.and_then(unit_size).ok_or_else(|| wrong_unit("none".into()))?;
    let units = table(measure);
    let at = units
        .iter()
        .position(|(name, _)| *name == written)
        .ok_or_else(|| wrong_unit(units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")))?;
    let converted = value * units[at].1 / own;
    // A fraction such as 30.1GB is rounded to the nearest multiple of the next smaller unit.
    Ok(match units.get(at + 1) {
        Some((_, smaller)) => (value * units[at].1 / smaller).round_ties_even() * smaller / own,
        None => converted,
    })
}

/// A whole number in its own unit, as `SHOW` prints it: in the greatest unit that divides it.
pub fn show_integer(value: i64, unit: Option<&str>) -> String {
    // As in PostgreSQL, 0 and the special negative values stand without a unit.
    let Some((measure, own)) = unit.and_then(unit_size).filter(|_| value > 0) else { return value.to_string() };
    let total = i128::from(value) * own as i128;
    let (name, size) = table(measure)
        .iter()
        .find(|(_, size)| total % *size as i128 == 0)
        .expect("every table ends with a unit of size 1");
    format!("{}{name}", total / *size as i128)
}

/// A number in its own unit, as `SHOW` prints it.
pub fn show_real(value: f64, unit: Option<&str>) -> String {
    let Some((measure, own)) = unit.and_then(unit_size).filter(|_| value > 0.0) else { return general(value) };
    let mut units = table(measure).iter().map(|(name, size)| (value * own / size, *name));
    // The first unit in which the value is nearly whole, or else the smallest.
    let nearly_whole = |(value, _): &(f64, &str)| *value > 0.0 && (value.round() / value - 1.0).abs() <= 1e-8;
    let (value, name) = units.clone().find(nearly_whole).or_else(|| units.next_back()).expect("no table is empty");
    format!("{}{name}", general(value))
}

/// C's `%g`: six significant digits, without trailing zeros.
fn general(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let scientific = format!("{value:.5e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let strip = |digits: &str| match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => digits.to_owned(),
    };
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", strip(mantissa), exponent.abs());
    }
    strip(&format!("{value:.*}", (5 - exponent).max(0) as usize))
}

/// Reads a boolean as PostgreSQL does: any unambiguous beginning of the words, in any case.
fn parse_bool(text: &str) -> Result<bool, ValueError> {
    let word = text.trim().to_ascii_lowercase();
    let begins = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(ValueError::NotABoolean(text.to_owned()))
    }
}

impl Setting {
    /// Reads a value of this setting in PostgreSQL's notation. Bounds are not checked: [`Setting::accepts`] does.
    pub fn parse(&self, text: &str) -> Result<Native, ValueError> {
        match self.vartype {
            VarType::Bool => parse_bool(text).map(Native::Bool),
            VarType::Integer => parse_number(text, self.unit.as_deref(), true),
            VarType::Real => parse_number(text, self.unit.as_deref(), false),
            VarType::Enum => self.parse_enum(text).map(Native::Text),
            VarType::String => Ok(Native::Text(text.to_owned())),
        }
    }

    fn parse_enum(&self, text: &str) -> Result<String, ValueError> {
        let named = |word: &str| self.enumvals.iter().find(|value| value.eq_ignore_ascii_case(word)).cloned();
        // Enumerations that were booleans once accept the boolean words too, without listing them.
        let boolean = || parse_bool(text).ok().and_then(|on| named(if on { "on" } else { "off" }));
        let value = named(text.trim())
            .or_else(boolean)
            .ok_or_else(|| ValueError::NotAnOption { text: text.to_owned(), valid: self.enumvals.join(", ") })?;
        // wal_compression lists `on`, but shows it as `pglz`, which it stands for.
        Ok(if value == "on" { named("pglz").unwrap_or(value) } else { value })
    }

    /// The value in effect.
    pub fn native(&self) -> Result<Native, ValueError> {
        self.parse(&self.value)
    }

    /// Whether the value lies within the server's bounds.
    pub fn accepts(&self, value: &Native) -> bool {
        match value {
            Native::Text(text) => self.vartype != VarType::Enum || self.enumvals.contains(text),
            Native::Bool(_) => true,
            Native::Integer(_) | Native::Real(_) => value.number().is_some_and(|number| {
                self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
            }),
        }
    }

    /// A value of this setting, as `SHOW` prints it.
    pub fn show(&self, value: &Native) -> String {
        match value {
            Native::Bool(on) => if *on { "on" } else { "off" }.to_owned(),
            Native::Integer(value) => show_integer(*value, self.unit.as_deref()),
            Native::Real(value) => show_real(*value, self.unit.as_deref()),
            Native::Text(text) => text.clone(),
        }
    }

    /// The value that is configured, as `SHOW` would print it. It is not the one in effect where the server computes that
    /// itself: `wal_buffers` at its default of -1 shows a share of `shared_buffers`, and as its source `default`, or
    /// `override` after a start with a -1 that stands in a file.
    pub fn configured(&self) -> String {
        let by_server = matches!(self.source.as_str(), "default" | "override");
        let computed = by_server && self.boot_value.as_deref() == Some("-1");
        if computed { "-1".to_owned() } else { self.display() }
    }

    /// This setting with another value, given as `SHOW` prints it; unchanged where that isn't one.
    pub fn with(&self, shown: &str) -> Self {
        let value = match self.parse(shown) {
            Ok(Native::Bool(on)) => if on { "on" } else { "off" }.to_owned(),
            Ok(Native::Integer(number)) => number.to_string(),
            Ok(Native::Real(number)) => number.to_string(),
            Ok(Native::Text(text)) => text,
            Err(_) => self.value.clone(),
        };
        Self { value, ..self.clone() }
    }

    /// The value in effect, as `SHOW` prints it (`128MB`). What a server shows but would not accept itself (a build may
    /// list an internal setting's value in no notation) stands as it is.
    pub fn display(&self) -> String {
        self.native().map_or_else(|_| self.value.clone(), |value| self.show(&value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn setting(vartype: VarType, unit: Option<&str>, value: &str) -> Setting {
        Setting { vartype, unit: unit.map(str::to_owned), value: value.to_owned(), ..Setting::default() }
    }

    #[test]
    fn a_value_is_shown_in_the_greatest_unit_that_divides_it() {
        for (unit, value, shown) in [
            ("8kB", "16384", "128MB"),
            ("8kB", "1", "8kB"),
            ("8kB", "-1", "-1"),
            ("kB", "65536", "64MB"),
            ("kB", "4097", "4097kB"),
            ("MB", "1024", "1GB"),
            ("MB", "1536", "1536MB"),
            ("B", "16777216", "16MB"),
            ("s", "300", "5min"),
            ("s", "0", "0"),
            ("ms", "200", "200ms"),
            ("ms", "86400000", "1d"),
            ("min", "1440", "1d"),
        ] {
            assert_eq!(setting(VarType::Integer, Some(unit), value).display(), shown);
        }
        assert_eq!(setting(VarType::Real, None, "0.9").display(), "0.9");
        assert_eq!(setting(VarType::Real, Some("ms"), "2").display(), "2ms");
        assert_eq!(setting(VarType::Real, Some("ms"), "0.5").display(), "500us");
        assert_eq!(setting(VarType::Bool, None, "on").display(), "on");
    }

    #[test]
    fn reals_are_printed_as_c_does() {
        for (value, text) in [
            (0.0, "0"),
            (1.1, "1.1"),
            (2.0, "2"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e10, "1e+10"),
            (1.0 / 3.0, "0.333333"),
            (-1.5, "-1.5"),
            (100_000.0, "100000"),
        ] {
            assert_eq!(general(value), text);
        }
    }

    #[test]
    fn numbers_are_read_with_their_unit() {
        let blocks = setting(VarType::Integer, Some("8kB"), "0");
        for (text, value) in [
            ("128MB", 16384),
            ("16384", 16384),
            (" 1 GB ", 131_072),
            ("0x10", 16),
            ("010MB", 1024),
            ("0", 0),
            ("1.5kB", 0),
            ("8000B", 1),
            ("-1", -1),
            ("1e2", 100),
        ] {
            assert_eq!(blocks.parse(text), Ok(Native::Integer(value)), "{text}");
        }
        let seconds = setting(VarType::Integer, Some("s"), "0");
        assert_eq!(seconds.parse("5min"), Ok(Native::Integer(300)));
        assert_eq!(seconds.parse("0.5h"), Ok(Native::Integer(1800)));
        let ratio = setting(VarType::Real, None, "0");
        assert_eq!(ratio.parse(".9"), Ok(Native::Real(0.9)));
    }

    #[test]
    fn what_is_wrong_with_a_value_is_said() {
        let memory = setting(VarType::Integer, Some("kB"), "0");
        let said = |text: &str| memory.parse(text).unwrap_err().to_string();
        assert_eq!(said("4mb"), r#""4mb" has the unit "mb", but valid units are TB, GB, MB, kB, B"#);
        assert_eq!(said("4s"), r#""4s" has the unit "s", but valid units are TB, GB, MB, kB, B"#);
        assert_eq!(said("much"), r#""much" is not a number"#);
        assert_eq!(said(""), r#""" is not a number"#);
        let none = setting(VarType::Real, None, "0");
        assert_eq!(none.parse("1MB").unwrap_err().to_string(), r#""1MB" has the unit "MB", but valid units are none"#);
        assert!(setting(VarType::Bool, None, "on").parse("o").is_err());
    }

    #[test]
    fn words_are_read_in_any_case() {
        let boolean = setting(VarType::Bool, None, "on");
        for (text, on) in [("ON", true), ("t", true), ("Yes", true), ("of", false), ("0", false), ("FALSE", false)] {
            assert_eq!(boolean.parse(text), Ok(Native::Bool(on)), "{text}");
        }
        let enumvals = ["pglz", "lz4", "zstd", "on", "off"].map(str::to_owned).to_vec();
        let compression = Setting { enumvals, ..setting(VarType::Enum, None, "off") };
        for (text, value) in [("LZ4", "lz4"), ("false", "off"), ("on", "pglz"), ("yes", "pglz")] {
            assert_eq!(compression.parse(text), Ok(Native::Text(value.into())), "{text}");
        }
        assert_eq!(compression.parse("gzip").unwrap_err().to_string(), r#""gzip" is none of pglz, lz4, zstd, on, off"#);
    }

    proptest! {
        #[test]
        fn an_integer_reads_back_as_it_was_shown(
            value in -1i64..=i64::from(i32::MAX),
            unit in prop::sample::select(vec![None, Some("8kB"), Some("kB"), Some("MB"), Some("B"), Some("ms"), Some("s"), Some("min")]),
        ) {
            let shown = show_integer(value, unit);
            prop_assert_eq!(parse_number(&shown, unit, true), Ok(Native::Integer(value)));
        }

        #[test]
        fn a_real_reads_back_to_six_digits(value in 0.0f64..1e7, unit in prop::sample::select(vec![None, Some("ms")])) {
            let shown = show_real(value, unit);
            let read = parse_number(&shown, unit, false).unwrap().number().unwrap();
            prop_assert!((read - value).abs() <= 1e-5 * value.abs().max(1e-3), "{} {}", shown, value);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,20}") {
            let _ = setting(VarType::Integer, Some("8kB"), "0").parse(&text);
            let _ = unit_size(&text);
        }
    }
}
