//! What an incident says in one line, for the Event, the notification and the terminal.

use jiff::Timestamp;

use super::incident::Incident;
use super::matrix::Kind;
use super::score::Contribution;

/// Longest text: an Event's message ends at 1024 bytes.
const LONGEST: usize = 1000;

/// An incident at a moment (Unix milliseconds): how strong, since when, what moved first, what it looks like, and what
/// changed at the same time. Times are UTC.
pub fn incident(incident: &Incident, now: i64) -> String {
    let end = incident.until.unwrap_or(now);
    let lasted = duration(end - incident.since);
    let mut text = match incident.until {
        None => format!("Anomaly {:.1}× threshold since {} ({lasted}).", incident.peak, clock(incident.since, "%H:%M")),
        Some(until) => format!(
            "Anomaly ended: {:.1}× threshold from {} to {} ({lasted}).",
            incident.peak,
            clock(incident.since, "%H:%M"),
            clock(until, "%H:%M")
        ),
    };
    let mut moved = incident.contributors.iter();
    if let Some(first) = moved.next() {
        let onset = first.onset.map_or_else(String::new, |onset| format!(" ({})", clock(onset, "%H:%M:%S")));
        text += &format!(" First: {}{onset}.", contribution(first));
        let then: Vec<String> = moved.map(contribution).collect();
        if !then.is_empty() {
            text += &format!(" Then {}.", then.join(", "));
        }
    }
    let mut causes = incident.causes.iter().map(|cause| format!("{} ({:.2})", cause.cause, cause.similarity));
    if let Some(first) = causes.next() {
        text += &format!(" Looks like: {first}");
        causes.for_each(|next| text += &format!("; next {next}"));
        text.push('.');
    }
    if !incident.changes.is_empty() {
        let changes: Vec<&str> = incident.changes.iter().map(|change| change.what.as_str()).collect();
        text += &format!(" Coincides: {}.", changes.join("; "));
    }
    shorten(text)
}

/// A value that changed: "shared_buffers 128M → 16M".
pub fn change(metric: &str, kind: Kind, was: f64, now: f64) -> String {
    let shown = [was, now].map(|number| value(kind, number));
    if shown[0] != shown[1] || was == now {
        return format!("{metric} {} → {}", shown[0], shown[1]);
    }
    // Three digits do not tell them apart: a time since 1970, above all.
    let seconds = metric.ends_with("_time") && [was, now].iter().all(|number| (1e9..1e10).contains(number));
    let [was, now] = [was, now].map(|number| match seconds {
        true => clock((number * 1000.0) as i64, "%Y-%m-%dT%H:%M:%SZ"),
        false => number.to_string(),
    });
    format!("{metric} {was} → {now}")
}

fn contribution(contribution: &Contribution) -> String {
    let Contribution { metric, kind, now, expected, .. } = contribution;
    match expected {
        Some(expected) => change(metric, *kind, *expected, *now),
        None => format!("{metric} {}", value(*kind, *now)),
    }
}

/// A value as people write it: three digits, a letter for thousands, the unit of its kind.
pub fn value(kind: Kind, value: f64) -> String {
    let unit = if kind == Kind::Counter { "/s" } else { "" };
    if kind == Kind::Ratio {
        return format!("{} %", digits(value * 100.0));
    }
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match steps.iter().find(|(size, _)| value.abs() >= *size) {
        Some((size, letter)) => format!("{}{letter}{unit}", digits(value / size)),
        None => format!("{}{unit}", digits(value)),
    }
}

