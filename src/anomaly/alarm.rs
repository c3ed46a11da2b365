//! From scores to alarms: k of n above the threshold raise one, hysteresis ends it, and of an alarm that lasts for two
//! days it is asked whether it is the new normal.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// An alarm ends below this share of the threshold.
pub const CLEAR_BELOW: f64 = 0.8;
/// After so many rows in a row that were not judged, or as many as an alarm looks at where these are more, what was
/// before them is no longer recent.
const GAP_ROWS: usize = 5;
/// An alarm that lasts this long is a baseline that shifted.
pub const SHIFTED_AFTER_MS: i64 = 48 * 3_600_000;

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
        Self { of: 5, at_least: 3, min_duration_ms: 60_000, cooldown_ms: 600_000, merge_gap_ms: 600_000 }
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
    /// It has lasted for so long that the baseline may have moved: whoever knows may say so.
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
    /// Rows since the last of these that were not judged.
    unjudged: usize,
    /// Begin of what will be an alarm once it has lasted for the minimum.
    pending: Option<i64>,
    /// Begin and end of the last alarm.
    last: Option<(i64, i64)>,
}

impl Alarm {
    /// Quiet.
    pub fn new(settings: Settings) -> Self {
        let recent = VecDeque::with_capacity(settings.of);
        Self { settings, state: State::Quiet, recent, unjudged: 0, pending: None, last: None }
    }

    /// What the alarm is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether one is standing.
    pub fn is_standing(&self) -> bool {
        self.state != State::Quiet
    }

    /// Whether scores count that were judged before: not after a gap.
    pub fn remembers(&self) -> bool {
        !self.recent.is_empty()
    }

    /// The next score (1 is the threshold) and its time in Unix milliseconds, or none for a row that was not judged:
    /// it raises nothing and clears nothing, but after many of them it takes new ones to do so. A time that is not later
    /// than the last is passed over.
    pub fn push(&mut self, time: i64, score: Option<f64>) -> Option<Transition> {
        let Some(score) = score else {
            self.unjudged += 1;
            if self.unjudged >= self.settings.of.max(GAP_ROWS) {
                self.recent.clear();
                self.pending = None;
            }
            return None;
        };
        self.unjudged = 0;
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

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    fn settings() -> Settings {
        Settings { min_duration_ms: 0, cooldown_ms: 20 * MINUTE, merge_gap_ms: 6 * MINUTE, ..Settings::default() }
    }

    /// What it shows, scores, what happened in which minute.
    type Line = (&'static str, &'static str, Vec<(i64, Transition)>);

    /// A score a minute: `x` is far above, `h` between the two thresholds, `.` below both, `?` a row that was not
    /// judged. What happened in which minute.
    fn course(settings: Settings, scores: &str) -> Vec<(i64, Transition)> {
        let mut alarm = Alarm::new(settings);
        let mut happened = Vec::new();
        for (minute, score) in scores.chars().enumerate() {
            let score = match score {
                'x' => Some(4.0),
                'h' => Some(0.9),
                '.' => Some(0.1),
                _ => None,
            };
            let minute = minute as i64;
            happened.extend(alarm.push(minute * MINUTE, score).map(|transition| (minute, transition)));
        }
        happened
    }

    fn raised(at: i64, since: i64) -> (i64, Transition) {
        (at, Transition::Raised { since: since * MINUTE })
    }

    fn cleared(at: i64, until: i64) -> (i64, Transition) {
        (at, Transition::Cleared { until: until * MINUTE })
    }

    fn reopened(at: i64, since: i64) -> (i64, Transition) {
        (at, Transition::Reopened { since: since * MINUTE })
    }

    #[test]
    fn scores_become_alarms_by_this_table() {
        let table: &[Line] = &[
            ("two of five are none", "..x.x....x.x....", vec![]),
            ("three of five are one, since the first", "..x.xx", vec![raised(5, 2)]),
            ("what is over is not raised", "xx...x....", vec![]),
            ("between the thresholds it stands", "xxxhhhhhhhh", vec![raised(2, 0)]),
            ("three below end it, since the first of them", "xxxhhh...", vec![raised(2, 0), cleared(8, 6)]),
            ("a single one below does not", "xxx.x..x.x", vec![raised(2, 0)]),
            ("missing rows neither raise", "xx????????", vec![]),
            ("nor clear", "xxx???????..?", vec![raised(2, 0)]),
            ("nor count", "x?x?x", vec![raised(4, 0)]),
            ("four of them are no gap", "xx????x", vec![raised(6, 0)]),
            ("what was before a gap counts for nothing", "xx?????x?????xxx", vec![raised(15, 13)]),
            ("and clears nothing either", "xxx..?????..x...", vec![raised(2, 0), cleared(15, 13)]),
            ("soon again is the same", "xxx...xxx", vec![raised(2, 0), cleared(5, 3), reopened(8, 0)]),
            ("later, but in the cooldown, is none", "xxx..............xxx", vec![raised(2, 0), cleared(5, 3)]),
            (
                "after the cooldown is another",
                "xxx.........................xxx",
                vec![raised(2, 0), cleared(5, 3), raised(30, 28)],
            ),
        ];
        for (what, scores, expected) in table {
            assert_eq!(&course(settings(), scores), expected, "{what}: {scores}");
        }
    }

    #[test]
    fn what_does_not_last_is_not_raised() {
        let patient = || Settings { min_duration_ms: 6 * MINUTE, ..settings() };
        assert_eq!(course(patient(), "xxxxx......xxxxx"), []);
        assert_eq!(course(patient(), "..xxxxxxxxxx"), [raised(8, 2)]);
        assert_eq!(course(patient(), "..xxx.xxx.xx"), [raised(8, 2)]);
        assert_eq!(course(patient(), "..xxxx??????????xxxxxxx"), [raised(22, 16)]);
    }

    #[test]
    fn after_two_days_the_baseline_has_shifted() {
        let mut alarm = Alarm::new(settings());
        let happened: Vec<_> = (0..=49).filter_map(|hour| Some((hour, alarm.push(hour * HOUR, Some(2.0))?))).collect();
        assert_eq!(happened, [(2, Transition::Raised { since: 0 }), (48, Transition::Shifted { since: 0 })]);
        assert_eq!(alarm.state(), State::BaselineShifted { since: 0 });
        let happened: Vec<_> = (50..53).filter_map(|hour| alarm.push(hour * HOUR, Some(0.1))).collect();
        assert_eq!(happened, [Transition::Cleared { until: 50 * HOUR }]);
    }

    #[test]
    fn rows_that_come_again_change_nothing() {
        let mut alarm = Alarm::new(settings());
        for time in [0, MINUTE, MINUTE, MINUTE, 0, -MINUTE] {
            assert_eq!(alarm.push(time, Some(2.0)), None);
        }
        let mut stored: Alarm = serde_json::from_str(&serde_json::to_string(&alarm).unwrap()).unwrap();
        assert_eq!(stored.push(2 * MINUTE, Some(2.0)), Some(Transition::Raised { since: 0 }));
    }
}
