//! What to do next for a model. Pure: the same facts give the same decision.

mod training;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::crd::{QueryCostModelStatus, RoutingGroups, Serving, SplitSpec};
use super::deployment;
use super::facts::{Beside, DeploymentFacts, Facts, Trouble};
use super::model_path;
use super::reading::postgres;
use super::reason::Reason;
use super::splits::Split;
use super::training::{accuracy_by, format as format_of, has_targets, options, targets as targets_of};
use crate::control::conditions::{Standing, stands};
use crate::control::training::check_schedule;

/// Nothing is under way: the next schedule, and what others may have changed.
const IDLE: Duration = Duration::from_secs(60);
/// Something was recorded that is to be followed at once.
const SOON: Duration = Duration::from_secs(1);
/// A Job or a roll-out is under way.
const WATCHED: Duration = Duration::from_secs(3);
/// Points of accuracy by which newer statements may be predicted worse.
const DRIFT: f64 = 0.05;
/// Share of newer statements that may be new to the model.
const UNKNOWN: f64 = 0.5;

/// What to do, because of what, and when to look next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The one reason.
    pub because: Reason,
    /// The reason's own words for this case.
    pub message: String,
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// When to look again.
    pub next: Duration,
    /// What is told beside the headline.
    pub standing: Vec<Standing<Reason>>,
    /// The status as it is once the steps have succeeded, without conditions.
    pub status: QueryCostModelStatus,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// The object stays until its models are removed.
    AddFinalizer,
    /// Creates the Job of a training.
    StartTraining {
        /// Its name.
        name: String,
    },
    /// Ends the Job of a training that is no longer wanted, and removes what it may have stored.
    EndTraining {
        /// Its name.
        name: String,
    },
    /// Removes a version from the model store.
    RemoveVersion {
        /// Its name.
        name: String,
    },
    /// Makes the replicas, or changes them, to serve a model.
    Serve {
        /// The model's name.
        name: String,
        /// The groups of its classes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        routing: Option<RoutingGroups>,
    },
    /// Removes replicas and models, then the finalizer.
    Release,
}

/// Decides.
pub fn decide(facts: &Facts) -> Decision {
    if facts.model.metadata.deletion_timestamp.is_some() {
        return delete(facts);
    }
    if let Some(Trouble { reason, message }) = &facts.unseen {
        return Decision { status: facts.status(), ..resting(*reason, message, IDLE) };
    }
    if !facts.has_finalizer() {
        let first = resting(Reason::NotTrained, Reason::NotTrained.sentence(), SOON);
        return Decision { steps: vec![Step::AddFinalizer], status: facts.status(), ..first };
    }
    if let Err(message) = check(facts) {
        return Decision { status: facts.status(), ..resting(Reason::InvalidSpecification, &message, IDLE) };
    }
    course(facts)
}

/// What the schema can't check.
fn check(facts: &Facts) -> Result<(), String> {
    let spec = &facts.model.spec;
    let targets = targets_of(spec)?;
    options(spec, 1)?;
    if let Some(routing) = &spec.serving.routing {
        let target = targets.iter().find(|target| target.name == routing.target);
        let classes = target.map_or(0, |target| target.bounds.count() + 1);
        if classes != routing.groups.len() {
            return Err(format!(
                "spec.serving.routing: {} has {classes} classes, and there are {} groups: name one for each class",
                routing.target,
                routing.groups.len()
            ));
        }
    }
    let files = spec.source.files.as_ref();
    let server_log = files.is_none_or(|files| files.format.is_some_and(|format| format_of(format).is_postgres()));
    if server_log {
        postgres::places(targets.iter().map(|target| target.name.as_str()))
            .map_err(|told| format!("spec.targets: {told}"))?;
    } else if files.is_some_and(|files| files.columns.is_none() && files.format.is_some()) {
        return Err("spec.source.files.columns is missing: name at least the column with the query".into());
    }
    let timed = files.and_then(|files| files.columns.as_ref()).is_none_or(|columns| columns.time.is_some());
    if !server_log && !timed && spec.training.split == SplitSpec::Time {
        return Err(
            "spec.training.split is Time, and spec.source.files.columns names no time: name the column that says \
                    when a statement ran, or set spec.training.split to Random or Template"
                .into(),
        );
    }
    check_schedule(spec.training.schedule.as_deref())
}

