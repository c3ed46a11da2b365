//! To be written.
//! To be written.
