//! What a tuning's facts say of the server, its configuration and its workload.

use k8s_openapi::jiff::Timestamp;

use super::Facts;
use crate::instance;
use crate::instance::crd::PostgresInstanceSpec;
use crate::instance::facts::InstanceFacts;
use crate::postgres::server::{MARKER, ServerFacts};
use crate::postgres::setting::{self, FileSetting, Settings, file_name};
use crate::tuning::benchmark::{self, FULL};
use crate::tuning::configuration;
use crate::tuning::crd::{Recommendation, SessionRecord, SessionResources, TuningTrial};
use crate::tuning::measurement::Parameters;
use crate::tuning::reason::Reason;

/// The file of `ALTER SYSTEM`.
const AUTO_CONF: &str = "postgresql.auto.conf";

/// How the server is configured, and what is there.
pub enum ConfigurationWay<'a> {
    /// A key of a ConfigMap.
    ConfigMap {
        /// Its text, where the key exists.
        text: Option<&'a str>,
    },
    /// `ALTER SYSTEM`.
    AlterSystem {
        /// What `postgresql.auto.conf` holds.
        stored: Parameters,
    },
}

/// What is changed at the one is changed at the other. Without a ConfigMap the server itself is the place.
pub fn is_same_place(before: &PostgresInstanceSpec, now: &PostgresInstanceSpec) -> bool {
    before.configuration == now.configuration
        && (now.configuration.alter_system.is_none() || before.connection == now.connection)
}

impl Facts {
    /// What is known of the instance.
    fn known(&self) -> Option<&InstanceFacts> {
        self.instance.as_ref().ok()
    }

    /// The specification of the PostgresInstance.
    pub fn instance_spec(&self) -> Option<&PostgresInstanceSpec> {
        self.known().map(|facts| &facts.spec)
    }

    /// What stands in the way of reading and configuring the server.
    pub fn instance_trouble(&self) -> Option<instance::Trouble> {
        self.known().and_then(instance::decide::blocker)
    }

    /// What the server says, where it answers.
    fn answer(&self) -> Option<&instance::facts::Server> {
        self.known()?.server.as_ref().ok()
    }

    /// The server, where it answers.
    pub fn server(&self) -> Option<&ServerFacts> {
        self.answer().map(|server| &server.facts)
    }

    /// The server was not asked: what stands in the way is on our side, and says nothing of it.
    pub fn is_server_unasked(&self) -> bool {
        use instance::Reason as R;
        let trouble = self.known().and_then(|known| known.server.as_ref().err());
        trouble.is_some_and(|trouble| {
            matches!(
                trouble.reason,
                R::ApiServerFailed
                    | R::Forbidden
                    | R::InvalidUri
                    | R::SecretKeyMissing
                    | R::SecretMissing
                    | R::WrongPassword
            )
        })
    }

    /// Why the server does not answer.
    pub fn server_trouble(&self) -> Option<&str> {
        self.known()?.server.as_ref().err().map(|trouble| trouble.message.as_str())
    }

    /// The server's settings; empty where it does not answer.
    pub fn settings(&self) -> &Settings {
        static NONE: Settings = Settings::new();
        self.answer().map_or(&NONE, |server| &server.settings)
    }

    /// A part without which the server can't be restored no longer exists: the instance, its ConfigMap, what runs it, or
    /// the Secret of a server of which nothing else is known.
    pub fn target_is_gone(&self) -> bool {
        use instance::Reason::{ConfigMapMissing, SecretMissing, WorkloadMissing};
        match &self.instance {
            Err(trouble) => trouble.reason == Reason::InstanceMissing,
            Ok(known) => {
                let workload = known.workload.as_ref().and_then(|w| w.as_ref().err());
                let key = known.configuration.as_ref().and_then(|c| c.as_ref().err());
                let server = known.server.as_ref().err();
                let is = |trouble: Option<&instance::Trouble>, reason| trouble.is_some_and(|t| t.reason == reason);
                let stopped = is(workload, WorkloadMissing) && server.is_some();
                // Without its ConfigMap no text can be restored, and without anything that runs it no value.
                is(key, ConfigMapMissing) || stopped || (is(server, SecretMissing) && known.pod().is_none())
            }
        }
    }

