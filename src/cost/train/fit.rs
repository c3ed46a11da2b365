//! Learns a model from some of the rows, and predicts others.

use std::collections::{HashMap, HashSet};

use super::choose::{Chosen, choose};
use super::prepare::{Counted, NO_TEXT, Prepared, Row};
use super::{Candidate, Options, TrainError};
use crate::cost::answer::{Novelty, TargetInfo};
use crate::cost::classes::{TargetSpec, class, quantile, resolve, weighted_quantile};
use crate::cost::history::{History, Rule};
use crate::cost::log::Cost;
use crate::cost::model::vocabulary::{Vocabulary, is_value};
use crate::cost::model::{Boosted, CostModel, Judgement, Known, Prior, Seen, TargetModel, with_plan};
use crate::cost::splits::Split;
use crate::cost::sqltext::Mode;
use crate::learn::boost::{self, Objective, Rows, Settings};

/// Statements that a model keeps: more are forgotten, the rarest first.
const KEPT: usize = 50_000;
/// Rows from which the quantiles of the cost are learnt, at the most.
const QUANTILE_ROWS: usize = 100_000;

/// What is learnt from.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    /// The log's rows.
    pub prepared: &'a Prepared,
    /// Features of its texts.
    pub counted: &'a Counted,
    /// The targets.
    pub specs: &'a [TargetSpec],
    /// How.
    pub options: &'a Options,
    /// How rows that judge are found.
    pub split: Split,
}

/// The columns of one model over the counted features.
pub struct Columns {
    /// The vocabulary.
    pub vocabulary: Vocabulary,
    /// Rows of every text in the vocabulary's columns.
    pub rows: Rows,
    /// Words that were seen.
    known_words: HashSet<u32>,
    known_fingerprints: HashSet<u64>,
}

impl<'a> Fit<'a> {
    /// The targets' classes, from the rows that teach.
    fn infos(&self, train: &[usize]) -> Result<Vec<TargetInfo>, TrainError> {
        let costs = |target| train.iter().map(move |row| self.prepared.cost(*row, target));
        let infos = self.specs.iter().enumerate().map(|(target, spec)| resolve(spec, costs(target)));
        Ok(infos.collect::<Result<_, _>>()?)
    }

    /// The most frequent features of the rows that teach.
    pub fn columns(&self, train: &[usize]) -> Columns {
        let texts: HashSet<u32> =
            train.iter().map(|row| self.prepared.rows[*row].text).filter(|text| *text != NO_TEXT).collect();
        let mut frequencies = vec![0_u32; self.counted.names.len()];
        let mut known_words = HashSet::new();
        for text in &texts {
            for (column, _) in self.counted.rows.row(*text as usize) {
                frequencies[column as usize] += 1;
            }
            known_words.extend(self.counted.text_words[*text as usize].iter().copied());
        }
        let mut kept: Vec<usize> = (0..frequencies.len()).filter(|column| frequencies[*column] > 0).collect();
        kept.sort_unstable_by_key(|column| (std::cmp::Reverse(frequencies[*column]), &self.counted.names[*column]));
        kept.truncate(self.options.max_features);
        let count = texts.len() as f64;
        let idf = |column: &usize| {
            let value = is_value(&self.counted.names[*column]);
            if value { 1.0 } else { (((1.0 + count) / (1.0 + f64::from(frequencies[*column]))).ln() + 1.0) as f32 }
        };
        let idf: Vec<f32> = kept.iter().map(idf).collect();
        let names = kept.iter().map(|column| self.counted.names[*column].clone()).collect();
        let words = known_words.iter().map(|word| self.counted.words[*word as usize].clone()).collect();
        let vocabulary = Vocabulary::new(self.counted.mode, self.counted.ngrams, names, idf, words);
        let mut places = vec![None; frequencies.len()];
        for (place, column) in (0_u32..).zip(&kept) {
            places[*column] = Some(place);
        }
        let mut rows = Rows::new();
        for text in 0..self.counted.rows.len() {
            let mut row: Vec<(u32, f32)> = self
                .counted
                .rows
                .row(text)
                .filter_map(|(column, value)| Some((places[column as usize]?, value)))
                .collect();
            row.sort_unstable_by_key(|(column, _)| *column);
            vocabulary.weigh(&mut row);
            rows.push(row);
        }
        let known_fingerprints = train.iter().map(|row| self.prepared.rows[*row].key.fingerprint).collect();
        Columns { vocabulary, rows, known_words, known_fingerprints }
    }

