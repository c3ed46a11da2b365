//! The server that `howdah tune` works on: its settings before, the changes, and the way back.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::local_server::LocalServer;
use super::{RESTART_LIMIT, Tune};
use crate::postgres::error::{ConnectError, QueryError};
use crate::postgres::server::ServerFacts;
use crate::postgres::setting::{self, FileSetting, Settings};
use crate::postgres::uri::Uri;
use crate::tuning::benchmark::{FULL, growth};
use crate::tuning::crd::PostgresTuningSpec;
use crate::tuning::knobs::Resources;
use crate::tuning::measurement::Parameters;
use crate::tuning::safety::{self, Mismatch};
use crate::tuning::space::Space;
use crate::world::postgres::rights::{Needs, rights};
use crate::world::postgres::{Client, configuration, connect, container, server};
use anyhow::{Context, Result, bail};

/// A server with everything that is needed to restore it.
pub struct Target {
    /// Where it is.
    pub uri: Uri,
    /// CA certificates in PEM.
    pub ca: Option<Vec<u8>>,
    /// The space of the search.
    pub space: Space,
    /// Its settings before the first change.
    pub settings: Settings,
    /// What it may use.
    pub resources: Resources,
    /// Every knob that may be changed, with its value before the first change.
    pub baseline: Parameters,
    /// What `ALTER SYSTEM` had set of these before the first change.
    stored: Parameters,
    /// How to restart it, where that is allowed.
    local: Option<LocalServer>,
}

