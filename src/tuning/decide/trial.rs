//! One trial after another: bring its configuration into effect, measure, record, and ask the session what is next.

use super::super::benchmark_job;
use super::super::configuration;
use super::super::crd::{
    SessionOutcome, SessionRecord, TrialKind, TrialState, TuningTrial, TuningTrialSpec, TuningTrialStatus,
};
use super::super::facts::{ConfigurationWay, Facts};
use super::super::measurement::{BenchmarkResult, Measurement, Parameters};
use super::super::reason::Reason;
use super::super::session::{Next, Outcome};
use super::super::summary;
use super::effect::{self, Effect, Target};
use super::{Decision, SOON, Step, WATCH, restoring};
use crate::decimal::Decimal;
use crate::kubernetes::job::{JobPhase, PodTroubleKind};

/// Seconds that a reload-only configuration may take to be in effect: the kubelet's slowest sync is about 90 s.
const APPLY_LIMIT_SECONDS: i64 = 120;
/// Seconds that a benchmark may take to be started once its configuration is in effect.
const START_LIMIT_SECONDS: i64 = 600;
/// Share of the memory limit that trips the guardrail.
const MEMORY_GUARDRAIL: f64 = 0.90;

/// Drives the running trial, or begins the next.
pub(super) fn proceed(facts: &Facts, session: &SessionRecord) -> Decision {
    match facts.running_trial() {
        Some(trial) => match facts.state_of(trial) {
            TrialState::Measuring => measuring(facts, session, trial),
            _ => applying(facts, session, trial),
        },
        None => begin_next(facts, session),
    }
}

/// Steps that end the running trial; `None` when none runs.
pub(super) fn abort(facts: &Facts, reason: Reason, message: &str) -> Option<Vec<Step>> {
    let trial = facts.running_trial()?;
    Some(end(facts, trial, TrialState::Aborted, reason, message))
}

/// Deletes what is left of the benchmark and records why there is no measurement.
fn end(facts: &Facts, trial: &TuningTrial, state: TrialState, reason: Reason, message: &str) -> Vec<Step> {
    let name = Facts::name_of(trial);
    let mut steps = Vec::new();
    if facts.job.as_ref().is_some_and(|job| !job.terminating) {
        steps.push(Step::DeleteJob { name: name.clone() });
    }
    let status = TuningTrialStatus {
        reason: Some(reason.word().into()),
        message: Some(message.into()),
        ..super::trial_status(facts, trial, state)
    };
    steps.push(Step::SetTrial { name, status: Box::new(status) });
    steps
}

fn ended(facts: &Facts, trial: &TuningTrial, state: TrialState, reason: Reason, message: &str) -> Decision {
    Decision::act(reason, message, end(facts, trial, state, reason, message))
}

