//! What a training leaves behind, and its one file: safetensors with the weights as tensors and everything else in the
//! header. A file of another version, of other metrics, or with a single wrong byte is refused.

use std::collections::HashMap;

use safetensors::tensor::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::alarm;
use super::matrix::Kind;
use super::pipeline::Pipeline;
use super::scale::Scale;
use super::signature::Signature;
use super::threshold::Threshold;
use super::train::Summary;
use super::watch::Constant;
use crate::hex::hex;
use crate::learn::dense::{Dense, Layer};
use crate::learn::numbers::Numbers;

/// Version of the file. One that is newer is refused; so is an older one, since training anew is cheap.
const VERSION: u32 = 1;
/// Key of the header: a single one, since several would be written in any order. Its text is a SHA-256 in hexadecimal
/// digits, then the content as JSON.
const CONTENT: &str = "howdah-anomaly";
const DIGITS: usize = 64;

/// What reconstructs normal rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelType {
    /// Autoencoder.
    #[default]
    Autoencoder,
    /// Principal components.
    Pca,
}

/// Everything that scoring needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What reconstructs.
    pub model_type: ModelType,
    /// The metrics of a row, in this order.
    pub metrics: Vec<(String, Kind)>,
    /// From rows to features.
    pub pipeline: Pipeline,
    /// One per feature.
    pub scales: Vec<Scale>,
    /// Reconstructs the scaled features.
    pub network: Dense,
    /// Mean squared residual of each feature on held-out normal rows.
    pub variances: Vec<f64>,
    /// The score that raises an alarm.
    pub threshold: Threshold,
    /// The metrics that never moved.
    pub constants: Vec<Constant>,
    /// When an alarm is raised.
    pub alarm: alarm::Settings,
    /// Labelled incidents.
    pub signatures: Vec<Signature>,
    /// How the training went.
    pub summary: Summary,
}

/// Why a file is no model, or not the one that is needed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ModelError {
    /// Damaged.
    #[error("the model is damaged ({0}): train it anew")]
    Damaged(String),
    /// Another version.
    #[error("the model is of version {found}, this howdah reads {VERSION}: {}", advice(*found))]
    Version {
        /// Of the file.
        found: u32,
    },
    /// Other metrics.
    #[error("the model knows other metrics ({0}): train it anew with these")]
    Metrics(String),
    /// It can't be written.
    #[error("the model can't be written: {0}")]
    Unwritten(String),
}

fn advice(found: u32) -> &'static str {
    if found > VERSION { "use a newer howdah, or train it anew" } else { "train it anew" }
}

/// All of a model that is no weight.
#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    metrics_hash: String,
    model_type: ModelType,
    metrics: Vec<(String, Kind)>,
    pipeline: Pipeline,
    scales: Vec<Scale>,
    /// Inputs and outputs of each layer.
    layers: Vec<(usize, usize)>,
    relu: bool,
    variances: Vec<f64>,
    threshold: Threshold,
    constants: Vec<Constant>,
    alarm: alarm::Settings,
    signatures: Vec<Signature>,
    summary: Summary,
}

/// The version alone: what else a file of another version holds is unknown.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// A hash of metrics, their kinds and their order.
pub fn metrics_hash(metrics: &[(String, Kind)]) -> String {
    let mut hash = Sha256::new();
    for (name, kind) in metrics {
        hash.update(format!("{}:{name}:{kind:?};", name.len()));
    }
    hex(&hash.finalize())
}

impl Model {
    /// The hash of its metrics.
    pub fn metrics_hash(&self) -> String {
        metrics_hash(&self.metrics)
    }

