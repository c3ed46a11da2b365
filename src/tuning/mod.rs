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

use crate::control::kinds::Rule;

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
            &["create"],
            "Each measured configuration is recorded as a TuningTrial.",
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
