//! Everything that a tuning's decision depends on: the session and its trials here, the server in `server`.

mod server;

pub use server::{ConfigurationWay, is_same_place};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use super::crd::{
    PostgresTuning, Recommendation, SessionRecord, SessionResources, TrialKind, TrialState, TuningTrial,
    TuningTrialStatus,
};
use super::knobs::Resources;
use super::measurement::Measurement;
use super::optimizer::Proposal;
use super::plan::{Plan, Scored};
use super::reason::Reason;
use super::session::{Outcome, Record, Scores};
use super::space::Space;
use super::{APPROVE_ANNOTATION, FINALIZER, heuristic};
use crate::instance::facts::InstanceFacts;
use crate::kubernetes::job::JobFacts;
use crate::postgres::setting::Settings;

/// The name of the configuration before the session, where a session says what it left in effect.
pub const BASELINE: &str = "baseline";

/// Why something that was looked for was not seen.
pub type Trouble = crate::control::reason::Trouble<Reason>;

/// Another tuning of the same instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rival {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Option<Time>,
    /// It has begun a session that has not ended.
    pub running: bool,
    /// It wants to begin a session.
    pub waiting: bool,
}

/// An open incident of an AnomalyDetector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// The detector.
    pub detector: String,
    /// When the incident began, or went on after it had seemed to be over: that may be another trial's doing.
    pub since: Time,
    /// What happened, in the detector's words.
    pub message: String,
}

/// Everything that a tuning's decision depends on. Not seeing something is a fact too.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The time.
    pub now: Time,
    /// The tuning.
    pub tuning: PostgresTuning,
    /// Its instance, as far as it could be seen.
    pub instance: Result<InstanceFacts, Trouble>,
    /// Its trials, of all sessions.
    pub trials: Vec<TuningTrial>,
    /// The Job of the running trial, if there is one.
    pub job: Option<JobFacts>,
    /// Other tunings of the same instance.
    pub rivals: Vec<Rival>,
    /// Incidents that AnomalyDetectors of the same instance have open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<Anomaly>,
    /// Why the cluster's own objects could not be read, if so: nothing may be concluded from what seems to be absent.
    pub unseen: Option<Trouble>,
    /// Why the instance is no longer what the running session found, in a sentence: `instance` is still what it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    /// Why the benchmark's scripts are not there, if so; looked for before a session begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scripts: Option<Trouble>,
    /// What the optimizer proposes, where a proposal is due.
    pub proposal: Option<Result<Proposal, Trouble>>,
    /// The image of the benchmark's Job.
    pub benchmark_image: String,
}

impl Facts {
    /// The session, where one has begun.
    pub fn session(&self) -> Option<&SessionRecord> {
        self.tuning.status.as_ref()?.session.as_ref()
    }

    /// The recommendation, where there is one.
    pub fn recommendation(&self) -> Option<&Recommendation> {
        self.tuning.status.as_ref()?.recommendation.as_ref()
    }

    /// The tuning can't go before the baseline is restored.
    pub fn has_finalizer(&self) -> bool {
        self.tuning.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
    }

    /// The annotation names this very recommendation.
    pub fn approved(&self, hash: &str) -> bool {
        let annotations = self.tuning.metadata.annotations.as_ref();
        annotations.and_then(|a| a.get(APPROVE_ANNOTATION)).is_some_and(|approved| approved == hash)
    }

    /// The tuning that this one must wait for: one that runs, or an older one that waits too.
    pub fn busy_with(&self) -> Option<&str> {
        let runs = self.session().is_some_and(|s| s.settled.is_none());
        if runs {
            return None;
        }
        let mine =
            (self.tuning.metadata.creation_timestamp.as_ref().map(|t| t.0), self.tuning.metadata.name.as_deref());
        let first = |rival: &&Rival| {
            rival.running || (rival.waiting && (rival.created.as_ref().map(|t| t.0), Some(rival.name.as_str())) < mine)
        };
        self.rivals.iter().find(first).map(|rival| rival.name.as_str())
    }

    /// Another tuning of the instance that has begun a session.
    pub fn running_rival(&self) -> Option<&str> {
        self.rivals.iter().find(|rival| rival.running).map(|rival| rival.name.as_str())
    }