fn resting(because: Reason, message: &str, next: Duration) -> Decision {
    Decision {
        because,
        message: message.to_owned(),
        steps: Vec::new(),
        next,
        standing: Vec::new(),
        status: QueryCostModelStatus::default(),
    }
}

fn delete(facts: &Facts) -> Decision {
    let gone = resting(Reason::Deleting, Reason::Deleting.sentence(), IDLE);
    if !facts.has_finalizer() {
        return gone;
    }
    let status = facts.status();
    let running = status.training.as_ref().filter(|training| training.is_under_way());
    let mut steps: Vec<Step> =
        running.map(|training| Step::EndTraining { name: training.job.clone() }).into_iter().collect();
    steps.push(Step::Release);
    Decision { steps, status, ..gone }
}

/// The course of a model: a log, a training, replicas.
fn course(facts: &Facts) -> Decision {
    let mut status = facts.status();
    let trained = training::proceed(facts, &mut status);
    let mut steps = trained.steps;
    let serving = serve(facts, &mut status, &mut steps);
    if serving.reason == Reason::Serving {
        training::prune(facts, &mut status, &mut steps);
    }
    let learnt = training::standing(facts, &status, trained.blocked.as_ref());
    let standing = vec![data(facts, &status), learnt, serving, drifted(&status)];
    // Who asks for answers wants to know whether there are some; without a model, why there is none.
    let (because, message) = match (&status.model, &trained.blocked) {
        (Some(_), _) => (standing[2].reason, standing[2].message.clone()),
        (None, Some(trouble)) => (trouble.reason, trouble.message.clone()),
        (None, None) => (standing[1].reason, standing[1].message.clone()),
    };
    let under_way = status.training.as_ref().is_some_and(|training| training.is_under_way());
    let rolling = status.model.is_some() && !facts.deployment.as_ref().is_some_and(|replicas| replicas.rolled_out);
    let next = match (trained.soon || !steps.is_empty(), under_way || rolling) {
        (true, _) => SOON,
        (false, true) => WATCHED,
        (false, false) => IDLE,
    };
    Decision { because, message, steps, next, standing, status }
}

