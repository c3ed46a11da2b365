//! A trained model: history, text, and plan, one behind the other, for each target.

mod artefact;
mod nearest;
mod predict;
mod priors;
pub mod vocabulary;

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use artefact::{Files, MANIFEST, ModelError};

use super::answer::{Novelty, Source, TargetInfo};
use super::history::History;
use super::sqltext::features::LARGEST;
use crate::learn::boost::{BoostError, Explainer, Forest, softmax};
use nearest::Nearest;
use vocabulary::{Vocabulary, is_value};

/// Trees as XGBoost keeps them, and as they are walked.
#[derive(Clone, Debug, PartialEq)]
pub struct Boosted {
    /// XGBoost's JSON.
    pub json: Vec<u8>,
    /// The same, read.
    pub forest: Forest,
}

impl Boosted {
    /// Reads XGBoost's JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn read(json: Vec<u8>) -> Result<Self, BoostError> {
        Ok(Self { forest: Forest::read(&json)?, json })
    }
}

/// What statements cost in general.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prior {
    /// Share of each class.
    pub probabilities: Vec<f64>,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
}

/// What is known for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetModel {
    /// Name, unit, classes.
    pub info: TargetInfo,
    /// Classes from the text's row.
    pub classes: Boosted,
    /// Classes from the row with the plan's cost and rows behind its columns.
    pub plan: Option<Boosted>,
    /// Median and 90th percentile of `ln(cost + floor)` from the row. Absent in models made elsewhere.
    pub quantiles: Option<Boosted>,
    /// What is added to a cost before its logarithm is taken.
    pub floor: f64,
    /// Margins are divided by it before they become probabilities.
    pub temperature: f64,
    /// A confidence below abstains.
    pub abstain_below: f64,
    /// Where the text's confidence is below it, the plan speaks, if it is known.
    pub plan_below: f64,
    /// What statements cost before.
    pub history: History,
    /// What statements cost in general.
    pub prior: Prior,
}

/// An estimate as numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The class.
    pub class: usize,
    /// Probability of each class.
    pub probabilities: Vec<f64>,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// Which tier spoke.
    pub source: Source,
    /// Probability of the class, less what is new about the statement.
    pub confidence: f64,
    /// The confidence is too low.
    pub abstains: bool,
}

/// A statement as a model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Digest of the text.
    pub digest: u64,
    /// Fingerprint.
    pub fingerprint: u64,
    /// Its row.
    pub row: &'a [(u32, f32)],
    /// What is new about it.
    pub novelty: Novelty,
    /// PostgreSQL's estimate: total cost and rows.
    pub plan: Option<(f32, f32)>,
}

impl TargetModel {
    /// What a statement costs. `columns` is how many the vocabulary has.
    pub fn judge(&self, seen: &Seen<'_>, names: &[String]) -> Judgement {
        let (probabilities, source, known) = match self.history.answer(seen.digest, seen.fingerprint) {
            Some(record) => (record.probabilities(self.history.rule.doubt), Source::History, Some(record)),
            None => self.by_text(seen, names),
        };
        let class = most(&probabilities);
        let (p50, p90) = match known {
            Some(record) => (record.quantile(0.5), record.quantile(0.9)),
            None if source == Source::Default => (self.prior.p50, self.prior.p90),
            // The text's quantiles know nothing of the plan that chose the class.
            None if source == Source::Plan => {
                let (p50, p90) = self.quantiles(seen.row);
                (self.in_class(class, p50), p90)
            }
            None => self.quantiles(seen.row),
        };
        let confidence = confidence(probabilities[class], source, seen.novelty);
        let abstains = source == Source::Default || confidence < self.abstain_below;
        Judgement { class, probabilities, p50, p90: p90.max(p50), source, confidence, abstains }
    }

    /// The cost of a class that is nearest to one.
    fn in_class(&self, class: usize, cost: f64) -> f64 {
        let bound = |at: usize| self.info.bounds.get(at).copied();
        let below = bound(class).map_or(f64::INFINITY, f64::next_down);
        cost.min(below).max(class.checked_sub(1).and_then(bound).unwrap_or_default())
    }

    /// Whether a plan would be heard: there is a model of plans, history does not answer, and the text is in doubt.
    pub fn wants_plan(&self, seen: &Seen<'_>, names: &[String]) -> bool {
        let Judgement { source, confidence, .. } = self.judge(&Seen { plan: None, ..*seen }, names);
        self.plan.is_some() && source == Source::Text && confidence < self.plan_below
    }

