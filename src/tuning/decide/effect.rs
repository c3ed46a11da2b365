//! Brings a configuration into effect, one observed step after another: write, sync, reload, read back, restart.

use super::super::configuration;
use super::super::crd::{RestartPolicy, SessionRecord};
use super::super::facts::{ConfigurationWay, Facts};
use super::super::measurement::Parameters;
use super::super::reason::Reason;
use super::super::safety::{self, Mismatch};
use super::{Step, Write};

/// A configuration that the server is to run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    /// Text of our ConfigMap key; `None` where the key is to be absent.
    text: Option<String>,
    /// Knobs that differ from the baseline.
    changed: Parameters,
    /// Every knob of the session with its value.
    expected: Parameters,
    /// The marker; `None` for the state before the session, which may have none.
    marker: Option<String>,
}

impl Target {
    /// The baseline with `parameters` on top.
    pub(super) fn of(session: &SessionRecord, parameters: &Parameters) -> Self {
        let marker = configuration::marker(parameters);
        let mut expected = session.baseline_parameters.clone();
        expected.extend(parameters.clone());
        Self {
            text: Some(configuration::render(session.baseline_configuration.as_deref(), parameters, &marker)),
            changed: parameters.clone(),
            expected,
            marker: Some(marker),
        }
    }

    /// Exactly what was there before the session.
    pub(super) fn original(session: &SessionRecord) -> Self {
        Self {
            text: session.baseline_configuration.clone(),
            changed: Parameters::new(),
            expected: session.baseline_parameters.clone(),
            marker: None,
        }
    }

    fn restart_marker(&self) -> &str {
        self.marker.as_deref().unwrap_or("baseline")
    }
}

/// How far a target is from being in effect.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Every value was read back.
    InEffect,
    /// These steps bring it closer.
    Steps { steps: Vec<Step>, message: String },
    /// The cluster or the server is still at it.
    Waiting { message: String, restarting: bool },
    /// It can't take effect until someone changes something.
    Blocked { reason: Reason, message: String },
}

/// Says what brings `target` closer to being in effect.
pub(super) fn bring(facts: &Facts, session: &SessionRecord, target: &Target) -> Effect {
    let waiting = |message: &str| Effect::Waiting { message: message.into(), restarting: facts.is_restarting() };
    let way = match facts.configuration_way() {
        Ok(way) => way,
        Err(trouble) => return Effect::Waiting { message: trouble.message.clone(), restarting: facts.is_restarting() },
    };
    let Some(server) = facts.server() else {
        return waiting("the server does not answer; the configuration is checked as soon as it does");
    };
    if facts.is_restarting() {
        return waiting("the server restarts");
    }
    match way {
        ConfigurationWay::ConfigMap { text, .. } if text != target.text.as_deref() => {
            let steps = vec![
                Step::WriteConfiguration(Write::ConfigMapKey(target.text.clone())),
                Step::TouchPod { value: format!("{}-{}", target.restart_marker(), facts.now.0.as_millisecond()) },
            ];
            return Effect::Steps { steps, message: "the configuration is written".into() };
        }
        ConfigurationWay::ConfigMap { file, .. } => {
            let shown = facts.file_marker(file);
            if shown.as_deref() != target.text.as_deref().and_then(configuration::marker_in) {
                return Effect::Steps {
                    // Asked again at each look: the kubelet may have synced before the API server told it.
                    steps: vec![Step::TouchPod { value: format!("sync-{}", facts.now.0.as_millisecond()) }],
                    message: format!("the kubelet has not yet brought the configuration into {file}"),
                };
            }
        }
        ConfigurationWay::AlterSystem { stored } => {
            if let Some(write) = alter_system(session, target, &stored) {
                let steps = vec![Step::WriteConfiguration(write), Step::Reload];
                return Effect::Steps { steps, message: "the configuration is set by ALTER SYSTEM".into() };
            }
        }
    }
    let unloaded = target.marker.is_some() && facts.uses_marker() && server.marker != target.marker;
    let mismatches = safety::readback(&target.expected, facts.settings(), facts.our_file());
    if unloaded || mismatches.iter().any(|m| matches!(m, Mismatch::Differs { .. })) {
        return Effect::Steps { steps: vec![Step::Reload], message: "the server reads the configuration".into() };
    }
    if let Some(mismatch) = mismatches.iter().find(|m| matches!(m, Mismatch::Shadowed { .. })) {
        return Effect::Blocked { reason: Reason::Shadowed, message: mismatch.to_string() };
    }
    if mismatches.is_empty() {
        return Effect::InEffect;
    }
    if facts.tuning.spec.restart_policy == RestartPolicy::Never {
        let message = format!("{}; restartPolicy Never forbids the restart that would apply it", mismatches[0]);
        return Effect::Blocked { reason: Reason::ConfigurationNotInEffect, message };
    }
    if !facts.has_workload() {
        let message = "a restart is due, but the PostgresInstance names no workload to restart: set spec.workload".into();
        return Effect::Blocked { reason: Reason::ConfigurationNotInEffect, message };
    }
    // The start time makes a second restart for the same configuration (after a baseline in between) another one.
    let marker = format!("{}-{}", target.restart_marker(), server.started_at_ms);
    Effect::Steps { steps: vec![Step::Restart { marker }], message: "the server restarts to apply it".into() }
}

/// What `ALTER SYSTEM` must still set and reset, if anything.
fn alter_system(session: &SessionRecord, target: &Target, stored: &Parameters) -> Option<Write> {
    let mut wanted = session.baseline_alter_system.clone();
    wanted.extend(target.changed.clone());
    let set: Parameters =
        wanted.iter().filter(|(name, value)| stored.get(*name) != Some(value)).map(|(n, v)| (n.clone(), v.clone())).collect();
    let reset: Vec<String> = session
        .baseline_parameters
        .keys()
        .filter(|name| stored.contains_key(*name) && !wanted.contains_key(*name))
        .cloned()
        .collect();
    (!set.is_empty() || !reset.is_empty()).then_some(Write::AlterSystem { set, reset })
}
