//! From a log to a model: what is learnt, and how it is judged.

mod choose;
mod fit;
pub mod prepare;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::classes::{ClassError, TargetSpec, class, resolve};
use super::evaluation::{Evaluation, Method, SplitEvaluation, TargetEvaluation};
use super::log::{Log, LogError, Reading};
use super::model::CostModel;
use super::splits::{Parts, Split, folds, part, sample};
use super::sqltext::Mode;
use crate::learn::boost::BoostError;
use choose::Chosen;
use fit::Fit;
use prepare::{Counted, Prepared, Room};

/// Fingerprints whose statement is kept while a log is read.
const FINGERPRINTS: usize = 200_000;

/// How a model is learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Which features a text has.
    pub mode: Mode,
    /// Longest n-gram of words.
    pub ngrams: usize,
    /// Columns at the most.
    pub max_features: usize,
    /// How the rows that judge the model are found.
    pub split: Split,
    /// Percent of the rows that judge it.
    pub test_percent: f64,
    /// Other splits that are reported beside it.
    pub beside: Vec<Split>,
    /// Rows from this time on, milliseconds since 1970, are new to the model that is served: with it, a model is learnt
    /// without the newest of them ([`Rival`]).
    pub new_from_ms: Option<i64>,
    /// Folds of the cross-validation.
    pub folds: usize,
    /// Candidates of the cross-validation.
    pub grid: Vec<Candidate>,
    /// Seed of everything random.
    pub seed: u64,
    /// Distinct texts that the text model learns from, at the most; of more a sample is taken.
    pub most_texts: usize,
    /// Bytes of these texts, at the most.
    pub most_bytes: usize,
    /// Rows that judge by one split, at the most; of more a sample is drawn.
    pub most_judged: usize,
    /// Threads.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        let candidate = |max_depth, eta| Candidate { max_depth, eta, rounds: 200 };
        Self {
            mode: Mode::Lexed,
            ngrams: 3,
            max_features: 20_000,
            split: Split::Time,
            test_percent: 20.0,
            beside: vec![Split::Random, Split::Template],
            new_from_ms: None,
            folds: 3,
            grid: vec![candidate(6, 0.1), candidate(10, 0.1), candidate(6, 0.3), candidate(10, 0.3)],
            seed: 7,
            most_texts: 200_000,
            most_bytes: 512 << 20,
            most_judged: 500_000,
            threads: 2,
        }
    }
}

/// A point of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Depth of a tree.
    pub max_depth: u32,
    /// Learning rate.
    pub eta: f64,
    /// Rounds.
    pub rounds: u32,
}

/// How far a training is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many statements are read.
    Reading(u64),
    /// The texts become rows.
    Counting,
    /// What is computed, and how many of how many steps are done.
    Fitting {
        /// In words: `time split: cpu`.
        what: String,
        /// Steps that are done.
        done: u64,
        /// All steps.
        of: u64,
    },
}

/// Why there is no model.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No row is a statement.
    #[error("the log has no statement to learn from: {}", told(.reading))]
    Empty {
        /// What was found.
        reading: Box<Reading>,
    },
    /// The costs have no classes.
    #[error(transparent)]
    Classes(#[from] ClassError),
    /// The rows that one side of a split learns from have no classes, all rows together have.
    #[error("of the statements that the {} split learns from (other ones judge): {error}; or split in another way", .split.word())]
    OneSided {
        /// The split.
        split: Split,
        /// What its rows lack.
        error: ClassError,
    },
    /// A split by time without times.
    #[error(
        "the log's rows have no time, so they can't be split by time: name the column that holds it, or split at random \
         (--split random) or by template (--split template)"
    )]
    NoTimes,
    /// Too few rows.
    #[error(
        "{rows} statements have a cost of {target}, and {folds} folds need at least {needed}: bring more, or fewer folds"
    )]
    TooFew {
        /// The target.
        target: String,
        /// Rows with a cost.
        rows: usize,
        /// Folds.
        folds: usize,
        /// Rows that are needed.
        needed: usize,
    },
    /// XGBoost failed.
    #[error(transparent)]
    Boost(#[from] BoostError),
}

fn told(reading: &Reading) -> String {
    if reading.rejected.is_empty() {
        return "it is empty, or none of its lines says what a statement cost; of PostgreSQL's own log, set \
                log_min_duration_statement = 0 and lc_messages = 'C'"
            .into();
    }
    let reasons: Vec<String> =
        reading.rejected.iter().map(|(reason, count)| format!("{count} rows {reason}")).collect();
    let sample = reading.samples.first().map_or_else(String::new, |sample| format!(", e.g. {sample}"));
    format!("{}{sample}", reasons.join(", "))
}

/// A model with its evaluation.
#[derive(Debug)]
pub struct Trained {
    /// Learnt from all rows, with what the evaluation's split chose.
    pub model: CostModel,
    /// Models learnt from a part of the rows, judged by the rest.
    pub evaluation: Evaluation,
    /// What the reading found.
    pub reading: Reading,
    /// Share of the distinct texts that the lexer could not read to their end.
    pub fell_back: f64,
    /// Oldest and newest time, milliseconds since 1970.
    pub window: Option<(i64, i64)>,
    /// What is compared with the model that is served, where [`Options::new_from_ms`] asks for it and there are
    /// [`COMPARED`] rows to compare by.
    pub rival: Option<Rival>,
}

