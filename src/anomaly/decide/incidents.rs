//! The incidents of the status: what the model saw is taken over, what people say of it becomes a signature.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::alarm;
use super::super::crd::{
    AnomalyDetectorStatus, CauseStatus, ContributionStatus, DepartureStatus, IncidentStatus, LearntSignature, PastSpan,
};
use super::super::facts::{Facts, time};
use super::super::incident::{ChangeEvent, Incident, is_id};
use super::super::score::Contribution;
use super::super::sentence;
use super::super::watch::Departure;
use super::super::{CAUSE_ANNOTATION, NORMAL};
use crate::decimal::Decimal;

/// Incidents that the status keeps.
const INCIDENTS: usize = 10;
/// Times of older ones that it keeps.
const PAST_INCIDENTS: usize = 128;
/// Times of trials that it keeps, and how far apart trials are of which the time is one, in milliseconds.
const PAST_TRIALS: usize = 64;
const BETWEEN_TRIALS_MS: i64 = 600_000;
/// Signatures that it keeps; the oldest go.
const SIGNATURES: usize = 16;
/// Changes of an incident that are kept for its label: the strongest. What is left out of a signature makes the same fault
/// look less alike.
const CHANGES: usize = 64;
/// Departures that are kept, more than waver at once; and milliseconds in which one that comes again is the same.
const DEPARTURES: usize = 64;
const SAME_DEPARTURE_MS: i64 = 3_600_000;
/// How long an incident that goes on has lasted before what was said of it grows old, in milliseconds.
const YOUNG_MS: i64 = 60_000;
/// Coincidences that are kept of an incident.
const COINCIDENCES: usize = 5;

/// The incident that has no end.
pub(super) fn open(status: &AnomalyDetectorStatus) -> Option<&IncidentStatus> {
    status.incidents.iter().find(|incident| incident.until.is_none())
}

/// Nothing is looked at any more: what is open ends now.
pub(super) fn close_all(mut status: AnomalyDetectorStatus, now: i64) -> AnomalyDetectorStatus {
    for incident in status.incidents.iter_mut().filter(|incident| incident.until.is_none()) {
        incident.until = Some(time(now));
        incident.message = format!("It is over, or no longer looked at: {}", incident.message);
    }
    status
}

/// Takes over what the model saw.
pub(super) fn update(facts: &Facts, status: &mut AnomalyDetectorStatus) {
    let Some(scoring) = facts.scored() else { return };
    for incident in &scoring.incidents {
        take(status, incident, scoring.time);
    }
    // An incident that the replayed rows do not show any more (they reach back only so far) ended while nobody looked.
    // Where no row was judged, nothing was looked at.
    if scoring.alarm == alarm::State::Quiet && scoring.score.is_some() {
        *status = close_all(std::mem::take(status), scoring.time);
    }
    status.incidents.sort_by_key(|incident| std::cmp::Reverse(incident.since.0));
    let older = status.incidents.split_off(status.incidents.len().min(INCIDENTS));
    remember(facts, status, older);
}

/// Takes over which constants moved. One that comes and goes is told once an hour, and what is read again is known.
pub(super) fn depart(facts: &Facts, status: &mut AnomalyDetectorStatus) {
    for departed in facts.scored().iter().flat_map(|scoring| &scoring.departures) {
        let known = status.departures.iter().position(|known| known.metric == departed.metric);
        let same = known
            .map(|index| &status.departures[index])
            .is_some_and(|known| departed.time - known.time.0.as_millisecond() < SAME_DEPARTURE_MS);
        if same {
            continue;
        }
        known.map(|index| status.departures.remove(index));
        let Departure { metric, kind, was, now, time: at } = departed;
        let message = sentence::change(metric, *kind, *was, *now);
        status.departures.insert(0, DepartureStatus { metric: metric.clone(), message, time: time(*at) });
    }
    status.departures.truncate(DEPARTURES);
}

