//! Reads the rows of a detector from Prometheus: credentials from Secrets, one expression, rows by the server's clock.

pub mod beside;

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use tokio::time::timeout;

use crate::anomaly::answer::{self, Duplicate, Rows};
use crate::anomaly::crd::{Pack, PrometheusSource, Receiver, SecretReference};
use crate::anomaly::facts::Trouble;
use crate::anomaly::features::{LABEL, Watched, together};
use crate::anomaly::gap;
use crate::anomaly::reason::Reason;
use crate::world::http::{Access, Credentials};
use crate::world::kubernetes::{KubeError, secret};
use crate::world::prometheus::{Prometheus, PrometheusError, Series};

/// How long an answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Its clock is the least that it can be asked for: one that does not tell it within this time is left alone until the
/// next look, so that detectors of other servers do not wait for it.
const CLOCK_WITHIN: Duration = Duration::from_secs(5);
/// Rows of a coarse look at a long time.
const COARSE_ROWS: i64 = 300;

/// How the Prometheus of a detector is reached.
///
/// # Errors
/// `SecretMissing` when a Secret or a key is missing.
pub async fn source(client: &Client, namespace: &str, source: &PrometheusSource) -> Result<Access, Trouble> {
    let PrometheusSource { url, secret_ref, tls, .. } = source;
    access(client, namespace, url, secret_ref.as_ref(), tls.as_ref()).await
}

/// How a receiver of alarms is reached.
///
/// # Errors
/// `SecretMissing` when a Secret or a key is missing.
pub async fn receiver(client: &Client, namespace: &str, receiver: &Receiver) -> Result<Access, Trouble> {
    let Receiver { url, secret_ref, tls } = receiver;
    access(client, namespace, url, secret_ref.as_ref(), tls.as_ref()).await
}

async fn access(
    client: &Client,
    namespace: &str,
    url: &str,
    credentials: Option<&SecretReference>,
    tls: Option<&SecretReference>,
) -> Result<Access, Trouble> {
    let mut access = Access::to(url);
    if let Some(reference) = credentials {
        let keys = read(client, namespace, reference).await?;
        let key = |name: &str| keys.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        access.credentials = match (key("token"), key("username"), key("password")) {
            (Some(token), None, None) => Credentials::Bearer(token),
            (None, Some(username), Some(password)) => Credentials::Basic { username, password },
            _ => {
                let wants = "needs either the key token, or the keys username and password";
                return Err(missing(format!("Secret {namespace}/{} {wants}", reference.name)));
            }
        };
    }
    if let Some(reference) = tls {
        let mut keys = read(client, namespace, reference).await?;
        access.ca = keys.remove("ca.crt");
        access.identity = match (keys.remove("tls.crt"), keys.remove("tls.key")) {
            (Some(certificate), Some(key)) => Some(format!("{certificate}\n{key}")),
            (None, None) => None,
            _ => {
                let wants = "has one of tls.crt and tls.key; mutual TLS needs both";
                return Err(missing(format!("Secret {namespace}/{} {wants}", reference.name)));
            }
        };
        if access.ca.is_none() && access.identity.is_none() {
            let wants = "needs the key ca.crt, or tls.crt and tls.key";
            return Err(missing(format!("Secret {namespace}/{} {wants}", reference.name)));
        }
    }
    Ok(access)
}

async fn read(
    client: &Client,
    namespace: &str,
    reference: &SecretReference,
) -> Result<BTreeMap<String, String>, Trouble> {
    secret::read_all(client, namespace, &reference.name).await.map_err(|error| match error {
        KubeError::NotFound { .. } => missing(format!("{error}; create it")),
        other => Trouble::new(Reason::StepFailed, other.to_string()),
    })
}

fn missing(message: String) -> Trouble {
    Trouble::new(Reason::SecretMissing, message)
}