fn applying(facts: &Facts, session: &SessionRecord, trial: &TuningTrial) -> Decision {
    if let Some(message) = facts.shrunk(session) {
        return ended(facts, trial, TrialState::Aborted, Reason::Interrupted, &message);
    }
    let name = Facts::name_of(trial);
    let age = facts.seconds_in_state(trial);
    let restarting = facts.state_of(trial) == TrialState::Restarting;
    let (limit, reason) = if restarting {
        (super::restart_limit_seconds(facts), Reason::RestartTimedOut)
    } else {
        (APPLY_LIMIT_SECONDS, Reason::ConfigurationNotInEffect)
    };
    let late = |message: &str| {
        (age > limit).then(|| {
            let cause = facts.instance_trouble().map_or_else(|| message.to_owned(), |trouble| trouble.message);
            let message = format!("not in effect after {limit} s: {cause}");
            ended(facts, trial, TrialState::Failed, reason, &message)
        })
    };
    match effect::bring(facts, &Target::of(session, &trial.spec.parameters)) {
        Effect::Complete if facts.instance_trouble().is_some() => {
            let message = facts.instance_trouble().map(|trouble| trouble.message).unwrap_or_default();
            late(&message).unwrap_or_else(|| Decision::wait(Reason::InstanceNotReady, message, SOON))
        }
        // Whoever refuses the Job, a quota say, the configuration does not stay for as long as he likes.
        Effect::Complete if age > limit + START_LIMIT_SECONDS => {
            let message = "its Job could not be created in ten minutes; the operator's log says why";
            ended(facts, trial, TrialState::Failed, Reason::BenchmarkPending, message)
        }
        Effect::Complete => {
            let job = match benchmark_job::job(facts, trial) {
                Ok(job) => Box::new(job),
                Err(message) => return Decision::stalled(Reason::InvalidSpecification, message),
            };
            Decision::act(
                progress_reason(facts),
                format!("trial {} is measured", trial.spec.number),
                vec![Step::StartBenchmark {
                    trial: name,
                    job,
                    server_started_at_ms: facts.server().map(|s| s.started_at_ms),
                }],
            )
        }
        Effect::Steps { mut steps, message } => {
            // A conflict on the write is not the configuration's fault: the trial waits for it to be solved.
            let writes = matches!(steps.first(), Some(Step::WriteConfiguration(_)));
            if let Some(decision) = late(&message).filter(|_| !writes) {
                return decision;
            }
            let restarts = steps.iter().any(|step| matches!(step, Step::Restart { .. }));
            let state = if restarts { TrialState::Restarting } else { TrialState::Applying };
            // With each write the time begins anew: one that was held up for hours is not late when it succeeds.
            if writes || facts.state_of(trial) != state || trial.status.is_none() {
                let status = Box::new(super::trial_status(facts, trial, state));
                steps.insert(0, Step::SetTrial { name, status });
            }
            Decision::act(if restarts { Reason::Restarting } else { Reason::Applying }, message, steps)
        }
        Effect::Waiting { message, restarting } => late(&message).unwrap_or_else(|| {
            Decision::wait(if restarting { Reason::Restarting } else { Reason::Applying }, message, SOON)
        }),
        Effect::Blocked { reason, message } => ended(facts, trial, TrialState::Failed, reason, &message),
    }
}

fn measuring(facts: &Facts, session: &SessionRecord, trial: &TuningTrial) -> Decision {
    if let Some((reason, message)) = guardrail(facts, trial) {
        return ended(facts, trial, TrialState::Aborted, reason, &message);
    }
    let Some(job) = &facts.job else {
        return ended(facts, trial, TrialState::Failed, Reason::BenchmarkLost, Reason::BenchmarkLost.sentence());
    };
    let number = trial.spec.number;
    if job.phase == JobPhase::Running {
        let pending = [PodTroubleKind::ImagePull, PodTroubleKind::Unschedulable, PodTroubleKind::CreateContainer];
        return match job.trouble.as_ref().filter(|t| pending.contains(&t.kind)) {
            Some(trouble) => Decision::stalled(Reason::BenchmarkPending, &trouble.message),
            None => Decision::wait(progress_reason(facts), format!("trial {number} is measured"), WATCH),
        };
    }
    // One that is taken from its node says that it was stopped, which is no result.
    let evicted = job.phase == JobPhase::Failed
        && job.trouble.as_ref().is_some_and(|trouble| trouble.kind == PodTroubleKind::Evicted);
    let message = job.termination_message.as_deref().filter(|_| !evicted);
    match message.map(serde_json::from_str::<BenchmarkResult>) {
        Some(Ok(BenchmarkResult::Measured(measurement))) => observed(facts, session, trial, *measurement),
        Some(Ok(BenchmarkResult::Failed { message })) => {
            ended(facts, trial, TrialState::Failed, Reason::BenchmarkFailed, &message)
        }
        Some(Ok(BenchmarkResult::LatencyGuardrail { message })) => {
            ended(facts, trial, TrialState::Aborted, Reason::LatencyGuardrail, &message)
        }
        // The node's fault: such a run is measured again, but not for ever.
        None if job.phase == JobPhase::Failed
            && (evicted || job.trouble.is_none())
            && facts.records().last().is_none_or(|last| last.outcome != Outcome::Interrupted) =>
        {
            let why = job.trouble.as_ref().map_or("it is gone", |trouble| trouble.message.as_str());
            let message = format!("the benchmark's pod was taken from its node, and its trial is repeated: {why}");
            ended(facts, trial, TrialState::Aborted, Reason::Interrupted, &message)
        }
        Some(Err(_)) | None => {
            let why = job.trouble.as_ref().map_or("it left no result", |t| t.message.as_str());
            ended(
                facts,
                trial,
                TrialState::Failed,
                Reason::BenchmarkFailed,
                &format!("the benchmark's pod failed: {why}"),
            )
        }
    }
}