/// Keeps the times of trials as long as a training may read them: a session's trials go when another begins.
pub(super) fn trials(facts: &Facts, status: &mut AnomalyDetectorStatus) {
    let ms = |time: &Time| time.0.as_millisecond();
    let begin = facts.now_ms() - facts.detector.spec.training.window_seconds() * 1000;
    let known = status.past_trials.iter().map(|past| (ms(&past.from), ms(&past.to)));
    let mut spans: Vec<(i64, i64)> = facts.trials.iter().copied().chain(known).filter(|(_, to)| *to >= begin).collect();
    spans.sort_unstable();
    let mut together: Vec<(i64, i64)> = Vec::new();
    for (from, to) in spans {
        match together.last_mut() {
            Some(last) if from - last.1 <= BETWEEN_TRIALS_MS => last.1 = last.1.max(to),
            _ => together.push((from, to)),
        }
    }
    let past = |(from, to): &(i64, i64)| PastSpan { from: time(*from), to: time(*to) };
    status.past_trials = together.iter().rev().take(PAST_TRIALS).map(past).collect();
}

/// Keeps the times of incidents that the status has no room for, as long as a training may read them.
fn remember(facts: &Facts, status: &mut AnomalyDetectorStatus, older: Vec<IncidentStatus>) {
    for incident in older.into_iter().filter(|incident| !incident.is_normal()) {
        let past = PastSpan { to: incident.until.unwrap_or(facts.now.clone()), from: incident.since };
        // One that a replay shows again is known.
        if !status.past_incidents.iter().any(|known| known.from == past.from) {
            status.past_incidents.push(past);
        }
    }
    let begin = facts.now.0.as_second() - facts.detector.spec.training.window_seconds();
    status.past_incidents.retain(|past| past.to.0.as_second() >= begin);
    status.past_incidents.sort_by_key(|past| std::cmp::Reverse(past.from.0));
    status.past_incidents.truncate(PAST_INCIDENTS);
}

fn take(status: &mut AnomalyDetectorStatus, incident: &Incident, now: i64) {
    // Two that overlap are one: after a restart its begin may lie before the rows that were read, and while one is open,
    // what stands is that one.
    let overlaps = |known: &IncidentStatus| {
        let before_its_end = known.until.as_ref().is_none_or(|until| time(incident.since).0 < until.0);
        before_its_end && incident.until.is_none_or(|until| time(until).0 > known.since.0)
    };
    let known = status.incidents.iter().position(|known| known.id == incident.id);
    match known.or_else(|| status.incidents.iter().position(overlaps)) {
        Some(index) => refresh(&mut status.incidents[index], incident, now),
        None => status.incidents.insert(0, shown(incident, now)),
    }
}

/// The status changes when something is worth telling, not with every row: what it says of an incident that goes on is
/// never older than half of the incident.
fn refresh(known: &mut IncidentStatus, incident: &Incident, now: i64) {
    // What is known of it goes on: rows that were read again may show less of it.
    let mut whole = incident.clone();
    whole.since = known.since.0.as_millisecond();
    whole.peak = whole.peak.max(known.peak.0);
    whole.changes.retain(|change| !known.coincidences.contains(&change.what));
    let before = known.coincidences.iter().map(|what| ChangeEvent { time: whole.since, what: what.clone() });
    whole.changes.splice(0..0, before.collect::<Vec<_>>());
    let new = shown(&whole, now);
    let ended = known.until != new.until;
    let stronger = new.peak.0 > 1.25 * known.peak.0;
    let cause = |incident: &IncidentStatus| incident.causes.first().map(|cause| cause.cause.clone());
    let said = known.as_of.as_ref().unwrap_or(&known.raised).0.as_millisecond();
    let old = new.until.is_none() && now - whole.since >= 2 * (said - whole.since).max(YOUNG_MS);
    let told = ended
        || stronger
        || old
        || cause(known) != cause(&new)
        || known.coincidences.len() < new.coincidences.len()
        || known.contributors.len() < new.contributors.len();
    if told {
        let IncidentStatus { id, since, raised, label, mut reopened, until, .. } = known.clone();
        if until.is_some() && new.until.is_none() {
            reopened = Some(time(now));
        }
        *known = IncidentStatus { id, since, raised, label, reopened, ..new };
    }
}