    /// Trials of the session, by number.
    pub fn session_trials(&self) -> Vec<&TuningTrial> {
        let session = self.session().map(|s| s.name.as_str());
        let mut trials: Vec<_> = self.trials.iter().filter(|t| Some(t.spec.session.as_str()) == session).collect();
        trials.sort_by_key(|trial| trial.spec.number);
        trials
    }

    /// A session before the last one, and the names of its trials: with each session that begins one goes.
    pub fn forgotten_session(&self) -> Option<(String, Vec<String>)> {
        let last = self.session()?.name.as_str();
        let past =
            |trial: &&TuningTrial| trial.spec.session.as_str() != last && trial.metadata.deletion_timestamp.is_none();
        let session = self.trials.iter().find(past)?.spec.session.clone();
        let trials = self.trials.iter().filter(|trial| trial.spec.session == session).map(Self::name_of).collect();
        Some((session, trials))
    }

    /// The trial that has not ended.
    pub fn running_trial(&self) -> Option<&TuningTrial> {
        self.session_trials().into_iter().find(|trial| !self.state_of(trial).is_final())
    }

    /// A trial has not ended.
    pub fn is_trial_running(&self) -> bool {
        self.running_trial().is_some()
    }

    /// Where a trial is.
    pub fn state_of(&self, trial: &TuningTrial) -> TrialState {
        trial.status.as_ref().map(|s| s.state).unwrap_or_default()
    }

    /// A trial's name.
    pub fn name_of(trial: &TuningTrial) -> String {
        trial.metadata.name.clone().unwrap_or_default()
    }

    /// How long a trial has been in its state.
    pub fn seconds_in_state(&self, trial: &TuningTrial) -> i64 {
        let since = trial.status.as_ref().and_then(|s| s.since.as_ref()).or(trial.metadata.creation_timestamp.as_ref());
        since.map_or(0, |since| (self.now.0.as_millisecond() - since.0.as_millisecond()) / 1000)
    }

    /// An anomaly that began in this trial, while its configuration took effect or was measured. The baseline's own trials are the benchmark's load and
    /// nothing else: what begins in them is no configuration's fault.
    pub fn anomaly_in(&self, trial: &TuningTrial) -> Option<&Anomaly> {
        if trial.spec.parameters.is_empty() {
            return None;
        }
        let since = trial.metadata.creation_timestamp.as_ref()?;
        self.anomalies.iter().find(|anomaly| anomaly.since.0 >= since.0)
    }

    /// The last trial to end failed or tripped a guardrail, so what it left in effect is not trusted.
    pub fn last_trial_failed(&self) -> bool {
        let last = self.session_trials().into_iter().last().map(|trial| self.state_of(trial));
        matches!(last, Some(TrialState::Failed | TrialState::Aborted))
    }

    /// Why the last failed trial failed.
    pub fn last_failure(&self) -> Option<String> {
        self.last_failure_of(|_| true)
    }

    /// What the last run that was to verify a configuration, and failed, was ended for.
    pub fn failed_verification(&self) -> Option<String> {
        let verifies = |trial: &TuningTrial| {
            let of_challenger = trial.spec.kind == TrialKind::Verify && !trial.spec.parameters.is_empty();
            of_challenger && !trial.status.as_ref().is_some_and(was_interrupted)
        };
        self.last_failure_of(verifies)
    }

    fn last_failure_of(&self, those: impl Fn(&TuningTrial) -> bool) -> Option<String> {
        let trials = self.session_trials();
        let failed = |trial: &&&TuningTrial| {
            matches!(self.state_of(trial), TrialState::Failed | TrialState::Aborted) && those(trial)
        };
        trials.iter().rev().find(failed)?.status.as_ref()?.message.clone()
    }

    /// The number of the next trial.
    pub fn next_number(&self) -> i32 {
        self.session_trials().last().map_or(1, |last| last.spec.number + 1)
    }

    /// The verification has begun.
    pub fn is_verifying(&self) -> bool {
        self.session_trials().last().is_some_and(|last| last.spec.kind == TrialKind::Verify)
    }

