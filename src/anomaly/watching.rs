//! A model at work: rows in, incidents out. It can be thrown away at any moment: the rows of its memory, read again,
//! bring it back to where it was.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::answer::Rows;
use super::crd::AnomalyDetectorStatus;
use super::facts::{Scoring, Trouble, lapse_ms, time};
use super::incident::{ChangeEvent, Incident, Recorder};
use super::matrix::Kind;
use super::model::Model;
use super::reason::Reason;
use super::replay::Replay;
use super::score::{Scored, Scorer, SkipReason};
use super::signature::Signature;
use super::watch::Departure;

/// Contributions of the newest row that are kept.
const CONTRIBUTIONS: usize = 5;

/// A model at work.
#[derive(Clone, Debug)]
pub struct Watching {
    /// Name of the model.
    pub model: String,
    signatures: Vec<Signature>,
    scorer: Scorer,
    recorder: Recorder,
    /// Incidents that ended before this are not told of: the model had not yet read all the rows that it compares with.
    trusted_from: i64,
    /// The newest row; none before the first.
    last: Option<i64>,
    /// When each metric of the model last had a value.
    last_values: Vec<i64>,
    newest: Option<Scored>,
    /// Time and score of the newest row that was judged.
    judged: Option<(i64, f64)>,
    /// While there are more rows to read: what those that were showed.
    held: Option<(Vec<Incident>, Vec<Departure>)>,
}

/// Rows of a batch, by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rows that were scored.
    pub scored: u64,
    /// Rows that were not, by reason.
    pub skipped: BTreeMap<String, u64>,
}

impl Watching {
    /// Begins with nothing known of the past. The signatures stand beside those of the model.
    pub fn new(name: &str, model: Arc<Model>, signatures: Vec<Signature>, replay: &Replay) -> Self {
        let scorer = Scorer::new(model.clone()).learning_until(replay.learns_until);
        let trusted_from = replay.trusted_from;
        let known = model.signatures.iter().chain(&signatures).cloned().collect();
        let recorder = Recorder::new(model.alarm.clone(), scorer.names(), known);
        let last_values = vec![i64::MIN; model.metrics.len()];
        let model = name.to_owned();
        let (last, newest, judged, held) = (None, None, None, None);
        Self { model, signatures, scorer, recorder, trusted_from, last, last_values, newest, judged, held }
    }

    /// It is this model with these signatures, and knows rows of these metrics.
    pub fn is(&self, model: &str, signatures: &[Signature], metrics: &[(String, Kind)]) -> bool {
        self.model == model && self.signatures == signatures && self.model().check(metrics).is_ok()
    }

    /// The newest row, in milliseconds since 1970.
    pub fn last(&self) -> Option<i64> {
        self.last
    }

    /// There were more rows than it read.
    pub fn catches_up(&self) -> bool {
        self.held.is_some()
    }

    /// Keeps what it said of a part of the rows until it has read those up to `newest`, and says how far it is.
    pub fn hold(&mut self, said: Scoring, newest: i64) -> Trouble {
        self.held = Some((said.incidents, said.departures));
        let at = |ms: i64| time(ms).0;
        let message = format!("rows are read again: those up to {} of {}", at(said.time), at(newest));
        Trouble::new(Reason::CatchingUp, message)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        self.scorer.model()
    }

    /// Something changed beside the metrics.
    pub fn note(&mut self, change: ChangeEvent) {
        self.recorder.note(change);
    }

    /// Judges the next rows, whose columns are the model's metrics. Rows that are not later than the newest are passed
    /// over.
    pub fn push(&mut self, rows: &Rows) -> (Scoring, Counted) {
        let (mut incidents, mut departures) = self.held.take().unwrap_or_default();
        let mut counted = Counted::default();
        for (row, time) in rows.times.iter().enumerate() {
            if self.last.is_some_and(|last| *time <= last) {
                continue;
            }
            self.last = Some(*time);
            let raw: Vec<f64> = rows.columns.iter().map(|column| column[row]).collect();
            for (last, _) in self.last_values.iter_mut().zip(&raw).filter(|(_, value)| !value.is_nan()) {
                *last = *time;
            }
            let scored = self.scorer.push(*time, &raw);
            // Before it was trained the model knows nothing of what was constant.
            let told = scored.departures.iter().filter(|departure| departure.time >= self.trusted_from);
            departures.extend(told.cloned());
            self.recorder.push(&scored);
            match &scored.skipped {
                Some(reason) => *counted.skipped.entry(format!("{reason:?}")).or_default() += 1,
                None => counted.scored += 1,
            }
            self.judged = scored.score.map(|score| (*time, score)).or(self.judged);
            self.newest = Some(scored);
            keep(&mut incidents, self.recorder.incident());
        }
        keep(&mut incidents, self.recorder.incident());
        incidents.retain(|incident| incident.until.is_none_or(|until| until >= self.trusted_from));
        (self.scoring(incidents, departures), counted)
    }

    fn scoring(&self, incidents: Vec<Incident>, departures: Vec<Departure>) -> Scoring {
        let model = self.model();
        let name = |index: usize| model.metrics[index].0.clone();
        let time = self.last.unwrap_or_default();
        let stale_before = time - lapse_ms(model.pipeline.step_ms);
        let known = model.pipeline.used.iter().copied().chain(model.constants.iter().map(|constant| constant.index));
        let newest = self.newest.as_ref();
        Scoring {
            time,
            score: self.judged.map(|(_, score)| score),
            judged_ms: self.judged.map(|(time, _)| time),
            skipped: newest.and_then(|scored| scored.skipped).map(|reason: SkipReason| format!("{reason:?}")),
            alarm: self.recorder.state(),
            incidents,
            departures,
            contributions: newest
                .map(|scored| scored.contributions.iter().take(CONTRIBUTIONS).cloned().collect())
                .unwrap_or_default(),
            constant: model.constants.iter().map(|constant| name(constant.index)).collect(),
            stale: known.clone().filter(|index| self.last_values[*index] < stale_before).map(name).collect(),
            unlearnt: {
                let known: HashSet<usize> = known.collect();
                let here = |index: &usize| !known.contains(index) && self.last_values[*index] >= stale_before;
                (0..model.metrics.len()).filter(here).map(name).collect()
            },
        }
    }

    /// Features with a value lately.
    pub fn found(&self) -> Vec<bool> {
        let since = self.last.unwrap_or_default() - lapse_ms(self.model().pipeline.step_ms);
        self.last_values.iter().map(|last| *last >= since).collect()
    }
}

/// What people labelled, as the recorder wants it.
pub fn signatures(status: Option<&AnomalyDetectorStatus>) -> Vec<Signature> {
    let learnt = status.map(|status| status.signatures.as_slice()).unwrap_or_default();
    learnt
        .iter()
        .map(|learnt| Signature {
            cause: learnt.cause.clone(),
            change: learnt.changes.iter().map(|(name, moved)| (name.clone(), moved.0)).collect(),
            vocabulary: Vec::new(),
        })
        .collect()
}

/// The incident's last word, once.
fn keep(incidents: &mut Vec<Incident>, incident: Option<&Incident>) {
    let Some(incident) = incident else { return };
    match incidents.last_mut() {
        Some(last) if last.id == incident.id => last.clone_from(incident),
        _ => incidents.push(incident.clone()),
    }
}
