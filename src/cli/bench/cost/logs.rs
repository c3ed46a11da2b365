//! Accuracies on labelled logs.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{Cost, accuracy, beats_the_baselines, promise};
use crate::cost::classes::{TargetSpec, parse_bounds};
use crate::cost::evaluation::Method;
use crate::cost::evaluation::report::Report;
use crate::cost::fetch::FileLog;
use crate::cost::reading::{Columns, Format};
use crate::cost::splits::Split;
use crate::cost::train::{Options, train};

/// A labelled log, and what is promised of it.
struct Labelled {
    name: &'static str,
    file: &'static str,
    time: Option<&'static str>,
    plan: bool,
    cost: &'static str,
    bounds: [&'static str; 2],
    promises: &'static [(Split, f64)],
}

const LOGS: [Labelled; 3] = [
    Labelled {
        name: "CEB on PostgreSQL, run time",
        file: "ceb-postgres/ceb_postgres.csv.gz",
        time: None,
        plan: false,
        cost: "runtime_s",
        bounds: ["q0.5", "q0.9"],
        promises: &[(Split::Random, 0.77), (Split::Template, 0.54)],
    },
    Labelled {
        name: "PostgreSQL log, CPU time",
        file: "pg15-own-log/pg15_log.csv.gz",
        time: Some("log_time"),
        plan: false,
        cost: "cpu_user_ms",
        bounds: ["5", "100"],
        promises: &[(Split::Time, 0.93), (Split::Template, 0.73)],
    },
    Labelled {
        name: "PostgreSQL log, CPU time, with EXPLAIN",
        file: "pg15-own-log/pg15_log.csv.gz",
        time: Some("log_time"),
        plan: true,
        cost: "cpu_user_ms",
        bounds: ["5", "100"],
        promises: &[(Split::Time, 0.93), (Split::Template, 0.83)],
    },
];

/// Prints a table for each log; whether the promises are kept.
pub(super) fn run(options: &Cost) -> Result<bool> {
    let mut kept = true;
    for labelled in &LOGS {
        let path = options.data.join(labelled.file);
        ensure!(path.is_file(), "{} is not there: name the folder of the labelled logs with --data", path.display());
        let report = judge(options, labelled, path)?;
        println!("\n{}: {} statements\n{}", labelled.name, report.log.statements, report.table());
        kept &= beats_the_baselines(&report);
        for (split, least) in labelled.promises {
            let found = report.splits.iter().find(|found| found.split == *split);
            let found = found.with_context(|| format!("there is no {} split", split.word()))?;
            kept &= promise(&format!("{} split", split.word()), accuracy(found, Method::Ours), *least);
        }
    }
    Ok(kept)
}

fn judge(options: &Cost, labelled: &Labelled, path: PathBuf) -> Result<Report> {
    let columns = Columns {
        query: "query".into(),
        time: labelled.time.map(str::to_owned),
        targets: vec![labelled.cost.into()],
        plan: labelled.plan.then(|| ("plan_cost".into(), "plan_rows".into())),
        ..Columns::default()
    };
    let log = FileLog::open(&[path], Some(Format::Csv), columns, vec!["cost".into()])?;
    let spec = TargetSpec { name: "cost".into(), unit: String::new(), bounds: parse_bounds("cost", labelled.bounds)? };
    let chosen = if labelled.time.is_some() { Split::Time } else { Split::Random };
    let options = Options { split: chosen, beside: Split::ALL.to_vec(), seed: options.seed, ..Options::default() };
    Ok(Report::of(&train(&log, &[spec], &options, &mut |_| {})?))
}
