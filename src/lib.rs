#![doc = include_str!("README.md")]
#![warn(missing_docs)]

pub mod anomaly;
pub mod cli;
pub mod control;
pub mod cost;
pub mod decimal;
pub mod duration;
pub mod hex;
pub mod instance;
pub mod kinds;
pub mod kubernetes;
pub mod learn;
pub mod markup;
pub mod postgres;
pub mod serve;
pub mod tuning;
pub mod world;
