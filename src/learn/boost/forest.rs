//! The trees of a model, read from XGBoost's JSON and walked a row at a time.

use std::cell::RefCell;

use serde::Deserialize;

use super::BoostError;

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
