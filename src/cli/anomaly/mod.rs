//! `howdah anomaly`: a detector without Kubernetes, from and to files, and what needs a detector of the cluster.

mod detector;
mod either;
mod explain;
mod fetch;
mod incident;
mod score;
pub(super) mod table;
mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use crate::anomaly::model::Model;

/// What a detector does.
#[derive(Debug, Subcommand)]
pub enum Anomaly {
    /// Learns what is normal: from files, or from a detector's Prometheus as its Job does.
    Train(Box<either::Train>),
    /// Scores the rows of files.
    Score(score::Score),
    /// Draws an incident: of files, or of a detector.
    Explain(Box<either::Explain>),
    /// Reads a detector's rows from Prometheus into a file.
    Fetch(fetch::Fetch),
}

/// Runs the subcommand.
///
/// # Errors
/// What went wrong, in a sentence.
pub fn run(anomaly: Anomaly) -> Result<ExitCode> {
    match anomaly {
        Anomaly::Train(train) => match *train {
            either::Train::Files(train) => train::run(&train)?,
            either::Train::Detector(train) => return super::block_on(detector::run(train)),
        },
        Anomaly::Score(score) => score::run(&score)?,
        Anomaly::Explain(explain) => match *explain {
            either::Explain::Files(explain) => explain::run(&explain)?,
            either::Explain::Detector { detector, incident, out } => {
                super::block_on(incident::run(detector, incident.as_deref(), &out))??;
            }
        },
        Anomaly::Fetch(fetch) => super::block_on(fetch::run(fetch))??,
    }
    Ok(ExitCode::SUCCESS)
}

/// The files and their columns.
#[derive(Clone, Debug, Args)]
struct Input {
    /// CSV files, also gzipped ones: rows of numeric columns. Each file is a run of its own.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<PathBuf>,
    /// The time column: Unix seconds (or smaller parts of them), RFC 3339, or date and time in UTC. Without it, a column named
    /// time or timestamp; without that, rows lie 15 seconds apart.
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// A column that tells separate runs apart: no baseline crosses their border.
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// Columns that are left out.
    #[arg(long, num_args = 1.., value_name = "COLUMN")]
    ignore: Vec<String>,
}

impl Input {
    fn columns(&self) -> table::Columns {
        table::Columns { time: self.time.clone(), group: self.group.clone(), ignore: self.ignore.clone() }
    }

    /// The rows that a model knows.
    fn read_for(&self, model: &Model) -> Result<table::Table> {
        let table = table::read(&self.input, &self.columns(), Some(&model.metrics))?;
        let (step, learnt) = (table.matrix.step_ms(), model.pipeline.step_ms);
        // Rates of counters and the recent past are of so many rows.
        ensure!(
            !table.timed || (step < 2 * learnt && learnt < 2 * step),
            "the rows are {} s apart, and the model learnt from rows that are {} s apart: give rows of its step",
            step as f64 / 1000.0,
            learnt as f64 / 1000.0
        );
        Ok(table)
    }
}

fn load(path: &Path) -> Result<Model> {
    let bytes = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    Model::load(&bytes).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use clap::Parser;

    use super::*;
    use crate::learn::rng::Random;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        anomaly: Anomaly,
    }

    fn howdah(arguments: &str) -> Result<ExitCode> {
        run(Line::try_parse_from(format!("howdah {arguments}").split_whitespace())?.anomaly)
    }

    /// Rows of two groups, a minute apart, in which `broken` ones have ten times the reads that belong to their load.
    fn rows(begin: i64, count: i64, broken: std::ops::Range<i64>, seed: u64) -> String {
        let mut random = Random::new(seed, 0);
        let mut text = "time,host,load,reads,waits,phase\n".to_owned();
        for index in 0..count {
            for host in ["a", "b"] {
                let load = 50.0 + 20.0 * (index as f64 / 30.0).sin() + random.normal();
                let reads = 3.0 * load * if host == "b" && broken.contains(&index) { 10.0 } else { 1.0 };
                let (time, waits) = (begin + 60 * index, 0.1 * load + 0.2 * random.normal());
                writeln!(text, "{time},{host},{load:.3},{:.3},{waits:.3},quiet", reads + random.normal()).unwrap();
            }
        }
        text
    }

    #[test]
    fn files_become_a_model_scores_and_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (learnt, judged) = (path("learnt.csv"), path("judged.csv"));
        let (model, scores, picture) = (path("shop.model"), path("scores.csv"), path("incident.svg"));
        let monday = 1_772_409_600;
        std::fs::write(&learnt, rows(monday, 700, 0..0, 1)).unwrap();
        std::fs::write(&judged, rows(monday + 86_400, 200, 150..180, 2)).unwrap();
        howdah(&format!("train --input {learnt} --group host --model pca --output {model}")).unwrap();
        howdah(&format!("score --model {model} --input {judged} --group host --output {scores}")).unwrap();
        let text = std::fs::read_to_string(&scores).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines[0].join(","), "time,score,anomalous,top1,top2,top3,top4,top5,skipped,host");
        // A line for each row of the input, in its order.
        let times: Vec<i64> = lines[1..].iter().map(|line| line[0].parse().unwrap()).collect();
        assert_eq!((times.len(), times[0], times[399]), (400, monday + 86_400, monday + 86_400 + 60 * 199));
        let alarmed = |host: &str| {
            let of = lines[1..].iter().filter(|line| line[9] == host).enumerate();
            of.filter(|(_, line)| line[2] == "1").map(|(index, _)| index).collect::<Vec<_>>()
        };
        assert_eq!(alarmed("a"), Vec::<usize>::new());
        let found = alarmed("b");
        assert!((150..155).contains(&found[0]) && (179..190).contains(found.last().unwrap()), "{found:?}");
        let worst = &lines[1 + 2 * 160 + 1];
        assert!(worst[1].parse::<f64>().unwrap() > 1.0 && worst[3] == "reads", "{worst:?}");

        howdah(&format!("explain --model {model} --input {judged} --group host --out {picture}")).unwrap();
        assert!(std::fs::read_to_string(&picture).unwrap().contains("reads"));

        // Every second row is two minutes from the next one.
        let half = path("half.csv");
        let whole = std::fs::read_to_string(&judged).unwrap();
        let kept = whole.lines().enumerate().filter(|(index, _)| *index == 0 || index.div_ceil(2) % 2 == 1);
        std::fs::write(&half, kept.map(|(_, line)| format!("{line}\n")).collect::<String>()).unwrap();
        let refused = howdah(&format!("score --model {model} --input {half} --group host --output {scores}"));
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("120 s apart") && refused.contains("60 s apart"), "{refused}");
    }
}
