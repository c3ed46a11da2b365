//! What changed beside the metrics: settings, the server, the pod, a rollout, a backup, trials. That it coincides is evidence.

use k8s_openapi::jiff::Timestamp;

use super::incident::ChangeEvent;
use crate::instance::facts::InstanceFacts;
use crate::tuning::crd::TuningTrial;

/// Settings that are named one by one; more are counted.
const NAMED: usize = 5;

/// What changed between two looks at an instance, at the time of the second.
pub fn between(before: &InstanceFacts, after: &InstanceFacts, now: i64) -> Vec<ChangeEvent> {
    let mut found = settings(before, after, now);
    found.extend(server(before, after, now));
    found.extend(pod(before, after, now));
    let workload = |facts: &InstanceFacts| Some(facts.workload.as_ref()?.as_ref().ok()?.facts.clone());
    if let (Some(before), Some(after)) = (workload(before), workload(after)) {
        if before.rolled_out && !after.rolled_out {
            found.push(ChangeEvent { time: now, what: "a rollout of its workload began".into() });
        }
        if after.restarted_for != before.restarted_for {
            found.push(ChangeEvent { time: now, what: "a tuning restarted its workload".into() });
        }
    }
    found
}

/// What the next look is compared with: of what could not be seen now, how it was when it last could.
pub fn last_seen(before: InstanceFacts, mut now: InstanceFacts) -> InstanceFacts {
    if now.server.is_err() {
        now.server = before.server;
    }
    match (&mut now.workload, before.workload) {
        (Some(Ok(now)), Some(Ok(before))) => now.pod = now.pod.take().or(before.pod),
        (Some(Err(_)), Some(before)) => now.workload = Some(before),
        _ => {}
    }
    now
}

fn settings(before: &InstanceFacts, after: &InstanceFacts, now: i64) -> Vec<ChangeEvent> {
    let (Ok(before), Ok(after)) = (&before.server, &after.server) else { return Vec::new() };
    let mut changed: Vec<String> = after
        .settings
        .values()
        .filter_map(|setting| {
            let old = before.settings.get(&setting.name)?.display();
            let new = setting.display();
            (old != new).then(|| format!("{} {old} → {new}", setting.name))
        })
        .collect();
    let more = changed.len().saturating_sub(NAMED);
    changed.truncate(NAMED);
    if more > 0 {
        changed.push(format!("{more} further settings"));
    }
    changed.into_iter().map(|what| ChangeEvent { time: now, what }).collect()
}

fn server(before: &InstanceFacts, after: &InstanceFacts, now: i64) -> Vec<ChangeEvent> {
    let (Ok(before), Ok(after)) = (&before.server, &after.server) else { return Vec::new() };
    let (before, after) = (&before.facts, &after.facts);
    let mut found = Vec::new();
    let begun = |backup: &&String| !before.backups.contains(*backup);
    found.extend(after.backups.iter().filter(begun).map(|backup| (now, format!("a backup began ({backup})"))));
    match (before.timeline, after.timeline) {
        (Some(was), Some(is)) if was != is => {
            found.push((now, format!("failover: another server is the primary (timeline {was} → {is})")));
        }
        _ if before.started_at_ms != after.started_at_ms && before.started_at_ms > 0 => {
            found.push((after.started_at_ms, "PostgreSQL restarted".into()));
        }
        _ => {}
    }
    found.into_iter().map(|(time, what)| ChangeEvent { time, what }).collect()
}

fn pod(before: &InstanceFacts, after: &InstanceFacts, now: i64) -> Option<ChangeEvent> {
    let (before, after) = (before.pod()?, after.pod()?);
    let what = if before.uid != after.uid {
        format!("pod {} replaced pod {}", after.name, before.name)
    } else if after.restarts > before.restarts {
        let why = after.last_termination.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        format!("the container of pod {} restarted{why}", after.name)
    } else {
        return None;
    };
    let started = after.started_at.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
    Some(ChangeEvent { time: started.map_or(now, |time| time.as_millisecond()), what })
}

/// When a trial ran, in milliseconds since 1970; until `now` where it has not ended.
pub fn span(trial: &TuningTrial, now: i64) -> Option<(i64, i64)> {
    let from = trial.metadata.creation_timestamp.as_ref()?.0.as_millisecond();
    let status = trial.status.as_ref();
    let ended = status.filter(|status| status.state.is_final()).and_then(|status| status.since.as_ref());
    Some((from, ended.map_or(now, |since| since.0.as_millisecond())))
}

/// When a trial ran that has ended.
pub fn ended(trial: &TuningTrial) -> Option<(i64, i64)> {
    span(trial, i64::MAX).filter(|(_, to)| *to != i64::MAX)
}

