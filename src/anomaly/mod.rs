//! AnomalyDetector: what is normal for a database, that something is not, since when, and what moved.

pub mod act;
pub mod alarm;
pub mod answer;
mod calibration;
pub mod coincidence;
pub mod crd;
pub mod decide;
pub mod drawing;
pub mod facts;
pub mod faults;
pub mod features;
pub mod fetch;
pub mod gap;
pub mod incident;
pub mod matrix;
pub mod model;
pub mod observe;
pub mod packs;
pub mod pipeline;
pub mod reason;
pub mod replay;
pub mod report;
pub mod rows;
pub mod scale;
pub mod score;
pub mod season;
pub mod sentence;
pub mod signature;
pub mod surroundings;
pub mod threshold;
pub mod train;
pub mod training;
pub mod watch;
pub mod watching;
pub mod window;

use std::sync::Arc;

use crate::control::kinds::Rule;
use crate::control::room::{Report, Room};
use act::Outcome;
use crd::AnomalyDetector;
use decide::Decision;
use facts::Facts;
use surroundings::Surroundings;

/// AnomalyDetector's reconciliation.
#[derive(Clone)]
pub struct Anomaly(pub Surroundings);

impl Room for Anomaly {
    type Kind = AnomalyDetector;
    type Facts = Facts;
    type Decision = Decision;
    type Outcome = Outcome;

    async fn observe(&self, object: Arc<AnomalyDetector>) -> Facts {
        self.0.facts(&object).await
    }

    fn decide(facts: &Facts) -> Decision {
        decide::decide(facts)
    }

    async fn act(&self, _cached: Arc<AnomalyDetector>, facts: &Facts, decision: &Decision) -> Outcome {
        self.0.tell(facts, &decision.status);
        // The object that was decided upon: the cached one may lag behind.
        act::act(&self.0, &facts.detector, decision).await
    }

    fn report(facts: &Facts, decision: &Decision, outcome: &Outcome) -> Report {
        report::report(facts, decision, outcome)
    }
}

/// Where a model is; without a name, where all of a detector's are.
pub fn model_path(namespace: &str, uid: &str, name: Option<&str>) -> String {
    let root = format!("anomaly/{namespace}/{uid}");
    name.map_or(root.clone(), |name| format!("{root}/{name}"))
}

/// What the room does in the cluster, beside what the instance and the tuning rooms do.
pub fn rules() -> Vec<Rule> {
    vec![
        Rule::new(
            "howdah.dev",
            &["anomalydetectors"],
            &["patch"],
            "A finalizer keeps a detector until its models are removed from the store.",
        ),
        Rule::new("batch", &["jobs"], &["patch"], "A training tells how far it is in an annotation of its Job."),
    ]
}

/// What the room does in the operator's own namespace, where trainings run.
pub fn home_rules() -> Vec<Rule> {
    let why =
        "A detector's training runs in the operator's own namespace, after the pattern of the operator's own pod.";
    vec![
        Rule::new("batch", &["jobs"], &["get", "create", "delete", "patch"], why),
        Rule::new("", &["pods"], &["list"], why),
    ]
}

/// The annotation that names an incident's cause: `INCIDENT=cause`, or only the cause for the newest; several are
/// separated by `;`.
pub const CAUSE_ANNOTATION: &str = "howdah.dev/cause";
/// The cause of what was no fault: trainings learn it.
pub const NORMAL: &str = "normal";
/// The annotation whose change begins a training.
pub const RETRAIN_ANNOTATION: &str = "howdah.dev/retrain";
/// The label of a training's Job that names its detector's uid.
pub const DETECTOR_LABEL: &str = "howdah.dev/detector-uid";
/// The finalizer that removes the models.
pub const FINALIZER: &str = "howdah.dev/remove-models";

#[cfg(test)]
mod tests;
