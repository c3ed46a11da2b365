//! The commands of `kubectl howdah`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::tuning::crd::{Mode, PostgresTuning, TrialState, TuningTrial};
use crate::tuning::reason::Reason;
use crate::tuning::summary::{self, Summary};
use crate::tuning::{APPROVE_ANNOTATION, TUNING_LABEL};

/// Follow and approve tunings of Howdah.
#[derive(Debug, Parser)]
#[command(name = "kubectl-howdah", bin_name = "kubectl howdah", version)]
pub struct Plugin {
    /// Namespace; without it, the one of the current context.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints each trial as it happens and the result at the end.
    Follow {
        /// The PostgresTuning.
        tuning: String,
        /// Gives up after this many minutes.
        #[arg(long, default_value_t = 360)]
        timeout_minutes: u64,
    },
    /// Prints the result so far.
    Status {
        /// The PostgresTuning.
        tuning: String,
    },
    /// Approves the present recommendation of a tuning in mode RequireApproval.
    Approve {
        /// The PostgresTuning.
        tuning: String,
    },
}

/// Runs a command; the exit code is 1 when a followed tuning stalled.
///
/// # Errors
/// When the cluster can't be reached or the tuning does not exist.
pub async fn run(plugin: Plugin) -> Result<ExitCode> {
    super::choose_tls_provider();
    let client = Client::try_default().await.context("no cluster: set KUBECONFIG or run inside a pod")?;
    let namespace = plugin.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let tunings: Api<PostgresTuning> = Api::namespaced(client.clone(), &namespace);
    match plugin.command {
        Command::Follow { tuning, timeout_minutes } => {
            let trials = Api::namespaced(client, &namespace);
            let limit = Duration::from_secs(timeout_minutes * 60);
            match tokio::time::timeout(limit, follow(&tunings, &trials, &tuning)).await {
                Ok(code) => code,
                Err(_) => bail!("{tuning} has not ended after {timeout_minutes} minutes; it goes on, follow it again"),
            }
        }
        Command::Status { tuning } => {
            print!("{}", summary::table(&result(&get(&tunings, &tuning).await?)));
            Ok(ExitCode::SUCCESS)
        }
        Command::Approve { tuning } => approve(&tunings, &tuning).await,
    }
}

async fn get(tunings: &Api<PostgresTuning>, name: &str) -> Result<PostgresTuning> {
    let found = tunings.get_opt(name).await.context("the cluster did not answer")?;
    found.with_context(|| format!("there is no PostgresTuning {name}"))
}

fn result(tuning: &PostgresTuning) -> Summary {
    let status = tuning.status.clone().unwrap_or_default();
    Summary {
        baseline: status.baseline,
        heuristic: status.heuristic,
        incumbent: status.incumbent,
        recommendation: status.recommendation,
    }
}

async fn approve(tunings: &Api<PostgresTuning>, name: &str) -> Result<ExitCode> {
    let tuning = get(tunings, name).await?;
    if tuning.spec.mode != Mode::RequireApproval {
        bail!(
            "{name} is in mode {:?}, in which nothing waits for an approval: set spec.mode to RequireApproval, or to Apply",
            tuning.spec.mode
        );
    }
    let recommendation = tuning.status.and_then(|s| s.recommendation);
    let Some(recommendation) = recommendation else { bail!("{name} has no recommendation to approve yet") };
    let patch = json!({"metadata": {"annotations": {APPROVE_ANNOTATION: recommendation.hash}}});
    tunings.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.context("the approval was refused")?;
    println!("approved recommendation {} of {name}", recommendation.hash);
    Ok(ExitCode::SUCCESS)
}

async fn follow(tunings: &Api<PostgresTuning>, trials: &Api<TuningTrial>, name: &str) -> Result<ExitCode> {
    let mut told: BTreeMap<String, TrialState> = BTreeMap::new();
    let mut condition = String::new();
    loop {
        let tuning = get(tunings, name).await?;
        let list = trials
            .list(&ListParams::default().labels(&format!("{TUNING_LABEL}={name}")))
            .await
            .context("the cluster did not list the trials")?;
        let session = tuning.status.as_ref().and_then(|s| s.session.as_ref()).map(|s| s.name.as_str());
        let mut items: Vec<_> = list.items.into_iter().filter(|t| Some(t.spec.session.as_str()) == session).collect();
        items.sort_by_key(|t| t.spec.number);
        for trial in items {
            let state = trial.status.as_ref().map(|s| s.state).unwrap_or_default();
            let worth_telling = state == TrialState::Measuring || state.is_final();
            if worth_telling && told.insert(trial.name_any(), state) != Some(state) {
                println!("{}", line(&trial, state));
            }
        }
        let ready = tuning.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == "Ready");
        if let Some(ready) = ready {
            let now = format!("{}: {}", ready.reason, ready.message);
            if now != condition && ready.reason != Reason::Searching.word() && ready.reason != Reason::Verifying.word()
            {
                println!("{now}");
                condition = now;
            }
            let ended =
                [Reason::RecommendationReady, Reason::AwaitingApproval, Reason::Applied, Reason::NoSignificantGain];
            if ended.iter().any(|r| r.word() == ready.reason) {
                println!("\n{}", summary::table(&result(&tuning)));
                return Ok(ExitCode::SUCCESS);
            }
            if ready.reason == Reason::TooManyFailures.word() {
                return Ok(ExitCode::FAILURE);
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn line(trial: &TuningTrial, state: TrialState) -> String {
    let what = trial.spec.arm.map_or_else(|| format!("{:?}", trial.spec.kind), |arm| format!("Verify {arm:?}"));
    let mut text = format!("trial {:>3}  {what:<17} {:<9}", trial.spec.number, format!("{state:?}"));
    let status = trial.status.clone().unwrap_or_default();
    if let Some(m) = status.measurement {
        text += &format!(" {:>9.1} tps  p95 {:>8.2} ms", m.tps.0, m.latency_p95_ms.0);
    }
    if let Some(gain) = status.gain_percent {
        text += &format!("  {:+6.1} %", gain.0);
    }
    if let (Some(reason), true) = (status.reason, state.is_final()) {
        text += &format!("  {reason}: {}", status.message.unwrap_or_default());
    }
    if state == TrialState::Measuring && !trial.spec.parameters.is_empty() {
        let knobs: Vec<String> = trial.spec.parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
        text += &format!(" {}", knobs.join(" "));
    }
    text
}
