//! A cluster in memory with one tuning: what is decided is carried out, as far as the process lives, and reported.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::server::{self, OUR_FILE, Server};
use crate::control::status;
use crate::decimal::Decimal;
use crate::instance::crd::PostgresInstanceSpec;
use crate::instance::facts::{ConfigurationKey, InstanceFacts, Server as ServerAnswer, Workload};
use crate::kubernetes::job::{JobFacts, JobPhase, PodTrouble, PodTroubleKind};
use crate::kubernetes::pod::{ConfigMapMount, PodFacts};
use crate::kubernetes::workload::WorkloadFacts;
use crate::learn::rng::Random;
use crate::postgres::server::{MARKER, Rights};
use crate::tuning::act::Outcome;
use crate::tuning::crd::{
    PostgresTuning, PostgresTuningSpec, PostgresTuningStatus, RestartPolicy, TrialState, TuningTrial, TuningTrialStatus,
};
use crate::tuning::decide::{Decision, Step, Write, decide};
use crate::tuning::facts::{Anomaly, Facts, Rival, Trouble};
use crate::tuning::measurement::{BenchmarkResult, Measurement, Parameters};
use crate::tuning::optimizer;
use crate::tuning::reason::Reason;
use crate::tuning::report::report;
use crate::tuning::session::Next;
use crate::tuning::{FINALIZER, knobs};

/// Memory of the server's container.
pub const MEMORY_BYTES: i64 = 8 << 30;

/// A benchmark that runs, or has ended.
#[derive(Clone, Debug)]
pub struct Job {
    uid: String,
    looks: u32,
    message: Option<String>,
    terminating: bool,
}

impl Job {
    /// It has neither ended nor been deleted.
    pub fn runs(&self) -> bool {
        self.looks > 0 && !self.terminating
    }
}

/// What a step of the process leaves undone when it dies.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// Steps that were carried out.
    pub steps: usize,
    /// Of the next step, which makes an object and then its status, the object.
    pub half: bool,
}

/// The cluster.
#[derive(Clone)]
pub struct Model {
    /// The tuning.
    pub tuning: PostgresTuning,
    /// Its trials.
    pub trials: BTreeMap<String, TuningTrial>,
    /// Its instance.
    pub instance: PostgresInstanceSpec,
    /// Text of our ConfigMap key.
    pub key: Option<String>,
    /// The server.
    pub server: Server,
    /// Other tunings of the instance.
    pub rivals: Vec<Rival>,
    /// Jobs that exist.
    pub jobs: BTreeMap<String, Job>,
    /// Name and uid of every Job that was ever created.
    pub started: Vec<(String, String)>,
    /// Restarts that were asked for.
    pub restarts: usize,
    /// What the server's container was last ended for.
    pub last_termination: Option<String>,
    /// Log gain of a server that is tuned as well as can be; 0 makes every knob inert.
    pub gain: f64,
    /// When an anomaly that is open began.
    pub anomaly_since: Option<Time>,
    /// The server does not start with a file in which this stands.
    pub cannot_start_with: Option<String>,
    /// The pod is not ready while the server runs a configuration in which this stands.
    pub unready_with: Option<String>,
    /// Other field managers of our key.
    pub other_owners: Vec<String>,
    /// Statements that give the role what it lacks.
    pub missing_rights: Vec<String>,
    /// Why the instance is no longer what the session found.
    pub elsewhere: Option<String>,
    /// The kubelet brings what changes in the ConfigMap.
    pub kubelet_syncs: bool,
    /// Memory limit of the server's container.
    pub memory_bytes: i64,
    /// Why the optimizer proposes nothing.
    pub no_proposal: Option<Trouble>,
    /// The node of each benchmark needs its memory before it has ended.
    pub evicts: bool,
    /// The tuning is no more.
    pub gone: bool,
    /// The time.
    pub now_ms: i64,
    restarted_for: Option<String>,
    sync_in: Option<u32>,
    random: Random,
}

fn anomaly(since: &Time) -> Anomaly {
    Anomaly { detector: "shop".into(), since: since.clone(), message: "Anomaly 4.2× threshold".into() }
}