fn shown(incident: &Incident, now: i64) -> IncidentStatus {
    let mut strongest: Vec<(&String, &f64)> = incident.change.iter().collect();
    strongest.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    IncidentStatus {
        id: incident.id.clone(),
        since: time(incident.since),
        // One that was found when it was over was raised before its end.
        raised: time(incident.until.map_or(now, |until| until.min(now))),
        until: incident.until.map(time),
        reopened: None,
        peak: Decimal::rounded(incident.peak),
        message: sentence::incident(incident, now),
        as_of: Some(time(now)),
        contributors: incident.contributors.iter().map(contribution).collect(),
        causes: incident
            .causes
            .iter()
            .map(|cause| CauseStatus { cause: cause.cause.clone(), similarity: Decimal::rounded(cause.similarity) })
            .collect(),
        coincidences: incident.changes.iter().take(COINCIDENCES).map(|change| change.what.clone()).collect(),
        changes: strongest
            .into_iter()
            .take(CHANGES)
            .map(|(name, moved)| (name.clone(), Decimal::rounded(*moved)))
            .collect::<BTreeMap<_, _>>(),
        label: None,
    }
}

fn contribution(contribution: &Contribution) -> ContributionStatus {
    ContributionStatus {
        metric: contribution.metric.clone(),
        now: Decimal::rounded(contribution.now),
        expected: contribution.expected.map(Decimal::rounded),
        direction: format!("{:?}", contribution.direction),
        share_percent: Decimal::rounded((contribution.share * 1000.0).round() / 10.0),
        onset: contribution.onset.map(time),
    }
}

/// What the annotation says of incidents: each becomes a signature, which stays when the annotation goes.
pub(super) fn label(facts: &Facts, status: &mut AnomalyDetectorStatus) {
    let annotations = facts.detector.metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|all| all.get(CAUSE_ANNOTATION)) else { return };
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        // What stands before = is a name, or belongs to the words: "work_mem = 4MB is too little".
        let is_name = |id: &str| is_id(id) || status.incidents.iter().any(|incident| incident.id == id);
        let (id, cause) = match part.split_once('=').map(|(id, cause)| (id.trim(), cause.trim())) {
            Some((id, cause)) if is_name(id) => (Some(id), cause),
            _ => (None, part),
        };
        // Without a name, an incident that has a label already keeps it: the words were about the newest of then.
        let named = id.is_some();
        let found = match id {
            Some(id) => status.incidents.iter_mut().find(|incident| incident.id == id),
            // That something is normal is said of one incident, not of whichever is the newest when its own is forgotten.
            None if cause == NORMAL => None,
            None if status.incidents.iter().any(|known| known.label.as_deref() == Some(cause)) => None,
            None if status.signatures.iter().any(|known| known.cause == cause) => None,
            None => status.incidents.first_mut(),
        };
        let Some(incident) = found.filter(|incident| named || incident.label.is_none()) else { continue };
        incident.label = Some(cause.to_owned());
        if cause == NORMAL {
            let id = &incident.id;
            status.signatures.retain(|known| known.incident != *id);
            continue;
        }
        if incident.changes.is_empty() {
            continue;
        }
        let signature = LearntSignature {
            incident: incident.id.clone(),
            cause: cause.to_owned(),
            changes: incident.changes.clone(),
        };
        match status.signatures.iter_mut().find(|known| known.incident == signature.incident) {
            // The incident goes on, or was labelled anew.
            Some(known) => *known = signature,
            None => status.signatures.push(signature),
        }
    }
    let more = status.signatures.len().saturating_sub(SIGNATURES);
    status.signatures.drain(..more);
}
