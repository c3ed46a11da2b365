//! What a Job's process leaves for the operator: JSON in the container's termination message.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::kubernetes::job::TERMINATION_MESSAGE_BYTES;

/// Writes a Job's result.
///
/// # Errors
/// It is longer than a termination message, or the file can't be written.
pub fn write(path: &Path, result: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(result)?;
    anyhow::ensure!(
        json.len() <= TERMINATION_MESSAGE_BYTES,
        "the result has {} bytes, but a termination message holds {TERMINATION_MESSAGE_BYTES}",
        json.len()
    );
    std::fs::write(path, json).with_context(|| format!("the result can't be written to {}", path.display()))
}