impl Model {
    /// A tuning of a server with our key's text and what `ALTER SYSTEM` had set.
    pub fn new(seed: u64, mut spec: Value, text: Option<&str>) -> Self {
        let defaults = json!({
            "instanceRef": {"name": "shop"},
            "workload": {"pgbench": {"measureSeconds": 60}},
            "optimizer": {"algorithm": "LHS", "seed": 7},
            "budget": {"trials": 7, "verificationPairs": 2, "patience": 20},
        });
        for (name, value) in defaults.as_object().unwrap() {
            spec.as_object_mut().unwrap().entry(name).or_insert(value.clone());
        }
        let spec: PostgresTuningSpec = serde_json::from_value(spec).unwrap();
        let mut tuning = PostgresTuning::new("demo", spec);
        tuning.metadata.namespace = Some("shop".into());
        tuning.metadata.uid = Some("5f0c".into());
        tuning.metadata.generation = Some(1);
        let start = Timestamp::from_second(1_750_000_000).unwrap();
        tuning.metadata.creation_timestamp = Some(Time(start));
        let instance = json!({
            "connection": {"secretRef": {"name": "shop-postgres"}},
            "configuration": {"configMap": {"name": "shop-config", "key": "howdah.conf"}},
            "workload": {"name": "shop-postgres"},
        });
        Self {
            tuning,
            trials: BTreeMap::new(),
            instance: serde_json::from_value(instance).unwrap(),
            key: text.map(str::to_owned),
            server: Server::new(text.map(str::to_owned), Parameters::new()),
            rivals: Vec::new(),
            jobs: BTreeMap::new(),
            started: Vec::new(),
            restarts: 0,
            last_termination: None,
            gain: 0.3,
            anomaly_since: None,
            cannot_start_with: None,
            unready_with: None,
            other_owners: Vec::new(),
            missing_rights: Vec::new(),
            elsewhere: None,
            kubelet_syncs: true,
            memory_bytes: MEMORY_BYTES,
            no_proposal: None,
            evicts: false,
            gone: false,
            now_ms: start.as_millisecond(),
            restarted_for: None,
            sync_in: None,
            random: Random::new(seed, 1),
        }
    }

    /// The same with `ALTER SYSTEM` in place of the ConfigMap, and what it had set before.
    pub fn by_alter_system(mut self, auto: Parameters) -> Self {
        self.instance.configuration = serde_json::from_value(json!({"alterSystem": {}})).unwrap();
        self.key = None;
        self.server = Server::new(None, auto);
        self
    }

    /// What is seen of the cluster.
    pub fn facts(&self) -> Facts {
        let marker = self.server.facts().marker;
        let unready = self.unready_with.is_some() && self.unready_with == marker;
        let pod = PodFacts {
            name: "shop-postgres-0".into(),
            uid: "p".into(),
            container: Some("postgres".into()),
            ready: self.server.down == 0 && !unready,
            last_termination: self.last_termination.clone(),
            memory_bytes: Some(self.memory_bytes),
            cpu_millis: Some(4000),
            config_map_mounts: vec![ConfigMapMount {
                config_map: "shop-config".into(),
                path: OUR_FILE.rsplit_once('/').unwrap().0.into(),
                ..ConfigMapMount::default()
            }],
            ..PodFacts::default()
        };
        let workload = WorkloadFacts {
            replicas: 1,
            rolled_out: self.server.down == 0,
            restarted_for: self.restarted_for.clone(),
            ..WorkloadFacts::default()
        };
        let server = ServerAnswer {
            facts: self.server.facts(),
            settings: self.server.settings.clone(),
            file_settings: Some(self.server.file_settings()),
            container: Some(self.server.container()),
            rights: Rights { missing: self.missing_rights.clone(), ..Rights::default() },
        };
        let unreachable = crate::instance::Trouble::new(crate::instance::Reason::Unreachable, "connection refused");
        let key = ConfigurationKey { text: self.key.clone(), other_owners: self.other_owners.clone() };
        let mut facts = Facts {
            now: self.now(),
            tuning: self.tuning.clone(),
            instance: Ok(InstanceFacts {
                name: "shop".into(),
                namespace: "shop".into(),
                generation: Some(1),
                spec: self.instance.clone(),
                server: if self.server.down == 0 { Ok(server) } else { Err(unreachable) },
                workload: Some(Ok(Workload { facts: workload, pod: Some(pod) })),
                configuration: self.instance.configuration.config_map.as_ref().map(|_| Ok(key)),
            }),
            trials: self.trials.values().cloned().collect(),
            job: None,
            rivals: self.rivals.clone(),
            anomalies: self.anomaly_since.iter().map(anomaly).collect(),
            unseen: None,
            elsewhere: None,
            scripts: None,
            proposal: None,
            benchmark_image: "howdah".into(),
        };
        let job = facts.running_trial().and_then(|trial| self.jobs.get(&trial.name_any()));
        facts.job = job.map(|job| JobFacts {
            uid: job.uid.clone(),
            phase: match (job.looks > 0, self.evicts) {
                (true, _) => JobPhase::Running,
                (false, true) => JobPhase::Failed,
                (false, false) => JobPhase::Succeeded,
            },
            terminating: job.terminating,
            // The kubelet ends it by a signal first, of which it has something to say.
            termination_message: job.message.clone().map(|message| match self.evicts {
                true => r#"{"failed": {"message": "the benchmark was stopped"}}"#.to_owned(),
                false => message,
            }),
            trouble: self.evicts.then(|| PodTrouble {
                kind: PodTroubleKind::Evicted,
                message: "The node was low on resource: memory.".into(),
            }),
            progress: None,
        });
        if facts.session().is_some_and(|session| session.settled.is_none()) {
            facts.elsewhere = self.elsewhere.clone();
        }
        facts.proposal = proposal(&facts).map(|proposal| self.no_proposal.clone().map_or(proposal, Err));
        facts
    }

