//! Accuracy, time and memory on a replayed log: most statements run again and again.

use std::time::Instant;

use anyhow::Result;

use super::{Cost, accuracy, beats_the_baselines, promise, verdict};
use crate::cli::bench::{mib, process};
use crate::cost::classes::{TargetSpec, parse_bounds};
use crate::cost::evaluation::Method;
use crate::cost::evaluation::report::Report;
use crate::cost::replay::Replay;
use crate::cost::train::{Options, train};

/// Share of the rows that repeat a statement.
const REPEATS: f64 = 0.95;
/// The paper's headline.
const ACCURACY: f64 = 0.979;
/// Minutes and bytes of a training of a million rows.
const MINUTES: f64 = 20.0;
const BYTES: u64 = 4 << 30;

/// The targets of the paper.
pub(super) fn targets() -> Result<Vec<TargetSpec>> {
    let target = |name: &str, unit: &str, bounds: [&str; 2]| -> Result<TargetSpec> {
        Ok(TargetSpec { name: name.into(), unit: unit.into(), bounds: parse_bounds(name, bounds)? })
    };
    Ok(vec![target("cpu", "seconds", ["30", "18000"])?, target("memory", "bytes", ["1Mi", "1Ti"])?])
}

/// Prints the table; whether the promises are kept.
pub(super) fn run(options: &Cost) -> Result<bool> {
    let log = Replay::new(options.rows, REPEATS, options.seed);
    let trained_with = Options { beside: Vec::new(), seed: options.seed, ..Options::default() };
    let began = Instant::now();
    let trained = train(&log, &targets()?, &trained_with, &mut |_| {})?;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let columns = trained.model.vocabulary.names.len();
    let report = Report::of(&trained);
    println!(
        "\nreplayed log: {} rows, {} fingerprints, {:.0} % repeat a statement word for word, {columns} columns of at most {}, 2 targets, \
         judged by the time split alone (a QueryCostModel's Job judges by all three, for longer)\n{}",
        options.rows,
        report.log.fingerprints,
        REPEATS * 100.0,
        trained_with.max_features,
        report.table()
    );
    let mut kept = beats_the_baselines(&report);
    if let Some(split) = report.splits.first() {
        println!("  the look-up alone: {:.3}", accuracy(split, Method::Lookup));
        kept &= promise("time split", accuracy(split, Method::Ours), ACCURACY);
    }
    let peak = process::peak_bytes(std::process::id())?;
    let within = minutes <= MINUTES && peak <= BYTES;
    println!(
        "  judged and trained in {minutes:.1} min with {:.0} MiB at the most, promised {MINUTES:.0} min and {:.0} MiB: {}",
        mib(peak),
        mib(BYTES),
        verdict(within)
    );
    Ok(kept && within)
}