    /// How the server is configured, and what is there now.
    pub fn configuration_way(&self) -> Result<ConfigurationWay<'_>, String> {
        let known = self.known().ok_or("the PostgresInstance is gone")?;
        match &known.configuration {
            Some(Ok(key)) => Ok(ConfigurationWay::ConfigMap { text: key.text.as_deref() }),
            Some(Err(trouble)) => Err(trouble.message.clone()),
            None => {
                let lines = self.answer().and_then(|server| server.file_settings.as_ref());
                let lines = lines.ok_or("postgresql.auto.conf can't be read while the server does not answer")?;
                let stored = lines.iter().filter(|line| line.source_file.ends_with(AUTO_CONF));
                Ok(ConfigurationWay::AlterSystem {
                    stored: stored.map(|line| (line.name.clone(), line.value.clone())).collect(),
                })
            }
        }
    }

    /// Name of the file that our configuration is in.
    pub fn our_file(&self) -> Option<&str> {
        let known = self.known()?;
        let Some(name) = known.configuration_file() else { return Some(AUTO_CONF) };
        if known.pod().is_some() {
            return Some(name);
        }
        // Without a pod nobody tells under which name it is mounted: the server knows the one that ends so.
        let lines = self.answer().and_then(|server| server.file_settings.as_ref());
        let file = lines.and_then(|lines| lines.iter().find(|line| line.source_file.ends_with(name)));
        Some(file.map_or(name, |line| file_name(&line.source_file)))
    }

    /// The instance is configured elsewhere than a session of the past was.
    pub fn is_elsewhere(&self, session: &SessionRecord) -> bool {
        session.instance.as_ref().zip(self.instance_spec()).is_some_and(|(before, now)| !is_same_place(before, now))
    }

    /// Text of our key, where another field manager has it and none of our trials wrote it.
    pub fn taken_over(&self) -> Option<&str> {
        let key = self.known()?.configuration.as_ref()?.as_ref().ok()?;
        let text = key.text.as_deref().filter(|_| !key.other_owners.is_empty())?;
        let ours = |trial: &&TuningTrial| text.contains(&configuration::marker(&trial.spec.parameters));
        (!self.session_trials().iter().any(ours)).then_some(text)
    }

    /// What a failover has left behind, where `ALTER SYSTEM` configures the server that was the primary: nobody can undo there
    /// what a trial had set.
    pub fn failed_over(&self) -> Option<String> {
        let (before, now) = (self.session()?.timeline?, self.server()?.timeline?);
        let stored = matches!(self.configuration_way(), Ok(ConfigurationWay::AlterSystem { .. }));
        (stored && before != now).then(|| {
            format!(
                "another server is the primary since this session began (timeline {before} → {now}), and the former one keeps \
                 what a trial had set there: before it serves again, ALTER SYSTEM RESET the knobs of status.session on it"
            )
        })
    }

    /// A configuration file sets a marker, loaded or not.
    pub fn sets_a_marker(&self) -> bool {
        let lines = self.answer().and_then(|server| server.file_settings.as_ref());
        lines.is_some_and(|lines| lines.iter().any(|line| line.name == MARKER))
    }

    /// The server runs the value of our file.
    pub fn is_from_our_file(&self, name: &str) -> bool {
        let file = self.settings().get(name).and_then(|setting| setting.source_file.as_deref());
        file.zip(self.our_file()).is_some_and(|(file, ours)| file_name(file) == ours)
    }

    /// Another field manager has our key.
    pub fn has_other_owners(&self) -> bool {
        let key = self.known().and_then(|known| known.configuration.as_ref()?.as_ref().ok());
        key.is_some_and(|key| !key.other_owners.is_empty())
    }

    /// The file that the server reads after ours and that sets a setting, if there is one.
    pub fn file_after_ours(&self, name: &str) -> Option<&str> {
        let known = self.known()?;
        let lines = self.answer()?.file_settings.as_ref()?;
        let our_name = self.our_file()?;
        let is_ours = |line: &FileSetting| file_name(&line.source_file) == our_name;
        let sets = |line: &&FileSetting| line.name == name && !is_ours(line) && !line.source_file.ends_with(AUTO_CONF);
        let line = match lines.iter().rposition(is_ours) {
            Some(last) => lines[last..].iter().find(sets)?,
            None => {
                // Ours does not exist yet. Those of a directory are read in the order of their names.
                let reference = known.spec.configuration.config_map.as_ref()?;
                let (directory, _) = known.pod()?.key_file(&reference.name, &reference.key)?;
                // The main file includes ours wherever it likes.
                let main = self.settings().get("config_file").map(|setting| setting.value.as_str());
                let beside = |line: &&FileSetting| {
                    let file = line.source_file.strip_prefix(directory.trim_end_matches('/'));
                    let file = file.and_then(|file| file.strip_prefix('/')).filter(|file| !file.contains('/'));
                    file.is_some_and(|file| file > our_name) && main != Some(&line.source_file)
                };
                lines.iter().filter(sets).find(beside)?
            }
        };
        Some(&line.source_file)
    }

    /// The marker in our file as the server sees it now, loaded or not.
    pub fn file_marker(&self) -> Option<&str> {
        let file = self.our_file()?;
        let lines = self.answer()?.file_settings.as_ref()?;
        let ours = |line: &&FileSetting| line.name == MARKER && file_name(&line.source_file) == file;
        lines.iter().find(ours).map(|line| line.value.as_str())
    }

    /// The text of our key is neither the recommendation that was applied nor what the session found, which is what a
    /// deletion has just written.
    pub fn was_changed_by_others(&self) -> bool {
        let Some(session) = self.session() else { return false };
        let Ok(ConfigurationWay::ConfigMap { text }) = self.configuration_way() else { return false };
        let is_applied =
            |text: &str| self.recommendation().is_some_and(|r| text.contains(&configuration::marker(&r.recommended())));
        text != session.baseline_configuration.as_deref() && !text.is_some_and(is_applied)
    }

    /// A session that goes back on what it had left, and what it may replace of what `ALTER SYSTEM` holds: what it found, and
    /// its recommendation, one of which it was and the other of which may be half written.
    pub fn replaceable(&self) -> Option<(&SessionRecord, [Parameters; 2])> {
        let session = self.session().filter(|session| session.left.is_some())?;
        Some((session, [None, self.recommendation()].map(|applied| stored_by(session, applied))))
    }

    /// The recommendation that was applied is not in the configuration any more; `None` where that can't be read.
    pub fn lacks_the_recommendation(&self) -> Option<bool> {
        match self.configuration_way().ok()? {
            ConfigurationWay::AlterSystem { .. } => Some(self.is_changed_since_it_settled()),
            ConfigurationWay::ConfigMap { text } => {
                let marker = configuration::marker(&self.recommendation()?.recommended());
                Some(!text.is_some_and(|text| text.contains(&marker)))
            }
        }
    }

    /// The configuration is not what the ended session left.
    pub fn is_changed_since_it_settled(&self) -> bool {
        let Some((session, left)) = self.session().and_then(|session| Some((session, session.settled.as_deref()?)))
        else {
            return false;
        };
        match self.configuration_way() {
            Ok(ConfigurationWay::AlterSystem { stored }) => {
                let ours = stored_by(session, self.recommendation().filter(|applied| applied.hash == left));
                session.baseline_parameters.keys().any(|knob| stored.get(knob) != ours.get(knob))
            }
            _ => self.was_changed_by_others(),
        }
    }

    /// The first of these settings whose file says something else than the server runs, until it reloads.
    pub fn waits_for_reload<'a>(&self, names: &'a [String]) -> Option<&'a String> {
        setting::waits_for_reload(names, self.settings(), self.answer()?.file_settings.as_ref()?)
    }

    /// The marker that the workload was last restarted for.
    pub fn restarted_for(&self) -> Option<&str> {
        self.known()?.workload.as_ref()?.as_ref().ok()?.facts.restarted_for.as_deref()
    }

    /// Why the workload is not to be restarted, if so.
    pub fn restart_hazard(&self) -> Option<&str> {
        self.known()?.workload.as_ref()?.as_ref().ok()?.facts.restart_hazard.as_deref()
    }

    /// The instance names a workload.
    pub fn has_workload(&self) -> bool {
        self.instance_spec().is_some_and(|spec| spec.workload.is_some())
    }

    /// The pod that runs the server, where it is known.
    pub fn pod_name(&self) -> Option<&str> {
        self.known()?.pod().map(|pod| pod.name.as_str())
    }

    /// The workload is there and wants no pod, and a file configures the server that will start one day.
    pub fn is_scaled_down(&self) -> bool {
        let Some(known) = self.known() else { return false };
        let workload = known.workload.as_ref().and_then(|workload| workload.as_ref().ok());
        workload.is_some_and(|workload| workload.facts.replicas == 0 && workload.pod.is_none())
            && matches!(known.configuration, Some(Ok(_)))
    }

    /// The pod that runs the server is known, and not ready.
    pub fn is_pod_unready(&self) -> bool {
        self.known().and_then(InstanceFacts::pod).is_some_and(|pod| !pod.ready)
    }

    /// The pod's container was last ended for its memory, and that since this trial is measured: one that was started
    /// before keeps for ever why its predecessor ended.
    pub fn was_killed_for_memory_in(&self, trial: &TuningTrial) -> bool {
        let since = trial.status.as_ref().and_then(|status| status.since.as_ref());
        let pod = self.known().and_then(InstanceFacts::pod);
        pod.filter(|pod| pod.last_termination.as_deref() == Some("OOMKilled")).is_some_and(|pod| {
            let started = pod.started_at.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
            started.zip(since).is_none_or(|(started, since)| started >= since.0)
        })
    }

    /// The role may have the server read its configuration files.
    pub fn may_reload(&self) -> bool {
        let missing = self.answer().map(|server| &server.rights.missing);
        missing.is_some_and(|missing| !missing.iter().any(|statement| statement.contains("pg_reload_conf")))
    }

    /// Memory in use and its limit in bytes, where the role may see them. A container without a limit has that of the session.
    pub fn memory(&self) -> Option<(f64, f64)> {
        let container = self.answer()?.container?;
        let limit = container.memory_limit_bytes.or_else(|| Some(self.session()?.resources.memory_bytes))?;
        Some((container.memory_bytes as f64, limit as f64))
    }

    /// Bytes that the benchmark's own tables have yet to take.
    fn benchmark_growth(&self, server: &ServerFacts) -> i64 {
        let pgbench = &self.tuning.spec.workload.pgbench;
        benchmark::growth(pgbench.scale, pgbench.init_script.is_none(), server.benchmark_bytes)
    }

    /// Why the benchmark would fill the data volume, if it would: a server without room for its WAL stops.
    pub fn overfills(&self, resources: &SessionResources) -> Option<String> {
        let (volume, taken) = (resources.data_volume_bytes?, resources.database_bytes?);
        let growth = self.server().map_or(0, |server| self.benchmark_growth(server));
        let gib = |bytes: i64| bytes as f64 / (1_i64 << 30) as f64;
        (growth > 0 && taken as f64 > FULL * volume as f64).then(|| {
            format!(
                "the benchmark takes about {:.1} GiB at scale {}, beside databases of {:.1} GiB on a data volume of {:.1} \
                 GiB: lower workload.pgbench.scale, enlarge the volume, or correct resources.dataVolume of the \
                 PostgresInstance",
                gib(growth),
                self.tuning.spec.workload.pgbench.scale,
                gib(taken - growth),
                gib(volume)
            )
        })
    }

    /// What the server may use, to be frozen.
    ///
    /// # Errors
    /// A sentence when it is not known.
    pub fn resources(&self) -> Result<SessionResources, String> {
        let known = self.known().ok_or("the PostgresInstance is gone")?;
        let found = instance::resources::resources(known).map_err(|trouble| trouble.message)?;
        let unknown = "memory and CPU of the server are unknown: set limits on its container or declare spec.resources";
        let max_connections = self.settings().get("max_connections").and_then(|s| s.value.parse().ok());
        Ok(SessionResources {
            memory_bytes: found.memory_bytes.ok_or(unknown)?,
            cpu_millis: found.cpu_millis.ok_or(unknown)?,
            data_volume_bytes: found.data_volume_bytes,
            database_bytes: self.server().map(|server| server.database_bytes + self.benchmark_growth(server)),
            max_connections: max_connections.ok_or("the server's max_connections can't be read")?,
        })
    }

    /// Why what was planned for a session's memory is no longer safe.
    pub fn shrunk(&self, session: &SessionRecord) -> Option<String> {
        // Also of a server that does not answer, for that reason perhaps.
        let now = instance::resources::resources(self.known()?).ok()?.memory_bytes?;
        let planned = session.resources.memory_bytes;
        let mib = |bytes: i64| bytes >> 20;
        (now < planned).then(|| {
            format!(
                "the server's memory was {} MiB when this session began and is {} MiB now: what was planned for it is not \
                 safe any more; change the annotation howdah.dev/restart-session to begin anew",
                mib(planned),
                mib(now)
            )
        })
    }
}