    /// Looks once, and carries out what is decided. A process that crashes leaves objects and no status.
    pub fn look(&mut self, crash: Option<Crash>) -> Decision {
        let facts = self.facts();
        let decision = decide(&facts);
        assert_eq!(decide(&facts), decision, "the same facts give the same decision");
        let whole = crash.map_or(decision.steps.len(), |crash| crash.steps.min(decision.steps.len()));
        for step in &decision.steps[..whole] {
            self.check(&facts, step);
            self.take(step, true);
        }
        match (crash, decision.steps.get(whole)) {
            (Some(Crash { half: true, .. }), Some(step @ (Step::CreateTrial(_) | Step::StartBenchmark { .. }))) => {
                self.check(&facts, step);
                self.take(step, false);
            }
            (Some(_), _) => {}
            (None, _) => self.report(&facts, &decision),
        }
        self.tick(decision.next.as_millis() as i64);
        decision
    }

    /// A look at which the API server can't be read.
    pub fn look_blind(&mut self) -> Decision {
        let facts = Facts {
            trials: Vec::new(),
            job: None,
            rivals: Vec::new(),
            proposal: None,
            unseen: Some(Trouble { reason: Reason::StepFailed, message: "the API server does not answer".into() }),
            ..self.facts()
        };
        let decision = decide(&facts);
        self.report(&facts, &decision);
        self.tick(decision.next.as_millis() as i64);
        decision
    }

    fn report(&mut self, facts: &Facts, decision: &Decision) {
        let outcome = Outcome { done: decision.steps.len(), trouble: None };
        let Some(told) = report(facts, decision, &outcome).status else { return };
        let before = serde_json::to_value(&self.tuning.status).unwrap();
        if let Some(written) = status::to_write(&before, told, self.now().0) {
            self.tuning.status = serde_json::from_value(written).unwrap();
        }
    }

