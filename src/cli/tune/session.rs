//! The course of a session: trial after trial to a conclusion, with a bar that shows where it is.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::Tune;
use super::target::Target;
use crate::learn::worker::Worker;
use crate::tuning::benchmark::BenchmarkRequest;
use crate::tuning::crd::{PostgresTuningSpec, SessionOutcome, TrialKind};
use crate::tuning::measure::{Progress, measure};
use crate::tuning::measurement::{Measurement, Parameters};
use crate::tuning::plan::Plan;
use crate::tuning::session::{Assignment, Conclusion, Next, Outcome, Record, Scores};
use crate::tuning::{heuristic, optimizer, safety, summary};

/// A session and what it runs on.
pub(super) struct Session<'a> {
    pub tune: &'a Tune,
    pub spec: &'a PostgresTuningSpec,
    pub target: &'a Target,
    pub worker: Worker,
}

/// A session that came to its end.
pub(super) struct Finished {
    pub records: Vec<Record>,
    pub conclusion: Conclusion,
    pub messages: Vec<(i32, String)>,
}

impl Finished {
    pub fn recommended(&self) -> Option<Parameters> {
        self.conclusion.recommended.as_ref().map(|verdict| verdict.winner.parameters.clone())
    }

    pub fn summary(&self, session: &Session<'_>) -> summary::Summary {
        summary::summarise(
            session.spec.objective.metric,
            &session.target.baseline,
            &session.target.space.restart_knobs(),
            &self.records,
            Some(&self.conclusion),
        )
    }

    pub fn print(&self, session: &Session<'_>) {
        println!("\n{}", summary::table(&self.summary(session)));
        match self.conclusion.outcome {
            SessionOutcome::Improved => {}
            SessionOutcome::NoSignificantGain => {
                println!("No configuration was verified to be better: the current one is as good.");
            }
            SessionOutcome::TooManyFailures => {
                let last = self.messages.last().map_or("", |(_, message)| message.as_str());
                println!("Too many trials failed in a row, the last because: {last}");
            }
        }
    }
}

