//! Gradient boosted trees on XGBoost. The only place that names `xgb`; plain numbers cross its border.
//!
//! Models are kept in XGBoost's own JSON. A [`Forest`] reads that and predicts a row at a time without XGBoost, which
//! takes longer to set up a matrix of one row than to walk the trees.

use std::cell::RefCell;

use serde::Deserialize;
use thiserror::Error;
use xgb::parameters::BoosterParameters;
use xgb::{Booster, DMatrix};

/// Sparse rows (CSR): an entry that is absent is missing, not zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Where each row begins, and where the last one ends: one more than rows.
    pub begins: Vec<usize>,
    /// Columns of the entries, ascending within a row.
    pub columns: Vec<u32>,
    /// Values of the entries.
    pub values: Vec<f32>,
}

impl Rows {
    /// No rows.
    pub fn new() -> Self {
        Self { begins: vec![0], columns: Vec::new(), values: Vec::new() }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.begins.len().saturating_sub(1)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a row; `entries` ascend by column.
    pub fn push(&mut self, entries: impl IntoIterator<Item = (u32, f32)>) {
        for (column, value) in entries {
            self.columns.push(column);
            self.values.push(value);
        }
        self.begins.push(self.columns.len());
    }

    /// The entries of a row.
    pub fn row(&self, index: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        let range = self.begins[index]..self.begins[index + 1];
        self.columns[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }
}

/// What is learnt.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// So many classes; labels are 0, 1, …
    Classes(usize),
    /// Quantiles of the label (0.5 is the median), one output each.
    Quantiles(Vec<f32>),
}

/// How it is learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Depth of a tree.
    pub max_depth: u32,
    /// Learning rate.
    pub eta: f64,
    /// Rounds; each adds one tree for each output.
    pub rounds: u32,
    /// Share of the columns that a tree may use.
    pub column_share: f64,
    /// Share of these that a node may ask for.
    pub node_share: f64,
    /// Least sum of Hessians in a leaf.
    pub min_child_weight: f64,
    /// Seed of everything random.
    pub seed: u32,
    /// Threads.
    pub threads: usize,
}

/// What XGBoost or the reading of its model said.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BoostError {
    /// XGBoost failed.
    #[error("XGBoost: {0}")]
    XGBoost(String),
    /// A model file is none that is known here.
    #[error("the XGBoost model can't be read: {0}")]
    Unreadable(String),
}

fn failed(error: xgb::XGBError) -> BoostError {
    BoostError::XGBoost(error.to_string())
}

fn matrix(rows: &Rows, columns: usize) -> Result<DMatrix, BoostError> {
    let indices: Vec<usize> = rows.columns.iter().map(|column| *column as usize).collect();
    DMatrix::from_csr(&rows.begins, &indices, &rows.values, Some(columns)).map_err(failed)
}

/// Learns from rows of so many columns, one label and one weight each, and returns the model in XGBoost's JSON. The same
/// input gives the same bytes. `each_round` is told how many rounds are done, and ends the training by `false`.
///
/// # Errors
/// XGBoost refuses the input, or runs out of memory.
pub fn train(
    rows: &Rows,
    columns: usize,
    labels: &[f32],
    weights: &[f32],
    objective: &Objective,
    settings: &Settings,
    each_round: &mut dyn FnMut(u32) -> bool,
) -> Result<Vec<u8>, BoostError> {
    let mut data = matrix(rows, columns)?;
    data.set_labels(labels).map_err(failed)?;
    data.set_weights(weights).map_err(failed)?;
    let mut booster = Booster::new_with_cached_dmats(&BoosterParameters::default(), &[&data]).map_err(failed)?;
    let mut parameters = vec![
        ("verbosity", "0".to_owned()),
        ("booster", "gbtree".to_owned()),
        ("tree_method", "hist".to_owned()),
        ("max_depth", settings.max_depth.to_string()),
        ("eta", settings.eta.to_string()),
        ("colsample_bytree", settings.column_share.to_string()),
        ("colsample_bynode", settings.node_share.to_string()),
        ("min_child_weight", settings.min_child_weight.to_string()),
        ("seed", settings.seed.to_string()),
        ("nthread", settings.threads.to_string()),
    ];
    match objective {
        Objective::Classes(classes) => {
            parameters.push(("objective", "multi:softprob".to_owned()));
            parameters.push(("num_class", classes.to_string()));
        }
        Objective::Quantiles(quantiles) => {
            parameters.push(("objective", "reg:quantileerror".to_owned()));
            let list: Vec<String> = quantiles.iter().map(ToString::to_string).collect();
            parameters.push(("quantile_alpha", format!("[{}]", list.join(","))));
        }
    }
    for (name, value) in &parameters {
        booster.set_param(name, value).map_err(failed)?;
    }
    for round in 0..settings.rounds {
        booster.update(&data, i32::try_from(round).unwrap_or(i32::MAX)).map_err(failed)?;
        if !each_round(round + 1) {
            break;
        }
    }
    booster.save_buffer(false).map_err(failed)
}

