//! What a model answers for a statement: the words that the command line, REST and gRPC share.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a model answers for one statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The statement's fingerprint: 16 hexadecimal digits, equal for statements that differ in literals, case of
    /// keywords and white space only.
    pub fingerprint: String,
    /// How far the statement is from what the model has seen.
    pub novelty: Novelty,
    /// One estimate for each target asked for.
    pub targets: Vec<Estimate>,
    /// Known statements that are nearest to it, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<Neighbour>,
    /// Which model spoke.
    pub model_version: String,
}

/// What a statement will cost of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Name of the target (`cpu`).
    pub target: String,
    /// Number of the class, from 0 (the cheapest).
    pub class: usize,
    /// The class's range (`[30, 18000)`), in the target's unit.
    pub label: String,
    /// A calibrated probability for each class; they sum up to 1.
    pub probabilities: Vec<f64>,
    /// Median of the cost, in the target's unit.
    pub p50: f64,
    /// 90th percentile of the cost, in the target's unit; not below the median.
    pub p90: f64,
    /// Which tier spoke.
    pub source: Source,
    /// The model does not vouch for this answer: the statement is too novel, or the classes too close.
    pub abstains: bool,
    /// The tokens that pushed towards or away from the class, strongest first. Empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Push>,
}

/// Which tier of the cascade an estimate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// What statements of the same fingerprint cost before.
    History,
    /// The model of the text.
    Text,
    /// The text and PostgreSQL's own plan (EXPLAIN).
    Plan,
    /// Nothing is known of the statement: what statements cost in general.
    Default,
}

impl Source {
    /// Its name in answers and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Text => "text",
            Self::Plan => "plan",
            Self::Default => "default",
        }
    }
}

/// How far a statement is from what the model has seen. Each from 0 (all known) to 1 (all new).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Novelty {
    /// The fingerprint was not in the training's log.
    pub fingerprint: bool,
    /// Share of the statement's tokens that were not.
    pub unknown_tokens: f64,
    /// Share of the tables that were not.
    pub unknown_tables: f64,
}

/// What a token did to an estimate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// The token as people read it.
    pub token: String,
    /// What it added to the margin of the class (TreeSHAP, log-odds): positive pushed towards it.
    pub weight: f64,
}

/// A known statement near to the one asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Neighbour {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its text, without literals.
    pub statement: String,
    /// Cosine between the two, from 0 to 1.
    pub similarity: f64,
    /// How often it was seen.
    pub count: u64,
    /// For each target: median and 90th percentile of what it cost.
    pub costs: Vec<Quantiles>,
}

/// Median and 90th percentile of a known statement's cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    /// Name of the target.
    pub target: String,
    /// Median, in the target's unit.
    pub p50: f64,
    /// 90th percentile, in the target's unit.
    pub p90: f64,
}

/// A target as a model knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetInfo {
    /// Its name (`cpu`).
    pub name: String,
    /// Its unit (`seconds`, `bytes`, or empty).
    pub unit: String,
    /// Inner bounds of the classes, ascending, in the unit: one fewer than classes. A class holds its lower bound.
    pub bounds: Vec<f64>,
    /// The classes' ranges, from the cheapest.
    pub labels: Vec<String>,
}

/// What a caller wants to know beside the estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Tokens that pushed, for each estimate: so many at most.
    pub tokens: usize,
    /// Known statements nearby: so many at most.
    pub nearest: usize,
}

/// What answers for statements: a loaded model, behind whatever transport.
pub trait Predictor: Send + Sync {
    /// The version of the model.
    fn version(&self) -> &str;

    /// The targets, in the model's order.
    fn targets(&self) -> &[TargetInfo];

    /// One answer for each query, in their order, with an estimate for each of `targets` (indices into
    /// [`Predictor::targets`]; empty: all). Never fails on a text: what can't be lexed is read as words.
    fn predict(&self, queries: &[&str], targets: &[usize], detail: Detail) -> Vec<Answer>;

    /// Whether PostgreSQL's own plan of the statement would be heard: the tiers before it are in doubt.
    fn wants_plan(&self, query: &str, targets: &[usize]) -> bool;

    /// As [`Predictor::predict`], of one statement with its plan: total cost and rows.
    fn predict_planned(&self, query: &str, plan: (f32, f32), targets: &[usize], detail: Detail) -> Answer;
}

/// What plans statements, and never runs them.
pub trait Planner: Send + Sync {
    /// Total cost and rows of a statement's plan, or in a sentence why there is none.
    fn plan<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<(f32, f32), String>>;
}
