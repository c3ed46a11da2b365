//! AnomalyDetector: what is normal for a database, that something is not, since when, and what moved.

pub mod alarm;
pub mod drawing;
pub mod faults;
pub mod incident;
pub mod matrix;
pub mod model;
pub mod pipeline;
pub mod scale;
pub mod score;
pub mod season;
pub mod sentence;
pub mod signature;
pub mod threshold;
pub mod train;
pub mod watch;
pub mod window;

#[cfg(test)]
mod tests;
