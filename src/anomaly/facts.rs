//! Everything that a detector's decision depends on. No secrets: a recorded decision can be shown to anyone.

use serde::{Deserialize, Serialize};

use super::reason::Reason;

/// Why something could not be seen or done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    /// The word for it.
    pub reason: Reason,
    /// What was wrong, where, and what to do, in a sentence.
    pub message: String,
}

impl Trouble {
    /// A trouble with its sentence.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