/// What ends a trial at once. The order puts the cause before its consequences.
fn guardrail(facts: &Facts, trial: &TuningTrial) -> Option<(Reason, String)> {
    let started = trial.status.as_ref()?.server_started_at_ms;
    let server = facts.server();
    if facts.was_killed_for_memory_in(trial)
        && server.map_or(!facts.is_server_unasked(), |server| Some(server.started_at_ms) != started)
    {
        return Some((Reason::OutOfMemory, Reason::OutOfMemory.sentence().into()));
    }
    match server {
        // A Secret that is made anew, an API server that restarts: the benchmark knows whether the server answers.
        None if facts.is_server_unasked() => {}
        None => {
            let why = facts.server_trouble().unwrap_or_default();
            return Some((Reason::AvailabilityGuardrail, format!("the server does not answer: {why}")));
        }
        Some(server) if started.is_some_and(|started| started != server.started_at_ms) => {
            return Some((Reason::PostgresRestarted, Reason::PostgresRestarted.sentence().into()));
        }
        Some(_) => {}
    }
    if facts.is_pod_unready() {
        return Some((Reason::AvailabilityGuardrail, "the server's pod is not ready".to_owned()));
    }
    if let Some((used, limit)) = facts.memory().filter(|(used, limit)| *used > MEMORY_GUARDRAIL * limit) {
        let message = format!("{:.0} % of the memory limit is in use", used / limit * 100.0);
        return Some((Reason::MemoryGuardrail, message));
    }
    let anomaly = facts.anomaly_in(trial)?;
    Some((Reason::AnomalyGuardrail, format!("detector {}: {}", anomaly.detector, anomaly.message)))
}

fn observed(facts: &Facts, session: &SessionRecord, trial: &TuningTrial, measurement: Measurement) -> Decision {
    if let Some(message) = too_slow(facts, &measurement) {
        return ended(facts, trial, TrialState::Aborted, Reason::LatencyGuardrail, &message);
    }
    if let Some(message) = measured_something_else(facts, session, trial, &measurement) {
        return ended(facts, trial, TrialState::Failed, Reason::ConfigurationNotInEffect, &message);
    }
    let number = trial.spec.number;
    let message = format!("trial {number} measured {:.1} tps", measurement.tps.0);
    let scored = facts.scored_with(session, trial, &measurement);
    let status = TuningTrialStatus {
        gain_percent: scored.log_gain.map(summary::percent),
        reward: scored.reward.map(Decimal::rounded),
        measurement: Some(measurement),
        ..super::trial_status(facts, trial, TrialState::Observed)
    };
    let name = Facts::name_of(trial);
    Decision::act(progress_reason(facts), message, vec![Step::SetTrial { name, status: Box::new(status) }])
}

/// A server that read something else while it was measured: somebody changed our key, what the file is made of, or a value
/// in another place.
fn measured_something_else(
    facts: &Facts,
    session: &SessionRecord,
    trial: &TuningTrial,
    measurement: &Measurement,
) -> Option<String> {
    let by_key = matches!(facts.configuration_way(), Ok(ConfigurationWay::ConfigMap { .. }));
    let at_the_end = measurement.configuration.as_deref();
    if by_key && at_the_end != Some(trial.spec.marker.as_str()) {
        return Some(format!(
            "at its end the server ran configuration {} instead of {}: somebody changed our key while it was measured",
            at_the_end.unwrap_or("without a marker"),
            trial.spec.marker
        ));
    }
    facts.server()?;
    let mismatch = Target::of(session, &trial.spec.parameters).first_mismatch(facts)?;
    Some(format!("at its end another value was in effect: {mismatch}"))
}

