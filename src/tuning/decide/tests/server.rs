//! A server in memory: configuration files, reload, restart, and what `pg_settings` and `pg_file_settings` show of them.

use crate::postgres::server::{ContainerUse, MARKER, ServerFacts};
use crate::postgres::setting::{Context, FileSetting, Settings};
use crate::tuning::measurement::Parameters;

/// The file that the kubelet brings, and the one of `ALTER SYSTEM`.
pub const OUR_FILE: &str = "/etc/postgresql/conf.d/howdah.conf";
const AUTO_FILE: &str = "/var/lib/postgresql/data/postgresql.auto.conf";

/// A PostgreSQL server with our file and that of `ALTER SYSTEM`.
#[derive(Clone, Debug)]
pub struct Server {
    /// The settings in effect.
    pub settings: Settings,
    /// Our file in the pod's volume.
    pub file: Option<String>,
    /// `postgresql.auto.conf`.
    pub auto: Parameters,
    /// When it was started.
    pub started_at_ms: i64,
    /// Looks until it answers again.
    pub down: u32,
    /// Memory in use, as a share of the limit.
    pub memory: f64,
    /// Of its write-ahead log.
    pub timeline: i64,
    built: Settings,
    marker: Option<String>,
}

impl Server {
    /// A server as it is built, with these files.
    pub fn new(file: Option<String>, auto: Parameters) -> Self {
        let mut built = crate::tuning::space::tests::settings();
        let connections = built["max_parallel_workers"].clone();
        let connections = crate::postgres::setting::Setting {
            name: "max_connections".into(),
            value: "100".into(),
            context: Context::Postmaster,
            max: Some(262_143.0),
            ..connections
        };
        built.insert(connections.name.clone(), connections);
        let settings = built.clone();
        let mut server =
            Self { settings, file, auto, started_at_ms: 0, down: 0, memory: 0.5, timeline: 1, built, marker: None };
        server.start(1);
        server
    }

    /// Leaves out all settings but these.
    pub fn keep_settings(&mut self, names: &[&str]) {
        self.built.retain(|name, _| names.contains(&name.as_str()));
        self.settings.retain(|name, _| names.contains(&name.as_str()));
    }

    /// Another file sets a value, which ours and that of `ALTER SYSTEM` go before.
    pub fn set_elsewhere(&mut self, name: &str, value: &str) {
        let built = self.built.get_mut(name).expect("every setting was built");
        *built = built.with(value);
        (built.source, built.source_file) =
            ("configuration file".into(), Some("/etc/postgresql/postgresql.conf".into()));
    }

    /// Reads the files; what needs a restart waits for one.
    pub fn reload(&mut self) {
        self.load(false);
    }

    /// Starts at `now_ms` with what the files say.
    pub fn start(&mut self, now_ms: i64) {
        self.load(true);
        self.started_at_ms = now_ms;
    }

    fn load(&mut self, starting: bool) {
        let file = lines(self.file.as_deref());
        self.marker = file.iter().rev().find(|(name, _)| name == MARKER).map(|(_, value)| value.clone());
        for (name, built) in &self.built {
            let ours = file.iter().rev().find(|(line, _)| line == name).map(|(_, value)| (value, OUR_FILE));
            let set = self.auto.get(name).map(|value| (value, AUTO_FILE)).or(ours);
            let mut wanted = built.clone();
            if let Some((value, source_file)) = set {
                wanted = built.with(value);
                wanted.source = "configuration file".into();
                wanted.source_file = Some(source_file.into());
            }
            let current = self.settings.get_mut(name).expect("every setting was built");
            if built.context == Context::Postmaster && !starting && wanted.value != current.value {
                current.pending_restart = true;
            } else {
                *current = wanted;
            }
        }
    }

    /// The lines of its files, loaded or not.
    pub fn file_settings(&self) -> Vec<FileSetting> {
        let line = |source_file: &str, name: &str, value: &str| FileSetting {
            source_file: source_file.into(),
            name: name.into(),
            value: value.into(),
            applied: true,
            error: None,
        };
        let ours = lines(self.file.as_deref()).into_iter().map(|(name, value)| line(OUR_FILE, &name, &value));
        ours.chain(self.auto.iter().map(|(name, value)| line(AUTO_FILE, name, value))).collect()
    }

    /// What it says of itself.
    pub fn facts(&self) -> ServerFacts {
        ServerFacts {
            version_num: 150_008,
            version: "15.8".into(),
            started_at_ms: self.started_at_ms,
            configuration_loaded_at_ms: self.started_at_ms,
            marker: self.marker.clone(),
            database_bytes: 1 << 30,
            timeline: Some(self.timeline),
            ..ServerFacts::default()
        }
    }

    /// What its container uses.
    pub fn container(&self) -> ContainerUse {
        let limit = super::model::MEMORY_BYTES;
        ContainerUse {
            memory_bytes: (self.memory * limit as f64) as i64,
            memory_limit_bytes: Some(limit),
            cpu_seconds: 1.0,
            cpu_limit_millis: Some(4000),
        }
    }

    /// Values in effect, as `SHOW` prints them.
    pub fn shown(&self) -> Parameters {
        self.settings.iter().map(|(name, setting)| (name.clone(), setting.display())).collect()
    }
}

/// Names and values in a configuration file.
pub fn lines(text: Option<&str>) -> Vec<(String, String)> {
    let lines = text.unwrap_or_default().lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect()
}
