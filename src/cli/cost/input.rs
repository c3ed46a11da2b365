//! The arguments that name a log and what it has where.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cost::classes::{TargetSpec, parse_bounds};
use crate::cost::fetch::FileLog;
use crate::cost::reading::postgres::places;
use crate::cost::reading::sampling::Sampling;
use crate::cost::reading::{Columns, Format};

/// A query log.
#[derive(Clone, Debug, Args)]
pub struct Input {
    /// Files of the log, or directories with them; also compressed ones (gzip, zstd).
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<PathBuf>,
    /// How it is written; without it, by each file's name and beginning.
    #[arg(long, value_enum)]
    format: Option<FormatArgument>,
    /// The column with the statement's text (in JSON lines also a path: `query.text`). PostgreSQL's own logs need none.
    #[arg(long, value_name = "COLUMN")]
    query_column: Option<String>,
    /// The column with the time; without it there is no split by time.
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    /// A column that says how many statements of the server a row stands for.
    #[arg(long, value_name = "COLUMN")]
    weight_column: Option<String>,
    /// A column that says whether the statement failed or was cancelled (a truth value, a state, an error): what it cost
    /// until then is a lower bound.
    #[arg(long, value_name = "COLUMN")]
    failed_column: Option<String>,
    /// The columns with PostgreSQL's estimates, total cost and rows: the model gets a tier that knows plans.
    #[arg(long, value_name = "COST,ROWS")]
    plan_columns: Option<String>,
    /// Share of statements that a PostgreSQL log was sampled with (`log_statement_sample_rate`).
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    sample_rate: f32,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArgument {
    /// A table with a header line.
    Csv,
    /// One JSON object a line.
    #[value(alias = "jsonlines", alias = "json-lines")]
    Jsonl,
    /// Apache Parquet.
    Parquet,
    /// PostgreSQL's csvlog.
    PostgresCsvlog,
    /// PostgreSQL's jsonlog.
    PostgresJsonlog,
}

impl Input {
    /// Whether the log's rows have times: a column is named for them, or PostgreSQL wrote it.
    pub fn timed(&self) -> bool {
        let open = || self.open(&[]).ok()?.format().ok();
        self.time_column.is_some() || open().is_some_and(Format::is_postgres)
    }

    /// Opens the log for targets (`NAME=COLUMN`, in a PostgreSQL log one of its own).
    ///
    /// # Errors
    /// There is no such file, or arguments are missing.
    pub fn open(&self, targets: &[(String, String)]) -> Result<FileLog> {
        ensure!(
            self.sample_rate > 0.0 && self.sample_rate <= 1.0,
            "--sample-rate must be above 0 and at most 1, but is {}",
            self.sample_rate
        );
        let format = self.format.map(|format| match format {
            FormatArgument::Csv => Format::Csv,
            FormatArgument::Jsonl => Format::JsonLines,
            FormatArgument::Parquet => Format::Parquet,
            FormatArgument::PostgresCsvlog => Format::PostgresCsvLog,
            FormatArgument::PostgresJsonlog => Format::PostgresJsonLog,
        });
        let plan = self.plan_columns.as_ref().map(|columns| {
            columns.split_once(',').with_context(|| format!("--plan-columns {columns}: give two, COST,ROWS"))
        });
        let columns = Columns {
            query: self.query_column.clone().unwrap_or_default(),
            time: self.time_column.clone(),
            targets: targets.iter().map(|(_, column)| column.clone()).collect(),
            weight: self.weight_column.clone(),
            failed: self.failed_column.clone(),
            plan: plan.transpose()?.map(|(cost, rows)| (cost.trim().to_owned(), rows.trim().to_owned())),
        };
        let names = targets.iter().map(|(_, column)| column.clone()).collect();
        let log = FileLog::open(&self.input, format, columns, names)?;
        let log = log.sampled(Sampling::of_share(f64::from(self.sample_rate)));
        if log.format()?.is_postgres() {
            places(targets.iter().map(|(_, column)| column.as_str())).map_err(anyhow::Error::msg)?;
        } else if self.query_column.is_none() && !targets.is_empty() {
            bail!("name the column with the statement's text: --query-column COLUMN");
        }
        Ok(log)
    }
}

/// `NAME=COLUMN:BOUND,BOUND…`; the column may be left out where it has the target's name, and so may, in a PostgreSQL
/// log, the bounds be quantiles (`q0.9`).
#[derive(Clone, Debug)]
pub struct TargetArgument {
    /// Name, unit and bounds.
    pub spec: TargetSpec,
    /// The column with its cost.
    pub column: String,
}

/// Reads a target.
///
/// # Errors
/// It is not written so, in a sentence.
pub fn target(text: &str) -> Result<TargetArgument, String> {
    let shape = || {
        format!(
            "{text:?} is no target: write NAME=COLUMN:BOUND,BOUND, as in cpu=cpu_seconds:30,18000 or spill=temp_bytes:q0.9"
        )
    };
    let (name, bounds) = text.rsplit_once(':').ok_or_else(shape)?;
    let (name, column) = name.split_once('=').unwrap_or((name, name));
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !plain || column.is_empty() {
        return Err(shape());
    }
    let bounds = parse_bounds(name, bounds.split(',')).map_err(|error| error.to_string())?;
    let unit = match column {
        "duration" | "cpu" => "seconds",
        "spill" => "bytes",
        _ => "",
    };
    let spec = TargetSpec { name: name.to_owned(), unit: unit.to_owned(), bounds };
    Ok(TargetArgument { spec, column: column.to_owned() })
}

/// A bar over the bytes of a log, which `while_reading` tells.
pub fn bar(log: &FileLog) -> (ProgressBar, impl Fn(u64) + use<>) {
    let bar = ProgressBar::new(log.size());
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    let (done, shown) = (log.done(), bar.clone());
    let tell = move |rows: u64| {
        shown.set_position(done.load(Ordering::Relaxed));
        shown.set_message(format!("{rows} statements"));
    };
    (bar, tell)
}