    /// The ended trials as the session sees them.
    pub fn records(&self) -> Vec<Record> {
        let record = |trial: &TuningTrial| {
            let status = trial.status.as_ref()?;
            let outcome = match (status.state, &status.measurement) {
                (TrialState::Observed, Some(measurement)) => Outcome::Measured(Box::new(measurement.clone())),
                (TrialState::Aborted, _) if was_interrupted(status) => Outcome::Interrupted,
                (TrialState::Observed | TrialState::Failed | TrialState::Aborted, _) => Outcome::Failed,
                _ => return None,
            };
            Some(Record {
                number: trial.spec.number,
                kind: trial.spec.kind,
                arm: trial.spec.arm,
                point: trial.spec.point.iter().map(|x| x.0).collect(),
                parameters: trial.spec.parameters.clone(),
                outcome,
            })
        };
        self.session_trials().into_iter().filter_map(record).collect()
    }

    /// The session's course.
    ///
    /// # Errors
    /// A sentence when the session's record can't be read.
    pub fn plan(&self, session: &SessionRecord) -> Result<Plan<'_>, String> {
        let space = Space::from_session(&session.knobs)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let settings = self.baseline_settings(session);
        let resources = self.knob_resources(&session.resources);
        Ok(Plan {
            spec: &self.tuning.spec,
            formulas: heuristic::pgtune(&space, &settings, &resources, self.tuning.spec.knobs.profile),
            space,
            settings,
            resources,
            baseline: session.baseline_parameters.clone(),
            records: self.records(),
            elapsed_seconds: self.now.0.as_second() - session.started_at.0.as_second(),
            verification_pairs: session.verification_pairs.unwrap_or(self.tuning.spec.budget.verification_pairs),
        })
    }

    /// The live settings with the session's knobs as they were before the first change.
    fn baseline_settings(&self, session: &SessionRecord) -> Settings {
        let mut settings = self.settings().clone();
        for (name, value) in &session.baseline_parameters {
            if let Some(setting) = settings.get_mut(name) {
                *setting = setting.with(value);
            }
        }
        settings
    }

    /// Resources as the knobs' formulas want them.
    pub fn knob_resources(&self, resources: &SessionResources) -> Resources {
        Resources {
            memory_bytes: resources.memory_bytes.unsigned_abs(),
            cpu_millis: u32::try_from(resources.cpu_millis).unwrap_or(u32::MAX),
            data_volume_bytes: resources.data_volume_bytes.map(i64::unsigned_abs),
            database_bytes: resources.database_bytes.map_or(0, i64::unsigned_abs),
            max_connections: u32::try_from(resources.max_connections).unwrap_or(u32::MAX),
            clients: self.tuning.spec.workload.pgbench.clients.unsigned_abs(),
        }
    }

    /// Score and reward that a trial will have once `measurement` is recorded.
    pub fn scored_with(&self, session: &SessionRecord, trial: &TuningTrial, measurement: &Measurement) -> Scored {
        let Ok(mut plan) = self.plan(session) else { return Scored::default() };
        plan.records.push(Record {
            number: trial.spec.number,
            kind: trial.spec.kind,
            arm: trial.spec.arm,
            point: trial.spec.point.iter().map(|x| x.0).collect(),
            parameters: trial.spec.parameters.clone(),
            outcome: Outcome::Measured(Box::new(measurement.clone())),
        });
        plan.scored(trial.spec.number)
    }

    /// Throughput below which a run of the search is ended early.
    pub fn abandon_below_tps(&self) -> Option<f64> {
        Scores::new(self.tuning.spec.objective.metric, &self.records()).abandon_below()
    }

    /// The 99th percentile of the latency that trips the guardrail, once a baseline was measured.
    pub fn latency_guardrail_ms(&self) -> Option<f64> {
        let records = self.records();
        let baseline = records.iter().rev().filter(|r| r.is_baseline()).find_map(Record::measurement)?;
        Some(baseline.latency_p99_ms.0 * f64::from(self.tuning.spec.safety.max_latency_percent) / 100.0)
    }
}

/// A trial was ended from outside, and tells nothing.
fn was_interrupted(status: &TuningTrialStatus) -> bool {
    status.reason.as_deref() == Some(Reason::Interrupted.word())
}
