//! A model as files: a manifest, the vocabulary, and XGBoost's own models, which its other bindings read too.
//!
//! `docs/cost-model-format.md` describes them.

use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::vocabulary::Vocabulary;
use super::{Boosted, CostModel, Known, Prior, TargetModel};
use crate::cost::answer::TargetInfo;
use crate::cost::classes::labels;
use crate::cost::history::{History, Record, Rule};
use crate::cost::sqltext::features::Mode;

/// Files by their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The name of the file that lists the others.
pub const MANIFEST: &str = "model.json";
const VOCABULARY: &str = "vocabulary.json";
const WORDS: &str = "words.json";
const STATEMENTS: &str = "statements.json";
/// Of the files as this version writes them. Newer ones are refused.
const FORMAT: u32 = 1;

/// Why files are no model.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ModelError {
    /// One is missing.
    #[error("the model has no file {0}: it is incomplete; train it anew or restore the file")]
    Missing(String),
    /// One differs from its checksum.
    #[error("the model's file {0} is corrupted (its checksum differs); train the model anew or restore the file")]
    Corrupted(String),
    /// One can't be read.
    #[error("the model's file {file} can't be read: {message}")]
    Unreadable {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// It is of a newer version.
    #[error(
        "the model has format {found}, and this version of Howdah reads up to {FORMAT}; use a newer one, or train anew"
    )]
    Newer {
        /// The format.
        found: u32,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    format: u32,
    mode: Mode,
    ngrams: usize,
    targets: Vec<TargetFile>,
    /// Checksums of the other files. A model that was put together by hand may have none.
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TargetFile {
    name: String,
    #[serde(default)]
    unit: String,
    bounds: Vec<f64>,
    /// XGBoost's model of the classes.
    classes: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quantiles: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<String>,
    #[serde(default)]
    floor: f64,
    #[serde(default = "one")]
    temperature: f64,
    #[serde(default)]
    abstain_below: f64,
    #[serde(default)]
    plan_below: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prior: Option<Prior>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<Rule>,
}

fn one() -> f64 {
    1.0
}

#[derive(Serialize, Deserialize)]
struct VocabularyFile {
    names: Vec<String>,
    idf: Vec<f32>,
}

#[derive(Serialize, Deserialize)]
struct HistoryFile {
    texts: BTreeMap<String, Record>,
    fingerprints: BTreeMap<String, Record>,
}

impl CostModel {
    /// Its files.
    pub fn save(&self) -> Files {
        let mut files = Files::new();
        let Vocabulary { names, idf, words, .. } = &self.vocabulary;
        files.insert(VOCABULARY.into(), json(&VocabularyFile { names: names.clone(), idf: idf.clone() }));
        let mut words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        words.sort_unstable();
        files.insert(WORDS.into(), json(&words));
        let known: BTreeMap<String, &Known> = self.known.iter().map(|(key, known)| (hex(*key), known)).collect();
        files.insert(STATEMENTS.into(), json(&known));
        let mut targets = Vec::new();
        for target in &self.targets {
            let name = &target.info.name;
            let mut put = |kind: &str, bytes: Vec<u8>| {
                let file = format!("{name}.{kind}.json");
                files.insert(file.clone(), bytes);
                file
            };
            let named = |records: &HashMap<u64, Record>| {
                records.iter().map(|(key, record)| (hex(*key), record.clone())).collect()
            };
            let history =
                HistoryFile { texts: named(&target.history.texts), fingerprints: named(&target.history.fingerprints) };
            targets.push(TargetFile {
                name: name.clone(),
                unit: target.info.unit.clone(),
                bounds: target.info.bounds.clone(),
                classes: put("classes", target.classes.json.clone()),
                quantiles: target.quantiles.as_ref().map(|model| put("quantiles", model.json.clone())),
                plan: target.plan.as_ref().map(|model| put("plan", model.json.clone())),
                history: Some(put("history", json(&history))),
                floor: target.floor,
                temperature: target.temperature,
                abstain_below: target.abstain_below,
                plan_below: target.plan_below,
                prior: Some(target.prior.clone()),
                rule: Some(target.history.rule),
            });
        }
        let sha256 = files.iter().map(|(name, bytes)| (name.clone(), checksum(bytes))).collect();
        let Vocabulary { mode, ngrams, .. } = self.vocabulary;
        files.insert(MANIFEST.into(), json(&Manifest { format: FORMAT, mode, ngrams, targets, sha256 }));
        files
    }

    /// A digest of its files.
    pub(super) fn digest(&self) -> String {
        self.save().get(MANIFEST).map_or_else(String::new, |manifest| checksum(manifest)[..12].to_owned())
    }

    /// Reads a model from its files.
    ///
    /// # Errors
    /// One is missing, corrupted, or of a newer version.
    pub fn load(files: &Files) -> Result<Self, ModelError> {
        let manifest = files.get(MANIFEST).ok_or_else(|| ModelError::Missing(MANIFEST.into()))?;
        // The format first: a newer manifest may have other fields.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let found = parse::<Format>(MANIFEST, manifest)?.format;
        if found > FORMAT {
            return Err(ModelError::Newer { found });
        }
        let Manifest { mode, ngrams, targets, sha256, .. } = parse(MANIFEST, manifest)?;
        for (name, expected) in &sha256 {
            let bytes = files.get(name).ok_or_else(|| ModelError::Missing(name.clone()))?;
            if checksum(bytes) != *expected {
                return Err(ModelError::Corrupted(name.clone()));
            }
        }
        let read = |name: &str| files.get(name).ok_or_else(|| ModelError::Missing(name.to_owned()));
        let VocabularyFile { names, idf } = parse(VOCABULARY, read(VOCABULARY)?)?;
        if names.len() != idf.len() {
            let message = format!("{} names and {} weights", names.len(), idf.len());
            return Err(ModelError::Unreadable { file: VOCABULARY.into(), message });
        }
        let words: Vec<String> = match files.get(WORDS) {
            Some(bytes) => parse(WORDS, bytes)?,
            None => names.clone(),
        };
        let known: BTreeMap<String, Known> =
            files.get(STATEMENTS).map_or_else(|| Ok(BTreeMap::new()), |bytes| parse(STATEMENTS, bytes))?;
        let columns = names.len();
        let words = words.into_iter().map(String::into_boxed_str).collect();
        let vocabulary = Vocabulary::new(mode, ngrams, names, idf, words);
        let targets: Result<Vec<TargetModel>, ModelError> =
            targets.into_iter().map(|target| load_target(files, target, columns)).collect();
        let targets = targets?;
        if targets.is_empty() {
            return Err(ModelError::Unreadable { file: MANIFEST.into(), message: "it names no target".into() });
        }
        let version = checksum(manifest)[..12].to_owned();
        Ok(Self::of_version(version, vocabulary, targets, unhex(STATEMENTS, known)?))
    }
}

fn load_target(files: &Files, target: TargetFile, columns: usize) -> Result<TargetModel, ModelError> {
    let boosted = |file: &String, outputs: usize, columns: usize| {
        let bytes = files.get(file).ok_or_else(|| ModelError::Missing(file.clone()))?;
        let unreadable = |message: String| ModelError::Unreadable { file: file.clone(), message };
        let model = Boosted::read(bytes.clone()).map_err(|error| unreadable(error.to_string()))?;
        if model.forest.outputs() != outputs || model.forest.columns() > columns {
            let (found, wide) = (model.forest.outputs(), model.forest.columns());
            return Err(unreadable(format!(
                "it has {found} outputs and {wide} columns, expected {outputs} and at most {columns}"
            )));
        }
        Ok(model)
    };
    let count = target.bounds.len() + 1;
    let even = Prior { probabilities: vec![1.0 / count as f64; count], p50: 0.0, p90: 0.0 };
    let prior = target.prior.filter(|prior| prior.probabilities.len() == count).unwrap_or(even);
    let mut history = History::new(target.rule.unwrap_or(Rule::NEVER), count);
    if let Some(file) = &target.history {
        let bytes = files.get(file).ok_or_else(|| ModelError::Missing(file.clone()))?;
        let HistoryFile { texts, fingerprints } = parse(file, bytes)?;
        if texts.values().chain(fingerprints.values()).any(|record| record.classes.len() != count) {
            return Err(ModelError::Unreadable {
                file: file.clone(),
                message: format!("a record has not {count} classes"),
            });
        }
        (history.texts, history.fingerprints) = (unhex(file, texts)?, unhex(file, fingerprints)?);
    }
    let labels = labels(&target.bounds);
    Ok(TargetModel {
        classes: boosted(&target.classes, count, columns)?,
        plan: target.plan.as_ref().map(|file| boosted(file, count, columns + 2)).transpose()?,
        quantiles: target.quantiles.as_ref().map(|file| boosted(file, 2, columns)).transpose()?,
        info: TargetInfo { name: target.name, unit: target.unit, bounds: target.bounds, labels },
        floor: target.floor,
        temperature: target.temperature,
        abstain_below: target.abstain_below,
        plan_below: target.plan_below,
        history,
        prior,
    })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("numbers, texts and maps with text keys")
}

fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, ModelError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ModelError::Unreadable { file: file.to_owned(), message: error.to_string() })
}

fn checksum(bytes: &[u8]) -> String {
    crate::hex::hex(&Sha256::digest(bytes))
}

fn hex(key: u64) -> String {
    format!("{key:016x}")
}

fn unhex<T>(file: &str, named: BTreeMap<String, T>) -> Result<HashMap<u64, T>, ModelError> {
    let key = |(key, value): (String, T)| match u64::from_str_radix(&key, 16) {
        Ok(key) => Ok((key, value)),
        Err(error) => Err(ModelError::Unreadable { file: file.to_owned(), message: format!("{key:?}: {error}") }),
    };
    named.into_iter().map(key).collect()
}