    fn take(&mut self, step: &Step, whole: bool) {
        match step {
            Step::AddFinalizer => self.tuning.metadata.finalizers = Some(vec![FINALIZER.into()]),
            Step::RemoveFinalizer => {
                self.tuning.metadata.finalizers = None;
                self.gone = true;
            }
            Step::WriteConfiguration(Write::ConfigMapKey(text)) => {
                self.key = text.clone();
                // Nobody told the kubelet: it comes by on its own.
                self.sync_in = Some(60);
            }
            Step::WriteConfiguration(Write::AlterSystem { set, reset }) => {
                self.server.auto.extend(set.clone());
                self.server.auto.retain(|name, _| !reset.contains(name));
            }
            Step::TouchPod { .. } => {
                let soon = self.random.below(3) as u32;
                self.sync_in = Some(self.sync_in.map_or(soon, |looks| looks.min(soon)));
            }
            Step::Reload => self.server.reload(),
            Step::Restart { marker } => {
                self.restarted_for = Some(marker.clone());
                self.restart(2);
            }
            Step::SaveCheckpoint { .. } => {}
            Step::ForgetSession { trials, .. } => self.trials.retain(|name, _| !trials.contains(name)),
            Step::CreateTrial(trial) => {
                let mut made = (**trial).clone();
                made.metadata.creation_timestamp = Some(self.now());
                made.metadata.uid = Some(format!("trial-{}", made.spec.number));
                let name = made.name_any();
                self.trials.entry(name.clone()).or_insert(made);
                if whole {
                    let state = TrialState::Applying;
                    self.set(&name, TuningTrialStatus { state, since: Some(self.now()), ..Default::default() });
                }
            }
            Step::StartBenchmark { trial, server_started_at_ms, .. } => {
                let uid = self.start_job(trial);
                if whole {
                    let status = TuningTrialStatus {
                        state: TrialState::Measuring,
                        since: Some(self.now()),
                        job: Some(uid),
                        server_started_at_ms: *server_started_at_ms,
                        ..TuningTrialStatus::default()
                    };
                    self.set(trial, status);
                }
            }
            Step::DeleteJob { name } => {
                if let Some(job) = self.jobs.get_mut(name) {
                    job.terminating = true;
                }
            }
            Step::SetTrial { name, status } => self.set(name, (**status).clone()),
        }
    }

    fn set(&mut self, trial: &str, status: TuningTrialStatus) {
        self.trials.get_mut(trial).expect("the trial exists").status = Some(status);
    }

    fn start_job(&mut self, name: &str) -> String {
        if let Some(job) = self.jobs.get(name) {
            return job.uid.clone();
        }
        let uid = format!("job-{}", self.started.len());
        self.started.push((name.to_owned(), uid.clone()));
        let looks = 1 + self.random.below(3) as u32;
        self.jobs.insert(name.into(), Job { uid: uid.clone(), looks, message: None, terminating: false });
        uid
    }

    /// What must hold of every step, whatever happened before.
    fn check(&self, facts: &Facts, step: &Step) {
        let spec = &self.tuning.spec;
        let allowed = |name: &str| {
            name == MARKER || knobs::denied(name, spec.safety.durability).is_none() && knobs::knob(name).is_some() || {
                let before = facts.session().and_then(|s| s.baseline_configuration.as_deref());
                server::lines(before).iter().any(|(line, _)| line == name) || name == "min_wal_size"
            }
        };
        match step {
            Step::Restart { .. } => assert_eq!(spec.restart_policy, RestartPolicy::Always),
            Step::WriteConfiguration(Write::ConfigMapKey(text)) => {
                for (name, _) in server::lines(text.as_deref()) {
                    assert!(allowed(&name), "{name} is written");
                }
            }
            Step::WriteConfiguration(Write::AlterSystem { set, .. }) => {
                for name in set.keys() {
                    assert!(allowed(name), "{name} is set");
                }
            }
            Step::CreateTrial(trial) => {
                let numbers: Vec<i32> = facts.session_trials().iter().map(|t| t.spec.number).collect();
                assert_eq!(trial.spec.number, numbers.len() as i32 + 1, "numbers are consecutive");
                if facts.last_trial_failed() {
                    assert_eq!(self.differing(), Parameters::new(), "after a failure the baseline comes first");
                }
            }
            Step::StartBenchmark { trial, .. } => {
                assert_eq!(self.differing(), self.trials[trial].spec.parameters, "what is measured is in effect");
                assert!(self.jobs.iter().all(|(name, job)| name == trial || !job.runs()));
            }
            _ => {}
        }
    }

    /// Knobs of the session that are not at their baseline, with their values.
    pub fn differing(&self) -> Parameters {
        let session = self.status().session.expect("a session has begun");
        let shown = self.server.shown();
        session
            .baseline_parameters
            .iter()
            .filter(|(name, value)| shown[*name] != **value)
            .map(|(name, _)| (name.clone(), shown[name].clone()))
            .collect()
    }

