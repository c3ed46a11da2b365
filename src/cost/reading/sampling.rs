//! Which statements a server writes to its log.

use crate::cost::log::Cost;
use crate::postgres::setting::Settings;

/// What each logged statement stands for, by how long it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// What a statement stands for that took less time than the following.
    pub weight: f32,
    /// From so many seconds on another share is logged, and what each of that stands for.
    pub sampled: (f64, f32),
    /// Statements that take at least so many seconds are all logged, and stand for themselves.
    pub whole_from: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self::of_share(1.0)
    }
}

impl Sampling {
    /// Each statement is logged with the same probability.
    pub fn of_share(share: f64) -> Self {
        Self { weight: (1.0 / share) as f32, sampled: (f64::INFINITY, 1.0), whole_from: f64::INFINITY }
    }

    /// As a server is set now; what its older logs were written with is not known.
    pub fn of(settings: &Settings) -> Self {
        let number = |name: &str| settings.get(name).and_then(|setting| setting.value.parse::<f64>().ok());
        // Absent and -1 mean that there is no such limit, 0 that every statement is beyond it.
        let limit = |name: &str| number(name).filter(|ms| *ms >= 0.0).map_or(f64::INFINITY, |ms| ms / 1000.0);
        let share = |name: &str| number(name).unwrap_or_default().clamp(0.0, 1.0);
        let by_transaction = share("log_transaction_sample_rate");
        // Of two coins that are tossed one is enough.
        let by_either = 1.0 - (1.0 - by_transaction) * (1.0 - share("log_statement_sample_rate"));
        // Of a share that is not logged at all there is nothing to weigh.
        let weight = |share: f64| if share > 0.0 { (1.0 / share) as f32 } else { 1.0 };
        Self {
            weight: weight(by_transaction),
            sampled: (limit("log_min_duration_sample"), weight(by_either)),
            whole_from: limit("log_min_duration_statement"),
        }
    }

    /// No statement that is logged stands for others.
    pub fn is_whole(self) -> bool {
        let sampled = self.sampled.0 < self.whole_from && self.sampled.1 > 1.0;
        self.whole_from <= 0.0 || (self.weight <= 1.0 && !sampled)
    }

    /// What a statement of that duration stands for.
    pub fn weight_of(self, duration: Cost) -> f32 {
        match duration {
            Cost::Measured(seconds) if seconds < self.whole_from => {
                if seconds < self.sampled.0 {
                    self.weight
                } else {
                    self.sampled.1
                }
            }
            // What was cancelled is an error, and each of those is logged.
            _ => 1.0,
        }
    }
}
