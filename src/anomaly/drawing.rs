//! An incident as a picture: the score with its threshold over time, and below it each of the metrics that moved, with
//! what was expected of it. SVG, which every browser shows.

use std::fmt::Write;

use jiff::Timestamp;

use super::incident::Incident;
use super::matrix::Kind;
use super::score::Scored;
use super::sentence;
use crate::markup::escape;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
/// Height of a line of the sentence, and of what is above the first panel besides.
const LINE_HEIGHT: f64 = 15.0;
const TOP: f64 = 30.0;
const SCORE_HEIGHT: f64 = 180.0;
const METRIC_HEIGHT: f64 = 90.0;
const GAP: f64 = 34.0;
/// The picture shows this share of the incident's length before and after it, but at least so many milliseconds.
const MARGIN: f64 = 0.5;
const LEAST_MARGIN_MS: i64 = 5 * 60_000;
/// Longest line of the sentence, in characters.
const LINE: usize = 130;

const SCORE: &str = "#1f5fa8";
const THRESHOLD: &str = "#c0392b";
const EXPECTED: &str = "#999999";
const SHADE: &str = "#fbe6e3";

/// A panel: a curve and what it is compared with.
struct Panel<'a> {
    title: String,
    kind: Kind,
    height: f64,
    /// Unix milliseconds and value; a gap where there is none.
    curve: Vec<(i64, Option<f64>)>,
    reference: Vec<(i64, Option<f64>)>,
    colours: (&'a str, &'a str),
    /// Since when it had departed.
    onset: Option<i64>,
}

/// Draws an incident over the rows around it.
pub fn svg(incident: &Incident, rows: &[Scored]) -> String {
    let last = rows.last().map_or(incident.since, |row| row.time);
    let until = incident.until.unwrap_or(last);
    let margin = (((until - incident.since) as f64 * MARGIN) as i64).max(LEAST_MARGIN_MS);
    let shown = (incident.since - margin, until + margin);
    let rows: Vec<&Scored> = rows.iter().filter(|row| (shown.0..=shown.1).contains(&row.time)).collect();
    let span = (
        rows.first().map_or(shown.0, |row| row.time),
        rows.last().map_or(shown.1, |row| row.time).max(incident.since + 1),
    );
    let panels = panels(incident, &rows);
    let lines = wrap(&sentence::incident(incident, last));
    let mut top = TOP + LINE_HEIGHT * lines.len() as f64;
    let height = top + panels.iter().map(|panel| panel.height + GAP).sum::<f64>() + 20.0;
    let mut out = String::new();
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{height}" fill="white"/>"#
    );
    for (index, line) in lines.iter().enumerate() {
        let _ = writeln!(out, r#"<text x="12" y="{}">{}</text>"#, 18.0 + LINE_HEIGHT * index as f64, escape(line));
    }
    for panel in &panels {
        panel.draw(&mut out, top, span, (incident.since, until));
        top += panel.height + GAP;
    }
    out + "</svg>\n"
}

fn panels<'a>(incident: &Incident, rows: &[&Scored]) -> Vec<Panel<'a>> {
    let mut panels = vec![Panel {
        title: "score (1 = threshold)".to_owned(),
        kind: Kind::Gauge,
        height: SCORE_HEIGHT,
        curve: rows.iter().map(|row| (row.time, row.score)).collect(),
        reference: rows.iter().map(|row| (row.time, Some(1.0))).collect(),
        colours: (SCORE, THRESHOLD),
        onset: None,
    }];
    for contributor in &incident.contributors {
        let of = |row: &&Scored| row.contributions.iter().find(|other| other.metric == contributor.metric).cloned();
        panels.push(Panel {
            title: format!(
                "{} ({:.0} % of the score at its peak; dashed: expected)",
                contributor.metric,
                contributor.share * 100.0
            ),
            kind: contributor.kind,
            height: METRIC_HEIGHT,
            curve: rows.iter().map(|row| (row.time, of(row).map(|part| part.now))).collect(),
            reference: rows.iter().map(|row| (row.time, of(row).and_then(|part| part.expected))).collect(),
            colours: (SCORE, EXPECTED),
            onset: contributor.onset,
        });
    }
    panels
}

impl Panel<'_> {
    fn draw(&self, out: &mut String, top: f64, span: (i64, i64), incident: (i64, i64)) {
        let values = self.curve.iter().chain(&self.reference).filter_map(|(_, value)| *value);
        let (low, high) = values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let high = if high > low { high } else { low + 1.0 };
        let x = |time: i64| {
            let share = (time - span.0) as f64 / (span.1 - span.0).max(1) as f64;
            LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
        };
        let y = |value: f64| top + self.height - (value - low) / (high - low) * self.height;
        let (begin, end) = (x(incident.0), x(incident.1));
        let _ = writeln!(
            out,
            r##"<rect x="{begin:.1}" y="{top}" width="{:.1}" height="{}" fill="{SHADE}"/>
<rect x="{LEFT}" y="{top}" width="{}" height="{}" fill="none" stroke="#cccccc"/>
<text x="{LEFT}" y="{}" font-weight="bold">{}</text>"##,
            (end - begin).max(1.0),
            self.height,
            WIDTH - LEFT - RIGHT,
            self.height,
            top - 5.0,
            escape(&self.title)
        );
        for value in [low, high] {
            let _ = writeln!(
                out,
                r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 5.0,
                y(value) + 4.0,
                sentence::value(self.kind, value)
            );
        }
        for (time, anchor) in [(span.0, "start"), (span.1, "end")] {
            let _ = writeln!(
                out,
                r##"<text x="{:.1}" y="{}" text-anchor="{anchor}" fill="#666666">{}</text>"##,
                x(time),
                top + self.height + 13.0,
                clock(time)
            );
        }
        let mut line = |points: &[(i64, Option<f64>)], colour: &str, dashes: &str| {
            for stretch in points.split(|(_, value)| value.is_none()) {
                let path: Vec<String> =
                    stretch.iter().filter_map(|(t, v)| Some(format!("{:.1},{:.1}", x(*t), y((*v)?)))).collect();
                if !path.is_empty() {
                    let path = path.join(" ");
                    let _ = writeln!(
                        out,
                        r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>"#
                    );
                }
            }
        };
        line(&self.reference, self.colours.1, r#" stroke-dasharray="5 3""#);
        line(&self.curve, self.colours.0, "");
        if let Some(onset) = self.onset {
            let _ = writeln!(
                out,
                r#"<line x1="{0:.1}" x2="{0:.1}" y1="{top}" y2="{1}" stroke="{THRESHOLD}"><title>moved first at {2}</title></line>"#,
                x(onset),
                top + self.height,
                clock(onset)
            );
        }
    }
}

fn clock(time: i64) -> String {
    Timestamp::from_millisecond(time).map_or_else(|_| time.to_string(), |t| t.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Lines of whole words.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + word.chars().count() >= LINE {
            lines.push(word.to_owned());
        } else {
            let space = if lines[last].is_empty() { "" } else { " " };
            lines[last] += &format!("{space}{word}");
        }
    }
    lines
}