    /// Time passes; the kubelet, the server and the Jobs go on.
    fn tick(&mut self, milliseconds: i64) {
        self.now_ms += milliseconds.min(30_000);
        match self.sync_in {
            Some(0) if self.kubelet_syncs => {
                self.server.file = self.key.clone();
                self.sync_in = None;
            }
            Some(looks) => self.sync_in = Some(looks.saturating_sub(1)),
            None => {}
        }
        let crashes = |text: &String| self.server.file.as_ref().is_some_and(|file| file.contains(text.as_str()));
        if self.server.down == 1 && self.cannot_start_with.as_ref().is_some_and(crashes) {
            return self.tick_jobs();
        }
        self.server.down = self.server.down.saturating_sub(1);
        if self.server.down == 0 && self.cannot_start_with.is_some() {
            self.server.start(self.server.started_at_ms);
        }
        self.tick_jobs();
    }

    fn tick_jobs(&mut self) {
        self.jobs.retain(|_, job| !job.terminating);
        let due: Vec<String> = self.jobs.iter().filter(|(_, job)| job.looks == 1).map(|(n, _)| n.clone()).collect();
        for name in due {
            let result = BenchmarkResult::Measured(Box::new(self.measure()));
            self.jobs.get_mut(&name).expect("it is due").message = serde_json::to_string(&result).ok();
        }
        for job in self.jobs.values_mut() {
            job.looks = job.looks.saturating_sub(1);
        }
    }

    /// A larger WAL and compression help; everything else is inert.
    fn measure(&mut self) -> Measurement {
        let wal: f64 = self.server.settings["max_wal_size"].value.parse().expect("a number of megabytes");
        let share = ((wal / 1024.0).log2() / 3.0).clamp(0.0, 1.0);
        let tps = 1000.0 * (self.gain * share + 0.002 * self.random.normal()).exp();
        let latency = 16_000.0 / tps;
        Measurement {
            transactions: (tps * 60.0) as i64,
            seconds: Decimal(60.0),
            tps: Decimal::rounded(tps),
            latency_mean_ms: Decimal::rounded(latency),
            latency_p95_ms: Decimal::rounded(1.7 * latency),
            latency_p99_ms: Decimal::rounded(2.6 * latency),
            latency_stddev_ms: Decimal::rounded(0.5 * latency),
            configuration: self.server.facts().marker,
            ..Measurement::default()
        }
    }

    /// A benchmark ends with a message of its own.
    pub fn end_job(&mut self, name: &str, message: &str) {
        let job = self.jobs.get_mut(name).expect("the Job exists");
        (job.looks, job.message) = (0, Some(message.to_owned()));
    }

    /// The server is started again and answers after some looks.
    pub fn restart(&mut self, looks: u32) {
        self.restarts += 1;
        self.server.start(self.now_ms);
        self.server.down = looks;
    }

    /// The time.
    pub fn now(&self) -> Time {
        Time(Timestamp::from_millisecond(self.now_ms).expect("the model's clock is in range"))
    }

    /// The tuning's status.
    pub fn status(&self) -> PostgresTuningStatus {
        self.tuning.status.clone().unwrap_or_default()
    }

    /// Status and reason of a condition, as `True Applied`.
    pub fn condition(&self, kind: &str) -> String {
        let conditions = self.status().conditions;
        let found = conditions.iter().find(|c| c.type_ == kind);
        found.map_or_else(String::new, |c| format!("{} {}", c.status, c.reason))
    }
}

/// What the optimizer proposes where a proposal is due.
fn proposal(facts: &Facts) -> Option<Result<optimizer::Proposal, Trouble>> {
    let session = facts.session().filter(|s| s.outcome.is_none())?;
    if facts.is_trial_running() || facts.tuning.spec.suspend || facts.server().is_none() {
        return None;
    }
    let plan = facts.plan(session).ok()?;
    let Next::Propose(kind) = plan.next() else { return None };
    Some(Ok(optimizer::propose(&plan.request(kind, None)).expect("the request is sound")))
}
