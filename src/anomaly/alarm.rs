//! From scores to alarms: k of n above the threshold raise one, hysteresis ends it, and an alarm that lasts for two
//! days is taken for a new normal.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// An alarm ends below this share of the threshold.
pub const CLEAR_BELOW: f64 = 0.8;
/// An alarm that lasts this long is a baseline that shifted.
const SHIFTED_AFTER_MS: i64 = 48 * 3_600_000;

/// When an alarm is raised and when it ends. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Scores that are looked at: n.
    pub of: usize,
    /// Scores of them that must be above the threshold to raise, and below the lower one to clear: k.
    pub at_least: usize,
    /// From the first score above, the alarm is raised not before this.
    pub min_duration_ms: i64,
    /// After an alarm's end, none is raised before this, unless it is the same one again.
    pub cooldown_ms: i64,
    /// Scores that rise again within this after an alarm's end reopen it.
    pub merge_gap_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { of: 5, at_least: 3, min_duration_ms: 60_000, cooldown_ms: 600_000, merge_gap_ms: 300_000 }
    }
}

/// What the alarm is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Nothing.
    #[default]
    Quiet,
    /// Something is wrong since this time.
    Standing {
        /// Unix milliseconds.
        since: i64,
    },
    /// It has lasted for so long that the baseline must have moved: train anew.
    BaselineShifted {
        /// Unix milliseconds.
        since: i64,
    },
}

/// What a score changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transition {
    /// An alarm, since this time.
    Raised {
        /// Unix milliseconds.
        since: i64,
    },
    /// The alarm that had ended goes on.
    Reopened {
        /// When it began, Unix milliseconds.
        since: i64,
    },
    /// It ended.
    Cleared {
        /// The first score below, Unix milliseconds.
        until: i64,
    },
    /// It lasted for two days.
    Shifted {
        /// When it began, Unix milliseconds.
        since: i64,
    },
}

/// The state machine. All of it can be stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    settings: Settings,
    state: State,
    /// The last n scores with their times, oldest first.
    recent: VecDeque<(i64, f64)>,
    /// Begin of what will be an alarm once it has lasted for the minimum.
    pending: Option<i64>,
    /// Begin and end of the last alarm.
    last: Option<(i64, i64)>,
}

impl Alarm {
    /// Quiet.
    pub fn new(settings: Settings) -> Self {
        let recent = VecDeque::with_capacity(settings.of);
        Self { settings, state: State::Quiet, recent, pending: None, last: None }
    }

    /// What the alarm is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether one is standing.
    pub fn is_standing(&self) -> bool {
        self.state != State::Quiet
    }

    /// The next score (1 is the threshold) and its time in Unix milliseconds, or none for a row that was not judged:
    /// it raises nothing and clears nothing. A time that is not later than the last is passed over.
    pub fn push(&mut self, time: i64, score: Option<f64>) -> Option<Transition> {
        let score = score?;
        if self.recent.back().is_some_and(|(last, _)| time <= *last) {
            return None;
        }
        if self.recent.len() >= self.settings.of {
            self.recent.pop_front();
        }
        self.recent.push_back((time, score));
        match self.state {
            State::Quiet => self.raise(time),
            State::Standing { since } => self.clear(since).or_else(|| {
                (time - since >= SHIFTED_AFTER_MS).then(|| {
                    self.state = State::BaselineShifted { since };
                    Transition::Shifted { since }
                })
            }),
            State::BaselineShifted { since } => self.clear(since),
        }
    }

    fn raise(&mut self, time: i64) -> Option<Transition> {
        let above: Vec<i64> = self.recent.iter().filter(|(_, score)| *score >= 1.0).map(|(time, _)| *time).collect();
        // The latest score must be above too: what is over is not raised.
        let now = self.recent.back().is_some_and(|(_, score)| *score >= 1.0);
        if above.len() < self.settings.at_least {
            self.pending = None;
        }
        if above.len() < self.settings.at_least || !now {
            return None;
        }
        if let Some((since, until)) = self.last {
            if above[0] - until <= self.settings.merge_gap_ms {
                self.state = State::Standing { since };
                return Some(Transition::Reopened { since });
            }
            if time - until < self.settings.cooldown_ms {
                return None;
            }
        }
        // While the minimum is awaited the window moves on, but the begin stays.
        let since = *self.pending.get_or_insert(above[0]);
        if time - since < self.settings.min_duration_ms {
            return None;
        }
        self.state = State::Standing { since };
        self.pending = None;
        Some(Transition::Raised { since })
    }

    fn clear(&mut self, since: i64) -> Option<Transition> {
        let below = self.recent.iter().rev().take_while(|(_, score)| *score < CLEAR_BELOW);
        let (count, until) = below.fold((0, 0), |(count, _), (time, _)| (count + 1, *time));
        (count >= self.settings.at_least).then(|| {
            self.state = State::Quiet;
            self.last = Some((since, until));
            Transition::Cleared { until }
        })
    }
}