/// Three significant digits, without zeros at the end of a fraction.
fn digits(value: f64) -> String {
    let size = value.abs();
    let places = if size >= 99.95 {
        0
    } else if size >= 9.995 {
        1
    } else if size >= 0.9995 {
        2
    } else {
        3
    };
    let text = format!("{value:.places$}");
    let text = if places > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn duration(ms: i64) -> String {
    let seconds = (ms / 1000).max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn clock(time: i64, format: &str) -> String {
    Timestamp::from_millisecond(time).map_or_else(|_| time.to_string(), |time| time.strftime(format).to_string())
}

fn shorten(text: String) -> String {
    if text.len() <= LONGEST {
        return text;
    }
    let end = (0..=LONGEST - '…'.len_utf8()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::super::incident::ChangeEvent;
    use super::super::score::Direction;
    use super::super::signature::{Cause, Change};
    use super::*;

    fn part(metric: &str, kind: Kind, expected: f64, now: f64, onset: Option<i64>) -> Contribution {
        let direction = if now < expected { Direction::Down } else { Direction::Up };
        Contribution { metric: metric.into(), kind, now, expected: Some(expected), direction, share: 0.3, onset }
    }

    fn example() -> Incident {
        let since = 1_772_460_180_000;
        Incident {
            id: "20260302t140300z".into(),
            since,
            until: None,
            peak: 4.2,
            contributors: vec![
                part("seq_tup_read", Kind::Counter, 1_200.0, 480_000.0, Some(since - 30_000)),
                part("CPU user", Kind::Ratio, 0.22, 0.91, None),
                part("commits", Kind::Counter, 310.0, 90.0, None),
            ],
            causes: vec![
                Cause { cause: "missing index".into(), similarity: 0.87 },
                Cause { cause: "heavy query".into(), similarity: 0.55 },
            ],
            changes: vec![ChangeEvent {
                time: since,
                what: change("index count of public.orders", Kind::Config, 5.0, 4.0),
            }],
            change: Change::new(),
        }
    }

    #[test]
    fn it_says_what_a_person_can_act_on() {
        let example = example();
        assert_eq!(
            incident(&example, example.since + 120_000),
            "Anomaly 4.2× threshold since 14:03 (2 min). First: seq_tup_read 1.2k/s → 480k/s (14:02:30). Then CPU user \
             22 % → 91 %, commits 310/s → 90/s. Looks like: missing index (0.87); next heavy query (0.55). Coincides: \
             index count of public.orders 5 → 4."
        );
        let ended = Incident { until: Some(example.since + 3_600_000), contributors: Vec::new(), ..example };
        let text = incident(&ended, 0);
        assert!(text.starts_with("Anomaly ended: 4.2× threshold from 14:03 to 15:03 (60 min). Looks like"), "{text}");
    }

    #[test]
    fn it_fits_into_an_event() {
        let mut long = example();
        long.changes = vec![ChangeEvent { time: 0, what: "→".repeat(2000) }];
        let text = incident(&long, long.since);
        assert!(text.len() <= 1000 && text.ends_with('…'));
    }

    #[test]
    fn values_have_three_digits_and_a_unit() {
        let table = [
            (Kind::Gauge, 0.0, "0"),
            (Kind::Gauge, -0.0001, "0"),
            (Kind::Gauge, 0.1234, "0.123"),
            (Kind::Gauge, 12.0, "12"),
            (Kind::Gauge, 999.96, "1000"),
            (Kind::Gauge, 134_217_728.0, "134M"),
            (Kind::Counter, 1_234.0, "1.23k/s"),
            (Kind::Ratio, 0.987, "98.7 %"),
            (Kind::Gauge, -2e9, "-2G"),
        ];
        for (kind, number, text) in table {
            assert_eq!(value(kind, number), text);
        }
    }

    #[test]
    fn what_changed_is_told_apart() {
        assert_eq!(change("max_connections", Kind::Config, 1000.0, 1001.0), "max_connections 1000 → 1001");
        assert_eq!(
            change("postmaster_start_time", Kind::Config, 1_772_409_600.0, 1_772_409_661.0),
            "postmaster_start_time 2026-03-02T00:00:00Z → 2026-03-02T00:01:01Z"
        );
        assert_eq!(change("shared_buffers", Kind::Config, 128e6, 16e6), "shared_buffers 128M → 16M");
    }
}