    fn by_text(&self, seen: &Seen<'_>, names: &[String]) -> (Vec<f64>, Source, Option<&super::history::Record>) {
        let knows_a_token = seen.row.iter().any(|(column, _)| !is_value(&names[*column as usize]));
        if !knows_a_token {
            return (self.prior.probabilities.clone(), Source::Default, None);
        }
        let by_text = softmax(&self.classes.forest.margins(seen.row), self.temperature);
        let doubtful = confidence(by_text[most(&by_text)], Source::Text, seen.novelty) < self.plan_below;
        match (&self.plan, seen.plan) {
            (Some(model), Some(plan)) if doubtful => {
                let row = with_plan(seen.row, names.len(), plan);
                (softmax(&model.forest.margins(&row), self.temperature), Source::Plan, None)
            }
            _ => (by_text, Source::Text, None),
        }
    }

    fn quantiles(&self, row: &[(u32, f32)]) -> (f64, f64) {
        let Some(quantiles) = &self.quantiles else { return (self.prior.p50, self.prior.p90) };
        let margins = quantiles.forest.margins(row);
        let cost = |at: usize| margins.get(at).map_or(0.0, |margin| (f64::from(*margin).exp() - self.floor).max(0.0));
        (cost(0), cost(1))
    }
}

/// A row with the plan's cost and rows in two columns behind those of the vocabulary.
pub fn with_plan(row: &[(u32, f32)], columns: usize, (cost, rows): (f32, f32)) -> Vec<(u32, f32)> {
    let behind = u32::try_from(columns).unwrap_or(u32::MAX - 1);
    let size = |estimate: f32| estimate.max(0.0).min(LARGEST as f32).ln_1p();
    row.iter().copied().chain([(behind, size(cost)), (behind + 1, size(rows))]).collect()
}

/// Place of the largest.
pub fn most(probabilities: &[f64]) -> usize {
    (0..probabilities.len())
        .max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]).then(b.cmp(a)))
        .unwrap_or_default()
}

/// A probability lies where the statement is new: what is unknown of it counts against the answer.
pub fn confidence(probability: f64, source: Source, novelty: Novelty) -> f64 {
    match source {
        Source::History => probability,
        Source::Default => 0.0,
        Source::Text | Source::Plan => {
            let known = (1.0 - novelty.unknown_tokens) * (1.0 - 0.5 * novelty.unknown_tables);
            probability * known * if novelty.fingerprint { 0.9 } else { 1.0 }
        }
    }
}

/// A statement without literals that the training's log had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The statement.
    pub statement: String,
    /// How often it was seen.
    pub count: u64,
}

/// A model that answers for statements.
#[derive(Debug)]
pub struct CostModel {
    /// A digest of its files: the same log, options and seed give the same version.
    pub version: String,
    /// Its columns.
    pub vocabulary: Vocabulary,
    /// Name, unit and classes of each target.
    pub infos: Vec<TargetInfo>,
    /// What is known for each target, in the same order.
    pub targets: Vec<TargetModel>,
    /// Fingerprints of the training's log.
    pub known: HashMap<u64, Known>,
    nearest: Nearest,
    /// What explains the classes of each target, read when it is first asked.
    explainers: Vec<OnceLock<Result<Explainer, BoostError>>>,
}

impl CostModel {
    /// A model of its parts.
    pub fn new(vocabulary: Vocabulary, targets: Vec<TargetModel>, known: HashMap<u64, Known>) -> Self {
        let mut model = Self::of_version(String::new(), vocabulary, targets, known);
        model.version = model.digest();
        model
    }

    /// A model whose version is known, which only a whole saving of it would tell.
    fn of_version(
        version: String,
        vocabulary: Vocabulary,
        targets: Vec<TargetModel>,
        known: HashMap<u64, Known>,
    ) -> Self {
        let infos = targets.iter().map(|target| target.info.clone()).collect();
        let explainers = targets.iter().map(|_| OnceLock::new()).collect();
        let nearest = Nearest::of(&known);
        Self { version, vocabulary, infos, targets, known, nearest, explainers }
    }

    /// Without what only saving needs, which is a good part of its memory.
    pub fn for_answers(mut self) -> Self {
        for target in &mut self.targets {
            // The classes' own format is what explains an answer, once somebody asks why.
            for trees in [&mut target.quantiles, &mut target.plan].into_iter().flatten() {
                trees.json = Vec::new();
            }
        }
        self
    }
}

#[cfg(test)]
mod tests;