/// What is compared with another model: learnt as the model is, but without the rows that judge both.
#[derive(Debug)]
pub struct Rival {
    /// The time from which on rows judge, milliseconds since 1970: neither model has learnt from them.
    pub from_ms: i64,
    /// The model.
    pub model: Result<CostModel, TrainError>,
}

/// Rows that two models are compared by, at the least.
pub const COMPARED: usize = 50;

/// Learns a model from a log.
///
/// # Errors
/// The log can't be read, has no statement, no classes, or too few rows.
pub fn train(
    log: &dyn Log,
    specs: &[TargetSpec],
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Trained, TrainError> {
    let room = Room { texts: options.most_texts, bytes: options.most_bytes, statements: FINGERPRINTS };
    let prepared = Prepared::read(log, room, &mut |rows| progress(Progress::Reading(rows)))?;
    let of_log = |(target, spec): (usize, &TargetSpec)| {
        spec.of_log((0..prepared.rows.len()).map(|row| prepared.cost(row, target)))
    };
    let specs: Vec<TargetSpec> = specs.iter().enumerate().map(of_log).collect();
    let specs = specs.as_slice();
    check(&prepared, specs, options)?;
    progress(Progress::Counting);
    // Twice as many as a model takes: each split takes the most frequent of its own training's rows.
    let count = |mode, ngrams| Counted::count(&prepared.texts, mode, ngrams, options.max_features * 2);
    let counted = count(options.mode, options.ngrams);
    let paper = count(Mode::Paper, 1);
    let all: Vec<usize> = (0..prepared.rows.len()).collect();
    let keys = prepared.keys();
    let splits: Vec<Split> = std::iter::once(options.split)
        .chain(
            options
                .beside
                .iter()
                .copied()
                .filter(|split| *split != options.split && (prepared.timed || *split != Split::Time)),
        )
        .collect();
    // One part of the templates is too few to say much: each is judged once, by a model of the others.
    let parts_of = |split| match split {
        Split::Template => folds(split, &keys, &all, template_folds(options.test_percent), options.seed),
        Split::Time | Split::Random => vec![part(split, &keys, &all, options.test_percent / 100.0, options.seed)],
    };
    let splits: Vec<(Split, Vec<Parts>)> = splits.into_iter().map(|split| (split, parts_of(split))).collect();
    let judged: usize = splits.iter().map(|(_, parts)| parts.len()).sum();
    let mut steps = Steps { done: 0, of: (judged as u64 * 2 + 1) * specs.len() as u64, progress };
    let mut evaluation = Evaluation::default();
    let mut chosen: Option<Vec<Chosen>> = None;
    for (split, parts) in splits {
        let mut whole: Option<SplitEvaluation> = None;
        let most = options.most_judged.div_ceil(parts.len().max(1));
        for parts in &parts {
            // The split that chooses looks at the whole grid; those beside it take its trees.
            let grid = chosen.as_ref().map(|chosen| chosen.iter().map(|chosen| vec![chosen.candidate]).collect());
            let grid: Vec<Vec<Candidate>> = grid.unwrap_or_else(|| vec![options.grid.clone(); specs.len()]);
            let judged =
                judge(&prepared, [&counted, &paper], specs, options, (split, &grid), (parts, most), &mut steps);
            let judged = judged.map_err(|error| match error {
                TrainError::Classes(error) => TrainError::OneSided { split, error },
                other => other,
            });
            match judged {
                Ok((judged, found)) => {
                    chosen.get_or_insert(found);
                    match &mut whole {
                        Some(whole) => whole.join(judged),
                        None => whole = Some(judged),
                    }
                }
                // The split that chooses must work; one beside it may not be possible with this log (a single template, say).
                Err(error) if split == options.split && whole.is_none() => return Err(error),
                Err(error) => {
                    evaluation.missing.push((split, error.to_string()));
                    whole = None;
                    break;
                }
            }
        }
        evaluation.splits.extend(whole);
    }
    let chosen = chosen.unwrap_or_default();
    let fit = Fit { prepared: &prepared, counted: &counted, specs, options, split: options.split };
    let model = fit.model(&fit.columns(&all), &all, &chosen, &mut |target| steps.step("final model", target))?;
    let window = prepared.timed.then(|| {
        let times = || prepared.rows.iter().map(|row| row.key.time);
        (times().min().unwrap_or_default(), times().max().unwrap_or_default())
    });
    let fell_back = counted.fell_back as f64 / prepared.texts.len().max(1) as f64;
    let new_from = options.new_from_ms.filter(|_| prepared.timed);
    let rival = new_from.and_then(|new_from| rival(&Fit { split: Split::Time, ..fit }, &chosen, new_from));
    Ok(Trained { model, evaluation, reading: prepared.reading, fell_back, window, rival })
}

/// Learns from what is older than the newest rows: those of the split by time, as far as they are new to the other model, too.
fn rival(fit: &Fit<'_>, chosen: &[Chosen], new_from: i64) -> Option<Rival> {
    let (keys, options) = (fit.prepared.keys(), fit.options);
    let all: Vec<usize> = (0..keys.len()).collect();
    let (_, newest) = part(Split::Time, &keys, &all, options.test_percent / 100.0, options.seed);
    let from_ms = newest.iter().map(|row| keys[*row].time).min()?.max(new_from);
    let (train, judging): (Vec<usize>, Vec<usize>) = all.into_iter().partition(|row| keys[*row].time < from_ms);
    if judging.len() < COMPARED {
        return None;
    }
    let grid: Vec<Vec<Candidate>> = chosen.iter().map(|chosen| vec![chosen.candidate]).collect();
    let learn = || {
        let columns = fit.columns(&train);
        // What the other splits chose has seen the rows that judge.
        let chosen = fit.choose(&columns, &train, &grid, &mut |_| {})?;
        fit.model(&columns, &train, &chosen, &mut |_| {})
    };
    Some(Rival { from_ms, model: learn() })
}

struct Steps<'a> {
    done: u64,
    of: u64,
    progress: &'a mut dyn FnMut(Progress),
}

