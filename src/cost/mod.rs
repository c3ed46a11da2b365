//! QueryCostModel: what a statement will cost before it runs, from its text.

pub mod answer;
pub mod classes;
pub mod evaluation;
pub mod fetch;
pub mod history;
pub mod log;
pub mod model;
pub mod reading;
pub mod replay;
pub mod splits;
pub mod sqltext;
pub mod train;
