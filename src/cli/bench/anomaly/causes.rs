//! Which cause a fault looks like, from one labelled example of each.

use std::sync::Arc;

use anyhow::Result;

use super::FAULTS;
use super::data::{Phase, Run, matrix};
use crate::anomaly::alarm::Settings;
use crate::anomaly::model::ModelType;
use crate::anomaly::score::Scorer;
use crate::anomaly::signature::{Change, Signature, causes, change};
use crate::anomaly::train::{Options, train};

/// Examples that are tried, one after another.
const EXAMPLES: usize = 5;

/// The metrics that a fault is known to move by itself; none where the benchmark's authors leave it open.
pub fn causal(cause: &str) -> Option<&'static [&'static str]> {
    Some(match cause {
        "io_saturation" => {
            &["dsk_total_read", "dsk_total_writ", "io_total_read", "io_total_writ", "total_cpu_usage_wai", "procs_blk"]
        }
        "concurrent_inserts" => &["mysql5_all_insert", "mysql5_all_comm"],
        "concurrent_commits" => &["mysql5_all_comm", "mysql5_all_insert", "mysql5_all_update", "mysql5_all_delete"],
        "missing_indexes" => &["total_cpu_usage_usr", "total_cpu_usage_idl", "mysql5_all_readr"],
        _ => return None,
    })
}

/// Prints how often the cause is named first, and the same from the rows before the fault.
pub fn print(names: &[String], fitted: &[Run], judged: &[Run], alarm: &Settings) -> Result<()> {
    println!("\nCause named first, from one labelled example of each ({EXAMPLES} examples in turn):");
    println!("{:20} {:>6} {:>8} {:>10}", "", "faults", "in it", "before it");
    let rows = matrix(names, fitted)?;
    let views = |relative| -> Result<Scorer> {
        let options = Options { model_type: ModelType::Pca, relative, alarm: alarm.clone(), ..Options::default() };
        Ok(Scorer::new(Arc::new(train(&rows, &options, &mut |_, _| ())?.0)))
    };
    let (mut recent, mut levels) = (views(true)?, views(false)?);
    // Before the fault there is no change to go by but the level at which the rows stand.
    let during: Vec<(&str, Change)> = judged.iter().map(|run| (run.cause, moved(&mut recent, run, true))).collect();
    let before: Vec<(&str, Change)> = judged.iter().map(|run| (run.cause, moved(&mut levels, run, false))).collect();
    let (mut hits, mut control) = (0.0, 0.0);
    for cause in FAULTS {
        let count = judged.iter().filter(|run| run.cause == cause).count();
        let (in_it, before_it) = (named(cause, &during), named(cause, &before));
        println!("{cause:20} {count:>6} {:>7.0}% {:>9.0}%", in_it * 100.0, before_it * 100.0);
        hits += in_it / FAULTS.len() as f64;
        control += before_it / FAULTS.len() as f64;
    }
    println!("{:20} {:>6} {:>7.0}% {:>9.0}%", "mean of causes", "", hits * 100.0, control * 100.0);
    Ok(())
}

fn moved(scorer: &mut Scorer, run: &Run, fault: bool) -> Change {
    scorer.restart();
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for row in &run.rows {
        let scored = scorer.push(row.time, &row.values);
        match row.phase {
            _ if scored.score.is_none() => {}
            Phase::Normal => before.push(scored.deviations),
            Phase::Fault => during.push(scored.deviations),
            Phase::After => {}
        }
    }
    if fault { change(&scorer.names(), &before, &during) } else { change(&scorer.names(), &[], &before) }
}

/// Share of a cause's runs, the examples apart, whose most similar cause is theirs.
fn named(cause: &str, changes: &[(&str, Change)]) -> f64 {
    let (mut hits, mut count) = (0.0, 0.0);
    for example in 0..EXAMPLES {
        let place = |of: &str| {
            let own: Vec<usize> = (0..changes.len()).filter(|index| changes[*index].0 == of).collect();
            own[example * own.len() / EXAMPLES]
        };
        let signature = |of: &&str| Signature {
            cause: (*of).to_owned(),
            change: changes[place(of)].1.clone(),
            vocabulary: Vec::new(),
        };
        let signatures: Vec<Signature> = FAULTS.iter().map(signature).collect();
        let own = place(cause);
        for (_, change) in changes.iter().enumerate().filter(|(at, of)| of.0 == cause && *at != own).map(|(_, of)| of) {
            hits +=
                f64::from(u8::from(causes(change, &signatures, 1).first().is_some_and(|first| first.cause == cause)));
            count += 1.0;
        }
    }
    hits / count
}
