//! Brings a configuration into effect, one observed step after another: write, sync, reload, read back, restart.

use std::collections::BTreeSet;

use super::super::configuration;
use super::super::crd::{OriginalConfiguration, RestartPolicy, SessionRecord};
use super::super::facts::{BASELINE, ConfigurationWay, Facts};
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
    /// What `ALTER SYSTEM` is to hold besides `changed`.
    stored: Parameters,
    /// It is what was there before: where somebody else changed a value meanwhile, his is what stays.
    yields: bool,
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
            stored: session.baseline_alter_system.clone(),
            yields: false,
        }
    }

    /// Exactly what was there before the session.
    pub(super) fn original(session: &SessionRecord) -> Self {
        Self::before(session.found())
    }

    /// What was there before the first of the sessions that built on each other.
    pub(super) fn first(session: &SessionRecord) -> Self {
        Self::before(session.first())
    }

    fn before(found: OriginalConfiguration) -> Self {
        Self {
            text: found.configuration,
            changed: Parameters::new(),
            expected: found.parameters,
            stored: found.alter_system,
            yields: true,
        }
    }

    /// Whatever text there is now, loaded.
    pub(super) fn as_it_is(text: &str) -> Self {
        Self::before(OriginalConfiguration { configuration: Some(text.to_owned()), ..Default::default() })
    }

    /// All that `ALTER SYSTEM` is to hold of the session's knobs.
    fn wanted(&self) -> Parameters {
        let mut wanted = self.stored.clone();
        wanted.extend(self.changed.clone());
        wanted
    }

    /// The first value that the server does not show.
    pub(super) fn first_mismatch(&self, facts: &Facts) -> Option<Mismatch> {
        safety::readback(&self.expected, facts.settings(), facts.our_file()).into_iter().next()
    }

    /// A short name for annotations.
    fn name(&self) -> &str {
        self.text.as_deref().and_then(configuration::marker_in).unwrap_or(BASELINE)
    }
}

/// How far a target is from being in effect.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Every value was read back.
    Complete,
    /// These steps bring it closer.
    Steps { steps: Vec<Step>, message: String },
    /// The cluster or the server is still at it.
    Waiting { message: String, restarting: bool },
    /// It can't take effect until someone changes something.
    Blocked { reason: Reason, message: String },
}

