//! `howdah cost evaluate`: a model judged by a log that it did not learn from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use super::input::{Input, bar};
use super::model_dir;
use crate::cost::classes::class;
use crate::cost::evaluation::metrics::{Metrics, metrics};
use crate::cost::log::{Cost, Log};
use crate::cost::model::{CostModel, Judgement};
use crate::cost::splits::Reservoir;
use crate::cost::train::Options;

/// Judges a model by a log with costs: by at most 500,000 rows of it, drawn at random. Prints JSON, with the `rows` that
/// judged for each target.
#[derive(Debug, Args)]
pub struct Evaluate {
    /// The directory of the model.
    #[arg(long, value_name = "MODEL_DIR")]
    model: PathBuf,
    #[command(flatten)]
    input: Input,
    /// Where the log has a target's cost: `NAME=COLUMN`, also with `:BOUNDS` as for the training, which are then those of
    /// the model all the same. Without it, a column with the target's name.
    #[arg(long = "target", num_args = 1.., value_name = "NAME=COLUMN")]
    targets: Vec<String>,
    /// Write the figures to a file, and not to the standard output.
    #[arg(long, value_name = "REPORT.json")]
    report: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    model_version: String,
    statements: u64,
    rejected: u64,
    targets: BTreeMap<String, Metrics>,
}

/// Rows of a target that judge: of each its class, its cost, and what the model said.
struct Judged {
    /// The target's place in the model.
    place: usize,
    drawn: Reservoir,
    rows: Vec<(usize, Cost, Judgement)>,
}

/// Judges, and prints the figures.
///
/// # Errors
/// The model or the log can't be read, or the log has no cost.
pub fn run(arguments: &Evaluate) -> Result<()> {
    let model = model_dir::read(&arguments.model)?;
    let targets = named(&model, &arguments.targets)?;
    let log = arguments.input.open(&targets)?;
    let Options { most_judged, seed, .. } = Options::default();
    let places = targets.iter().filter_map(|(name, _)| model.infos.iter().position(|info| info.name == *name));
    let judged = |place| Judged { place, drawn: Reservoir::new(most_judged, seed), rows: Vec::new() };
    let mut all: Vec<Judged> = places.map(judged).collect();
    let (bar, tell) = bar(&log);
    let mut rows = 0;
    let reading = log.read(&mut |statement| {
        rows += 1;
        if rows % 1024 == 0 {
            tell(rows);
        }
        let mut said: Option<Vec<Judgement>> = None;
        for (judged, cost) in all.iter_mut().zip(statement.costs) {
            let Some(class) = class(&model.infos[judged.place].bounds, cost) else { continue };
            let Some(kept) = judged.drawn.place() else { continue };
            let said = said.get_or_insert_with(|| model.judge(&statement.query, statement.plan).1);
            let row = (class, cost, said[judged.place].clone());
            match judged.rows.get_mut(kept) {
                Some(old) => *old = row,
                None => judged.rows.push(row),
            }
        }
    });
    bar.finish_and_clear();
    let reading = reading?;
    if all.iter().all(|judged| judged.rows.is_empty()) {
        let sample = reading.samples.first().map_or_else(String::new, |sample| format!(", e.g. {sample}"));
        bail!(
            "no statement of the log has a cost of {}{sample}",
            targets.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" or ")
        );
    }
    let figures = |judged: Judged| {
        let info = &model.infos[judged.place];
        let (mut truth, mut costs, mut said) = (Vec::new(), Vec::new(), Vec::new());
        for (class, cost, judgement) in judged.rows {
            truth.push(class);
            costs.push(cost);
            said.push(judgement);
        }
        (info.name.clone(), metrics(&info.labels, &truth, &costs, &said))
    };
    let figures = Figures {
        model_version: model.version.clone(),
        statements: reading.statements,
        rejected: reading.rejected.values().sum(),
        targets: all.into_iter().map(figures).collect(),
    };
    let text = serde_json::to_string_pretty(&figures).context("the figures can't be written")?;
    match &arguments.report {
        Some(path) => std::fs::write(path, text).with_context(|| format!("{} can't be written", path.display())),
        None => {
            println!("{text}");
            Ok(())
        }
    }
}

/// Names of targets with their columns.
fn named(model: &CostModel, arguments: &[String]) -> Result<Vec<(String, String)>> {
    let names: Vec<&str> = model.infos.iter().map(|info| info.name.as_str()).collect();
    if arguments.is_empty() {
        return Ok(names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect());
    }
    let mut named = Vec::new();
    for argument in arguments {
        let (name, column) = argument.split_once('=').unwrap_or((argument, argument));
        let column = column.split(':').next().unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default();
        if !names.contains(&name) {
            bail!("the model has no target {name:?}: it has {}", names.join(", "));
        }
        named.push((name.to_owned(), column.to_owned()));
    }
    Ok(named)
}
