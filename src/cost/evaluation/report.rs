//! An evaluation as a document: the keys of `--report` and of a QueryCostModel's status.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Method;
use super::metrics::{Metrics, metrics};
use crate::cost::answer::TargetInfo;
use crate::cost::splits::Split;
use crate::cost::train::{Candidate, Trained};

/// What a training came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The model's version.
    pub model_version: String,
    /// The log.
    pub log: LogReport,
    /// The targets, with their classes over the whole log.
    pub targets: Vec<TargetInfo>,
    /// By split; the first is the headline, and its choices are the model's.
    pub splits: Vec<SplitReport>,
    /// Splits that the log does not allow, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing_splits: BTreeMap<Split, String>,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogReport {
    /// Rows that are statements.
    pub statements: u64,
    /// Rows that are not, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
    /// Statements whose text the logger cut.
    pub truncated: u64,
    /// Share of the distinct texts that the lexer could not read to their end.
    pub read_as_words: f64,
    /// Distinct fingerprints.
    pub fingerprints: usize,
    /// Fingerprints beside those, of which the server has counted what they cost.
    #[serde(default)]
    pub counted_fingerprints: usize,
    /// Oldest and newest time, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<(i64, i64)>,
}

/// One split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitReport {
    /// Which.
    pub split: Split,
    /// Rows that taught.
    pub train_rows: usize,
    /// Rows that were held out to judge.
    pub test_rows: usize,
    /// Rows of these that judged: fewer where a sample was drawn, of texts or of rows.
    #[serde(default)]
    pub drawn_rows: usize,
    /// By name of the target.
    pub targets: BTreeMap<String, TargetReport>,
}

/// One target in one split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetReport {
    /// The trees that were chosen.
    pub chosen: Candidate,
    /// Figures by method.
    pub methods: BTreeMap<Method, Metrics>,
    /// Features that the trees ask for most often.
    pub top_features: Vec<Feature>,
}

/// A feature of the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    /// Its name.
    pub feature: String,
    /// Nodes that ask for it.
    pub splits: usize,
}

impl Report {
    /// The document of a training.
    pub fn of(trained: &Trained) -> Self {
        let reading = &trained.reading;
        let splits = trained.evaluation.splits.iter().map(|split| {
            let targets = split.targets.iter().map(|target| {
                let figures = |said| metrics(&target.info.labels, &target.truth, &target.costs, said);
                let methods = target.methods.iter().map(|(method, said)| (*method, figures(said))).collect();
                let top_features = target
                    .top_features
                    .iter()
                    .map(|(feature, splits)| Feature { feature: feature.clone(), splits: *splits });
                let report = TargetReport { chosen: target.chosen, methods, top_features: top_features.collect() };
                (target.info.name.clone(), report)
            });
            SplitReport {
                split: split.split,
                train_rows: split.train_rows,
                test_rows: split.test_rows,
                drawn_rows: split.drawn_rows,
                targets: targets.collect(),
            }
        });
        Self {
            model_version: trained.model.version.clone(),
            log: LogReport {
                statements: reading.statements,
                rejected: reading.rejected.iter().map(|(reason, count)| (format!("{reason:?}"), *count)).collect(),
                samples: reading.samples.clone(),
                truncated: reading.truncated,
                read_as_words: trained.fell_back,
                fingerprints: trained.model.known.len(),
                counted_fingerprints: 0,
                window: trained.window,
            },
            targets: trained.model.infos.clone(),
            splits: splits.collect(),
            missing_splits: trained.evaluation.missing.iter().cloned().collect(),
        }
    }

    /// The same where the model has learnt beside the log what a server had counted of so many fingerprints.
    #[must_use]
    pub fn with_priors(mut self, fingerprints: usize) -> Self {
        self.log.counted_fingerprints = fingerprints;
        self
    }

    /// The table for people: accuracies by split and method, with the heavy class beside.
    pub fn table(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{:<10} {:<12} {:<9} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "split", "target", "method", "rows", "accuracy", "at 80 %", "heavy P", "heavy R", "ECE"
        );
        for split in &self.splits {
            for (name, target) in &split.targets {
                for (method, figures) in &target.methods {
                    let heavy = figures.classes.last();
                    let _ = writeln!(
                        text,
                        "{:<10} {name:<12} {:<9} {:>8} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}",
                        split.split.word(),
                        method.word(),
                        figures.rows,
                        figures.accuracy,
                        figures.accuracy_at80_coverage,
                        heavy.map_or(0.0, |class| class.precision),
                        heavy.map_or(0.0, |class| class.recall),
                        figures.calibration_error,
                    );
                }
            }
        }
        for split in self.splits.iter().filter(|split| split.drawn_rows < split.test_rows) {
            let (drawn, held) = (split.drawn_rows, split.test_rows);
            let _ = writeln!(text, "{:<10} judged by a sample: {drawn} of {held} rows", split.split.word());
        }
        for (split, why) in &self.missing_splits {
            let _ = writeln!(text, "{:<10} not possible: {why}", split.word());
        }
        text
    }
}
