//! Which rows are read again where a model begins to watch: after a restart, with another model or other signatures.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::crd::{AnomalyDetectorStatus, State};

/// An incident is read again from its begin, so that it is measured against what was before it, but not further back than
/// this.
const LONGEST_MS: i64 = 14 * 86_400_000;

/// Where it begins. Milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The first row that is read.
    pub from: i64,
    /// Rows before this are the past, whatever they are.
    pub learns_until: i64,
    /// Incidents that ended before this are not told of: the model had not yet read all the rows that it compares with.
    pub trusted_from: i64,
}

impl Replay {
    /// Where a model begins that looks back over `memory` milliseconds, half of which are its recent past, when `newest` is
    /// the newest row.
    pub fn of(status: Option<&AnomalyDetectorStatus>, newest: i64, memory: i64) -> Self {
        let incidents = || status.iter().flat_map(|status| &status.incidents);
        let ms = |time: &Time| time.0.as_millisecond();
        let open = incidents().find(|incident| incident.until.is_none());
        let begin = open.map_or(newest, |open| ms(&open.since));
        // An incident must not be what later rows are measured against: one among the rows that are to be learnt is read from
        // its begin, and so on.
        let mut known = begin;
        while let Some(before) = incidents()
            .map(|one| (ms(&one.since), one.until.as_ref().map_or(newest, ms)))
            .find(|(since, until)| *since < known && *until >= known - 2 * memory && known - LONGEST_MS < *since)
        {
            known = before.0;
        }
        // One memory to know the past, and one in which nobody may have looked.
        let back = |begin: i64| begin.clamp(newest - LONGEST_MS, newest) - memory;
        let trained_at =
            status.and_then(|status| status.model.as_ref()).map_or(i64::MIN, |model| ms(&model.trained_at));
        // Before a model was trained nobody was promised anything by it, and another one may have told already.
        let trusted_from = back(begin).max(trained_at.min(begin));
        let learns_until = match status.and_then(|status| status.state) {
            // Of a suspension nothing is known but that it was wanted: what it leaves behind is no measure.
            Some(State::Suspended) => newest + memory / 2,
            _ if known < newest => back(known),
            _ => trusted_from,
        };
        Self { from: back(known) - memory, learns_until, trusted_from }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MINUTE: i64 = 60_000;
    const NOW: i64 = 100_000 * MINUTE;
    const MEMORY: i64 = 90 * MINUTE;

    fn replay(status: Value) -> Replay {
        let status: AnomalyDetectorStatus = serde_json::from_value(status).unwrap();
        let Replay { from, learns_until, trusted_from } = Replay::of(Some(&status), NOW, MEMORY);
        let ago = |time: i64| (NOW - time) / MINUTE;
        Replay { from: ago(from), learns_until: ago(learns_until), trusted_from: ago(trusted_from) }
    }

    fn incident(since: i64, until: Option<i64>) -> Value {
        let at = |ago: i64| super::super::facts::time(NOW - ago * MINUTE);
        json!({"id": "x", "since": at(since), "raised": at(since), "until": until.map(at), "peak": "2", "message": ""})
    }

    /// In minutes before the newest row.
    #[test]
    fn a_past_with_an_incident_in_it_is_read_from_before_that() {
        let is = |from, learns_until, trusted_from| Replay { from, learns_until, trusted_from };
        assert_eq!(replay(json!({})), is(180, 90, 90));
        // An open one is told again, and known from its begin.
        assert_eq!(replay(json!({"incidents": [incident(200, None)]})), is(380, 290, 290));
        // One that is over was told, and is no past for what follows.
        assert_eq!(replay(json!({"incidents": [incident(120, Some(60))]})), is(300, 210, 90));
        assert_eq!(replay(json!({"incidents": [incident(900, Some(700))]})), is(180, 90, 90));
        // Nor is one before the open one.
        assert_eq!(replay(json!({"incidents": [incident(50, None), incident(200, Some(100))]})), is(380, 290, 140));
        // For as long as anybody reads rows again.
        let weeks = replay(json!({"incidents": [incident(30 * 1440, None)]}));
        assert_eq!((weeks.from, weeks.trusted_from), (14 * 1440 + 180, 14 * 1440 + 90));
        // After a suspension the next hours are learnt as they come.
        assert_eq!(replay(json!({"state": "Suspended"})).learns_until, -45);
    }
}
