//! PostgresTuning and TuningTrial: the search for a better configuration, and its safety.

pub mod act;
pub mod benchmark;
pub mod benchmark_job;
pub mod configuration;
pub mod crd;
pub mod decide;
pub mod evidence;
pub mod facts;
pub mod heuristic;
pub mod knobs;
pub mod measure;
pub mod measurement;
pub mod objective;
pub mod observe;
pub mod optimizer;
pub mod plan;
pub mod reason;
pub mod report;
pub mod safety;
pub mod session;
pub mod simulator;
pub mod space;
pub mod state;
pub mod summary;
pub mod surroundings;

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::runtime::watcher;

use crate::control::kinds::Rule;
use crate::control::room::{Guarded, Report, Room};
use crate::control::scope::Scope;
use act::Outcome;
use crd::PostgresTuning;
use decide::Decision;
use facts::Facts;
use surroundings::Surroundings;

/// PostgresTuning's reconciliation.
#[derive(Clone)]
pub struct Tuning(pub Surroundings);

impl Room for Tuning {
    type Kind = PostgresTuning;
    type Facts = Facts;
    type Decision = Decision;
    type Outcome = Outcome;

    fn watch(&self, controller: Guarded<PostgresTuning>, scope: &Scope) -> Guarded<PostgresTuning> {
        // A benchmark's end wakes its tuning by the label; everything else is looked at when the decision says so.
        let labelled = watcher::Config::default().labels(TUNING_LABEL);
        controller.watches(scope.api::<Job>(), labelled, |job| {
            let namespace = job.namespace();
            let name = job.labels().get(TUNING_LABEL).cloned();
            name.map(|name| {
                let reference = kube::runtime::reflector::ObjectRef::new(&name);
                match namespace {
                    Some(namespace) => reference.within(&namespace),
                    None => reference,
                }
            })
        })
    }

    async fn observe(&self, object: Arc<PostgresTuning>) -> Facts {
        self.0.facts(&object).await
    }

    fn decide(facts: &Facts) -> Decision {
        decide::decide(facts)
    }

    async fn act(&self, object: Arc<PostgresTuning>, _: &Facts, decision: &Decision) -> Outcome {
        act::act(&self.0, &object, decision).await
    }

    fn report(facts: &Facts, decision: &Decision, outcome: &Outcome) -> Report {
        report::report(facts, decision, outcome)
    }
}

/// What the room does in the cluster, beside what the instance room does.
pub fn rules() -> Vec<Rule> {
    vec![
        Rule::new(
            "howdah.dev",
            &["postgrestunings"],
            &["patch"],
            "A finalizer keeps a tuning until its baseline is restored.",
        ),
        Rule::new(
            "howdah.dev",
            &["postgrestunings/finalizers", "tuningtrials/finalizers"],
            &["update"],
            "Trials and Jobs are owned by their tuning, so that they go with it.",
        ),
        Rule::new(
            "howdah.dev",
            &["tuningtrials"],
            &["create", "delete"],
            "Each measured configuration is recorded as a TuningTrial, which goes two sessions later.",
        ),
        Rule::new(
            "batch",
            &["jobs"],
            &["get", "list", "watch", "create", "delete"],
            "A benchmark runs as a Job; a guardrail, a suspension or a deletion ends it.",
        ),
    ]
}

/// The annotation that approves a recommendation by its hash.
pub const APPROVE_ANNOTATION: &str = "howdah.dev/approve";
/// The annotation whose change begins a session anew.
pub const RESTART_ANNOTATION: &str = "howdah.dev/restart-session";
/// The label of trials and Jobs that names their tuning.
pub const TUNING_LABEL: &str = "howdah.dev/tuning";
/// The finalizer that restores the baseline.
pub const FINALIZER: &str = "howdah.dev/restore-configuration";

/// Where the learner's checkpoints of a tuning are; of one of its sessions, where a name is given.
fn checkpoints(tuning: &PostgresTuning, session: Option<&str>) -> String {
    let root = format!("tuning/{}/{}", tuning.namespace().unwrap_or_default(), tuning.uid().unwrap_or_default());
    session.map_or_else(|| root.clone(), |session| format!("{root}/{session}"))
}

/// Where the checkpoint of a trial of the tuning's session is.
fn checkpoint_path(tuning: &PostgresTuning, number: i32) -> String {
    let session = tuning.status.as_ref().and_then(|s| s.session.as_ref()).map_or("none", |s| s.name.as_str());
    format!("{}/{number:04}", checkpoints(tuning, Some(session)))
}
