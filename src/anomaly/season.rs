//! What is usual at this hour of the week, or of the day while there are not enough weeks.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

const HOUR_MS: i64 = 3_600_000;
/// Weeks that an hour of the week must have been seen in, and days that an hour of the day must have been seen in, for
/// their median to say more than the noise of one of them.
const WEEKS: usize = 3;
const DAYS: usize = 4;

/// The median of each metric in each hour of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Season {
    /// Hours of the cycle: 168 or 24.
    hours: usize,
    /// `[columns][hours]`; none where the metric was missing all along.
    medians: Vec<Vec<Option<f64>>>,
}

impl Season {
    /// From rows of equal width (NaN where missing) at `times` in Unix milliseconds; none when there is too little
    /// history for either cycle.
    pub fn learn(times: &[i64], rows: &[Vec<f64>]) -> Option<Self> {
        let hours = [(168, WEEKS), (24, DAYS)].into_iter().find(|(hours, needed)| {
            let mut seen = vec![HashSet::new(); *hours];
            for time in times {
                seen[slot(*time, *hours)].insert(time.div_euclid(HOUR_MS * *hours as i64));
            }
            seen.iter().all(|cycles| cycles.len() >= *needed)
        })?;
        let hours = hours.0;
        let width = rows.first()?.len();
        let mut values: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); hours]; width];
        for (time, row) in times.iter().zip(rows) {
            for (column, value) in row.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
                values[column][slot(*time, hours)].push(*value);
            }
        }
        let medians = values.into_iter().map(|column| column.into_iter().map(super::scale::median).collect()).collect();
        Some(Self { hours, medians })
    }

    /// What is usual for a metric at this time.
    pub fn usual(&self, column: usize, time: i64) -> Option<f64> {
        self.medians[column][slot(time, self.hours)]
    }
}

fn slot(time: i64, hours: usize) -> usize {
    time.div_euclid(HOUR_MS).rem_euclid(hours as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cycle_grows_with_the_history() {
        let learn = |days: i64| {
            let times: Vec<i64> = (0..days * 24).map(|hour| hour * HOUR_MS).collect();
            // Busy on the first day of each week, and between eight and nine of every day.
            let load = |hour: i64| if hour % 168 < 24 { 9.0 } else { f64::from(u8::from(hour % 24 == 8)) };
            let rows: Vec<Vec<f64>> = (0..days * 24).map(|hour| vec![load(hour)]).collect();
            Season::learn(&times, &rows)
        };
        assert_eq!(learn(3), None);
        let daily = learn(14).unwrap();
        assert_eq!((daily.usual(0, 15 * 24 * HOUR_MS + 8 * HOUR_MS), daily.usual(0, 0)), (Some(1.0), Some(0.0)));
        let weekly = learn(22).unwrap();
        assert_eq!((weekly.usual(0, 28 * 24 * HOUR_MS), weekly.usual(0, 29 * 24 * HOUR_MS)), (Some(9.0), Some(0.0)));
    }
}
