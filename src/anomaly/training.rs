//! A training's result, as its Job leaves it in its termination message.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use super::crd::{Backtest, ModelRow, ModelStatus};
use super::reason::Reason;
use crate::decimal::Decimal;

/// Characters of a message that are kept: even if each is escaped in JSON, the whole stays within the bound.
const MESSAGE_CHARACTERS: usize = 600;

/// What became of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TrainingResult {
    /// A model is in the store.
    Trained(Box<TrainedModel>),
    /// There is none.
    Failed {
        /// Why.
        reason: Reason,
        /// In a sentence.
        message: String,
    },
}

/// The numbers of a trained model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainedModel {
    /// When it was trained.
    pub trained_at: Time,
    /// Hash of the specification that it was trained for.
    pub spec_hash: String,
    /// Hash of the queries that its rows came from, and of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_hash: Option<String>,
    /// Rows that it learnt from.
    pub rows: i64,
    /// Rows that were left out.
    pub rows_left_out: i64,
    /// Features that it scores.
    pub features: i32,
    /// Passes over the rows, of both fits; none of principal components.
    #[serde(default)]
    pub epochs: i32,
    /// Reconstruction error of the validation rows.
    pub loss: Decimal,
    /// Score of a row at which the normalised score is 1.
    pub threshold: Decimal,
    /// How the threshold was found.
    pub threshold_method: String,
    /// What it would have alarmed on.
    pub backtest: Backtest,
    /// Principal components on the same rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pca: Option<ModelRow>,
}

impl TrainingResult {
    /// A failure, with as much of its message as a termination message holds.
    pub fn failed(reason: Reason, message: &str) -> Self {
        Self::Failed { reason, message: message.chars().take(MESSAGE_CHARACTERS).collect() }
    }
}

impl TrainedModel {
    /// As the status shows it, under the name of its artefact.
    pub fn status(&self, name: &str) -> ModelStatus {
        let Self {
            trained_at,
            spec_hash,
            data_hash,
            rows,
            rows_left_out,
            features,
            epochs,
            loss,
            threshold,
            threshold_method,
            backtest,
            pca,
        } = self.clone();
        ModelStatus {
            name: name.to_owned(),
            trained_at,
            spec_hash,
            data_hash,
            rows,
            rows_left_out,
            features,
            epochs,
            loss,
            threshold,
            threshold_method,
            backtest,
            pca,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::job::TERMINATION_MESSAGE_BYTES;

    #[test]
    fn the_longest_failure_fits_into_a_termination_message() {
        for character in ["\u{1}", "ä", "\""] {
            let failed = TrainingResult::failed(Reason::PrometheusUnauthorized, &character.repeat(5000));
            let json = serde_json::to_string(&failed).unwrap();
            assert!(json.len() <= TERMINATION_MESSAGE_BYTES, "{} bytes", json.len());
            assert_eq!(serde_json::from_str::<TrainingResult>(&json).unwrap(), failed);
        }
    }
}
