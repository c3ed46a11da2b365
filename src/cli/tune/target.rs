//! The server that `howdah tune` works on: its settings before, the changes, and the way back.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::local_server::LocalServer;
use super::{RESTART_LIMIT, Tune};
use crate::postgres::setting::Settings;
use crate::postgres::uri::Uri;
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
        let resources = resources(&client, &uri, tune, &settings).await?;
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
        let stored = stored(&client, &touched).await?;
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
    pub async fn live_settings(&self) -> Result<Settings> {
        Ok(server::settings(&self.connect().await?).await?)
    }

    /// Puts everything back as it was; a server that is down is started with its original settings, where it can be.
    pub async fn restore(&self) -> Result<()> {
        if let (Err(error), Some(local)) = (self.connect().await, &self.local) {
            local.start_as_before().await.with_context(|| format!("{error:#}"))?;
        }
        self.bring(&Parameters::new()).await
    }

    /// Brings the baseline with `changed` on top into effect and reads every value back.
    pub async fn bring(&self, changed: &Parameters) -> Result<()> {
        let client = self.connect().await?;
        let mut wanted = self.stored.clone();
        wanted.extend(changed.clone());
        let names: Vec<String> = self.baseline.keys().cloned().collect();
        let now = stored(&client, &names).await?;
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
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        Ok(())
    }
}

/// How long a connection may take.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);

/// What `postgresql.auto.conf` holds of these settings.
async fn stored(client: &Client, names: &[String]) -> Result<Parameters> {
    let lines = server::file_settings(client).await?;
    Ok(lines
        .into_iter()
        .filter(|line| line.source_file.ends_with("postgresql.auto.conf") && names.contains(&line.name))
        .map(|line| (line.name, line.value))
        .collect())
}

async fn resources(client: &Client, uri: &Uri, tune: &Tune, settings: &Settings) -> Result<Resources> {
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
    let data_volume_bytes = match (&tune.data_volume, &tune.pgdata) {
        (Some(text), _) => Some(size(text)?),
        (None, Some(pgdata)) => volume(pgdata),
        (None, None) => None,
    };
    let max_connections = settings.get("max_connections").and_then(|s| s.value.parse().ok()).unwrap_or(100);
    Ok(Resources {
        memory_bytes,
        cpu_millis: u32::try_from(cpu_millis).unwrap_or(u32::MAX),
        data_volume_bytes,
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