impl Steps<'_> {
    fn step(&mut self, what: &str, target: &str) {
        (self.progress)(Progress::Fitting { what: format!("{what}: {target}"), done: self.done, of: self.of });
        self.done += 1;
    }
}

fn check(prepared: &Prepared, specs: &[TargetSpec], options: &Options) -> Result<(), TrainError> {
    if options.split == Split::Time && !prepared.timed {
        return Err(TrainError::NoTimes);
    }
    for (target, spec) in specs.iter().enumerate() {
        let costs = || (0..prepared.rows.len()).map(|row| prepared.cost(row, target));
        let info = resolve(spec, costs())?;
        let rows = costs().filter(|cost| class(&info.bounds, *cost).is_some()).count();
        let needed = options.folds * 4;
        if rows < needed {
            return Err(TrainError::TooFew { target: spec.name.clone(), rows, folds: options.folds, needed });
        }
    }
    Ok(())
}

/// Parts that the templates are judged in: enough that most are learnt from, and few enough to be learnt from so often.
fn template_folds(test_percent: f64) -> usize {
    (100.0 / test_percent).round().clamp(2.0, 10.0) as usize
}

/// Learns from a part of the rows by every method, and predicts the rest, or `most` of these.
fn judge(
    prepared: &Prepared,
    [counted, paper]: [&Counted; 2],
    specs: &[TargetSpec],
    options: &Options,
    (split, grid): (Split, &[Vec<Candidate>]),
    ((train, test), most): (&Parts, usize),
    steps: &mut Steps<'_>,
) -> Result<(SplitEvaluation, Vec<Chosen>), TrainError> {
    let word = format!("{} split", split.word());
    let ours = Fit { prepared, counted, specs, options, split };
    let columns = ours.columns(train);
    let chosen = ours.choose(&columns, train, grid, &mut |target| steps.step(&word, target))?;
    let model = ours.model(&columns, train, &chosen, &mut |_| {})?;
    let plain = Fit { counted: paper, ..ours };
    let theirs: Vec<Chosen> = chosen.iter().map(|chosen| Chosen::plain(chosen.candidate)).collect();
    let plain_columns = plain.columns(train);
    let plain_model = plain.model(&plain_columns, train, &theirs, &mut |target| steps.step(&word, target))?;
    let mut targets = Vec::new();
    // Rows whose text was not sampled have no features, and judge no method.
    let with_text: Vec<usize> =
        test.iter().copied().filter(|row| prepared.rows[*row].text != prepare::NO_TEXT).collect();
    let drawn = sample(&with_text, most, options.seed);
    for (target, fitted) in model.targets.iter().enumerate() {
        let truth_of = |row: &usize| class(&fitted.info.bounds, prepared.cost(*row, target));
        let judged: Vec<usize> = drawn.iter().copied().filter(|row| truth_of(row).is_some()).collect();
        let truth = judged.iter().filter_map(truth_of).collect();
        let methods = vec![
            (Method::Majority, ours.majority(train, &judged, target, fitted)),
            (Method::Lookup, ours.look_up(train, &judged, target, fitted)),
            (Method::Paper, plain.judge(&plain_model, &plain_columns, &judged, target)),
            (Method::Ours, ours.judge(&model, &columns, &judged, target)),
        ];
        targets.push(TargetEvaluation {
            info: fitted.info.clone(),
            truth,
            costs: judged.iter().map(|row| prepared.cost(*row, target)).collect(),
            methods,
            top_features: fit::top_features(&model, target, 30),
            chosen: chosen[target].candidate,
        });
    }
    let (train_rows, test_rows, drawn_rows) = (train.len(), test.len(), drawn.len());
    Ok((SplitEvaluation { split, train_rows, test_rows, drawn_rows, targets }, chosen))
}

#[cfg(test)]
mod tests;