/// The begin of a trial as a change.
pub fn begin(trial: &TuningTrial) -> Option<ChangeEvent> {
    let time = trial.metadata.creation_timestamp.as_ref()?.0.as_millisecond();
    let name = trial.metadata.name.as_deref().unwrap_or_default();
    let knobs: Vec<String> =
        trial.spec.parameters.iter().take(NAMED).map(|(knob, value)| format!("{knob}={value}")).collect();
    let knobs = if knobs.is_empty() { "the baseline".to_owned() } else { knobs.join(" ") };
    Some(ChangeEvent { time, what: format!("trial {name} began ({knobs})") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::instance::facts::{Server, Workload};
    use crate::kubernetes::pod::PodFacts;
    use crate::kubernetes::workload::WorkloadFacts;
    use crate::postgres::server::ServerFacts;
    use crate::postgres::setting::Setting;

    fn instance(work_mem: &str, started_at_ms: i64, pod: &str, restarts: i32, rolled_out: bool) -> InstanceFacts {
        let setting = Setting { name: "work_mem".into(), value: work_mem.into(), ..Setting::default() };
        InstanceFacts {
            name: "shop".into(),
            namespace: "shop".into(),
            generation: None,
            spec: serde_json::from_value(json!({
                "connection": {"secretRef": {"name": "s"}}, "configuration": {"alterSystem": {}}}))
            .unwrap(),
            server: Ok(Server {
                facts: ServerFacts { started_at_ms, timeline: Some(3), ..ServerFacts::default() },
                settings: [("work_mem".to_owned(), setting)].into(),
                ..Server::default()
            }),
            workload: Some(Ok(Workload {
                facts: WorkloadFacts { rolled_out, ..WorkloadFacts::default() },
                pod: Some(PodFacts { name: pod.into(), uid: pod.into(), restarts, ..PodFacts::default() }),
            })),
            configuration: None,
        }
    }

    #[test]
    fn each_change_is_told_and_nothing_else() {
        let before = || instance("4096", 10, "db-0", 0, true);
        let words = |after: &InstanceFacts| -> Vec<String> {
            between(&before(), after, 99).into_iter().map(|change| change.what).collect()
        };
        assert!(words(&before()).is_empty());
        assert_eq!(
            words(&instance("4096", 20, "db-0", 1, true)),
            ["PostgreSQL restarted", "the container of pod db-0 restarted"]
        );
        assert_eq!(words(&instance("4096", 10, "db-1", 0, true)), ["pod db-1 replaced pod db-0"]);
        assert_eq!(words(&instance("4096", 10, "db-0", 0, false)), ["a rollout of its workload began"]);
        assert_eq!(words(&instance("8192", 10, "db-0", 0, true)), ["work_mem 4096 → 8192"]);
        let mut promoted = instance("4096", 5, "db-1", 0, true);
        promoted.server.as_mut().unwrap().facts.timeline = Some(4);
        promoted.server.as_mut().unwrap().facts.backups = vec!["pg_dump".into()];
        assert_eq!(
            words(&promoted),
            [
                "a backup began (pg_dump)",
                "failover: another server is the primary (timeline 3 → 4)",
                "pod db-1 replaced pod db-0"
            ]
        );
    }

    #[test]
    fn what_changed_while_nothing_was_seen_is_told_afterwards() {
        let before = instance("4096", 10, "db-0", 0, true);
        let mut dark = before.clone();
        dark.server = Err(crate::instance::Trouble::new(crate::instance::Reason::Unreachable, "down"));
        let mut gone = dark.clone();
        dark.workload = Some(Err(crate::instance::Trouble::new(crate::instance::Reason::Unreachable, "down")));
        if let Some(Ok(workload)) = &mut gone.workload {
            workload.pod = None;
        }
        let seen = [dark, gone].into_iter().fold(before, last_seen);
        let words: Vec<String> =
            between(&seen, &instance("8192", 20, "db-1", 0, true), 99).into_iter().map(|change| change.what).collect();
        assert_eq!(words, ["work_mem 4096 → 8192", "PostgreSQL restarted", "pod db-1 replaced pod db-0"]);
    }

    #[test]
    fn a_trial_lasts_until_it_ends() {
        let trial = |state: &str| -> TuningTrial {
            serde_json::from_value(json!({
                "apiVersion": "howdah.dev/v1alpha1", "kind": "TuningTrial",
                "metadata": {"name": "t", "creationTimestamp": "1970-01-01T00:01:40Z"},
                "spec": {"tuning": "demo", "session": "s", "number": 4, "kind": "Explore", "marker": "m", "parameters": {}},
                "status": {"state": state, "since": "1970-01-01T00:03:20Z"},
            }))
            .unwrap()
        };
        assert_eq!(span(&trial("Measuring"), 900_000), Some((100_000, 900_000)));
        assert_eq!(span(&trial("Observed"), 900_000), Some((100_000, 200_000)));
        assert_eq!((ended(&trial("Measuring")), ended(&trial("Aborted"))), (None, Some((100_000, 200_000))));
    }

    #[test]
    fn a_server_that_could_not_be_seen_has_not_changed() {
        let before = instance("4096", 10, "db-0", 0, true);
        let mut after = instance("8192", 10, "db-0", 0, true);
        after.server = Err(crate::instance::Trouble::new(crate::instance::Reason::Unreachable, "down"));
        assert!(between(&before, &after, 99).is_empty());
    }
}
