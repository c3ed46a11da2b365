//! `howdah anomaly score`: a score for every row of the files.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;

use super::table::Table;
use super::{Input, load};
use crate::anomaly::alarm::State;
use crate::anomaly::incident::{Incident, Recorder};
use crate::anomaly::model::Model;
use crate::anomaly::score::{Scored, Scorer, SkipReason};
use crate::anomaly::sentence;

/// Contributors that are written for each row.
const TOP: usize = 5;

/// Which model judges which rows.
#[derive(Debug, Args)]
pub struct Score {
    /// The model.
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    input: Input,
    /// Where the scores are written: a line for each row of the input, in its order.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// A row that was judged, and whether an alarm stands.
pub struct Judged {
    /// What is said of it.
    pub scored: Scored,
    /// Whether an alarm stands after it.
    pub anomalous: bool,
}

/// Judges the rows of a table group by group: each row, in the order of the table's matrix, and all incidents, each with the
/// last time of its group.
pub fn judge(model: Model, table: &Table) -> (Vec<Judged>, Vec<(Incident, i64)>) {
    let matrix = &table.matrix;
    let settings = model.alarm.clone();
    let signatures = model.signatures.clone();
    let mut scorer = Scorer::new(Arc::new(model));
    let recorder = Recorder::new(settings, scorer.names(), signatures);
    let mut current = recorder.clone();
    let (mut judged, mut incidents): (Vec<Judged>, Vec<(Incident, i64)>) = (Vec::new(), Vec::new());
    let with_end = |incident: Incident, row: usize| {
        let later = matrix.groups()[row..].partition_point(|group| *group == matrix.groups()[row]);
        (incident, matrix.times()[row + later - 1])
    };
    for row in 0..matrix.rows() {
        if row > 0 && matrix.groups()[row] != matrix.groups()[row - 1] {
            scorer.restart();
            incidents.extend(current.incident().cloned().map(|incident| with_end(incident, row - 1)));
            current = recorder.clone();
        }
        let scored = scorer.push(matrix.times()[row], &matrix.row(row));
        let before = current.incident().cloned();
        current.push(&scored);
        if let Some(before) = before.filter(|before| current.incident().is_none_or(|now| now.since != before.since)) {
            incidents.push(with_end(before, row));
        }
        judged.push(Judged { scored, anomalous: current.state() != State::Quiet });
    }
    incidents.extend(current.incident().cloned().map(|incident| with_end(incident, matrix.rows() - 1)));
    (judged, incidents)
}

/// Scores and writes.
pub fn run(arguments: &Score) -> Result<()> {
    let model = load(&arguments.model)?;
    let table = arguments.input.read_for(&model)?;
    let (judged, incidents) = judge(model, &table);
    let path = &arguments.output;
    write(arguments, &table, &judged).with_context(|| format!("{} can't be written", path.display()))?;
    let mut skipped: HashMap<SkipReason, usize> = HashMap::new();
    judged.iter().filter_map(|row| row.scored.skipped).for_each(|reason| *skipped.entry(reason).or_default() += 1);
    println!("{} rows, {} incidents", table.rows.len(), incidents.len());
    for (reason, count) in skipped {
        println!("{count} rows not judged: {reason:?}");
    }
    incidents.iter().for_each(|(incident, end)| println!("{}: {}", incident.id, sentence::incident(incident, *end)));
    println!("scores: {}", path.display());
    Ok(())
}

fn write(arguments: &Score, table: &Table, judged: &[Judged]) -> Result<()> {
    let matrix = &table.matrix;
    let places: HashMap<(u32, i64), usize> =
        (0..matrix.rows()).map(|row| ((matrix.groups()[row], matrix.times()[row]), row)).collect();
    let mut writer = csv::Writer::from_path(&arguments.output)?;
    let mut header = vec!["time".to_owned(), "score".to_owned(), "anomalous".to_owned()];
    header.extend((1..=TOP).map(|rank| format!("top{rank}")));
    header.push("skipped".to_owned());
    header.extend(arguments.input.group.clone());
    writer.write_record(&header)?;
    let mut written = vec![false; judged.len()];
    for row in &table.rows {
        let place = places[&(row.group, row.time)];
        let Judged { scored, anomalous } = &judged[place];
        // The row came twice: the first one was judged.
        let repeated = std::mem::replace(&mut written[place], true);
        let score = scored.score.filter(|_| !repeated);
        let skipped = if repeated { Some(SkipReason::NotLater) } else { scored.skipped };
        let mut record = vec![
            row.time_text.clone(),
            score.map_or_else(String::new, |score| format!("{score:.6}")),
            u8::from(*anomalous).to_string(),
        ];
        let top = |rank: usize| score.and(scored.contributions.get(rank)).map_or("", |top| top.metric.as_str());
        record.extend((0..TOP).map(|rank| top(rank).to_owned()));
        record.push(skipped.map_or_else(String::new, |reason| format!("{reason:?}")));
        if arguments.input.group.is_some() {
            record.push(row.group_text.clone());
        }
        writer.write_record(&record)?;
    }
    Ok(writer.flush()?)
}
