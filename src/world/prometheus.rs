//! Range queries to Prometheus: in chunks below the server's limit, with retries, and every failure told apart.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_http_query::Client;
use prometheus_http_query::response::{Data, PromqlResult};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::http::{Access, chain};

/// The server refuses a range of more points (11,000 of them); a little less keeps off its rounding.
const MOST_POINTS: i64 = 10_000;
/// Points of all series in one answer, so that memory stays bounded whatever the range is, and a busy server, which was
/// seen to take 10 ms for a row of a hundred features, answers in time.
const MOST_SAMPLES: i64 = 50_000;
/// Tries of a request that may pass by itself, and the wait after the first of them, which doubles.
const TRIES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(300);

/// Why there is no answer. Each says what was wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrometheusError {
    /// The URL or the certificates can't be used.
    #[error("Prometheus at {url} can't be asked: {message}")]
    Access {
        /// Its URL.
        url: String,
        /// What is wrong.
        message: String,
    },
    /// There is no connection, no answer in time, or the server is not up to it.
    #[error("Prometheus at {url} does not answer: {message}")]
    Unreachable {
        /// Its URL.
        url: String,
        /// The transport's or the server's words.
        message: String,
    },
    /// The credentials are not accepted.
    #[error("Prometheus at {url} answered {status}: correct the credentials in the Secret of prometheus.secretRef")]
    Unauthorized {
        /// Its URL.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// The query is not accepted.
    #[error("Prometheus rejects the query: {message}")]
    Rejected {
        /// Its own words.
        message: String,
    },
    /// What came back is none of Prometheus's answers.
    #[error("{url} answered with something else than Prometheus does: {message}; is it the base URL, without /api?")]
    Unreadable {
        /// Its URL.
        url: String,
        /// What could not be read.
        message: String,
    },
}

/// One series of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Times in milliseconds since 1970, ascending, with their values; NaN and infinities as they came.
    pub samples: Vec<(i64, f64)>,
}

/// A Prometheus server. Clones share their connections.
#[derive(Clone)]
pub struct Prometheus {
    client: Client,
    url: String,
}

