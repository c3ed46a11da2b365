//! A statement's text: lexed, told apart from others by its fingerprint, and turned into features.
//!
//! No text fails: what the lexer can't read is read as words, and [`Lexed::fell_back`] says so.

pub mod features;
pub mod fingerprint;
pub mod lexer;
mod literal;
mod predicates;
mod structure;

pub use features::{Mode, features};
pub use fingerprint::{Fingerprint, fingerprint, normalised};
pub use lexer::{Lexed, Lexeme, lex, statements};

#[cfg(test)]
mod tests;