impl Session<'_> {
    pub async fn run(&self) -> Result<Finished> {
        let began = Instant::now();
        let mut records: Vec<Record> = Vec::new();
        let mut messages = Vec::new();
        let mut checkpoint: Option<Vec<u8>> = None;
        let Target { space, settings, resources, .. } = self.target;
        let formulas = heuristic::pgtune(space, settings, resources, self.spec.knobs.profile);
        loop {
            let plan = Plan {
                spec: self.spec,
                space: self.target.space.clone(),
                settings: self.target.settings.clone(),
                resources: self.target.resources,
                formulas: formulas.clone(),
                baseline: self.target.baseline.clone(),
                records: std::mem::take(&mut records),
                elapsed_seconds: i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX),
                verification_pairs: self.spec.budget.verification_pairs,
            };
            let number = plan.records.len() as i32 + 1;
            let (assignment, point) = match plan.next() {
                Next::Conclude(conclusion) => return Ok(Finished { records: plan.records, conclusion, messages }),
                Next::Measure(assignment) => {
                    let point = plan.space.encode(&plan.complete(&assignment.parameters));
                    (assignment, point)
                }
                Next::Propose(kind) => {
                    let request = plan.request(kind, checkpoint.clone());
                    let proposal = self.worker.run(move || optimizer::propose(&request)).await??;
                    checkpoint = proposal.checkpoint.or(checkpoint);
                    let admitted = plan.admit(&proposal.point);
                    (Assignment { kind, arm: None, parameters: admitted.parameters }, admitted.point)
                }
            };
            records = plan.records;
            let outcome = match self.trial(number, &assignment, &records).await {
                Ok(measurement) => Outcome::Measured(Box::new(measurement)),
                Err(error) => {
                    let message = format!("{error:#}");
                    println!("trial {number:>3}  failed: {message}");
                    messages.push((number, message));
                    self.target.restore().await.context("after a failed trial")?;
                    Outcome::Failed
                }
            };
            let Assignment { kind, arm, parameters } = assignment;
            records.push(Record { number, kind, arm, point, parameters, outcome });
            self.tell(&records);
        }
    }

    /// Brings the configuration into effect and measures it under a progress bar.
    async fn trial(&self, number: i32, assignment: &Assignment, records: &[Record]) -> Result<Measurement> {
        self.target.bring(&assignment.parameters).await?;
        let request = self.request(assignment.kind, records);
        let length = u64::from(request.warmup_seconds + request.measure_seconds);
        let bar = ProgressBar::new(length)
            .with_style(ProgressStyle::with_template("trial {prefix} {bar:30} {pos}/{len} s {msg}")?);
        bar.set_prefix(format!("{number:>3}"));
        let measured = measure(&self.target.uri, self.target.ca.as_deref(), &request, |progress| match progress {
            Progress::Preparing => bar.set_message("preparing the benchmark's database"),
            Progress::WarmingUp(second) | Progress::Measuring(second) => {
                bar.set_position(second.elapsed as u64);
                bar.set_message(format!("{:.0} tps", second.tps));
            }
            Progress::Checkpointing => bar.set_message("closing checkpoint"),
        });
        let result = measured.await;
        bar.finish_and_clear();
        let measurement = result?;
        let mismatches =
            safety::readback(&self.target.expected(&assignment.parameters), &self.target.live_settings().await?, None);
        if let Some(mismatch) = mismatches.first() {
            bail!("the configuration did not stay in effect: {mismatch}");
        }
        Ok(measurement)
    }

    fn request(&self, kind: TrialKind, records: &[Record]) -> BenchmarkRequest {
        let pgbench = &self.spec.workload.pgbench;
        let metric = self.spec.objective.metric;
        let searches = matches!(kind, TrialKind::Explore | TrialKind::Policy | TrialKind::Refine);
        let baseline = records.iter().rev().filter(|r| r.is_baseline()).find_map(Record::measurement);
        let guardrail = f64::from(self.spec.safety.max_latency_percent) / 100.0;
        BenchmarkRequest {
            scale: pgbench.scale.unsigned_abs(),
            clients: pgbench.clients.unsigned_abs(),
            threads: pgbench.threads.unsigned_abs(),
            builtin: pgbench.builtin.unwrap_or_default(),
            scripts: self.tune.scripts.clone(),
            init_script: self.tune.init.clone(),
            warmup_seconds: pgbench.warmup_seconds.unsigned_abs(),
            measure_seconds: pgbench.measure_seconds.unsigned_abs(),
            rate: None,
            seed: (self.tune.seed % i64::from(u32::MAX)) as u32,
            abandon_below_tps: Scores::new(metric, records).abandon_below().filter(|_| searches),
            abort_above_p99_ms: baseline.map(|m| m.latency_p99_ms.0 * guardrail),
            memory_bytes: i64::try_from(self.target.resources.memory_bytes).ok(),
            cpu_millis: Some(i64::from(self.target.resources.cpu_millis)),
        }
    }

    fn tell(&self, records: &[Record]) {
        let Some(record) = records.last() else { return };
        let Some(measurement) = record.measurement() else { return };
        let what = record.arm.map_or_else(|| format!("{:?}", record.kind), |arm| format!("Verify {arm:?}"));
        let gain = Scores::new(self.spec.objective.metric, records).of(record.number);
        let gain = gain.map_or_else(String::new, |score| format!("{:+6.1} %", score.log_gain.exp_m1() * 100.0));
        println!(
            "trial {:>3}  {what:<17} {:>9.1} tps  p95 {:>8.2} ms  {gain}{}",
            record.number,
            measurement.tps.0,
            measurement.latency_p95_ms.0,
            if measurement.censored { "  ended early" } else { "" }
        );
    }
}
