//! What is chosen by cross-validation: the trees' size, how far margins are trusted, when the history answers, and when the
//! model abstains.

use super::fit::{Columns, Fit};
use super::prepare::NO_TEXT;
use super::{Candidate, TrainError};
use crate::cost::answer::{Novelty, Source, TargetInfo};
use crate::cost::classes::{class, quantile};
use crate::cost::history::{Least, Record, Rule};
use crate::cost::model::{confidence, most, with_plan};
use crate::cost::splits::folds;
use crate::learn::boost::{Forest, softmax};

/// Rows of a cross-validation, at the most.
const ROWS: usize = 30_000;
/// Rows that say how far margins are to be trusted, at the least.
const TRUSTED: usize = 50;
/// Share of the statements that a model answers for without abstaining, on what it did not learn from.
const COVERED: f64 = 0.8;

/// What was chosen for a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// The trees.
    pub candidate: Candidate,
    /// What margins are divided by.
    pub temperature: f64,
    /// When the history answers.
    pub rule: Rule,
    /// When the model abstains.
    pub abstain_below: f64,
    /// When PostgreSQL's plan is asked for.
    pub plan_below: f64,
}

impl Chosen {
    /// The text alone, as it is.
    pub fn plain(candidate: Candidate) -> Self {
        Self { candidate, temperature: 1.0, rule: Rule::NEVER, abstain_below: 0.0, plan_below: 0.0 }
    }
}

/// A row that a fold's models did not learn from.
struct Held {
    row: usize,
    truth: usize,
    weight: f64,
    margins: Vec<f32>,
    /// What the trees say that know the plan, where it is known.
    planned: Option<Vec<f32>>,
}

/// A held row, and what speaks for it.
struct Told<'h> {
    held: &'h Held,
    /// The history's record, where it answers.
    record: Option<Record>,
    /// What is new about it.
    novelty: Novelty,
}

impl Told<'_> {
    /// The text's probabilities and how far they can be trusted.
    fn by_text(&self, temperature: f64) -> (Vec<f64>, f64) {
        let probabilities = softmax(&self.held.margins, temperature);
        let confidence = confidence(probabilities[most(&probabilities)], Source::Text, self.novelty);
        (probabilities, confidence)
    }
}

/// Chooses for a target.
pub fn choose(
    fit: &Fit<'_>,
    columns: &Columns,
    train: &[usize],
    grid: &[Candidate],
    (target, info): (usize, &TargetInfo),
) -> Result<Chosen, TrainError> {
    let known: Vec<usize> = train
        .iter()
        .copied()
        .filter(|row| {
            let known = class(&info.bounds, fit.prepared.cost(*row, target)).is_some();
            known && fit.prepared.rows[*row].text != NO_TEXT
        })
        .collect();
    // The newest of each step, so that the folds see the whole log.
    let step = known.len().div_ceil(ROWS).max(1);
    let sampled: Vec<usize> = known.iter().copied().step_by(step).collect();
    let keys = fit.prepared.keys();
    let folds = folds(fit.split, &keys, &sampled, fit.options.folds, fit.options.seed);
    let mut best: Option<(f64, Candidate, Vec<Vec<Held>>)> = None;
    for candidate in grid {
        let mut held = Vec::new();
        for (teach, judge) in &folds {
            let forest = Forest::read(&fit.classes(columns, teach, target, info, *candidate, false)?)?;
            let hold = |row: &usize| {
                let text = fit.prepared.rows[*row].text as usize;
                let truth = class(&info.bounds, fit.prepared.cost(*row, target))?;
                let margins = forest.margins(&columns.rows.row(text).collect::<Vec<_>>());
                Some(Held {
                    row: *row,
                    truth,
                    weight: f64::from(fit.prepared.rows[*row].weight),
                    margins,
                    planned: None,
                })
            };
            held.push(judge.iter().filter_map(hold).collect::<Vec<_>>());
        }
        let score = score(held.iter().flatten());
        if best.as_ref().is_none_or(|(best, ..)| score > *best) {
            best = Some((score, *candidate, held));
        }
    }
    let Some((_, candidate, mut held)) = best else {
        return Ok(Chosen::plain(Candidate { max_depth: 6, eta: 0.1, rounds: 200 }));
    };
    // Plans may begin late in the log: a fold without one has nothing to learn from.
    let planned = folds.iter().zip(&mut held).filter(|((teach, _), _)| fit.has_plans(teach, target, info));
    for ((teach, _), rows) in planned {
        let forest = Forest::read(&fit.classes(columns, teach, target, info, candidate, true)?)?;
        for held in rows {
            let text = fit.prepared.rows[held.row].text as usize;
            let row: Vec<(u32, f32)> = columns.rows.row(text).collect();
            let planned = |plan| forest.margins(&with_plan(&row, columns.vocabulary.names.len(), plan));
            held.planned = fit.plan(held.row).map(planned);
        }
    }
    let teachers: Vec<&[usize]> = folds.iter().map(|(teach, _)| teach.as_slice()).collect();
    let mut rule = rule(fit, target, info, &teachers, &held);
    let told = told(fit, columns, target, info, (&teachers, &held), rule);
    rule.doubt = doubt(&told);
    // The text is asked where the history does not answer; where that is seldom, every row says how far to trust it.
    let by_text = || told.iter().filter(|told| told.record.is_none()).map(|told| told.held);
    let enough = by_text().count() >= TRUSTED;
    let temperature = if enough { temperature(by_text()) } else { temperature(held.iter().flatten()) };
    let plan_below = plan_below(&told, temperature);
    let abstain_below = threshold(&told, rule, temperature, plan_below);
    Ok(Chosen { candidate, temperature, rule, abstain_below, plan_below })
}

