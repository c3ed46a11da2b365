//! Values of a table's fields, as loggers write them.

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::cost::classes::quantity;
use crate::cost::log::{Cost, Rejection};
use crate::duration::since_epoch_ms;

/// Bytes as loggers write them: units, and the powers of 1024 that they stand for.
const LOGGED_BYTES: [(&str, i32); 5] = [("kB", 1), ("MB", 2), ("GB", 3), ("TB", 4), ("PB", 5)];

/// A cost: a number, or one with a unit (`1.23s`, `4.5MB`, `2.00m` as Presto has them). Nothing (or `null`) is unknown.
///
/// # Errors
/// It is no number, negative, or not finite.
pub fn cost(text: &str, failed: bool) -> Result<Cost, Rejection> {
    let text = text.trim();
    if matches!(text, "" | "null" | "NULL" | "\\N" | "None") {
        return Ok(Cost::Unknown);
    }
    let with = |unit: &str, factor: f64| {
        text.strip_suffix(unit).and_then(|number| number.trim().parse::<f64>().ok()).map(|number| number * factor)
    };
    // Bytes are powers of 1024 in the logs of Presto, Trino and PostgreSQL, and in bounds they are what they say.
    let bytes = || LOGGED_BYTES.iter().find_map(|(unit, power)| with(unit, 1024_f64.powi(*power)));
    let number = text.parse::<f64>().ok().or_else(bytes).or_else(|| quantity(text)).or_else(|| with("m", 60.0));
    measured(number.ok_or(Rejection::NotNumeric)?, failed)
}

/// A cost as a number.
///
/// # Errors
/// It is negative, or not finite.
pub fn measured(number: f64, failed: bool) -> Result<Cost, Rejection> {
    if !number.is_finite() {
        return Err(Rejection::NotFinite);
    }
    if number < 0.0 {
        return Err(Rejection::Negative);
    }
    Ok(if failed { Cost::AtLeast(number) } else { Cost::Measured(number) })
}

/// Abbreviations of zones with their hours from UTC, as PostgreSQL's default set has them: what a server writes whose
/// `log_timezone` is one of these. Of those that mean several zones it is the first of PostgreSQL's.
const ZONES: [(&str, f64); 36] = [
    ("EST", -5.0),
    ("EDT", -4.0),
    ("CST", -6.0),
    ("CDT", -5.0),
    ("MST", -7.0),
    ("MDT", -6.0),
    ("PST", -8.0),
    ("PDT", -7.0),
    ("AKST", -9.0),
    ("AKDT", -8.0),
    ("HST", -10.0),
    ("AST", -4.0),
    ("ADT", -3.0),
    ("NST", -3.5),
    ("NDT", -2.5),
    ("WET", 0.0),
    ("WEST", 1.0),
    ("BST", 1.0),
    ("CET", 1.0),
    ("CEST", 2.0),
    ("EET", 2.0),
    ("EEST", 3.0),
    ("MSK", 3.0),
    ("IST", 2.0),
    ("IDT", 3.0),
    ("PKT", 5.0),
    ("HKT", 8.0),
    ("JST", 9.0),
    ("KST", 9.0),
    ("AWST", 8.0),
    ("ACST", 9.5),
    ("ACDT", 10.5),
    ("AEST", 10.0),
    ("AEDT", 11.0),
    ("NZST", 12.0),
    ("NZDT", 13.0),
];

/// A time, in milliseconds since 1970: RFC 3339, `2026-01-31 12:00:00.123` with an offset or a zone's abbreviation (one that
/// is not known is read as UTC), a date, or seconds, milliseconds, micro- or nanoseconds since 1970.
pub fn time_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return epoch(number);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let mut parts = text.splitn(3, [' ', 'T']);
    let (date, clock, zone) = (parts.next()?, parts.next(), parts.next());
    let plain = clock.map_or_else(|| date.to_owned(), |clock| format!("{date}T{clock}"));
    // A zone's offset without a colon, or its abbreviation, which PostgreSQL writes.
    let offset = zone.map(str::trim).filter(|zone| zone.starts_with(['+', '-'])).unwrap_or_default();
    if let Ok(time) = format!("{plain}{offset}").parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let civil: DateTime = plain
        .parse()
        .ok()
        .or_else(|| date.parse::<jiff::civil::Date>().ok().filter(|_| clock.is_none()).map(Into::into))?;
    let hours = ZONES.iter().find(|(name, _)| zone.map(str::trim) == Some(name)).map_or(0.0, |(_, hours)| *hours);
    Some(civil.in_tz("UTC").ok()?.timestamp().as_millisecond() - (hours * 3_600_000.0) as i64)
}

/// A count since 1970, told by its size.
pub fn epoch(number: f64) -> Option<i64> {
    (1e7..1e20).contains(&number.abs()).then(|| since_epoch_ms(number) as i64)
}

/// Whether a field says that a statement failed: a truth value, a state, or an error.
pub fn flag(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    let no = [
        "",
        "0",
        "false",
        "f",
        "no",
        "null",
        "none",
        "\\n",
        "finished",
        "success",
        "succeeded",
        "ok",
        "completed",
        "done",
    ];
    !no.contains(&text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_read_as_loggers_write_them() {
        for (text, expected) in [
            ("1.5", 1.5),
            ("1.50s", 1.5),
            ("2.00m", 120.0),
            ("3ms", 0.003),
            ("4kB", 4096.0),
            ("1.5GB", 1_610_612_736.0),
            ("2.00PB", 2_251_799_813_685_248.0),
            ("12B", 12.0),
            ("2MiB", 2_097_152.0),
            ("1e3", 1000.0),
        ] {
            assert_eq!(cost(text, false), Ok(Cost::Measured(expected)), "{text}");
        }
        assert_eq!(cost("", false), Ok(Cost::Unknown));
        assert_eq!(cost("7", true), Ok(Cost::AtLeast(7.0)));
        assert_eq!(cost("-1", false), Err(Rejection::Negative));
        assert_eq!(cost("NaN", false), Err(Rejection::NotFinite));
        assert_eq!(cost("inf", false), Err(Rejection::NotFinite));
        assert_eq!(cost("slow", false), Err(Rejection::NotNumeric));
    }

    #[test]
    fn times_are_read_as_loggers_write_them() {
        let noon = 1_769_860_800_000;
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31 12:00:00",
            "2026-01-31 12:00:00.000 UTC",
            "2026-01-31T13:00:00+01:00",
            "1769860800",
            "1769860800000",
            "1769860800.0",
        ] {
            assert_eq!(time_ms(text), Some(noon), "{text}");
        }
        assert_eq!(time_ms("2026-01-31"), Some(noon - 43_200_000));
        for text in ["", "now", "12", "2026-13-01"] {
            assert_eq!(time_ms(text), None, "{text}");
        }
    }

    #[test]
    fn failures_are_told_from_successes() {
        assert!(["FAILED", "true", "EXCEEDED_TIME_LIMIT", "1", "canceled"].iter().all(|text| flag(text)));
        assert!(["", "FINISHED", "false", "0", "success"].iter().all(|text| !flag(text)));
    }
}