    /// Chooses candidate, temperature, history's rule and threshold of each target by cross-validation.
    pub fn choose(
        &self,
        columns: &Columns,
        train: &[usize],
        grid: &[Vec<Candidate>],
        each: &mut dyn FnMut(&str),
    ) -> Result<Vec<Chosen>, TrainError> {
        let infos = self.infos(train)?;
        let mut chosen = Vec::new();
        for (target, info) in infos.iter().enumerate() {
            each(&info.name);
            chosen.push(choose(self, columns, train, &grid[target], (target, info))?);
        }
        Ok(chosen)
    }

    /// Learns a model from rows, in the columns of these.
    pub fn model(
        &self,
        columns: &Columns,
        train: &[usize],
        chosen: &[Chosen],
        each: &mut dyn FnMut(&str),
    ) -> Result<CostModel, TrainError> {
        let infos = self.infos(train)?;
        let mut targets = Vec::new();
        for ((target, info), chosen) in infos.into_iter().enumerate().zip(chosen) {
            each(&info.name);
            let classes = self.classes(columns, train, target, &info, chosen.candidate, false)?;
            let plan = self
                .has_plans(train, target, &info)
                .then(|| self.classes(columns, train, target, &info, chosen.candidate, true))
                .transpose()?;
            let floor = self.floor(train, target);
            let quantiles = self.quantiles(columns, train, (target, &info), floor)?;
            let mut history = self.history(train, target, &info, chosen.rule);
            history.keep(KEPT);
            targets.push(TargetModel {
                classes: Boosted::read(classes)?,
                plan: plan.map(Boosted::read).transpose()?,
                quantiles: Some(Boosted::read(quantiles)?),
                floor,
                temperature: chosen.temperature,
                abstain_below: chosen.abstain_below,
                plan_below: chosen.plan_below,
                history,
                prior: self.prior(train, target, &info),
                info,
            });
        }
        Ok(CostModel::new(columns.vocabulary.clone(), targets, self.known(train)))
    }

    fn known(&self, train: &[usize]) -> HashMap<u64, Known> {
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for row in train {
            *counts.entry(self.prepared.rows[*row].key.fingerprint).or_default() += 1;
        }
        let mut most: Vec<(u64, u64)> = counts.into_iter().map(|(fingerprint, count)| (count, fingerprint)).collect();
        most.sort_unstable_by(|a, b| b.cmp(a));
        let named = most.into_iter().take(KEPT).filter_map(|(count, fingerprint)| {
            let (statement, _) = self.prepared.statements.get(&fingerprint)?;
            Some((fingerprint, Known { statement: statement.clone(), count }))
        });
        named.collect()
    }

    /// PostgreSQL's estimate of a row.
    pub fn plan(&self, row: usize) -> Option<(f32, f32)> {
        let text = self.prepared.rows[row].text;
        if text == NO_TEXT { None } else { self.prepared.plans[text as usize] }
    }

    /// Whether a row has a text, a plan and a class, of which [`Fit::classes`] can learn what plans say.
    pub fn has_plans(&self, train: &[usize], target: usize, info: &TargetInfo) -> bool {
        let teaches =
            |row: &usize| self.plan(*row).is_some() && class(&info.bounds, self.prepared.cost(*row, target)).is_some();
        train.iter().any(teaches)
    }

    /// XGBoost's model of the classes.
    pub fn classes(
        &self,
        columns: &Columns,
        train: &[usize],
        target: usize,
        info: &TargetInfo,
        candidate: Candidate,
        planned: bool,
    ) -> Result<Vec<u8>, TrainError> {
        // Rows of one text and class are one, with their weights added up.
        let mut groups: HashMap<(u32, usize), f32> = HashMap::new();
        let mut often: HashMap<u64, f64> = HashMap::new();
        let mut fingerprints: HashMap<u32, u64> = HashMap::new();
        for row in train {
            let Row { text, weight, key, .. } = self.prepared.rows[*row];
            let class = class(&info.bounds, self.prepared.cost(*row, target));
            if let (true, Some(class)) = (text != NO_TEXT && (!planned || self.plan(*row).is_some()), class) {
                *groups.entry((text, class)).or_default() += weight;
                *often.entry(key.fingerprint).or_default() += f64::from(weight);
                fingerprints.insert(text, key.fingerprint);
            }
        }
        let mut groups: Vec<((u32, usize), f32)> = groups.into_iter().collect();
        groups.sort_unstable_by_key(|(group, _)| *group);
        if self.counted.mode == Mode::Lexed {
            // A fingerprint that is seen a hundred times as often says ten times as much: the history knows it anyway.
            let sum = |groups: &[((u32, usize), f32)]| groups.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>();
            let before = sum(&groups);
            groups.iter_mut().for_each(|((text, _), weight)| *weight /= often[&fingerprints[text]].sqrt() as f32);
            let scale = (before / sum(&groups)) as f32;
            groups.iter_mut().for_each(|(_, weight)| *weight *= scale);
        }
        let count = info.labels.len();
        let mut sums = vec![0.0_f64; count];
        groups.iter().for_each(|((_, class), weight)| sums[*class] += f64::from(*weight));
        let total: f64 = sums.iter().sum();
        // Rare classes weigh more, by the fourth root of how rare they are: a heavy statement taken for a light one is
        // the dear mistake, and more than that costs accuracy.
        let power = if self.counted.mode == Mode::Lexed { 0.25 } else { 0.0 };
        let weigh = |class: usize| (total / (count as f64 * sums[class].max(1.0))).powf(power);
        let wide = columns.vocabulary.names.len();
        let mut rows = Rows::new();
        let (mut labels, mut weights) = (Vec::new(), Vec::new());
        for ((text, class), weight) in groups {
            let row: Vec<(u32, f32)> = columns.rows.row(text as usize).collect();
            match self.prepared.plans[text as usize] {
                Some(plan) if planned => rows.push(with_plan(&row, wide, plan)),
                _ => rows.push(row),
            }
            labels.push(class as f32);
            weights.push((f64::from(weight) * weigh(class)) as f32);
        }
        let settings = self.settings(candidate, planned);
        let wide = if planned { wide + 2 } else { wide };
        Ok(boost::train(&rows, wide, &labels, &weights, &Objective::Classes(count), &settings, &mut |_| true)?)
    }

