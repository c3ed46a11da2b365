//! Gradient boosted trees on XGBoost. The only place that names `xgb`; plain numbers cross its border.
//!
//! Models are kept in XGBoost's own JSON. A [`Forest`] reads that and predicts a row at a time without XGBoost, which
//! takes longer to set up a matrix of one row than to walk the trees.

mod forest;

use std::sync::{Mutex, PoisonError};

use thiserror::Error;
use xgb::parameters::BoosterParameters;
use xgb::{Booster, DMatrix};

pub use forest::{Forest, softmax};

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

/// A model as XGBoost itself has it, to explain rows: reading it takes far longer than explaining one.
pub struct Explainer(Mutex<Booster>);

impl Explainer {
    /// Reads XGBoost's JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn read(model: &[u8]) -> Result<Self, BoostError> {
        Ok(Self(Mutex::new(Booster::load_buffer(model).map_err(failed)?)))
    }

    /// What each feature added to the margin of each output for one row (TreeSHAP): `[output][column]`, the bias last.
    /// One row after another: who waits takes no processor.
    ///
    /// # Errors
    /// XGBoost refuses the row.
    pub fn contributions(&self, row: &[(u32, f32)], columns: usize) -> Result<Vec<Vec<f32>>, BoostError> {
        let mut rows = Rows::new();
        rows.push(row.iter().copied());
        let matrix = matrix(&rows, columns)?;
        let booster = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (flat, _) = booster.predict_contributions(&matrix).map_err(failed)?;
        Ok(flat.chunks(columns + 1).map(<[f32]>::to_vec).collect())
    }
}

impl std::fmt::Debug for Explainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Explainer")
    }
}

#[cfg(test)]
mod tests;
