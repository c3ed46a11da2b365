//! The report as a page for people: one file, no script, nothing loaded from elsewhere.

use std::fmt::Write;

use super::Method;
use super::metrics::{Bin, Metrics};
use super::report::{Feature, Report, SplitReport, TargetReport};
use crate::markup::escape;

/// Features that are drawn.
const FEATURES: usize = 20;
/// Longest name of a feature that is drawn whole, in characters.
const NAME: usize = 48;
/// Side of a cell of a confusion matrix.
const CELL: f64 = 74.0;
/// Side of a reliability diagram.
const SIDE: f64 = 220.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}\
    table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;text-align:right;border-bottom:1px solid #ddd}\
    td:first-child,th:first-child{text-align:left}tr.ours{font-weight:600;background:#eef4fb}\
    .row{display:flex;flex-wrap:wrap;gap:2.5em;align-items:flex-start}figure{margin:0}figcaption{color:#555;max-width:26em}\
    svg{font:12px system-ui,sans-serif}h2{margin-top:2em;border-top:2px solid #ddd;padding-top:1em}";

/// The page.
pub fn page(report: &Report) -> String {
    let mut page = String::new();
    let log = &report.log;
    let rejected: u64 = log.rejected.values().sum();
    let _ = writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Query cost model {version}</title>\
         <style>{STYLE}</style>\n<h1>Query cost model {version}</h1>\n<p>Learnt from {} statements of {} fingerprints; {rejected} \
         rows rejected{}. {:.1} % of the texts could not be lexed to their end and were read as words.</p>",
        log.statements,
        log.fingerprints,
        reasons(report),
        log.read_as_words * 100.0,
        version = escape(&report.model_version),
    );
    for sample in &log.samples {
        let _ = writeln!(page, "<p>Rejected, for example: <code>{}</code></p>", escape(sample));
    }
    for info in &report.targets {
        let unit = if info.unit.is_empty() { String::new() } else { format!(" in {}", escape(&info.unit)) };
        let _ = writeln!(page, "<h2>{}{unit}</h2>", escape(&info.name));
        comparison(&mut page, report, &info.name);
        for split in &report.splits {
            if let Some(target) = split.targets.get(&info.name) {
                pictures(&mut page, split, target);
            }
        }
    }
    for (split, why) in &report.missing_splits {
        let _ = writeln!(page, "<p>The {} split is not possible: {}</p>", split.word(), escape(why));
    }
    page + "</html>\n"
}

fn reasons(report: &Report) -> String {
    let reasons: Vec<String> =
        report.log.rejected.iter().map(|(reason, count)| format!("{} {count}", escape(reason))).collect();
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) }
}

/// Each method in each split.
fn comparison(page: &mut String, report: &Report, name: &str) {
    page.push_str(
        "<table><tr><th>split, method<th>rows<th>accuracy<th>at 80 % coverage<th>heavy precision<th>heavy recall\
         <th>below p50<th>below p90<th>calibration error</tr>\n",
    );
    for split in &report.splits {
        for (method, figures) in split.targets.get(name).into_iter().flat_map(|target| &target.methods) {
            let (precision, recall) =
                figures.classes.last().map_or((0.0, 0.0), |class| (class.precision, class.recall));
            let _ = writeln!(
                page,
                "<tr{}><td>{}, {}<td>{}<td>{:.3}<td>{:.3}<td>{precision:.3}<td>{recall:.3}<td>{:.3}<td>{:.3}<td>{:.3}</tr>",
                if *method == Method::Ours { " class=\"ours\"" } else { "" },
                split.split.word(),
                method.word(),
                figures.rows,
                figures.accuracy,
                figures.accuracy_at80_coverage,
                figures.below_p50,
                figures.below_p90,
                figures.calibration_error,
            );
        }
    }
    page.push_str("</table>\n");
}

fn pictures(page: &mut String, split: &SplitReport, target: &TargetReport) {
    let Some(ours) = target.methods.get(&Method::Ours) else { return };
    let _ = writeln!(
        page,
        "<h3>{} split</h3><p>{} rows taught, {} of {} that were held out judged. Trees of depth {}, learning rate {}, {} rounds.</p><div class=\"row\">",
        split.split.word(),
        split.train_rows,
        split.drawn_rows,
        split.test_rows,
        target.chosen.max_depth,
        target.chosen.eta,
        target.chosen.rounds,
    );
    confusion(page, ours);
    reliability(page, &ours.reliability);
    features(page, &target.top_features);
    page.push_str("</div>\n");
}