/// Makes the replicas serve the model, and says how far they are.
fn serve(facts: &Facts, status: &mut QueryCostModelStatus, steps: &mut Vec<Step>) -> Standing<Reason> {
    let Some(model) = &status.model else {
        status.endpoint = None;
        return stands("Serving", false, Reason::NotTrained, Reason::NotTrained.sentence());
    };
    let pattern = match &facts.pattern {
        Ok(pattern) => pattern,
        // What was made before goes on.
        Err(Trouble { reason, message }) => {
            let ready = facts.deployment.as_ref().is_some_and(|found| found.ready > 0);
            return stands("Serving", ready, *reason, message.clone());
        }
    };
    let metadata = &facts.model.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name, uid) = (text(&metadata.namespace), text(&metadata.name), text(&metadata.uid));
    let path = model_path(&namespace, &uid, Some(&model.name));
    let found = facts.deployment.as_ref();
    // Without a connection the replicas answer all the same.
    let (explain, unplanned) = match &facts.explain {
        None => (None, String::new()),
        Some(Ok(version)) => (Some(version.as_str()), String::new()),
        // Seen neither that it is there nor that it is not: what was made before goes on.
        Some(Err(Trouble { reason: Reason::StepFailed, message })) => {
            let ready = found.is_some_and(|found| found.ready > 0);
            return stands("Serving", ready, Reason::StepFailed, message.clone());
        }
        Some(Err(trouble)) => (None, format!("; no plans are asked for: {}", trouble.message)),
    };
    let spec = &facts.model.spec;
    let routing = if has_targets(model, spec) {
        spec.serving.routing.clone()
    } else {
        // A group is that of a class: until there is a model of these targets, the ones before stay.
        found.and_then(|found| found.routing.clone())
    };
    let serving = Serving { routing, ..spec.serving.clone() };
    let wanted = deployment::hash(&path, &serving, &pattern.template, explain);
    let counted = |found: &DeploymentFacts| serving.autoscaling.is_some() || found.replicas == serving.replicas;
    let mut beside = BTreeSet::from([Beside::Service, Beside::Budget]);
    beside.extend(serving.autoscaling.is_some().then_some(Beside::Autoscaler));
    beside.extend(explain.is_some().then_some(Beside::Connection));
    let service = deployment::name((&namespace, &name));
    status.endpoint = Some(format!("http://{service}.{}.svc:{}", pattern.namespace, deployment::HTTP_PORT));
    if found.is_none_or(|found| found.hash != wanted || found.beside != beside || !counted(found)) {
        steps.push(Step::Serve { name: model.name.clone(), routing: serving.routing.clone() });
    }
    match found {
        None => stands("Serving", false, Reason::NotServing, "the replicas are made"),
        Some(found) if !found.beside.contains(&Beside::Service) => {
            stands("Serving", false, Reason::NotServing, "their Service is made")
        }
        Some(found) if found.ready == 0 => {
            let why = found.message.clone().unwrap_or_else(|| "they start".into());
            stands("Serving", false, Reason::NotServing, format!("no replica is ready: {why}"))
        }
        Some(found) if found.hash != wanted || !found.rolled_out => {
            // What keeps the ones before from coming up says nothing of those that are made now.
            let why = found.message.as_ref().filter(|_| found.hash == wanted);
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            let message =
                format!("{} replicas answer while others come up with model {}{why}", found.ready, model.version);
            stands("Serving", true, Reason::RollingOut, message)
        }
        Some(found) => {
            status.served_version = Some(model.version.clone());
            let message = format!("{} replicas answer with model {}{unplanned}", found.ready, model.version);
            stands("Serving", true, Reason::Serving, message)
        }
    }
}

fn data(facts: &Facts, status: &QueryCostModelStatus) -> Standing<Reason> {
    if let Err(Trouble { reason, message }) = &facts.source {
        return stands("DataAvailable", false, *reason, message.clone());
    }
    if let Some(Trouble { reason, message }) = training::blamed_on_the_log(status) {
        return stands("DataAvailable", false, reason, message);
    }
    match &status.model {
        Some(model) => {
            let message = format!("{} statements of {} fingerprints", model.log.statements, model.log.fingerprints);
            stands("DataAvailable", true, Reason::DataAvailable, message)
        }
        None => stands("DataAvailable", false, Reason::DataUnknown, Reason::DataUnknown.sentence()),
    }
}

fn drifted(status: &QueryCostModelStatus) -> Standing<Reason> {
    let (Some(model), Some(drift)) = (&status.model, &status.drift) else {
        return stands("Drifted", false, Reason::DriftUnknown, Reason::DriftUnknown.sentence());
    };
    if drift.name != model.name {
        let message = "the model was replaced with the last training, and no newer statements were seen since";
        return stands("Drifted", false, Reason::DriftUnknown, message);
    }
    // What is newer is compared with what was: not with statements that were drawn at random, nor with new templates.
    let before = accuracy_by(model, Split::Time).map(|(accuracy, _)| accuracy);
    let message = format!(
        "of {} newer statements {:.1} % were predicted right{}; {:.1} % have a fingerprint that it does not know",
        drift.rows,
        drift.accuracy.0 * 100.0,
        before.map_or_else(String::new, |before| format!(", {:.1} % of those that judged it by time", before * 100.0)),
        drift.unknown_fingerprints.0 * 100.0
    );
    let worse = before.is_some_and(|before| drift.accuracy.0 < before - DRIFT);
    let drifts = worse || drift.unknown_fingerprints.0 > UNKNOWN;
    stands("Drifted", drifts, if drifts { Reason::Drifted } else { Reason::NoDrift }, message)
}

#[cfg(test)]
mod tests;