/// Share of the rows that are right, with the mean probability of the truth to break ties.
fn score<'a>(held: impl Iterator<Item = &'a Held>) -> f64 {
    let (mut right, mut sure, mut sum) = (0.0, 0.0, 0.0);
    for row in held {
        let probabilities = softmax(&row.margins, 1.0);
        right += row.weight * f64::from(u8::from(most(&probabilities) == row.truth));
        sure += row.weight * probabilities[row.truth];
        sum += row.weight;
    }
    (right + 0.1 * sure) / f64::max(sum, f64::MIN_POSITIVE)
}

/// The temperature with the largest likelihood of the truth.
fn temperature<'a>(held: impl Iterator<Item = &'a Held> + Clone) -> f64 {
    let likelihood = |temperature: f64| -> f64 {
        held.clone().map(|row| row.weight * softmax(&row.margins, temperature)[row.truth].max(1e-9).ln()).sum()
    };
    let candidates = (0..=24).map(|step| 0.5 * 2.0_f64.powf(f64::from(step) / 6.0));
    let best = candidates.map(|temperature| (likelihood(temperature), temperature)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(1.0, |(_, temperature)| temperature)
}

/// What the two records of a row say.
#[derive(Clone, Copy)]
struct Said {
    text: Option<(u32, usize, f32)>,
    fingerprint: Option<(u32, usize, f32)>,
}

/// When the history is right more often than the text's model.
fn rule(fit: &Fit<'_>, target: usize, info: &TargetInfo, teachers: &[&[usize]], held: &[Vec<Held>]) -> Rule {
    let right_by_text: Vec<bool> =
        held.iter().flatten().map(|row| most(&softmax(&row.margins, 1.0)) == row.truth).collect();
    let mut best = (
        right_by_text
            .iter()
            .zip(held.iter().flatten())
            .map(|(right, row)| if *right { row.weight } else { 0.0 })
            .sum::<f64>(),
        Rule::NEVER,
    );
    for decay in [1.0, 0.8] {
        let mut said = Vec::with_capacity(right_by_text.len());
        for (teach, rows) in teachers.iter().zip(held) {
            let history = fit.history(teach, target, info, Rule { decay, ..Rule::NEVER });
            let told =
                |record: Option<&Record>| record.map(|record| (record.count, record.verdict().0, record.verdict().1));
            said.extend(rows.iter().map(|row| {
                let row = &fit.prepared.rows[row.row];
                Said {
                    text: told(history.texts.get(&row.digest)),
                    fingerprint: told(history.fingerprints.get(&row.key.fingerprint)),
                }
            }));
        }
        let leasts = |counts: &[u32]| -> Vec<Least> {
            let each = counts
                .iter()
                .flat_map(|count| [0.6, 0.8, 0.9, 0.97, 1.0].map(|share| Least { count: Some(*count), share }));
            std::iter::once(Least::NEVER).chain(each).collect()
        };
        for text in leasts(&[1, 2, 3]) {
            for fingerprint in leasts(&[3, 10, 30]) {
                let rule = Rule { decay, text, fingerprint, ..Rule::NEVER };
                let right: f64 = held
                    .iter()
                    .flatten()
                    .zip(&said)
                    .zip(&right_by_text)
                    .filter(|((row, said), by_text)| answer(&rule, said).map_or(**by_text, |class| class == row.truth))
                    .map(|((row, _), _)| row.weight)
                    .sum();
                // A record answers at once and for less: a tie is its.
                if right >= best.0 {
                    best = (right, rule);
                }
            }
        }
    }
    best.1
}

fn answer(rule: &Rule, said: &Said) -> Option<usize> {
    let met =
        |least: Least, said: Option<(u32, usize, f32)>| said.filter(|(count, _, share)| least.is_met(*count, *share));
    met(rule.text, said.text).or_else(|| met(rule.fingerprint, said.fingerprint)).map(|(_, class, _)| class)
}

/// Each held row with what speaks for it.
fn told<'h>(
    fit: &Fit<'_>,
    columns: &Columns,
    target: usize,
    info: &TargetInfo,
    (teachers, held): (&[&[usize]], &'h [Vec<Held>]),
    rule: Rule,
) -> Vec<Told<'h>> {
    let mut told = Vec::new();
    for (teach, rows) in teachers.iter().zip(held) {
        let history = fit.history(teach, target, info, rule);
        told.extend(rows.iter().map(|held| {
            let row = &fit.prepared.rows[held.row];
            let mut novelty = fit.novelty(columns, held.row);
            novelty.fingerprint = !history.fingerprints.contains_key(&row.key.fingerprint);
            Told { held, record: history.answer(row.digest, row.key.fingerprint).cloned(), novelty }
        }));
    }
    told
}

