//! The facts of a session are frozen before its first change: the space, the resources, and what is to be restored.

use sha2::{Digest, Sha256};

use super::super::crd::{ObjectiveMetric, OriginalConfiguration, PostgresTuning, RestartPolicy, SessionRecord};
use super::super::facts::{ConfigurationWay, Facts};
use super::super::measurement::Parameters;
use super::super::reason::Reason;
use super::super::space::Space;
use super::super::{RESTART_ANNOTATION, safety};
use super::effect::Target;
use super::{Decision, SOON, Step, restoring};
use crate::hex::hex;

/// The session searches what the tuning asks for.
pub fn is_of(session: &SessionRecord, tuning: &PostgresTuning) -> bool {
    // Before there was a field for it, the name was the search.
    *session.search.as_ref().unwrap_or(&session.name) == search(tuning)
}

/// What would make a session's trials meaningless when it changes.
fn search(tuning: &PostgresTuning) -> String {
    let spec = &tuning.spec;
    let annotation = tuning.metadata.annotations.as_ref().and_then(|a| a.get(RESTART_ANNOTATION));
    let identity = serde_json::json!([
        tuning.metadata.uid,
        spec.restart_policy,
        spec.objective,
        spec.workload,
        spec.knobs,
        spec.optimizer,
        spec.safety,
        annotation
    ]);
    short(&identity.to_string())
}

fn short(text: &str) -> String {
    hex(&Sha256::digest(text)[..3])
}

/// Freezes the facts, or says why the search can't begin.
pub(super) fn begin(facts: &Facts) -> Decision {
    let spec = &facts.tuning.spec;
    // Not a rule of the schema: before Kubernetes 1.30 one that is added later refuses each write to what was made earlier, the
    // status of a session among them.
    if spec.workload.pgbench.rate.is_some() && spec.objective.metric != ObjectiveMetric::Latency {
        let message = "at a given workload.pgbench.rate throughput says nothing: set objective.metric to Latency";
        return Decision::stalled(Reason::InvalidSpecification, message);
    }
    if let Some(hazard) = facts.restart_hazard().filter(|_| spec.restart_policy == RestartPolicy::Always) {
        return Decision::stalled(Reason::InstanceNotReady, format!("restartPolicy is Always, but {hazard}"));
    }
    if let Some(trouble) = &facts.scripts {
        return Decision::stalled(trouble.reason, &trouble.message);
    }
    let resources = match facts.resources() {
        Ok(resources) => resources,
        Err(message) => return Decision::stalled(Reason::InstanceNotReady, message),
    };
    if let Some(message) = facts.overfills(&resources) {
        return Decision::stalled(Reason::InstanceNotReady, message);
    }
    let settings = facts.settings();
    if settings.is_empty() {
        return Decision::wait(Reason::InstanceNotReady, "the server's settings can't be read yet", SOON);
    }
    if let Some(message) = crowds(facts, resources.max_connections) {
        return Decision::stalled(Reason::InvalidSpecification, message);
    }
    let space = match Space::build(
        &spec.knobs,
        spec.restart_policy,
        spec.safety.durability,
        settings,
        &facts.knob_resources(&resources),
    ) {
        Ok(space) => space,
        Err(errors) => {
            let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Decision::stalled(Reason::InvalidKnobs, sentences.join("; "));
        }
    };
    let touched = safety::touched(&space, settings);
    if let Some(name) = touched.iter().find(|name| settings.get(*name).is_some_and(|s| s.pending_restart)) {
        // Our first restart would bring it into effect, and what the session measured as its baseline would never be again.
        let message = format!("a new value of {name} waits for a restart: restart the server, or exclude the knob");
        return Decision::stalled(Reason::InstanceNotReady, message);
    }
    if let Some(name) = facts.waits_for_reload(&touched) {
        // Our own reload would bring it into effect in the middle of the session, and the baseline would be another.
        let message = format!("a file sets {name} to a value that the server has not read yet; it reads it now");
        return Decision::act(Reason::Preflight, message, vec![Step::Reload]);
    }
    let baseline: Parameters =
        touched.iter().filter_map(|name| Some((name.clone(), settings.get(name)?.configured()))).collect();
    let way = match facts.configuration_way() {
        Ok(way) => way,
        Err(message) => return Decision::stalled(Reason::InstanceNotReady, message),
    };
    let (text, stored) = match way {
        ConfigurationWay::ConfigMap { text } => {
            if let Some(message) = shadowed(facts, &touched) {
                return Decision::stalled(Reason::Shadowed, message);
            }
            (text.map(str::to_owned), Parameters::new())
        }
        ConfigurationWay::AlterSystem { stored } => {
            (None, stored.into_iter().filter(|(name, _)| touched.contains(name)).collect())
        }
    };
    if let Some((session, trials)) = facts.forgotten_session() {
        let message = format!("what is left of session {session} is removed");
        return Decision::act(Reason::Preflight, message, vec![Step::ForgetSession { session, trials }]);
    }
    let search = search(&facts.tuning);
    let session = SessionRecord {
        // A search that is changed and changed back begins another session: the trials of the first had another baseline.
        name: short(&format!("{search} {}", facts.now.0)),
        search: Some(search),
        verification_pairs: Some(spec.budget.verification_pairs),
        started_at: facts.now.clone(),
        baseline_parameters: baseline,
        baseline_configuration: text,
        baseline_alter_system: stored,
        instance: facts.instance_spec().cloned(),
        original: original(facts),
        knobs: space.to_session(),
        resources,
        outcome: None,
        settled: None,
        timeline: facts.server().and_then(|server| server.timeline),
        applying_since: None,
        refused: None,
        left: None,
    };
    let message = format!("{} knobs are searched", session.knobs.len());
    Decision { session: Some(session), ..Decision::wait(Reason::Preflight, message, SOON) }
}