/// What each feature added to the margin of each output for one row (TreeSHAP): `[output][column]`, the bias last.
///
/// # Errors
/// The model is none of XGBoost's.
pub fn contributions(model: &[u8], row: &[(u32, f32)], columns: usize) -> Result<Vec<Vec<f32>>, BoostError> {
    let booster = Booster::load_buffer(model).map_err(failed)?;
    let mut rows = Rows::new();
    rows.push(row.iter().copied());
    let (flat, _) = booster.predict_contributions(&matrix(&rows, columns)?).map_err(failed)?;
    Ok(flat.chunks(columns + 1).map(<[f32]>::to_vec).collect())
}

/// The trees of a model, to predict a row at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    /// Margin of each output before the first tree.
    base: Vec<f32>,
    trees: Vec<Tree>,
    nodes: Vec<Node>,
    columns: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Tree {
    output: u32,
    root: u32,
}

/// A node; a leaf has no column.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Node {
    /// Column that is asked for, or [`LEAF`].
    column: u32,
    /// Rows below go left; a leaf's value.
    threshold: f32,
    left: u32,
    right: u32,
    missing: u32,
}

const LEAF: u32 = u32::MAX;

thread_local! {
    /// A row by column, NaN where it has no entry.
    static DENSE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Forest {
    /// Reads a model in XGBoost's JSON (booster `gbtree`, numerical splits), of XGBoost 1.x to 3.x.
    ///
    /// # Errors
    /// It is none.
    pub fn read(model: &[u8]) -> Result<Self, BoostError> {
        let unreadable = |message: String| BoostError::Unreadable(message);
        let file: ModelFile = serde_json::from_slice(model).map_err(|error| unreadable(error.to_string()))?;
        let learner = file.learner;
        let parameters = &learner.learner_model_param;
        let number = |text: &str| text.parse::<usize>().map_err(|_| unreadable(format!("{text:?} is no count")));
        let outputs =
            number(&parameters.num_class)?.max(parameters.num_target.as_deref().map_or(Ok(1), number)?).max(1);
        let columns = number(&parameters.num_feature)?;
        let scores: Result<Vec<f32>, _> = parameters
            .base_score
            .trim_matches(['[', ']'])
            .split(',')
            .map(|score| score.trim().parse::<f32>())
            .collect();
        let mut base = scores.map_err(|_| unreadable(format!("base_score is {:?}", parameters.base_score)))?;
        if base.len() != outputs {
            base = vec![base.first().copied().unwrap_or_default(); outputs];
        }
        let model = learner.gradient_booster.model;
        let mut forest = Self { base, trees: Vec::new(), nodes: Vec::new(), columns };
        for (tree, output) in model.trees.iter().zip(&model.tree_info) {
            forest.add(tree, *output, outputs).ok_or_else(|| unreadable("a tree is broken or not numerical".into()))?;
        }
        Ok(forest)
    }

    fn add(&mut self, tree: &TreeFile, output: u32, outputs: usize) -> Option<()> {
        let count = tree.left_children.len();
        let lengths =
            [tree.right_children.len(), tree.split_indices.len(), tree.split_conditions.len(), tree.default_left.len()];
        if count == 0 || lengths.iter().any(|length| *length != count) || output as usize >= outputs {
            return None;
        }
        let root = u32::try_from(self.nodes.len()).ok()?;
        for at in 0..count {
            let threshold = tree.split_conditions[at];
            let child = |index: i32| -> Option<u32> {
                // Children stand behind their parent, so that every walk ends.
                let index = usize::try_from(index).ok().filter(|index| *index < count && *index > at)?;
                Some(root + u32::try_from(index).ok()?)
            };
            let node = if tree.left_children[at] < 0 {
                Node { column: LEAF, threshold, left: 0, right: 0, missing: 0 }
            } else {
                let (left, right) = (child(tree.left_children[at])?, child(tree.right_children[at])?);
                let column = tree.split_indices[at];
                if column as usize >= self.columns {
                    return None;
                }
                let missing = if tree.default_left[at].is() { left } else { right };
                Node { column, threshold, left, right, missing }
            };
            self.nodes.push(node);
        }
        self.trees.push(Tree { output, root });
        Some(())
    }

    /// How many outputs there are.
    pub fn outputs(&self) -> usize {
        self.base.len()
    }

    /// How many columns a row may have.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The margin of each output for a row. Entries of columns that the model does not know are passed over.
    pub fn margins(&self, row: &[(u32, f32)]) -> Vec<f32> {
        let mut margins = self.base.clone();
        DENSE.with_borrow_mut(|dense| {
            if dense.len() < self.columns {
                dense.resize(self.columns, f32::NAN);
            }
            let known = |column: &u32| (*column as usize) < self.columns;
            for (column, value) in row.iter().filter(|(column, _)| known(column)) {
                dense[*column as usize] = *value;
            }
            for tree in &self.trees {
                let mut node = self.nodes[tree.root as usize];
                while node.column != LEAF {
                    let value = dense[node.column as usize];
                    let next = if value.is_nan() {
                        node.missing
                    } else if value < node.threshold {
                        node.left
                    } else {
                        node.right
                    };
                    node = self.nodes[next as usize];
                }
                margins[tree.output as usize] += node.threshold;
            }
            for (column, _) in row.iter().filter(|(column, _)| known(column)) {
                dense[*column as usize] = f32::NAN;
            }
        });
        margins
    }

    /// How many nodes ask for a column, for those that are asked for at all.
    pub fn splits(&self) -> Vec<(u32, usize)> {
        let mut counts = vec![0; self.columns];
        for node in self.nodes.iter().filter(|node| node.column != LEAF) {
            counts[node.column as usize] += 1;
        }
        let asked = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
        asked.map(|(column, count)| (u32::try_from(column).unwrap_or(LEAF), count)).collect()
    }
}

/// Probabilities of margins, after a division by the temperature.
pub fn softmax(margins: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = margins.iter().map(|margin| f64::from(*margin) / temperature).collect();
    let most = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scaled.iter().map(|margin| (margin - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[derive(Deserialize)]
struct ModelFile {
    learner: LearnerFile,
}

#[derive(Deserialize)]
struct LearnerFile {
    learner_model_param: ParameterFile,
    gradient_booster: BoosterFile,
}

#[derive(Deserialize)]
struct ParameterFile {
    base_score: String,
    num_class: String,
    num_feature: String,
    num_target: Option<String>,
}

#[derive(Deserialize)]
struct BoosterFile {
    model: TreesFile,
}

#[derive(Deserialize)]
struct TreesFile {
    trees: Vec<TreeFile>,
    tree_info: Vec<u32>,
}

#[derive(Deserialize)]
struct TreeFile {
    left_children: Vec<i32>,
    right_children: Vec<i32>,
    split_indices: Vec<u32>,
    split_conditions: Vec<f32>,
    default_left: Vec<Flag>,
}

/// XGBoost writes truth as a number, older versions as a truth value.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Number(u8),
    Truth(bool),
}

impl Flag {
    fn is(&self) -> bool {
        match self {
            Self::Number(number) => *number != 0,
            Self::Truth(truth) => *truth,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 400 rows of three columns; the class follows from the first two, and the third is noise.
    fn data() -> (Rows, Vec<f32>) {
        let mut rows = Rows::new();
        let mut labels = Vec::new();
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0
        };
        for _ in 0..400 {
            let (a, b, c) = (next(), next(), next());
            let missing = next() < 0.2;
            let class = if missing { 2.0 } else { f32::from(a + b > 1.0) };
            rows.push([(0, a), (1, b), (2, c)].into_iter().filter(|(column, _)| !(missing && *column == 1)));
            labels.push(class);
        }
        (rows, labels)
    }

    const SETTINGS: Settings = Settings {
        max_depth: 4,
        eta: 0.3,
        rounds: 20,
        column_share: 0.8,
        node_share: 1.0,
        min_child_weight: 1.0,
        seed: 7,
        threads: 1,
    };

    fn learn(objective: &Objective) -> (Rows, Vec<f32>, Vec<u8>) {
        let (rows, labels) = data();
        let weights = vec![1.0; labels.len()];
        let model = train(&rows, 3, &labels, &weights, objective, &SETTINGS, &mut |_| true).unwrap();
        (rows, labels, model)
    }

    #[test]
    fn classes_are_learnt_and_the_same_seed_gives_the_same_bytes() {
        let (rows, labels, model) = learn(&Objective::Classes(3));
        assert_eq!(model, learn(&Objective::Classes(3)).2);
        let forest = Forest::read(&model).unwrap();
        let right = (0..rows.len()).filter(|at| {
            let margins = forest.margins(&rows.row(*at).collect::<Vec<_>>());
            let best = (0..3).max_by(|a, b| margins[*a].total_cmp(&margins[*b])).unwrap();
            best as f32 == labels[*at]
        });
        assert!(right.count() > 390);
    }

    #[test]
    fn a_forest_predicts_as_xgboost_does() {
        for objective in [Objective::Classes(3), Objective::Quantiles(vec![0.5, 0.9])] {
            let (rows, _, model) = learn(&objective);
            let forest = Forest::read(&model).unwrap();
            let booster = Booster::load_buffer(&model).unwrap();
            let theirs = booster.predict_margin(&matrix(&rows, 3).unwrap()).unwrap();
            for (at, theirs) in theirs.chunks(forest.outputs()).enumerate() {
                let ours = forest.margins(&rows.row(at).collect::<Vec<_>>());
                for (ours, theirs) in ours.iter().zip(theirs) {
                    assert!((ours - theirs).abs() < 1e-5, "{objective:?}, row {at}: {ours} and {theirs}");
                }
            }
        }
    }

    /// What XGBoost's Python package made of a fixed matrix: `tests/golden/xgboost/make.py`.
    #[derive(serde::Deserialize)]
    struct Recorded {
        columns: usize,
        rows: Vec<Vec<(u32, f32)>>,
        weights: Vec<f32>,
        classes: RecordedModel,
        quantiles: RecordedModel,
    }

    #[derive(serde::Deserialize)]
    struct RecordedModel {
        labels: Vec<f32>,
        model: String,
        margins: Vec<Vec<f32>>,
    }

    #[test]
    fn the_python_package_agrees() {
        let recorded: Recorded = serde_json::from_str(include_str!("../../tests/golden/xgboost/parity.json")).unwrap();
        let mut rows = Rows::new();
        recorded.rows.iter().for_each(|row| rows.push(row.iter().copied()));
        let settings = Settings { max_depth: 3, rounds: 5, column_share: 1.0, ..SETTINGS };
        for (objective, theirs) in
            [(Objective::Classes(3), &recorded.classes), (Objective::Quantiles(vec![0.5, 0.9]), &recorded.quantiles)]
        {
            let weights = &recorded.weights;
            let own = train(&rows, recorded.columns, &theirs.labels, weights, &objective, &settings, &mut |_| true);
            // Theirs as we read it, and ours of the same matrix.
            for (whose, model) in [("theirs", theirs.model.as_bytes()), ("ours", &own.unwrap())] {
                let forest = Forest::read(model).unwrap();
                for (at, expected) in theirs.margins.iter().enumerate() {
                    let margins = forest.margins(&rows.row(at).collect::<Vec<_>>());
                    for (margin, expected) in margins.iter().zip(expected) {
                        assert!(
                            (margin - expected).abs() < 1e-5,
                            "{whose}, {objective:?}, row {at}: {margin} and {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn contributions_add_up_to_the_margin() {
        let (rows, _, model) = learn(&Objective::Classes(3));
        let forest = Forest::read(&model).unwrap();
        let row: Vec<_> = rows.row(3).collect();
        let contributions = contributions(&model, &row, 3).unwrap();
        for (told, margin) in contributions.iter().zip(forest.margins(&row)) {
            assert!((told.iter().sum::<f32>() - margin).abs() < 1e-4, "{told:?} and {margin}");
        }
    }

    #[test]
    fn a_file_that_is_no_model_is_told() {
        for text in ["", "{}", "{\"learner\": {}}", "[1, 2]"] {
            assert!(matches!(Forest::read(text.as_bytes()), Err(BoostError::Unreadable(_))), "{text}");
        }
        let (.., model) = learn(&Objective::Classes(3));
        let text = String::from_utf8(model).unwrap();
        let endless = text.replacen("\"left_children\":[1", "\"left_children\":[0", 1);
        assert_ne!(text, endless);
        assert!(Forest::read(endless.as_bytes()).is_err());
    }
}
