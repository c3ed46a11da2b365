//! One word, five surfaces: a reason is the condition's reason, the Event's, the metric's label, the log's field
//! and the entry in the docs.

use serde::{Deserialize, Serialize};

/// Why something could not be seen or done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Trouble<Reason> {
    /// The word for it.
    pub reason: Reason,
    /// What was wrong, where, and what to do, in a sentence.
    pub message: String,
}

impl<Reason> Trouble<Reason> {
    /// A trouble with its sentence.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// A reason as generic code sees it.
pub trait Word: Copy {
    /// The word: condition reason, Event reason, metric label.
    fn word(self) -> &'static str;
}

/// Defines a room's reasons. The doc line of a variant is the first sentence of its message and its entry in the docs.
#[macro_export]
macro_rules! reasons {
    ($(#[$outer:meta])* pub enum $name:ident { $(#[doc = $doc:literal] $variant:ident,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $(#[doc = $doc] $variant,)+ }

        impl $name {
            /// Every reason, in the order of the docs.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word: condition reason, Event reason, metric label.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            /// What it means, in a sentence.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $doc.trim_ascii(),)+ }
            }
        }

        impl $crate::control::reason::Word for $name {
            fn word(self) -> &'static str {
                $name::word(self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}