/// A Prometheus.
///
/// # Errors
/// `SecretMissing` when the certificates can't be used, `InvalidSpecification` when the URL can't.
pub fn open(access: &Access) -> Result<Prometheus, Trouble> {
    Prometheus::new(access, ANSWER_WITHIN).map_err(|error| trouble(&error))
}

/// Its time, in milliseconds since 1970.
///
/// # Errors
/// `PrometheusUnreachable` when it does not tell it soon, or why there is no answer.
pub async fn clock(prometheus: &Prometheus, url: &str) -> Result<i64, Trouble> {
    let Ok(answer) = timeout(CLOCK_WITHIN, prometheus.now()).await else {
        let message = format!("Prometheus at {url} does not tell its time within {} s", CLOCK_WITHIN.as_secs());
        return Err(Trouble::new(Reason::PrometheusUnreachable, message));
    };
    answer.map_err(|error| trouble(&error))
}

/// The rows of the features from `from` to `to`, both included, in milliseconds; `step` in seconds. Where `scrapes` tell
/// that nobody scraped, they have no values.
///
/// # Errors
/// `QueryRejected` with the name of the feature whose query is wrong, or why there is no answer.
pub async fn rows(
    prometheus: &Prometheus,
    watched: &[Watched],
    scrapes: &[Watched],
    range: (i64, i64),
    step: i64,
) -> Result<Rows, Trouble> {
    let mut rows = answered(prometheus, watched, range, step).await?;
    let from = range.0 - (gap::BEFORE_MS / (step * 1000) + 1) * step * 1000;
    let by_pack = sampled(prometheus, scrapes, (from, range.1), step).await?;
    let all = newest(&by_pack);
    rows.scraped_ms = usual(&by_pack);
    // One that is marked as gone is not on its way.
    let here = by_pack.values().filter(|pack| pack.last().is_some_and(|(row, _)| rows.times.last() == Some(row)));
    rows.awaited = here.map(|pack| gap::awaited(pack, step * 1000)).max().unwrap_or(0);
    // Packs may be scraped by different servers, of which one was away.
    let of_all = gap::unscraped(&all, step * 1000);
    let of_pack: BTreeMap<Pack, _> =
        by_pack.iter().map(|(pack, seen)| (*pack, gap::unscraped(seen, step * 1000))).collect();
    Ok(rows.without(|column| watched[column].pack.and_then(|pack| of_pack.get(&pack)).unwrap_or(&of_all)))
}

/// Usual time between two scrapes before a row, in milliseconds; none where it can't be told.
///
/// # Errors
/// Why there is no answer.
pub async fn scraped(prometheus: &Prometheus, scrapes: &[Watched], at: i64, step: i64) -> Result<Option<i64>, Trouble> {
    let at = at.div_euclid(step * 1000) * step * 1000;
    let from = at - gap::BEFORE_MS / (step * 1000) * step * 1000;
    Ok(usual(&sampled(prometheus, scrapes, (from, at), step).await?))
}

/// Usual time between two scrapes of the pack that is scraped most seldom: its counters stand still where rows are closer.
fn usual(by_pack: &BTreeMap<Pack, Vec<(i64, i64)>>) -> Option<i64> {
    by_pack.values().filter_map(|pack| gap::usual(pack)).max()
}

/// The newest sample of all packs.
fn newest(by_pack: &BTreeMap<Pack, Vec<(i64, i64)>>) -> Vec<(i64, i64)> {
    let mut newest: BTreeMap<i64, i64> = BTreeMap::new();
    for (row, sample) in by_pack.values().flatten() {
        newest.entry(*row).and_modify(|newest| *newest = *sample.max(newest)).or_insert(*sample);
    }
    newest.into_iter().collect()
}

