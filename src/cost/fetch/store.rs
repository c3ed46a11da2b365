//! Models in the model store.

use crate::cost::model::{CostModel, Files, MANIFEST};
use crate::world::store::{Store, StoreError};

/// Reads a model from the model store.
///
/// # Errors
/// The store can't be read, or what it has there is no model: a sentence.
pub async fn stored_model(store: &Store, path: &str) -> Result<CostModel, String> {
    let mut files = Files::new();
    for name in store.list(path).await.map_err(|error| error.to_string())? {
        if let Some(bytes) = store.get(&format!("{path}/{name}")).await.map_err(|error| error.to_string())? {
            files.insert(name, bytes);
        }
    }
    CostModel::load(&files).map_err(|error| format!("{path} in the model store: {error}"))
}

/// Writes a model into the model store. The manifest is the last: what is there without it is no model yet.
///
/// # Errors
/// The store can't be written.
pub async fn store_model(store: &Store, path: &str, model: &CostModel) -> Result<(), StoreError> {
    let mut files = model.save();
    let manifest = files.remove(MANIFEST).unwrap_or_default();
    for (name, bytes) in files {
        store.put(&format!("{path}/{name}"), bytes).await?;
    }
    store.put(&format!("{path}/{MANIFEST}"), manifest).await
}
