//! QueryCostModel: what a statement will cost before it runs, from its text.

pub mod answer;
pub mod log;
pub mod sqltext;
