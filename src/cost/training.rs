//! A training's result, as its Job leaves it: a few words in its termination message, the whole in the model store.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::classes::{Bounds, TargetSpec, parse_bounds};
use super::crd::{
    ClassStatus, CostModelStatus, DriftStatus, FeatureMode, LogFormat, LogStatus, MethodStatus, QueryCostModelSpec,
    SplitSpec, SplitStatus, TargetStatus,
};
use super::evaluation::Method;
use super::evaluation::report::Report;
use super::reading::Format;
use super::reason::Reason;
use super::splits::Split;
use super::sqltext::Mode;
use super::train::{Candidate, Options};
use crate::control::training::short_hash;
use crate::decimal::Decimal;

/// Characters of a message that are kept: even if each is escaped in JSON, the whole stays within the bound.
const MESSAGE_CHARACTERS: usize = 600;
/// Features that the status names.
const FEATURES: usize = 10;

/// What became of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TrainingResult {
    /// A model and its report are in the store.
    Trained {
        /// When it was trained.
        at: Time,
        /// Hash of the specification as the Job has read it: it may have changed since the Job was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spec_hash: Option<String>,
        /// How the served model did on newer statements.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drift: Option<DriftStatus>,
    },
    /// There is none.
    Failed {
        /// Why.
        reason: Reason,
        /// In a sentence.
        message: String,
    },
}

impl TrainingResult {
    /// A failure, with as much of its message as a termination message holds.
    pub fn failed(reason: Reason, message: &str) -> Self {
        Self::Failed { reason, message: message.chars().take(MESSAGE_CHARACTERS).collect() }
    }
}

/// Hash of what a model is trained for: another hash needs another model.
pub fn spec_hash(spec: &QueryCostModelSpec) -> String {
    let QueryCostModelSpec { source, targets, features, training, .. } = spec;
    let mut training = training.clone();
    (training.schedule, training.resources) = (None, None);
    short_hash(&serde_json::json!([source, targets, features, training]).to_string())
}

/// Hash of what a model predicts: accuracies of models with another one are of other classes.
pub fn targets_hash(spec: &QueryCostModelSpec) -> String {
    let targets = targets(spec).unwrap_or_default();
    let mut named: Vec<(&str, &Bounds)> = targets.iter().map(|target| (target.name.as_str(), &target.bounds)).collect();
    named.sort_by_key(|(name, _)| *name);
    short_hash(&format!("{named:?}"))
}

/// Whether a model has the targets of a specification.
pub fn has_targets(model: &CostModelStatus, spec: &QueryCostModelSpec) -> bool {
    if model.targets_hash.is_empty() {
        // It was trained before there was such a hash, and quantiles may be other bounds by now.
        let quantiles = spec.targets.iter().any(|target| !target.quantiles.is_empty());
        return !quantiles && model.spec_hash == spec_hash(spec);
    }
    model.targets_hash == targets_hash(spec)
}

/// The mean accuracy over the targets by a split, where it was possible, and the statements of the target with the fewest.
pub fn accuracy_by(model: &CostModelStatus, split: Split) -> Option<(f64, f64)> {
    let of = |target: &TargetStatus| {
        let split = target.splits.iter().find(|judged| judged.split == split.word())?;
        let ours = split.methods.iter().find(|figures| figures.method == Method::Ours.word())?;
        Some((ours.accuracy.0, split.rows.max(1) as f64))
    };
    let all: Vec<(f64, f64)> = model.targets.iter().map(of).collect::<Option<_>>()?;
    let fewest = all.iter().map(|(_, rows)| *rows).reduce(f64::min)?;
    Some((all.iter().map(|(accuracy, _)| accuracy).sum::<f64>() / all.len() as f64, fewest))
}

/// The targets of a specification.
///
/// # Errors
/// A bound can't be read.
pub fn targets(spec: &QueryCostModelSpec) -> Result<Vec<TargetSpec>, String> {
    let read = |target: &super::crd::TargetDeclaration| {
        let bounds = match target.quantiles.as_slice() {
            [] => parse_bounds(&target.name, target.bounds.iter().map(String::as_str)),
            quantiles => {
                let words: Vec<String> = quantiles.iter().map(|quantile| format!("q{quantile}")).collect();
                parse_bounds(&target.name, words.iter().map(String::as_str))
            }
        };
        let bounds: Bounds = bounds.map_err(|error| format!("spec.targets: {error}"))?;
        Ok(TargetSpec { name: target.name.clone(), unit: target.unit.clone(), bounds })
    };
    spec.targets.iter().map(read).collect()
}

/// How a log is written.
pub fn format(format: LogFormat) -> Format {
    match format {
        LogFormat::Csv => Format::Csv,
        LogFormat::JsonLines => Format::JsonLines,
        LogFormat::Parquet => Format::Parquet,
        LogFormat::PostgresCsvLog => Format::PostgresCsvLog,
        LogFormat::PostgresJsonLog => Format::PostgresJsonLog,
    }
}