fn confusion(page: &mut String, figures: &Metrics) {
    let count = figures.classes.len() as f64;
    let left = 150.0;
    let (width, height) = (left + CELL * count, CELL * count + 62.0);
    let _ = writeln!(page, "<figure><svg width=\"{width}\" height=\"{height}\" role=\"img\">");
    let _ =
        writeln!(page, "<text x=\"{}\" y=\"14\" text-anchor=\"middle\">predicted</text>", left + CELL * count / 2.0);
    for (truth, (row, class)) in figures.confusion.iter().zip(&figures.classes).enumerate() {
        let y = 40.0 + CELL * truth as f64;
        let label = escape(&class.label);
        let column = left + CELL * (truth as f64 + 0.5);
        let _ = writeln!(page, "<text x=\"{column}\" y=\"32\" text-anchor=\"middle\" font-size=\"10\">{label}</text>");
        let middle = y + CELL / 2.0 + 4.0;
        let _ = writeln!(page, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{label}</text>", left - 8.0);
        for (predicted, rows) in row.iter().enumerate() {
            let share = *rows as f64 / class.support.max(1) as f64;
            let x = left + CELL * predicted as f64;
            let (fill, ink) = (if truth == predicted { "#1f5fa8" } else { "#c0392b" }, ink(share));
            let _ = writeln!(
                page,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"{fill}\" fill-opacity=\"{share:.3}\" \
                 stroke=\"#ccc\"/><text x=\"{}\" y=\"{middle}\" text-anchor=\"middle\" fill=\"{ink}\">{rows}</text>",
                x + CELL / 2.0
            );
        }
    }
    page.push_str("</svg><figcaption>True class (rows) against the predicted one; shaded by share of the row.</figcaption></figure>\n");
}

/// Readable on a cell that is filled so far.
fn ink(share: f64) -> &'static str {
    if share > 0.55 { "white" } else { "#222" }
}

fn reliability(page: &mut String, bins: &[Bin]) {
    let (left, top) = (46.0, 12.0);
    let x = |value: f64| left + value * SIDE;
    let y = |value: f64| top + (1.0 - value) * SIDE;
    let (width, height) = (left + SIDE + 14.0, top + SIDE + 44.0);
    let _ = writeln!(
        page,
        "<figure><svg width=\"{width}\" height=\"{height}\" role=\"img\"><rect x=\"{left}\" y=\"{top}\" width=\"{SIDE}\" \
         height=\"{SIDE}\" fill=\"none\" stroke=\"#ccc\"/><line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"#999\" \
         stroke-dasharray=\"4 4\"/>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    for value in [0.0, 0.5, 1.0] {
        let _ = writeln!(
            page,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{value}</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value}</text>",
            x(value),
            top + SIDE + 16.0,
            left - 6.0,
            y(value) + 4.0
        );
    }
    let most = bins.iter().map(|bin| bin.rows).max().unwrap_or_default().max(1) as f64;
    for bin in bins.iter().filter(|bin| bin.rows > 0) {
        let radius = 3.0 + 9.0 * (bin.rows as f64 / most).sqrt();
        let _ = writeln!(
            page,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"#1f5fa8\" fill-opacity=\".7\"><title>stated {:.2}, right {:.2}, \
             {} rows</title></circle>",
            x(bin.stated),
            y(bin.right),
            bin.stated,
            bin.right,
            bin.rows
        );
    }
    let _ = writeln!(
        page,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">stated probability</text></svg><figcaption>Share that was right, by stated \
         probability; on the line is honest. Larger dots stand for more rows.</figcaption></figure>",
        x(0.5),
        top + SIDE + 34.0
    );
}

fn features(page: &mut String, features: &[Feature]) {
    let shown = &features[..features.len().min(FEATURES)];
    let (left, bar, line) = (340.0, 150.0, 17.0);
    let most = shown.iter().map(|feature| feature.splits).max().unwrap_or_default().max(1) as f64;
    let height = line * shown.len() as f64 + 8.0;
    let _ = writeln!(page, "<figure><svg width=\"{}\" height=\"{height}\" role=\"img\">", left + bar + 50.0);
    for (at, feature) in shown.iter().enumerate() {
        let y = line * at as f64 + 4.0;
        let width = bar * feature.splits as f64 / most;
        let mut name: String = feature.feature.chars().take(NAME).collect();
        if name.len() < feature.feature.len() {
            name.push('…');
        }
        let _ = writeln!(
            page,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-family=\"monospace\" font-size=\"11\">{}</text><rect x=\"{left}\" y=\"{y}\" \
             width=\"{width:.1}\" height=\"12\" fill=\"#1f5fa8\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
            left - 6.0,
            y + 11.0,
            escape(&name),
            left + width + 5.0,
            y + 11.0,
            feature.splits
        );
    }
    page.push_str(
        "</svg><figcaption>Features that the trees ask for most often, with how often.</figcaption></figure>\n",
    );
}