    fn settings(&self, candidate: Candidate, planned: bool) -> Settings {
        // Trees that may ask for few columns each look at more of a statement than its fingerprint: what they learn holds
        // for statements that are new. The paper's are XGBoost's own.
        // Two columns of a plan among thousands must be asked for more often.
        let (column_share, node_share) = match (self.counted.mode, planned) {
            (Mode::Lexed, false) => (0.2, 0.05),
            (Mode::Lexed, true) => (1.0, 0.3),
            (Mode::Paper, _) => (1.0, 1.0),
        };
        Settings {
            max_depth: candidate.max_depth,
            eta: candidate.eta,
            rounds: candidate.rounds,
            column_share,
            node_share,
            min_child_weight: 1.0,
            seed: (self.options.seed & 0x7fff_ffff) as u32,
            threads: self.options.threads,
        }
    }

    /// A small cost, so that a cost of nothing has a logarithm.
    fn floor(&self, train: &[usize], target: usize) -> f64 {
        let cost = |row: &usize| match self.prepared.cost(*row, target) {
            Cost::Measured(cost) => Some(cost).filter(|cost| *cost > 0.0),
            Cost::AtLeast(_) | Cost::Unknown => None,
        };
        let mut costs: Vec<f64> = train.iter().filter_map(cost).collect();
        costs.sort_by(f64::total_cmp);
        if costs.is_empty() { 1.0 } else { quantile(&costs, 0.05) / 10.0 }
    }

