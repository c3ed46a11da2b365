//! An incident: what an alarm leaves behind for people.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::alarm::{Alarm, Settings, State, Transition};
use super::score::{Contribution, Scored};
use super::signature::{self, Cause, Change, Signature};

/// Contributors and causes that are kept.
const CONTRIBUTORS: usize = 5;
const CAUSES: usize = 3;
/// Rows before an incident, and of it, that its signature comes from.
const BEFORE: usize = 20;
const DURING: usize = 240;
/// What changed this long before an incident began belongs to it.
const COINCIDES_MS: i64 = 10 * 60_000;

/// Something that changed at a time: a setting, a pod that restarted, a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeEvent {
    /// Unix milliseconds.
    pub time: i64,
    /// In words: "index count of public.orders 5 → 4".
    pub what: String,
}

impl ChangeEvent {
    /// What changed, without its values.
    fn subject(&self) -> &str {
        let Some((before, _)) = self.what.split_once(" → ") else { return &self.what };
        before.trim_end_matches(" %").rsplit_once(' ').map_or(before, |(subject, _)| subject)
    }
}

/// A stretch of time in which something was wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its begin as UTC date and time: an incident has the same one however often it is computed.
    pub id: String,
    /// Unix milliseconds of the first row above the threshold.
    pub since: i64,
    /// Unix milliseconds of its end; none while it lasts.
    pub until: Option<i64>,
    /// Largest score; 1 is the threshold.
    pub peak: f64,
    /// Largest contributors at the peak; those that moved first come first.
    pub contributors: Vec<Contribution>,
    /// What it looks like, the most similar first.
    pub causes: Vec<Cause>,
    /// What changed at the same time.
    pub changes: Vec<ChangeEvent>,
    /// How the metrics moved: with a label it becomes a signature.
    pub change: Change,
}

/// Alarm and incident together, from scored rows.
#[derive(Clone, Debug)]
pub struct Recorder {
    alarm: Alarm,
    names: Vec<String>,
    signatures: Vec<Signature>,
    before: VecDeque<Vec<f64>>,
    /// Rows whose score is above the threshold or, in an incident, all.
    during: VecDeque<(i64, Vec<f64>)>,
    peak: Option<(f64, Vec<Contribution>)>,
    changes: VecDeque<ChangeEvent>,
    incident: Option<Incident>,
}

impl Recorder {
    /// For rows of deviations of these metrics.
    pub fn new(settings: Settings, names: Vec<String>, signatures: Vec<Signature>) -> Self {
        Self {
            alarm: Alarm::new(settings),
            names,
            signatures,
            before: VecDeque::new(),
            during: VecDeque::new(),
            peak: None,
            changes: VecDeque::new(),
            incident: None,
        }
    }

    /// What the alarm is.
    pub fn state(&self) -> State {
        self.alarm.state()
    }

    /// The incident that lasts, or the last one that ended.
    pub fn incident(&self) -> Option<&Incident> {
        self.incident.as_ref()
    }

    /// Something changed. What comes and goes does not push out the others.
    pub fn note(&mut self, change: ChangeEvent) {
        self.changes.retain(|known| known.subject() != change.subject());
        self.changes.push_back(change);
        while self.changes.len() > CONTRIBUTORS {
            self.changes.pop_front();
        }
    }

    /// The next row, and what it changed.
    pub fn push(&mut self, scored: &Scored) -> Option<Transition> {
        for departure in &scored.departures {
            let what = super::sentence::change(&departure.metric, departure.kind, departure.was, departure.now);
            self.note(ChangeEvent { time: departure.time, what });
        }
        let Some(score) = scored.score else {
            let transition = self.alarm.push(scored.time, None);
            if !self.alarm.is_standing() && !self.alarm.remembers() {
                self.forget();
            }
            return transition;
        };
        let standing = self.alarm.is_standing();
        if standing || score >= 1.0 {
            self.during.push_back((scored.time, scored.deviations.clone()));
            if self.during.len() > DURING {
                self.during.pop_front();
            }
            if self.peak.as_ref().is_none_or(|(peak, _)| score > *peak) {
                let top = scored.contributions.iter().take(CONTRIBUTORS).cloned().collect();
                self.peak = Some((score, top));
            }
        } else {
            self.before.push_back(scored.deviations.clone());
            if self.before.len() > BEFORE {
                self.before.pop_front();
            }
        }
        let transition = self.alarm.push(scored.time, Some(score));
        match (transition, self.alarm.state()) {
            (Some(Transition::Cleared { until }), _) => {
                self.describe(scored.time);
                if let Some(incident) = &mut self.incident {
                    incident.until = Some(until);
                }
                // They were told: the next incident has its own.
                self.changes.clear();
                self.forget();
            }
            (Some(Transition::Raised { since } | Transition::Reopened { since }), _) => {
                let same = self.incident.as_ref().is_some_and(|incident| incident.since == since);
                if !same {
                    self.incident = Some(Incident {
                        id: id(since),
                        since,
                        until: None,
                        peak: score,
                        contributors: Vec::new(),
                        causes: Vec::new(),
                        changes: Vec::new(),
                        change: Change::new(),
                    });
                } else if let Some(incident) = &mut self.incident {
                    incident.until = None;
                }
                self.describe(scored.time);
            }
            (_, State::Quiet) => {
                // Scores above that came to nothing.
                let forgotten = self.during.back().is_some_and(|(time, _)| *time != scored.time);
                if forgotten && score < super::alarm::CLEAR_BELOW {
                    self.forget();
                }
            }
            _ => self.describe(scored.time),
        }
        transition
    }

    fn forget(&mut self) {
        self.during.clear();
        self.peak = None;
    }

    fn describe(&mut self, now: i64) {
        let Some(incident) = &mut self.incident else { return };
        if let Some((peak, contributors)) = &self.peak
            && (*peak >= incident.peak || incident.contributors.is_empty())
        {
            incident.peak = incident.peak.max(*peak);
            incident.contributors.clone_from(contributors);
            // What has no onset yet moved least: it comes last.
            incident.contributors.sort_by_key(|contribution| contribution.onset.unwrap_or(i64::MAX));
        }
        let before: Vec<Vec<f64>> = self.before.iter().cloned().collect();
        let during = self.during.iter().filter(|(time, _)| *time >= incident.since);
        let during: Vec<Vec<f64>> = during.map(|(_, row)| row.clone()).collect();
        incident.change = signature::change(&self.names, &before, &during);
        incident.causes = signature::causes(&incident.change, &self.signatures, CAUSES);
        let coincides = incident.since - COINCIDES_MS..=now;
        for change in self.changes.iter().filter(|change| coincides.contains(&change.time)) {
            match incident.changes.iter_mut().find(|known| known.subject() == change.subject()) {
                Some(known) => known.clone_from(change),
                None => incident.changes.push(change.clone()),
            }
        }
        incident.changes.truncate(CONTRIBUTORS);
    }
}

/// Whether a text is the name of an incident, of whichever detector.
pub fn is_id(text: &str) -> bool {
    let fits = |(position, byte): (usize, u8)| match position {
        8 => byte == b't',
        15 => byte == b'z',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 16 && text.bytes().enumerate().all(fits)
}

fn id(since: i64) -> String {
    // Every i64 of milliseconds that a clock gives is a date; one that is not keeps its number.
    jiff::Timestamp::from_millisecond(since)
        .map_or_else(|_| since.to_string(), |time| time.strftime("%Y%m%dt%H%M%Sz").to_string())
}