impl Target {
    /// Connects, checks the rights, and freezes what is to be restored.
    ///
    /// # Errors
    /// Why the server can't be tuned; nothing was changed.
    pub async fn open(uri: Uri, ca: Option<Vec<u8>>, tune: &Tune, spec: &PostgresTuningSpec) -> Result<Self> {
        let client = connect(&uri, ca.as_deref(), CONNECT).await?;
        let facts = server::server_facts(&client).await?;
        if facts.major() < 13 {
            bail!("the server runs PostgreSQL {}; Howdah needs 13 or newer", facts.version);
        }
        if facts.in_recovery {
            bail!("the server is a standby or still recovers; give the URI of the primary");
        }
        let settings = server::settings(&client).await?;
        let resources = resources(&client, &uri, tune, &settings, &facts).await?;
        let durability = spec.safety.durability;
        let space = Space::build(&spec.knobs, spec.restart_policy, durability, &settings, &resources)
            .map_err(|errors| anyhow::anyhow!(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
        let touched = safety::touched(&space, &settings);
        let baseline: Parameters =
            touched.iter().filter_map(|name| Some((name.clone(), settings.get(name)?.configured()))).collect();
        let lacking = rights(&client, &Needs { alter_system: &touched, ..Needs::default() }).await?;
        if !lacking.missing.is_empty() {
            bail!("the role lacks rights; as a superuser, run: {}", lacking.missing.join(" "));
        }
        let lines = server::file_settings(&client).await?;
        if let Some(name) = setting::waits_for_reload(&touched, &settings, &lines) {
            bail!(
                "a file sets {name} to another value than the server runs, which the first trial would bring into effect: \
                 SELECT pg_reload_conf(), or correct the file"
            );
        }
        if let Some(name) = touched.iter().find(|name| settings.get(*name).is_some_and(|s| s.pending_restart)) {
            bail!("{name} waits for a restart of the server, which a trial may bring: restart it, or correct its file");
        }
        let stored = stored(lines, &touched);
        let directory = settings.get("data_directory").map_or("", |setting| setting.value.as_str());
        let find = |pgdata: &PathBuf| LocalServer::find(pgdata, directory, facts.major());
        let local = tune.pgdata.as_ref().map(find).transpose()?;
        Ok(Self { uri, ca, space, settings, resources, baseline, stored, local })
    }

    /// Every knob with the value that it has when `changed` is in effect.
    pub fn expected(&self, changed: &Parameters) -> Parameters {
        let mut expected = self.baseline.clone();
        expected.extend(changed.clone());
        expected
    }

    /// The settings as they are now.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn live_settings(&self) -> Result<Settings> {
        Ok(server::settings(&self.connect().await?).await?)
    }

    /// Leaves a configuration in effect, or where that fails the original settings.
    ///
    /// # Errors
    /// It is not in effect; the sentence says whether the original settings are.
    pub async fn apply(&self, parameters: &Parameters) -> Result<()> {
        let Err(error) = self.bring(parameters).await else { return Ok(()) };
        self.restore().await.with_context(|| format!("the recommendation could not be applied: {error:#}"))?;
        Err(error.context("the recommendation could not be applied; the original settings are restored"))
    }

    /// Puts everything back as it was. A server that is down is started with its original settings, where it can be; one
    /// that recovers is awaited, for as long as a restart may take.
    ///
    /// # Errors
    /// The original settings are not in effect.
    pub async fn restore(&self) -> Result<()> {
        let began = Instant::now();
        let mut told = false;
        loop {
            if let Some(local) = &self.local
                && !local.is_running().await.context(NOT_RESTORED)?
            {
                local.start_as_before().await.context(NOT_RESTORED)?;
            }
            match self.bring(&Parameters::new()).await {
                Err(error) if may_pass(&error) && began.elapsed() < RESTART_LIMIT => {
                    if !std::mem::replace(&mut told, true) {
                        // A terminal that is gone must not end this.
                        let _ =
                            writeln!(std::io::stderr(), "waiting for the server, to restore its settings: {error:#}");
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                done => return done.context(NOT_RESTORED),
            }
        }
    }

    /// Brings the baseline with `changed` on top into effect and reads every value back.
    ///
    /// # Errors
    /// It is not in effect, or only a part of it is.
    pub async fn bring(&self, changed: &Parameters) -> Result<()> {
        let client = self.connect().await?;
        let mut wanted = self.stored.clone();
        wanted.extend(changed.clone());
        let names: Vec<String> = self.baseline.keys().cloned().collect();
        let now = stored(server::file_settings(&client).await?, &names);
        configuration::alter_system(&client, wanted.iter().filter(|(name, value)| now.get(*name) != Some(value)))
            .await?;
        let reset: Vec<&String> = now.keys().filter(|name| !wanted.contains_key(*name)).collect();
        configuration::alter_system_reset(&client, reset).await?;
        configuration::reload(&client).await?;

        let expected = self.expected(changed);
        let mut mismatches = safety::readback(&expected, &server::settings(&client).await?, None);
        if mismatches.iter().any(|m| matches!(m, Mismatch::PendingRestart { .. })) {
            self.restart().await?;
            mismatches = safety::readback(&expected, &self.live_settings().await?, None);
        }
        match mismatches.first() {
            Some(mismatch) => bail!("the configuration is not in effect: {mismatch}"),
            None => Ok(()),
        }
    }

    async fn connect(&self) -> Result<Client> {
        Ok(connect(&self.uri, self.ca.as_deref(), CONNECT).await?)
    }

    /// Restarts the server and waits until it answers.
    async fn restart(&self) -> Result<()> {
        let Some(local) = &self.local else { bail!("a restart is due, but --pgdata is not given") };
        local.restart().await?;
        let began = Instant::now();
        while let Err(error) = self.connect().await {
            if began.elapsed() > RESTART_LIMIT {
                return Err(error.context("the server did not come back after its restart"));
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
        Ok(())
    }
}

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a server that does not answer is asked again.
const RETRY_EVERY: Duration = Duration::from_millis(200);
const NOT_RESTORED: &str = "the original settings could NOT be restored; see postgresql.auto.conf";

/// Whether the server may answer by itself in a while, as after a crash.
fn may_pass(error: &anyhow::Error) -> bool {
    use ConnectError::{NoSuchDatabase, Tls, WrongPassword};
    let refused = |error: &ConnectError| matches!(error, WrongPassword(_) | NoSuchDatabase(_) | Tls(_));
    error.downcast_ref().is_some_and(|error| !refused(error))
        || matches!(error.downcast_ref(), Some(QueryError::Lost { .. }))
}

/// What `postgresql.auto.conf` holds of these settings.
fn stored(lines: Vec<FileSetting>, names: &[String]) -> Parameters {
    let ours = |line: &FileSetting| line.source_file.ends_with("postgresql.auto.conf") && names.contains(&line.name);
    lines.into_iter().filter(ours).map(|line| (line.name, line.value)).collect()
}

async fn resources(
    client: &Client,
    uri: &Uri,
    tune: &Tune,
    settings: &Settings,
    facts: &ServerFacts,
) -> Result<Resources> {
    let used = match container::find(client).await? {
        Some(cgroup) => container::read(client, cgroup).await?,
        None => None,
    };
    let local = uri.is_socket() || ["localhost", "127.0.0.1", "::1"].contains(&uri.host.as_str());
    let machine = |found: Option<u64>| found.filter(|_| local);
    let limit = used.and_then(|u| u.memory_limit_bytes).map(i64::unsigned_abs);
    let memory = match &tune.memory {
        Some(text) => Some(size(text)?),
        None => [limit, machine(total_memory())].into_iter().flatten().min(),
    };
    let cores = std::thread::available_parallelism().ok().map(|n| n.get() as u64 * 1000);
    let cpu_millis = match tune.cpu {
        Some(cores) if cores > 0.0 => Some((cores * 1000.0) as u64),
        Some(cores) => bail!("--cpu must be positive, but is {cores}"),
        None => {
            [used.and_then(|u| u.cpu_limit_millis).map(i64::unsigned_abs), machine(cores)].into_iter().flatten().min()
        }
    };
    let (Some(memory_bytes), Some(cpu_millis)) = (memory, cpu_millis) else {
        bail!("what the server may use can't be seen from here: give --memory and --cpu");
    };
    let growth = growth(tune.scale, tune.init.is_none(), facts.benchmark_bytes).unsigned_abs();
    // Of a volume that is told all counts that is on it; of one that is seen, what is free.
    let (data_volume_bytes, database_bytes) = match (&tune.data_volume, &tune.pgdata) {
        (Some(text), _) => (Some(size(text)?), facts.database_bytes.unsigned_abs() + growth),
        (None, Some(pgdata)) => (volume(pgdata), growth),
        (None, None) => (None, 0),
    };
    if let Some(volume) = data_volume_bytes.filter(|volume| database_bytes as f64 > FULL * *volume as f64) {
        let gib = |bytes: u64| bytes as f64 / (1_u64 << 30) as f64;
        bail!(
            "the databases would take {:.1} GiB, {:.1} GiB of them the benchmark's, and the data volume has {:.1} GiB: a server \
             without room for its WAL stops; lower --scale, make room, or correct --data-volume",
            gib(database_bytes),
            gib(growth),
            gib(volume)
        );
    }
    let max_connections = settings.get("max_connections").and_then(|s| s.value.parse().ok()).unwrap_or(100);
    Ok(Resources {
        memory_bytes,
        cpu_millis: u32::try_from(cpu_millis).unwrap_or(u32::MAX),
        data_volume_bytes,
        database_bytes,
        max_connections,
        clients: tune.clients.unsigned_abs(),
    })
}

/// A size in PostgreSQL's notation.
fn size(text: &str) -> Result<u64> {
    let bytes = crate::postgres::units::parse_number(text, Some("B"), false)
        .with_context(|| format!("{text:?} is not a size like 2GB"))?;
    let bytes = bytes.number().filter(|b| *b >= 1.0).with_context(|| format!("{text:?} is not a positive size"))?;
    Ok(bytes as u64)
}

/// The machine's memory.
fn total_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Bytes of the file system that can still be used, with what the directory's file system has in use by others apart.
fn volume(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