impl Prometheus {
    /// A server, whose answers are waited for as long as `timeout`.
    ///
    /// # Errors
    /// `Access` when the URL or the certificates can't be used.
    pub fn new(access: &Access, timeout: Duration) -> Result<Self, PrometheusError> {
        let wrong = |message: String| PrometheusError::Access { url: access.url.clone(), message };
        let client = access.client(timeout).map_err(wrong)?;
        let client = Client::from(client, &access.url).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { client, url: access.url.clone() })
    }

    /// The server's time in milliseconds since 1970: rows are cut by its clock, not by ours.
    ///
    /// # Errors
    /// As of every request.
    pub async fn now(&self) -> Result<i64, PrometheusError> {
        match self.ask(|| self.client.query("time()").post_raw()).await? {
            Data::Scalar(sample) => Ok((sample.value() * 1000.0) as i64),
            other => Err(self.unreadable(format!("time() gave {other:?}"))),
        }
    }

    /// The series of an expression from `from` to `to`, both included, every `step`; times in milliseconds, `step` in
    /// seconds. `width` is about how many series there will be: wide answers are asked for in shorter ranges.
    ///
    /// # Errors
    /// As of every request.
    pub async fn range(
        &self,
        expression: &str,
        (from, to): (i64, i64),
        step: i64,
        width: usize,
    ) -> Result<Vec<Series>, PrometheusError> {
        let mut joined: BTreeMap<BTreeMap<String, String>, Vec<(i64, f64)>> = BTreeMap::new();
        for (from, to) in chunks(from, to, step * 1000, width) {
            for Series { labels, samples } in self.chunk(expression, from, to, step).await? {
                joined.entry(labels).or_default().extend(samples);
            }
        }
        Ok(joined.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
    }

    async fn chunk(&self, expression: &str, from: i64, to: i64, step: i64) -> Result<Vec<Series>, PrometheusError> {
        // The client takes whole seconds; `step` is whole seconds and `from` a multiple of it.
        let (from, to) = (from / 1000, to / 1000);
        let found = self.ask(|| self.client.query_range(expression, from, to, step as f64).post_raw()).await?;
        let Data::Matrix(found) = found else { return Err(self.unreadable("a range query gave no matrix".into())) };
        let series = |found: prometheus_http_query::response::RangeVector| {
            let (labels, samples) = found.into_inner();
            let samples = samples.iter().map(|sample| ((sample.timestamp() * 1000.0).round() as i64, sample.value()));
            Series { labels: labels.into_iter().collect(), samples: samples.collect() }
        };
        Ok(found.into_iter().map(series).collect())
    }

    /// Asks, and asks again where the failure may pass by itself.
    async fn ask<F>(&self, request: impl Fn() -> F) -> Result<Data, PrometheusError>
    where
        F: Future<Output = Result<Response, prometheus_http_query::Error>>,
    {
        let mut wait = FIRST_WAIT;
        for attempt in 1.. {
            match self.once(request()).await {
                Err(PrometheusError::Unreachable { .. }) if attempt < TRIES => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                answer => return answer,
            }
        }
        unreachable!("the last try returns")
    }

    async fn once(
        &self,
        request: impl Future<Output = Result<Response, prometheus_http_query::Error>>,
    ) -> Result<Data, PrometheusError> {
        let response = request.await.map_err(|error| self.unreachable(chain(&error)))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(PrometheusError::Unauthorized { url: self.url.clone(), status: status.as_u16() });
        }
        // Servers that speak the same API have words of their own for what passes by itself.
        let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let body = response.bytes().await.map_err(|error| self.unreachable(chain(&error)))?;
        match serde_json::from_slice::<Answer>(&body) {
            Ok(Answer { data: Some(result), .. }) => Ok(result.into_inner().0),
            Ok(Answer { error: Some(message), kind, .. }) => match kind.as_deref() {
                Some("timeout" | "canceled" | "unavailable" | "internal") => Err(self.unreachable(message)),
                _ if passes => Err(self.unreachable(format!("it answered {status}: {message}"))),
                _ => Err(PrometheusError::Rejected { message }),
            },
            _ if passes => Err(self.unreachable(format!("it answered {status}"))),
            Ok(_) => Err(self.unreadable("neither data nor an error".into())),
            Err(error) => Err(self.unreadable(format!("{status}, {error}"))),
        }
    }

    fn unreachable(&self, message: String) -> PrometheusError {
        PrometheusError::Unreachable { url: self.url.clone(), message }
    }

    fn unreadable(&self, message: String) -> PrometheusError {
        PrometheusError::Unreadable { url: self.url.clone(), message }
    }
}

/// What every answer of the API looks like.
#[derive(Deserialize)]
struct Answer {
    data: Option<PromqlResult>,
    error: Option<String>,
    #[serde(rename = "errorType")]
    kind: Option<String>,
}

/// Ranges, ends included, that cover `from..=to` with no point twice; all in milliseconds.
fn chunks(from: i64, to: i64, step: i64, width: usize) -> impl Iterator<Item = (i64, i64)> {
    let width = i64::try_from(width).unwrap_or(i64::MAX).max(1);
    let points = (MOST_SAMPLES / width).clamp(1, MOST_POINTS);
    let next = move |(_, last): &(i64, i64)| Some(last + step);
    let first = Some(from).filter(|from| *from <= to);
    let cut = move |start: i64| (start, (start + (points - 1) * step).min(start + (to - start) / step * step));
    std::iter::successors(first.map(cut), move |chunk| next(chunk).filter(|start| *start <= to).map(cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_point_once_and_stay_below_the_limit() {
        for (from, to, step, width) in [
            (0, 0, 5_000, 1),
            (15_000, 14 * 86_400_000, 15_000, 100),
            (0, 100_000_000, 1_000, 1),
            (0, 12_345, 1_000, 500_000),
        ] {
            let mut expected = from;
            for (start, end) in chunks(from, to, step, width) {
                assert_eq!(start, expected);
                assert!(end <= to && (end - start) % step == 0);
                let points = (end - start) / step + 1;
                assert!(points <= 11_000 && (points == 1 || points * width as i64 <= MOST_SAMPLES), "{points}");
                expected = end + step;
            }
            assert!(expected > to && expected - step <= to);
        }
        assert_eq!(chunks(10, 5, 1, 1).count(), 0);
    }
}
