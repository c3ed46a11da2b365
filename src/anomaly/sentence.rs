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
    format!("{metric} {} → {}", value(kind, was), value(kind, now))
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