fn too_slow(facts: &Facts, measurement: &Measurement) -> Option<String> {
    let limit = facts.latency_guardrail_ms()?;
    let p99 = measurement.latency_p99_ms.0;
    (p99 > limit).then(|| format!("the 99th percentile was {p99:.1} ms, above the guardrail of {limit:.1} ms"))
}

/// After a failure the baseline comes back before anything else is tried.
fn begin_next(facts: &Facts, session: &SessionRecord) -> Decision {
    let to_baseline = || restoring::restore(facts, &Target::of(session, &Parameters::new()));
    if facts.last_trial_failed()
        && let Some(decision) = to_baseline()
    {
        return decision;
    }
    if let Some(message) = facts.shrunk(session) {
        let stalled = || Decision::stalled(Reason::InstanceNotReady, message);
        return to_baseline().unwrap_or_else(stalled);
    }
    let plan = match facts.plan(session) {
        Ok(plan) => plan,
        Err(message) => return Decision::stalled(Reason::InvalidKnobs, message),
    };
    match plan.next() {
        Next::Measure(assignment) => {
            let point = plan.space.encode(&plan.complete(&assignment.parameters));
            let spec = TuningTrialSpec {
                arm: assignment.arm,
                ..trial_spec(facts, session, assignment.kind, assignment.parameters, &point)
            };
            create(facts, spec, None)
        }
        Next::Propose(kind) => match &facts.proposal {
            Some(Ok(proposal)) => {
                let chosen = plan.admit(&proposal.point);
                let spec = TuningTrialSpec {
                    repairs: chosen.repairs,
                    ..trial_spec(facts, session, kind, chosen.parameters, &chosen.point)
                };
                create(facts, spec, proposal.checkpoint.clone())
            }
            // However long it takes, what the last trial tried is not what the server waits with.
            Some(Err(trouble)) => to_baseline().unwrap_or_else(|| Decision::stalled(trouble.reason, &trouble.message)),
            None => Decision::wait(progress_reason(facts), "the optimizer is asked", SOON),
        },
        Next::Conclude(conclusion) => {
            let session = SessionRecord { outcome: Some(conclusion.outcome), ..session.clone() };
            let message = match conclusion.outcome {
                SessionOutcome::Improved => "a configuration was verified to be better",
                SessionOutcome::NoSignificantGain => Reason::NoSignificantGain.sentence(),
                SessionOutcome::TooManyFailures => Reason::TooManyFailures.sentence(),
            };
            Decision { session: Some(session), ..Decision::wait(Reason::Restoring, message, SOON) }
        }
    }
}

fn trial_spec(
    facts: &Facts,
    session: &SessionRecord,
    kind: TrialKind,
    parameters: Parameters,
    point: &[f64],
) -> TuningTrialSpec {
    TuningTrialSpec {
        tuning: facts.tuning.metadata.name.clone().unwrap_or_default(),
        session: session.name.clone(),
        number: facts.next_number(),
        kind,
        arm: None,
        point: point.iter().map(|x| Decimal::rounded(*x)).collect(),
        marker: configuration::marker(&parameters),
        parameters,
        repairs: Vec::new(),
    }
}

fn create(facts: &Facts, spec: TuningTrialSpec, checkpoint: Option<Vec<u8>>) -> Decision {
    use kube::Resource;
    let number = spec.number;
    let mut trial = TuningTrial::new(&format!("{}-{}-{number:03}", spec.tuning, spec.session), spec);
    trial.metadata.namespace = facts.tuning.metadata.namespace.clone();
    trial.metadata.owner_references = facts.tuning.controller_owner_ref(&()).map(|owner| vec![owner]);
    trial.metadata.labels = Some(benchmark_job::labels(&trial.spec.tuning));
    let message = format!("trial {number} begins");
    let mut steps = Vec::new();
    if let Some(checkpoint) = checkpoint {
        steps.push(Step::SaveCheckpoint { number, checkpoint });
    }
    steps.push(Step::CreateTrial(Box::new(trial)));
    Decision::act(progress_reason(facts), message, steps)
}

/// Searching, or verifying what the search found.
fn progress_reason(facts: &Facts) -> Reason {
    if facts.is_verifying() { Reason::Verifying } else { Reason::Searching }
}