    /// Refuses rows of other metrics than it learned.
    ///
    /// # Errors
    /// A name, a kind or the order differs; says the first that does.
    pub fn check(&self, metrics: &[(String, Kind)]) -> Result<(), ModelError> {
        if metrics_hash(metrics) == self.metrics_hash() {
            return Ok(());
        }
        let differs = self.metrics.iter().zip(metrics).find(|(own, other)| own != other);
        Err(ModelError::Metrics(match differs {
            Some(((own, kind), (other, other_kind))) if own == other => {
                format!("{own} was a {kind:?} and is a {other_kind:?}")
            }
            Some(((own, _), (other, _))) => format!("{own} where {other} is"),
            None => format!("{} where there are {}", self.metrics.len(), metrics.len()),
        }))
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// The format refuses it.
    pub fn save(&self) -> Result<Vec<u8>, ModelError> {
        let unwritten = |error: String| ModelError::Unwritten(error);
        let content = Content {
            version: VERSION,
            metrics_hash: self.metrics_hash(),
            model_type: self.model_type,
            metrics: self.metrics.clone(),
            pipeline: self.pipeline.clone(),
            scales: self.scales.clone(),
            layers: self.network.layers.iter().map(|layer| (layer.inputs, layer.bias.len())).collect(),
            relu: self.network.relu,
            variances: self.variances.clone(),
            threshold: self.threshold.clone(),
            constants: self.constants.clone(),
            alarm: self.alarm.clone(),
            signatures: self.signatures.clone(),
            summary: self.summary.clone(),
        };
        let content = serde_json::to_string(&content).map_err(|error| unwritten(error.to_string()))?;
        let mut tensors = Vec::new();
        for (index, layer) in self.network.layers.iter().enumerate() {
            tensors.push((format!("{index}.weight"), Numbers::new(vec![layer.weights.len()], &layer.weights)));
            tensors.push((format!("{index}.bias"), Numbers::new(vec![layer.bias.len()], &layer.bias)));
        }
        let digest = digest(&content, tensors.iter().map(|(_, tensor)| tensor.bytes()));
        let header = HashMap::from([(CONTENT.to_owned(), digest + &content)]);
        serialize(tensors, &Some(header)).map_err(|error| unwritten(error.to_string()))
    }

    /// The model of a file.
    ///
    /// # Errors
    /// It is damaged, or of another version.
    pub fn load(bytes: &[u8]) -> Result<Self, ModelError> {
        let damaged = |what: &str| ModelError::Damaged(what.to_owned());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error.to_string()))?;
        let text = header.metadata().as_ref().and_then(|all| all.get(CONTENT));
        let (expected, content) =
            text.and_then(|text| text.split_at_checked(DIGITS)).ok_or_else(|| damaged("it has no header of ours"))?;
        let broken = |error: serde_json::Error| ModelError::Damaged(error.to_string());
        let Version { version } = serde_json::from_str(content).map_err(broken)?;
        if version != VERSION {
            return Err(ModelError::Version { found: version });
        }
        let stored = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error.to_string()))?;
        let read: Content = serde_json::from_str(content).map_err(broken)?;
        let mut tensors = Vec::new();
        for index in 0..read.layers.len() {
            for name in ["weight", "bias"] {
                let tensor = stored.tensor(&format!("{index}.{name}")).map_err(|error| damaged(&error.to_string()))?;
                tensors.push(tensor.data().to_vec());
            }
        }
        if digest(content, tensors.iter().map(Vec::as_slice)) != expected {
            return Err(damaged("its checksum does not match"));
        }
        let numbers = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
        };
        let layer = |((inputs, outputs), pair): (&(usize, usize), &[Vec<u8>])| -> Option<Layer> {
            let (weights, bias) = (numbers(&pair[0]), numbers(&pair[1]));
            (weights.len() == inputs * outputs && bias.len() == *outputs).then_some(Layer {
                inputs: *inputs,
                weights,
                bias,
            })
        };
        let layers: Option<Vec<Layer>> = read.layers.iter().zip(tensors.chunks_exact(2)).map(layer).collect();
        let layers = layers.ok_or_else(|| damaged("a layer has not the size that its header says"))?;
        if read.metrics_hash != metrics_hash(&read.metrics) {
            return Err(damaged("its metrics are not those that it was trained with"));
        }
        Ok(Self {
            model_type: read.model_type,
            metrics: read.metrics,
            pipeline: read.pipeline,
            scales: read.scales,
            network: Dense { layers, relu: read.relu },
            variances: read.variances,
            threshold: read.threshold,
            constants: read.constants,
            alarm: read.alarm,
            signatures: read.signatures,
            summary: read.summary,
        })
    }
}

fn digest<'a>(content: &str, tensors: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    hash.update(content);
    tensors.for_each(|bytes| hash.update(bytes));
    hex(&hash.finalize())
}