    /// Rows whose class is known, each with it and with its cost. Below the top class a cost that is *at least* so much says
    /// nothing of medians, either: it would only draw them down.
    fn known_costs<'t>(
        &'t self,
        train: &'t [usize],
        target: usize,
        info: &'t TargetInfo,
    ) -> impl Iterator<Item = (usize, usize, f64)> + 't {
        let known = move |row: usize| match self.prepared.cost(row, target) {
            told @ (Cost::Measured(cost) | Cost::AtLeast(cost)) => Some((row, class(&info.bounds, told)?, cost)),
            Cost::Unknown => None,
        };
        train.iter().copied().filter_map(known)
    }

    fn quantiles(
        &self,
        columns: &Columns,
        train: &[usize],
        (target, info): (usize, &TargetInfo),
        floor: f64,
    ) -> Result<Vec<u8>, TrainError> {
        let with_text = |(row, _, _): &(usize, usize, f64)| self.prepared.rows[*row].text != NO_TEXT;
        let all: Vec<(usize, usize, f64)> = self.known_costs(train, target, info).filter(with_text).collect();
        // The newest of each step: evenly over the log.
        let step = all.len().div_ceil(QUANTILE_ROWS).max(1);
        let mut rows = Rows::new();
        let (mut labels, mut weights) = (Vec::new(), Vec::new());
        for (row, _, cost) in all.into_iter().step_by(step) {
            let row = &self.prepared.rows[row];
            rows.push(columns.rows.row(row.text as usize));
            labels.push((cost + floor).ln() as f32);
            weights.push(row.weight);
        }
        let settings = self.settings(Candidate { max_depth: 6, eta: 0.2, rounds: 60 }, false);
        let objective = Objective::Quantiles(vec![0.5, 0.9]);
        Ok(boost::train(&rows, columns.vocabulary.names.len(), &labels, &weights, &objective, &settings, &mut |_| {
            true
        })?)
    }

    /// What statements cost in the rows, the oldest first.
    pub fn history(&self, train: &[usize], target: usize, info: &TargetInfo, rule: Rule) -> History {
        let mut history = History::new(rule, info.labels.len());
        let mut sorted: Vec<(usize, usize, f64)> = self.known_costs(train, target, info).collect();
        sorted.sort_by_key(|(row, ..)| self.prepared.rows[*row].key.time);
        for (row, class, cost) in sorted {
            let row = &self.prepared.rows[row];
            history.add(row.digest, row.key.fingerprint, class, cost, row.weight);
        }
        history
    }

    fn prior(&self, train: &[usize], target: usize, info: &TargetInfo) -> Prior {
        let mut counts = vec![0.0; info.labels.len()];
        let mut costs = Vec::new();
        for (row, class, cost) in self.known_costs(train, target, info) {
            let weight = f64::from(self.prepared.rows[row].weight);
            counts[class] += weight;
            costs.push((cost, weight));
        }
        costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let sum: f64 = counts.iter().sum();
        let probabilities = counts.into_iter().map(|count| count / sum.max(f64::MIN_POSITIVE)).collect();
        Prior { probabilities, p50: weighted_quantile(&costs, 0.5), p90: weighted_quantile(&costs, 0.9) }
    }

    /// How much of a row's text the columns' rows have not had.
    pub fn novelty(&self, columns: &Columns, row: usize) -> Novelty {
        let row = &self.prepared.rows[row];
        let words = &self.counted.text_words[row.text as usize];
        let (mut all, mut new) = ([0_u32; 2], [0_u32; 2]);
        for word in words {
            let table = usize::from(self.counted.words[*word as usize].starts_with("table:"));
            all[table] += 1;
            new[table] += u32::from(!columns.known_words.contains(word));
        }
        let share = |at: usize| if all[at] == 0 { 0.0 } else { f64::from(new[at]) / f64::from(all[at]) };
        Novelty {
            fingerprint: !columns.known_fingerprints.contains(&row.key.fingerprint),
            unknown_tokens: share(0),
            unknown_tables: share(1),
        }
    }

    /// What a model says of rows, in the columns that it was learnt in.
    pub fn judge(&self, model: &CostModel, columns: &Columns, rows: &[usize], target: usize) -> Vec<Judgement> {
        let judge = |row: &usize| {
            let (novelty, row_of, plan) = (self.novelty(columns, *row), &self.prepared.rows[*row], self.plan(*row));
            let entries: Vec<(u32, f32)> = columns.rows.row(row_of.text as usize).collect();
            let seen =
                Seen { digest: row_of.digest, fingerprint: row_of.key.fingerprint, row: &entries, novelty, plan };
            model.targets[target].judge(&seen, &model.vocabulary.names)
        };
        rows.iter().map(judge).collect()
    }

    /// The most frequent class for every row.
    pub fn majority(&self, train: &[usize], rows: &[usize], target: usize, model: &TargetModel) -> Vec<Judgement> {
        let prior = self.prior(train, target, &model.info);
        rows.iter().map(|_| plain(prior.probabilities.clone(), prior.p50, prior.p90)).collect()
    }

    /// The most frequent class of the fingerprint, of all rows where it was not seen.
    pub fn look_up(&self, train: &[usize], rows: &[usize], target: usize, model: &TargetModel) -> Vec<Judgement> {
        let rule = Rule { decay: 1.0, ..Rule::NEVER };
        let history = self.history(train, target, &model.info, rule);
        let prior = self.prior(train, target, &model.info);
        let judge = |row: &usize| match history.fingerprints.get(&self.prepared.rows[*row].key.fingerprint) {
            Some(record) => plain(record.probabilities(rule.doubt), record.quantile(0.5), record.quantile(0.9)),
            None => plain(prior.probabilities.clone(), prior.p50, prior.p90),
        };
        rows.iter().map(judge).collect()
    }
}

fn plain(probabilities: Vec<f64>, p50: f64, p90: f64) -> Judgement {
    let class = crate::cost::model::most(&probabilities);
    let confidence = probabilities[class];
    let source = crate::cost::answer::Source::Default;
    Judgement { class, probabilities, p50, p90, source, confidence, abstains: false }
}

/// The features that the trees ask for most often.
pub fn top_features(model: &CostModel, target: usize, most: usize) -> Vec<(String, usize)> {
    let mut splits = model.targets[target].classes.forest.splits();
    splits.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    splits
        .into_iter()
        .take(most)
        .map(|(column, count)| (model.vocabulary.names[column as usize].clone(), count))
        .collect()
}
