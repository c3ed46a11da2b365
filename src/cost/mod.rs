//! QueryCostModel: what a statement will cost before it runs, from its text.

pub mod act;
pub mod answer;
pub mod classes;
pub mod crd;
pub mod decide;
pub mod deployment;
pub mod evaluation;
pub mod facts;
pub mod fetch;
pub mod grants;
pub mod history;
pub mod log;
pub mod model;
pub mod observe;
pub mod reading;
pub mod reason;
pub mod replay;
pub mod report;
pub mod splits;
pub mod sqltext;
pub mod surroundings;
pub mod train;
pub mod training;

use std::sync::Arc;

use crate::control::kinds::Rule;
use crate::control::room::{Report, Room};
use act::Outcome;
use crd::QueryCostModel;
use decide::Decision;
use facts::Facts;
use surroundings::Surroundings;

/// QueryCostModel's reconciliation.
#[derive(Clone)]
pub struct QueryCost(pub Surroundings);

impl Room for QueryCost {
    type Kind = QueryCostModel;
    type Facts = Facts;
    type Decision = Decision;
    type Outcome = Outcome;

    async fn observe(&self, object: Arc<QueryCostModel>) -> Facts {
        self.0.facts(&object).await
    }

    fn decide(facts: &Facts) -> Decision {
        decide::decide(facts)
    }

    async fn act(&self, object: Arc<QueryCostModel>, _: &Facts, decision: &Decision) -> Outcome {
        act::act(&self.0, &object, decision).await
    }

    fn report(facts: &Facts, decision: &Decision, outcome: &Outcome) -> Report {
        report::report(facts, decision, outcome)
    }
}

/// The finalizer that removes the models.
pub const FINALIZER: &str = "howdah.dev/remove-models";
/// The name of a training's report, beside its model.
pub const REPORT: &str = "report.json";

/// Where a model is; without a name, where all of an object's are.
pub fn model_path(namespace: &str, uid: &str, name: Option<&str>) -> String {
    let root = format!("cost/{namespace}/{uid}");
    name.map_or(root.clone(), |name| format!("{root}/{name}"))
}

/// What the room does in the cluster, beside what the instance room does.
pub fn rules() -> Vec<Rule> {
    vec![Rule::new(
        "howdah.dev",
        &["querycostmodels"],
        &["patch"],
        "A finalizer keeps a model's object until its versions are removed from the store.",
    )]
}

/// What the room does in the operator's own namespace, where trainings and replicas run.
pub fn home_rules() -> Vec<Rule> {
    let why = "A query cost model's trainings and replicas run in the operator's own namespace, after the pattern of the \
               operator's own pod.";
    let verbs = ["get", "create", "delete", "patch"];
    vec![
        Rule::new("apps", &["deployments"], &verbs, why),
        Rule::new("", &["services"], &verbs, why),
        Rule::new(
            "",
            &["secrets"],
            &verbs,
            "The replicas' own copy of the connection for EXPLAIN, whose Secret is in another namespace.",
        ),
        Rule::new("policy", &["poddisruptionbudgets"], &verbs, why),
        Rule::new("autoscaling", &["horizontalpodautoscalers"], &verbs, why),
    ]
}
