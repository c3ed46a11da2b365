//! The subcommands of `howdah`, one file each.

pub mod benchmark;
