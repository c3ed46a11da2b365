//! `howdah anomaly fetch`: the rows that a detector would learn from, as a CSV file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::anomaly::answer::Rows;
use crate::anomaly::crd::{Features, Pack};
use crate::anomaly::features::{Watched, check_selector, scrapes, watched};
use crate::anomaly::fetch;
use crate::duration;
use crate::world::http::{Access, Credentials};

/// What to read, and where to.
#[derive(Debug, Args)]
pub struct Fetch {
    /// Base URL of Prometheus (http://prometheus:9090).
    #[arg(long)]
    prometheus: String,
    /// Bearer token for it.
    #[arg(long, env = "PROMETHEUS_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// CA certificates in PEM that are trusted instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where to begin: a time (2024-05-01T00:00:00Z), or how long ago (14d).
    #[arg(long)]
    from: String,
    /// Where to end: a time, or how long ago (0s).
    #[arg(long, default_value = "0s")]
    to: String,
    /// Time between rows.
    #[arg(long, default_value = "15s")]
    step: String,
    /// Packs of features.
    #[arg(long = "pack", value_enum, default_values = ["PostgresExporter", "NodeExporter"])]
    packs: Vec<PackName>,
    /// A label that selects the instance's series (instance=shop); may be repeated.
    #[arg(long = "selector", value_name = "LABEL=VALUE")]
    selectors: Vec<String>,
    /// The file that receives the rows.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// The packs as the command line names them.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PackName {
    #[value(name = "PostgresExporter")]
    PostgresExporter,
    #[value(name = "NodeExporter")]
    NodeExporter,
    #[value(name = "CloudNativePG")]
    CloudNativePg,
}

/// Reads the rows and writes the file.
///
/// # Errors
/// What was wrong with the arguments, Prometheus or the file.
pub async fn run(arguments: Fetch) -> Result<()> {
    super::super::choose_tls_provider();
    let step = duration::seconds(&arguments.step);
    ensure!(step > 0, "--step {} is no time between rows; write 15s", arguments.step);
    let selector = selector(&arguments.selectors)?;
    let packs = arguments.packs.iter().map(|name| match name {
        PackName::PostgresExporter => Pack::PostgresExporter,
        PackName::NodeExporter => Pack::NodeExporter,
        PackName::CloudNativePg => Pack::CloudNativePg,
    });
    let features = Features { packs: packs.collect(), ..Features::default() };
    let watched = watched(&features, &selector, step).map_err(anyhow::Error::msg)?;
    let mut access = Access::to(&arguments.prometheus);
    if let Some(token) = arguments.token {
        access.credentials = Credentials::Bearer(token);
    }
    if let Some(path) = &arguments.ca {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
        access.ca = Some(text);
    }
    let prometheus = fetch::open(&access)?;
    let now = prometheus.now().await.map_err(|error| fetch::trouble(&error))?;
    let aligned = |text: &str| Ok::<i64, anyhow::Error>(time(text, now)?.div_euclid(step * 1000) * step * 1000);
    let (from, to) = (aligned(&arguments.from)?, aligned(&arguments.to)?);
    ensure!(from <= to, "--from {} lies after --to {}", arguments.from, arguments.to);
    let scrapes = scrapes(&features, &selector);
    let rows = fetch::rows(&prometheus, &watched, &scrapes, (from, to), step).await?;
    let rows = rows.mostly_single().map_err(fetch::ambiguous)?;
    let missing: Vec<&str> = rows.empty().map(|index| watched[index].name.as_str()).collect();
    if missing.len() == watched.len() {
        bail!("Prometheus has no series of these packs in this time under this selector; look at its targets");
    }
    write(&arguments.output, &watched, &rows)
        .with_context(|| format!("{} can't be written", arguments.output.display()))?;
    let found = watched.len() - missing.len();
    println!("{} rows of {found} features in {}", rows.times.len(), arguments.output.display());
    if !missing.is_empty() {
        println!("without a value: {}", missing.join(", "));
    }
    if rows.not_finite > 0 {
        println!("{} values were NaN or infinite and are left empty", rows.not_finite);
    }
    Ok(())
}

/// A time in milliseconds since 1970: RFC 3339, or a duration before now.
fn time(text: &str, now: i64) -> Result<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let is_duration = text.ends_with(['s', 'm', 'h', 'd']) && text.starts_with(|c: char| c.is_ascii_digit());
    ensure!(is_duration, "{text:?} is no time; write 2024-05-01T00:00:00Z, or how long ago as 14d");
    Ok(now.saturating_sub(duration::seconds(text).saturating_mul(1000)))
}

fn selector(pairs: &[String]) -> Result<BTreeMap<String, String>> {
    let split = |pair: &String| {
        let (name, value) = pair.split_once('=').with_context(|| format!("--selector {pair:?} is not LABEL=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    let selector: BTreeMap<String, String> = pairs.iter().map(split).collect::<Result<_>>()?;
    check_selector(&selector).map_err(anyhow::Error::msg)?;
    Ok(selector)
}

/// A time column in RFC 3339, then one for each feature, named `NAME:KIND`; also for those without any value, as a model of
/// other rows may have them.
fn write(path: &Path, watched: &[Watched], rows: &Rows) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let header = |Watched { name, kind, .. }: &Watched| format!("{name}:{}", format!("{kind:?}").to_lowercase());
    let names: Vec<String> = watched.iter().map(header).collect();
    writeln!(file, "time,{}", names.join(","))?;
    for (row, time) in rows.times.iter().enumerate() {
        let time = Timestamp::from_millisecond(*time).map_err(std::io::Error::other)?;
        write!(file, "{time}")?;
        for column in &rows.columns {
            match column[row] {
                value if value.is_nan() => write!(file, ",")?,
                value => write!(file, ",{value}")?,
            }
        }
        writeln!(file)?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        let now = 1_700_000_000_000;
        assert_eq!(time("1970-01-01T00:00:10Z", now).unwrap(), 10_000);
        assert_eq!(time("1h", now).unwrap(), now - 3_600_000);
        assert!(time("yesterday", now).unwrap_err().to_string().contains("14d"));
    }

    #[test]
    fn a_selector_is_a_label_and_a_value() {
        assert_eq!(selector(&["a=b=c".into()]).unwrap()["a"], "b=c");
        assert!(selector(&["a".into()]).is_err() && selector(&["a-b=c".into()]).is_err());
    }
}