/// Connections beside the clients': the benchmark's own to prepare and to watch, and the operator's.
const OWN_CONNECTIONS: i64 = 3;

/// Why the benchmark's clients would take every connection from the users.
fn crowds(facts: &Facts, most: i64) -> Option<String> {
    let number = |name: &str| facts.settings().get(name).and_then(|setting| setting.value.parse::<i64>().ok());
    let reserved: i64 = ["superuser_reserved_connections", "reserved_connections"].into_iter().filter_map(number).sum();
    let clients = i64::from(facts.tuning.spec.workload.pgbench.clients);
    let left = most - reserved - OWN_CONNECTIONS;
    (clients >= left).then(|| {
        format!(
            "workload.pgbench.clients is {clients}, and of the server's {most} connections {reserved} are reserved and \
             {OWN_CONNECTIONS} are ours: ask for fewer than {left}, so that the database's users keep theirs"
        )
    })
}

/// What was there before the session whose recommendation is in effect, as this one begins.
fn original(facts: &Facts) -> Option<OriginalConfiguration> {
    let before = facts.session()?;
    // What replaced the recommendation is not ours to undo, and what was applied elsewhere not to be undone here.
    let stays = facts.was_changed_by_others() || facts.is_elsewhere(before);
    ((restoring::is_applied(before) || before.original.is_some()) && !stays).then(|| before.first())
}

/// A search that was changed begins another session: first the baseline comes back, then the facts are frozen anew.
pub(super) fn begin_anew(facts: &Facts, session: &SessionRecord) -> Decision {
    let running = session.settled.is_none().then_some(session);
    running.and_then(|session| restoring::restore(facts, &Target::original(session))).unwrap_or_else(|| begin(facts))
}

/// What `ALTER SYSTEM` or the command line sets would win over our file: say so before the first trial.
fn shadowed(facts: &Facts, knobs: &[String]) -> Option<String> {
    knobs.iter().filter_map(|name| facts.settings().get(name)).find_map(|setting| {
        if setting.source == "command line" {
            return Some(format!(
                "{} is set on the server's command line, which wins over every file: remove it there or exclude the knob",
                setting.name
            ));
        }
        if let "database" | "user" | "database user" = setting.source.as_str() {
            return Some(format!(
                "{0} is set for the {1} that Howdah connects with, which wins over every file: run ALTER {2} … RESET {0}, or \
                 exclude the knob",
                setting.name,
                setting.source,
                if setting.source == "database" { "DATABASE" } else { "ROLE" }
            ));
        }
        if let Some(file) = facts.file_after_ours(&setting.name) {
            return Some(format!(
                "{} is set in {file}, which the server reads after our file: remove it there, give our key a name that \
                 comes after it, or exclude the knob",
                setting.name
            ));
        }
        let by_alter_system = setting.source_file.as_deref().is_some_and(|f| f.ends_with("postgresql.auto.conf"));
        by_alter_system.then(|| {
            format!(
                "{0} is set by ALTER SYSTEM, which wins over our file: run ALTER SYSTEM RESET {0}, or exclude the knob",
                setting.name
            )
        })
    })
}