/// The specification as the training wants it.
///
/// # Errors
/// A learning rate is out of range.
pub fn options(spec: &QueryCostModelSpec, threads: usize) -> Result<Options, String> {
    let count = |number: i32| usize::try_from(number).unwrap_or(1);
    let grid = &spec.training.grid;
    let mut candidates = Vec::new();
    for max_depth in &grid.max_depth {
        for eta in &grid.eta {
            if !(eta.0 > 0.0 && eta.0 <= 1.0) {
                return Err(format!("spec.training.grid.eta must lie above 0 and be at most 1, but one is {eta}"));
            }
            for rounds in &grid.rounds {
                let candidate =
                    Candidate { max_depth: max_depth.unsigned_abs(), eta: eta.0, rounds: rounds.unsigned_abs() };
                candidates.push(candidate);
            }
        }
    }
    Ok(Options {
        mode: match spec.features.mode {
            FeatureMode::Lexed => Mode::Lexed,
            FeatureMode::Paper => Mode::Paper,
        },
        ngrams: count(spec.features.ngrams),
        max_features: count(spec.features.max_features),
        split: match spec.training.split {
            SplitSpec::Time => Split::Time,
            SplitSpec::Random => Split::Random,
            SplitSpec::Template => Split::Template,
        },
        test_percent: f64::from(spec.training.test_percent),
        beside: Split::ALL.to_vec(),
        folds: count(spec.training.folds),
        grid: candidates,
        seed: spec.training.seed.unsigned_abs(),
        threads,
        ..Options::default()
    })
}

/// A report as the status shows it.
pub fn status(report: &Report, name: &str, [spec_hash, targets_hash]: [&str; 2], at: &Time) -> CostModelStatus {
    let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let rows = |count: usize| whole(count as u64);
    let time = |ms: i64| Time(Timestamp::from_second(ms.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH));
    let targets = report.targets.iter().map(|info| {
        let splits = report.splits.iter().filter_map(|split| {
            let target = split.targets.get(&info.name)?;
            let ours = target.methods.get(&Method::Ours)?;
            let methods = target.methods.iter().map(|(method, figures)| MethodStatus {
                method: method.word().to_owned(),
                accuracy: Decimal::rounded(figures.accuracy),
                at80_percent_coverage: Decimal::rounded(figures.accuracy_at80_coverage),
            });
            let classes = ours.classes.iter().map(|class| ClassStatus {
                class: class.label.clone(),
                precision: Decimal::rounded(class.precision),
                recall: Decimal::rounded(class.recall),
                support: rows(class.support),
            });
            Some(SplitStatus {
                split: split.split.word().to_owned(),
                rows: rows(ours.rows),
                methods: methods.collect(),
                classes: classes.collect(),
                confusion: ours.confusion.iter().map(|row| row.iter().map(|count| rows(*count)).collect()).collect(),
            })
        });
        let first = report.splits.first().and_then(|split| split.targets.get(&info.name));
        let features = first.into_iter().flat_map(|target| target.top_features.iter().take(FEATURES));
        TargetStatus {
            name: info.name.clone(),
            classes: info.labels.clone(),
            splits: splits.collect(),
            top_features: features.map(|feature| feature.feature.clone()).collect(),
        }
    });
    CostModelStatus {
        name: name.to_owned(),
        version: report.model_version.clone(),
        trained_at: Some(at.clone()),
        spec_hash: spec_hash.to_owned(),
        targets_hash: targets_hash.to_owned(),
        accuracy: Decimal::rounded(accuracy(report)),
        log: LogStatus {
            statements: whole(report.log.statements),
            fingerprints: rows(report.log.fingerprints),
            counted_fingerprints: rows(report.log.counted_fingerprints),
            rejected: report.log.rejected.iter().map(|(reason, count)| (reason.clone(), whole(*count))).collect(),
            samples: report.log.samples.clone(),
            from: report.log.window.map(|(from, _)| time(from)),
            to: report.log.window.map(|(_, to)| time(to)),
            read_as_words: Decimal::rounded(report.log.read_as_words),
        },
        targets: targets.collect(),
        missing_splits: report.missing_splits.iter().map(|(split, why)| (split.word().into(), why.clone())).collect(),
    }
}

/// The mean accuracy over the targets, by the split that chose.
pub fn accuracy(report: &Report) -> f64 {
    let targets = report.splits.first().map(|split| &split.targets);
    let all: Vec<f64> = targets
        .into_iter()
        .flat_map(|targets| targets.values())
        .filter_map(|target| target.methods.get(&Method::Ours))
        .map(|figures| figures.accuracy)
        .collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}