/// By pack, each row's time with that of the newest sample in it, in milliseconds; nothing of a server that can't tell.
async fn sampled(
    prometheus: &Prometheus,
    scrapes: &[Watched],
    range: (i64, i64),
    step: i64,
) -> Result<BTreeMap<Pack, Vec<(i64, i64)>>, Trouble> {
    if scrapes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let series = match prometheus.range(&together(scrapes), range, step, scrapes.len()).await {
        Ok(series) => series,
        // What speaks PromQL without timestamp() knows no better.
        Err(PrometheusError::Rejected { .. }) => return Ok(BTreeMap::new()),
        Err(error) => return Err(trouble(&error)),
    };
    let in_ms = |(row, seconds): &(i64, f64)| (*row, (seconds * 1000.0).round() as i64);
    let of_pack = |series: &Series| {
        let name = series.labels.get(LABEL)?;
        let pack = scrapes.iter().find(|scrape| scrape.name == *name)?.pack?;
        Some((pack, series.samples.iter().map(in_ms).collect()))
    };
    Ok(series.iter().filter_map(of_pack).collect())
}

async fn answered(prometheus: &Prometheus, watched: &[Watched], range: (i64, i64), step: i64) -> Result<Rows, Trouble> {
    let series = match prometheus.range(&together(watched), range, step, watched.len()).await {
        Ok(series) => series,
        Err(PrometheusError::Rejected { message }) => return Err(culprit(prometheus, watched, range.1, &message).await),
        Err(error) => return Err(trouble(&error)),
    };
    let labelled = series.iter().map(|Series { labels, samples }| (labels, samples.as_slice()));
    Ok(answer::rows(watched, labelled, range, step * 1000))
}

/// The trouble that a feature has several series at once.
pub fn ambiguous(duplicate: Duplicate) -> Trouble {
    Trouble::new(Reason::DuplicateSeries, duplicate.to_string())
}

/// A few hundred rows over the last `seconds` before `newest` (in milliseconds): what there is, and since when.
///
/// # Errors
/// As of [`rows`].
pub async fn coarse(prometheus: &Prometheus, watched: &[Watched], newest: i64, seconds: i64) -> Result<Rows, Trouble> {
    let step = (seconds / COARSE_ROWS).max(1);
    answered(prometheus, watched, (newest - seconds.div_euclid(step) * step * 1000, newest), step).await
}

/// Of a rejected expression, the feature that it was rejected for: one half is asked for, then the other, and so on.
async fn culprit(prometheus: &Prometheus, watched: &[Watched], at: i64, whole: &str) -> Trouble {
    let (mut suspects, mut words) = (watched, None);
    while suspects.len() > 1 || words.is_none() {
        let (left, right) = suspects.split_at(suspects.len() / 2);
        let mut rejected = None;
        for half in [left, right].into_iter().filter(|half| !half.is_empty()) {
            let expression = if let [only] = half { only.expression.clone() } else { together(half) };
            if let Err(PrometheusError::Rejected { message }) =
                prometheus.range(&expression, (at, at), 1, half.len()).await
            {
                rejected = Some((half, message));
                break;
            }
        }
        let Some((half, message)) = rejected else {
            return Trouble::new(Reason::QueryRejected, format!("all features in one query: {whole}"));
        };
        (suspects, words) = (half, Some(message));
    }
    let name = suspects.first().map(|feature| feature.name.as_str()).unwrap_or_default();
    Trouble::new(Reason::QueryRejected, format!("the query of feature {name}: {}", words.unwrap_or_default()))
}

/// The trouble behind an error of Prometheus.
pub fn trouble(error: &PrometheusError) -> Trouble {
    let reason = match error {
        PrometheusError::Access { .. } => Reason::InvalidSpecification,
        PrometheusError::Unreachable { .. } => Reason::PrometheusUnreachable,
        PrometheusError::Unauthorized { .. } => Reason::PrometheusUnauthorized,
        PrometheusError::Rejected { .. } => Reason::QueryRejected,
        PrometheusError::Unreadable { .. } => Reason::AnswerUnreadable,
    };
    Trouble::new(reason, error.to_string())
}
