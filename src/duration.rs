//! Durations as custom resources write them (`15s`, `1h30m`, `14d`), and times as logs count them.

/// What the schemas admit as a duration.
pub const PATTERN: &str = r"^([0-9]+(s|m|h|d))+$";

/// Seconds of a duration like `6h` or `1h30m`. The schema admits nothing else; what overflows is as long as can be.
pub fn seconds(text: &str) -> i64 {
    let mut total = 0i64;
    let mut number = 0i64;
    for c in text.chars() {
        let unit = match c {
            'd' => 86_400,
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => {
                number = number.saturating_mul(10).saturating_add(c.to_digit(10).map_or(0, i64::from));
                continue;
            }
        };
        total = total.saturating_add(number.saturating_mul(unit));
        number = 0;
    }
    total
}

/// Seconds for people: `45 s`, `2 min`, `3.5 h`, `12 d`.
pub fn words(seconds: i64) -> String {
    let tenths = |unit: i64, name: &str| {
        let value = (seconds as f64 / unit as f64 * 10.0).round() / 10.0;
        format!("{value} {name}")
    };
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", (seconds + 30) / 60),
        7200..172_800 => tenths(3600, "h"),
        _ => tenths(86_400, "d"),
    }
}

/// Milliseconds from a count since 1970, whose size tells what is counted: seconds reach 10¹¹ in the year 5138, so that what
/// is larger are milliseconds, then micro- and nanoseconds.
pub fn since_epoch_ms(count: f64) -> f64 {
    match count.abs() {
        size if size < 1e11 => count * 1e3,
        size if size < 1e14 => count,
        size if size < 1e17 => count * 1e-3,
        _ => count * 1e-6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up() {
        for (text, expected) in [("15s", 15), ("1h30m", 5400), ("14d", 1_209_600), ("1d1s", 86_401), ("", 0)] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert_eq!(seconds("99999999999999999999d"), i64::MAX);
    }

    #[test]
    fn durations_are_told_in_the_unit_that_fits() {
        for (seconds, expected) in
            [(45, "45 s"), (150, "3 min"), (140, "2 min"), (12_600, "3.5 h"), (1_209_600, "14 d")]
        {
            assert_eq!(words(seconds), expected);
        }
    }
}
