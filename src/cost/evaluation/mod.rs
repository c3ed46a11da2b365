//! How good a model is: what each method said of rows that it had not learnt from, and the figures of that.

pub mod html;
pub mod metrics;
pub mod report;

use super::answer::TargetInfo;
use super::log::Cost;
use super::model::Judgement;
use super::splits::Split;
use super::train::Candidate;

/// A way to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The most frequent class.
    Majority,
    /// The most frequent class of the fingerprint.
    Lookup,
    /// TF-IDF of a bag of words and XGBoost, as the paper has it.
    Paper,
    /// The cascade.
    Ours,
}

impl Method {
    /// Its name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Majority => "majority",
            Self::Lookup => "lookup",
            Self::Paper => "paper",
            Self::Ours => "ours",
        }
    }
}

/// What was judged.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// By split; the first is the one that the model's options were chosen by.
    pub splits: Vec<SplitEvaluation>,
    /// Splits that this log does not allow, and why.
    pub missing: Vec<(Split, String)>,
}

/// One split.
#[derive(Clone, Debug)]
pub struct SplitEvaluation {
    /// Which.
    pub split: Split,
    /// Rows that taught.
    pub train_rows: usize,
    /// Rows that were held out to judge.
    pub test_rows: usize,
    /// Rows of these that judged: those whose text is known, or a sample of them.
    pub drawn_rows: usize,
    /// By target.
    pub targets: Vec<TargetEvaluation>,
}

/// One target in one split.
#[derive(Clone, Debug)]
pub struct TargetEvaluation {
    /// Name and classes.
    pub info: TargetInfo,
    /// The class of each row that judged.
    pub truth: Vec<usize>,
    /// Its cost.
    pub costs: Vec<Cost>,
    /// What each method said of it.
    pub methods: Vec<(Method, Vec<Judgement>)>,
    /// Features that the trees ask for most often, with how often.
    pub top_features: Vec<(String, usize)>,
    /// The trees that were chosen.
    pub chosen: Candidate,
}

impl SplitEvaluation {
    /// Adds what another part of the same rows said.
    pub fn join(&mut self, other: Self) {
        self.test_rows += other.test_rows;
        self.drawn_rows += other.drawn_rows;
        for (own, other) in self.targets.iter_mut().zip(other.targets) {
            own.truth.extend(other.truth);
            own.costs.extend(other.costs);
            for ((_, said), (_, more)) in own.methods.iter_mut().zip(other.methods) {
                said.extend(more);
            }
        }
    }
}