/// Says what brings `target` closer to being in effect.
pub(super) fn bring(facts: &Facts, target: &Target) -> Effect {
    let waiting = |message: &str| Effect::Waiting { message: message.into(), restarting: false };
    let way = match facts.configuration_way() {
        Ok(way) => way,
        Err(message) => return waiting(&message),
    };
    let theirs = theirs(facts, target, &way);
    let write = match &way {
        ConfigurationWay::ConfigMap { text } => {
            (*text != target.text.as_deref()).then(|| Write::ConfigMapKey(target.text.clone()))
        }
        ConfigurationWay::AlterSystem { stored } => alter_system(target, stored, &theirs),
    };
    // Without a pod to touch, the kubelet syncs by itself within about 90 s.
    let touch = || {
        let value = format!("{}-{}", target.name(), facts.now.0.as_millisecond());
        facts.pod_name().map(|pod| Step::TouchPod { pod: pod.to_owned(), value })
    };
    if let Some(write) = write {
        // The text comes back even while the server does not answer: then it starts with the right one.
        let then = if matches!(way, ConfigurationWay::ConfigMap { .. }) { touch() } else { Some(Step::Reload) };
        let steps = std::iter::once(Step::WriteConfiguration(write)).chain(then).collect();
        return Effect::Steps { steps, message: "the configuration is written".into() };
    }
    let Some(server) = facts.server() else {
        let why = facts.server_trouble().unwrap_or("there is no answer");
        return waiting(&format!("the configuration is checked as soon as the server answers: {why}"));
    };
    if matches!(way, ConfigurationWay::ConfigMap { .. }) {
        let wanted = target.text.as_deref().and_then(configuration::marker_in);
        if facts.file_marker() != wanted {
            // Asked again at each look: the kubelet may have synced before the API server told it of the change.
            let message = "the kubelet has not yet brought the configuration into the server's volume".into();
            return Effect::Steps { steps: touch().into_iter().collect(), message };
        }
        // Where another file sets a marker, a recommendation that was committed say, that one stays.
        let is_due = wanted.is_some() || !facts.sets_a_marker();
        if is_due && server.marker.as_deref() != wanted {
            return Effect::Steps { steps: vec![Step::Reload], message: "the server reads the configuration".into() };
        }
    }
    // Written, and not read yet: whoever wrote it did not come to the reload.
    let unread: Vec<String> = target.wanted().into_keys().filter(|knob| !theirs.contains(knob)).collect();
    if matches!(way, ConfigurationWay::AlterSystem { .. }) && facts.waits_for_reload(&unread).is_some() {
        return Effect::Steps { steps: vec![Step::Reload], message: "the server reads what was written".into() };
    }
    let mut mismatches = safety::readback(&target.expected, facts.settings(), facts.our_file());
    mismatches.retain(|mismatch| !theirs.contains(mismatch.name()));
    if target.yields {
        let ours = |mismatch: &Mismatch| {
            matches!(mismatch, Mismatch::PendingRestart { .. }) || facts.is_from_our_file(mismatch.name())
        };
        mismatches.retain(ours);
    }
    let Some(first) = mismatches.first() else { return Effect::Complete };
    if mismatches.iter().any(|m| matches!(m, Mismatch::Differs { .. })) {
        return Effect::Steps { steps: vec![Step::Reload], message: first.to_string() };
    }
    if let Some(mismatch) = mismatches.iter().find(|m| !matches!(m, Mismatch::PendingRestart { .. })) {
        return Effect::Blocked { reason: Reason::Shadowed, message: mismatch.to_string() };
    }
    let blocked = |message| Effect::Blocked { reason: Reason::ConfigurationNotInEffect, message };
    if facts.tuning.spec.restart_policy == RestartPolicy::Never {
        return blocked(format!("{first}; restartPolicy Never forbids the restart that would apply it"));
    }
    if !facts.has_workload() {
        return blocked(
            "a restart is due, but the PostgresInstance names no workload to restart: set spec.workload".into(),
        );
    }
    if let Some(hazard) = facts.restart_hazard() {
        return blocked(format!("{first}; a restart is due, but {hazard}"));
    }
    // With the start time in it, the same configuration may be restarted for again after another one.
    let marker = format!("{}-{}", target.name(), server.started_at_ms);
    if facts.restarted_for() == Some(marker.as_str()) {
        return Effect::Waiting { message: "the server restarts".into(), restarting: true };
    }
    Effect::Steps { steps: vec![Step::Restart { marker }], message: "the server restarts to apply it".into() }
}

/// Knobs that others have set or reset by `ALTER SYSTEM` since the session left something in effect: they stay as they are.
fn theirs(facts: &Facts, target: &Target, way: &ConfigurationWay<'_>) -> BTreeSet<String> {
    let (ConfigurationWay::AlterSystem { stored }, Some((session, ours))) = (way, facts.replaceable()) else {
        return BTreeSet::new();
    };
    let wanted = target.wanted();
    let is_ours = |knob: &String| {
        let now = stored.get(knob);
        ours.iter().chain([&wanted]).any(|values| values.get(knob) == now)
    };
    // What sessions before this one had left of other knobs is not told apart.
    let knobs = target.expected.keys().filter(|knob| session.baseline_parameters.contains_key(*knob));
    knobs.filter(|knob| !is_ours(knob)).cloned().collect()
}

/// What `ALTER SYSTEM` must still set and reset, if anything.
fn alter_system(target: &Target, stored: &Parameters, theirs: &BTreeSet<String>) -> Option<Write> {
    let wanted = target.wanted();
    let set: Parameters = wanted
        .iter()
        .filter(|(name, value)| stored.get(*name) != Some(value) && !theirs.contains(*name))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let reset: Vec<String> = target
        .expected
        .keys()
        .filter(|name| stored.contains_key(*name) && !wanted.contains_key(*name) && !theirs.contains(*name))
        .cloned()
        .collect();
    (!set.is_empty() || !reset.is_empty()).then_some(Write::AlterSystem { set, reset })
}
