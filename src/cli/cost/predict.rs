//! `howdah cost predict`: one JSON line for each statement.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use super::model_dir;
use crate::cost::answer::{Answer, Detail};
use crate::cost::fetch::FileLog;
use crate::cost::log::Log;
use crate::cost::model::CostModel;
use crate::cost::reading::{Columns, Format};
use crate::cost::sqltext::statements;

/// Says what statements will cost, one JSON line each.
#[derive(Debug, Args)]
pub struct Predict {
    /// The directory of the model.
    #[arg(long, value_name = "MODEL_DIR")]
    model: PathBuf,
    /// One statement.
    #[arg(long, value_name = "SQL", conflicts_with = "input")]
    query: Option<String>,
    /// Statements: a table, JSON lines or Parquet with a query column, or any other text: statements that end in
    /// semicolons, or one a line.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The column with the statement's text.
    #[arg(long, default_value = "query", value_name = "COLUMN")]
    query_column: String,
    /// Tokens that pushed, for each estimate at the most.
    #[arg(long, default_value_t = 0, value_name = "N")]
    tokens: usize,
    /// Known statements nearby, at the most.
    #[arg(long, default_value_t = 0, value_name = "N")]
    nearest: usize,
}

#[derive(Serialize)]
struct Line<'a> {
    query: &'a str,
    #[serde(flatten)]
    answer: Answer,
}

/// Predicts.
///
/// # Errors
/// The model or the input can't be read.
pub fn run(arguments: &Predict) -> Result<()> {
    let model = model_dir::read(&arguments.model)?;
    let detail = Detail { tokens: arguments.tokens, nearest: arguments.nearest };
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut failed: Option<std::io::Error> = None;
    let mut tell = |query: &str| {
        if failed.is_none() {
            failed = write(&mut output, &model, query, detail).err();
        }
    };
    match (&arguments.query, &arguments.input) {
        (Some(query), _) => tell(query),
        (None, Some(path)) if plain(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
            if text.contains(';') {
                statements(&text).into_iter().for_each(|(_, statement)| tell(statement));
            } else {
                text.lines().filter(|line| !line.trim().is_empty()).for_each(&mut tell);
            }
        }
        (None, Some(path)) => {
            let columns = Columns { query: arguments.query_column.clone(), ..Columns::default() };
            let log = FileLog::open(std::slice::from_ref(path), None, columns, Vec::new())?;
            if log.format()? == Format::PostgresCsvLog && !path.to_string_lossy().contains("csv") {
                bail!("{} is no table, JSON lines or Parquet", path.display());
            }
            let reading = log.read(&mut |statement| tell(&statement.query))?;
            for sample in &reading.samples {
                eprintln!("howdah cost predict: not predicted: {sample}");
            }
        }
        (None, None) => bail!("give a statement (--query SQL) or a file of them (--input FILE)"),
    }
    match failed {
        // Whoever reads the lines has seen enough.
        Some(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Some(error) => Err(error).context("the answers can't be written"),
        None => output.flush().context("the answers can't be written"),
    }
}

/// Whether a file is plain text: statements that end in semicolons, or one a line where there are none.
fn plain(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sql" || extension == "txt")
}

fn write(output: &mut impl Write, model: &CostModel, query: &str, detail: Detail) -> std::io::Result<()> {
    let answer = model.answer(query, None, &[], detail);
    serde_json::to_writer(&mut *output, &Line { query, answer })?;
    output.write_all(b"\n")
}