/// What `ALTER SYSTEM` holds of an ended session that left its baseline in effect, or this recommendation on top.
fn stored_by(session: &SessionRecord, applied: Option<&Recommendation>) -> Parameters {
    let mut stored = session.baseline_alter_system.clone();
    stored.extend(applied.map(Recommendation::recommended).unwrap_or_default());
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_file_has_the_name_that_the_volume_gives_it() {
        let recorded = include_str!("../../../tests/golden/heuristic-begins.facts.json");
        let mut facts: Facts = serde_json::from_str(recorded).unwrap();
        let marker = facts.file_marker().map(str::to_owned);
        assert!(marker.is_some());
        let instance = facts.instance.as_mut().unwrap();
        let pod = instance.workload.as_mut().unwrap().as_mut().unwrap().pod.as_mut().unwrap();
        pod.config_map_mounts[0].items = vec![("howdah.conf".into(), "90-howdah.conf".into())];
        let lines = instance.server.as_mut().unwrap().file_settings.as_mut().unwrap();
        let rename =
            |lines: &mut Vec<FileSetting>, path: &str| lines.iter_mut().for_each(|l| l.source_file = path.into());
        rename(lines, "/etc/postgresql/conf.d/90-howdah.conf");
        assert_eq!(facts.file_marker(), marker.as_deref());
        let lines = facts.instance.as_mut().unwrap().server.as_mut().unwrap().file_settings.as_mut().unwrap();
        rename(lines, "/etc/postgresql/conf.d/190-howdah.conf");
        assert_eq!(facts.file_marker(), None, "the end of a name is no name");
    }
}
