//! Probes and metrics over HTTP, on their own port.

pub mod cost;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::control::metrics::{Metrics, OPEN_METRICS};
use crate::control::readiness::Readiness;

/// What is served.
#[derive(Clone)]
pub struct Served {
    /// What `/metrics` tells.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` tells.
    pub readiness: Readiness,
}

/// The routes: `/healthz`, `/readyz`, `/metrics`.
pub fn routes(served: Served) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(served)
}

/// Serves until the process ends.
///
/// # Errors
/// When the address can't be listened on.
pub async fn listen(address: SocketAddr, served: Served) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving probes and metrics");
    axum::serve(listener, routes(served)).await
}

async fn ready(State(served): State<Served>) -> Response {
    let missing = served.readiness.sentences();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
}

async fn metrics(State(served): State<Served>) -> Response {
    match served.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics can't be written: {error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: howdah\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_says_what_is_missing() {
        let served = Served { metrics: Arc::default(), readiness: Readiness::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, routes(served.clone())).into_future());
        served.readiness.missing("x", "CustomResourceDefinition x is missing");
        let answer = ask(address, "/readyz").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("CustomResourceDefinition x is missing"),
            "{answer}"
        );
        assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        served.readiness.found("x");
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let answer = ask(address, "/metrics").await;
        assert!(answer.contains(OPEN_METRICS) && answer.contains("# EOF"), "{answer}");
        server.abort();
    }
}
