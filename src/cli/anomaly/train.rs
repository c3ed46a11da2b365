//! `howdah anomaly train`: a model from files.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use super::{Input, table};
use crate::anomaly::alarm;
use crate::anomaly::model::ModelType;
use crate::anomaly::train::{Options, Outcome, Summary, train};

/// What is learned from which rows.
#[derive(Debug, Args)]
pub struct Train {
    #[command(flatten)]
    input: Input,
    /// What reconstructs normal rows.
    #[arg(long, value_enum, default_value_t = ModelArgument::Autoencoder)]
    model: ModelArgument,
    /// Seed of the autoencoder.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Width of the layers beside the bottleneck.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    hidden: u16,
    /// Width of the bottleneck.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=256))]
    bottleneck: u16,
    /// Most passes over the rows.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    epochs: u32,
    /// Passes without a better validation loss after which training stops.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    patience: u32,
    /// Alarms in a week of normal operation that are bearable.
    #[arg(long, default_value_t = 2.0)]
    false_alarms_per_week: f64,
    /// An alarm is raised when this many of the last scores are above the threshold.
    #[arg(long, default_value = "3/5", value_parser = raise, value_name = "K/N")]
    raise: (usize, usize),
    /// Seconds that an anomaly must last to raise an alarm.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=86_400), value_name = "SECONDS")]
    min_duration: u32,
    /// Where the model is written.
    #[arg(long, value_name = "MODEL")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModelArgument {
    Autoencoder,
    Pca,
}

fn raise(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    parsed
        .filter(|(k, n)| 1 <= *k && k <= n && *n <= 100)
        .ok_or_else(|| format!("{text:?} is not K/N with 1 ≤ K ≤ N ≤ 100, like 3/5"))
}

impl Train {
    fn options(&self) -> Options {
        let mut options = Options {
            model_type: match self.model {
                ModelArgument::Autoencoder => ModelType::Autoencoder,
                ModelArgument::Pca => ModelType::Pca,
            },
            false_alarms_per_week: self.false_alarms_per_week,
            alarm: alarm::Settings {
                of: self.raise.1,
                at_least: self.raise.0,
                min_duration_ms: i64::from(self.min_duration) * 1000,
                ..alarm::Settings::default()
            },
            ..Options::default()
        };
        options.autoencoder.seed = self.seed;
        options.autoencoder.hidden = self.hidden.into();
        options.autoencoder.bottleneck = self.bottleneck.into();
        options.autoencoder.epochs = self.epochs;
        options.autoencoder.patience = self.patience;
        options
    }
}

/// Trains, prints the summary and writes the model.
pub fn run(arguments: &Train) -> Result<()> {
    let table = table::read(&arguments.input.input, &arguments.input.columns(), None)?;
    if table.matrix.repeated() > 0 {
        println!("{} rows have the time of an earlier one of their group and were left out", table.matrix.repeated());
    }
    if !table.text.is_empty() {
        println!(
            "{} columns hold something else than numbers and are left out: {}",
            table.text.len(),
            table.text.join(", ")
        );
    }
    let bar = ProgressBar::new_spinner();
    let trained = train(&table.matrix, &arguments.options(), &mut |epoch, loss| {
        bar.set_message(format!("epoch {epoch}, loss {loss:.4}"));
        bar.tick();
    });
    bar.finish_and_clear();
    let (model, summary) = trained?;
    let path = &arguments.output;
    std::fs::write(path, model.save()?).with_context(|| format!("{} can't be written", path.display()))?;
    print(&summary, arguments);
    println!("model: {}", path.display());
    Ok(())
}

fn print(summary: &Summary, arguments: &Train) {
    let Summary { rows_used, rows_skipped, rows_trimmed, epochs, backtest_days, .. } = summary;
    println!("{rows_used} rows ({rows_skipped} skipped, {rows_trimmed} trimmed), {epochs} epochs");
    println!("{} metrics are features", summary.metrics_used.len());
    for (names, what) in [(&summary.metrics_constant, "watched for change"), (&summary.metrics_dropped, "missing")] {
        if !names.is_empty() {
            println!("{} metrics are {what}: {}", names.len(), names.join(", "));
        }
    }
    println!("\nheld out: {:>14} {:>10} {:>12}   threshold by", "loss", "threshold", "tail points");
    let line = |name: &str, outcome: &Outcome| {
        let threshold = &outcome.threshold;
        println!(
            "{name:12} {:>11.4} {:>10.3} {:>12}   {:?}",
            outcome.loss, threshold.score, threshold.tail_points, threshold.method
        );
    };
    line(if matches!(arguments.model, ModelArgument::Pca) { "pca" } else { "autoencoder" }, &summary.outcome);
    if matches!(arguments.model, ModelArgument::Autoencoder) {
        line("pca", &summary.pca);
    }
    println!(
        "\nIt would have raised {} alarms in the last {backtest_days:.2} days (principal components: {}).",
        summary.outcome.alarms, summary.pca.alarms
    );
}