/// The doubt with the largest likelihood of the truth, over the rows that the history answers for.
fn doubt(told: &[Told<'_>]) -> f32 {
    let likelihood = |doubt: f32| -> f64 {
        let answered = told.iter().filter_map(|told| Some((told.record.as_ref()?, told.held)));
        answered.map(|(record, held)| held.weight * record.probabilities(doubt)[held.truth].max(1e-9).ln()).sum()
    };
    let candidates = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];
    let best = candidates.map(|doubt| (likelihood(doubt), doubt)).into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(0.5, |(_, doubt)| doubt)
}

/// The confidence of the text below which its plan is right more often; the lowest of equal ones, as a plan costs a question.
fn plan_below(told: &[Told<'_>], temperature: f64) -> f64 {
    // Confidence, and what is gained where the plan speaks.
    let mut gains: Vec<(f64, f64)> = Vec::new();
    for told in told.iter().filter(|told| told.record.is_none()) {
        let Some(planned) = &told.held.planned else { continue };
        let (probabilities, confidence) = told.by_text(temperature);
        let right = |probabilities: &[f64]| f64::from(u8::from(most(probabilities) == told.held.truth));
        gains.push((confidence, told.held.weight * (right(&softmax(planned, temperature)) - right(&probabilities))));
    }
    gains.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut best) = (0.0, (0.0, 0.0));
    for (at, (confidence, gain)) in gains.iter().enumerate() {
        sum += gain;
        if sum > best.0 {
            // Halfway to the next, and above every confidence behind the last.
            best = (sum, gains.get(at + 1).map_or(2.0, |(next, _)| confidence.midpoint(*next)));
        }
    }
    best.1
}

/// The confidence that [`COVERED`] of the rows reach.
fn threshold(told: &[Told<'_>], rule: Rule, temperature: f64, plan_below: f64) -> f64 {
    let each = |told: &Told<'_>| {
        if let Some(record) = &told.record {
            let probabilities = record.probabilities(rule.doubt);
            return confidence(probabilities[most(&probabilities)], Source::History, told.novelty);
        }
        let (_, by_text) = told.by_text(temperature);
        match &told.held.planned {
            Some(planned) if by_text < plan_below => {
                let probabilities = softmax(planned, temperature);
                confidence(probabilities[most(&probabilities)], Source::Plan, told.novelty)
            }
            _ => by_text,
        }
    };
    let mut confidences: Vec<f64> = told.iter().map(each).collect();
    confidences.sort_by(f64::total_cmp);
    if confidences.is_empty() { 0.0 } else { quantile(&confidences, 1.0 - COVERED) }
}
