//! HTTP clients for what users name by URL: credentials and certificates from their Secrets, deadlines, no surprises.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity};

/// A server that does not take a connection within this time is unreachable.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How a server is reached and what it is shown. `Debug` is not derived: it would print secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Base URL.
    pub url: String,
    /// Credentials.
    pub credentials: Credentials,
    /// CA certificates in PEM that are trusted instead of the system's.
    pub ca: Option<String>,
    /// Certificate and key in PEM by which this side is known (mutual TLS).
    pub identity: Option<String>,
}

/// Credentials of a request.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// None.
    #[default]
    Absent,
    /// `Authorization: Bearer …`.
    Bearer(String),
    /// `Authorization: Basic …`.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
}

impl Access {
    /// A server without credentials.
    pub fn to(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// A client for it, whose requests end after `timeout`.
    ///
    /// # Errors
    /// A sentence about the certificates that can't be used.
    pub fn client(&self, timeout: Duration) -> Result<Client, String> {
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(timeout)
            // A POST that is sent elsewhere arrives there as a GET without its document, which is answered as if all were well.
            .redirect(Policy::none())
            .user_agent(concat!("howdah/", env!("CARGO_PKG_VERSION")))
            .default_headers(self.headers()?);
        if let Some(ca) = &self.ca {
            let certificates = Certificate::from_pem_bundle(ca.as_bytes())
                .ok()
                .filter(|found| !found.is_empty())
                .ok_or("ca.crt holds no PEM certificate")?;
            builder = builder.tls_certs_only(certificates);
        }
        if let Some(identity) = &self.identity {
            let identity = Identity::from_pem(identity.as_bytes())
                .map_err(|error| format!("tls.crt and tls.key are no PEM certificate and key: {}", chain(&error)))?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(|error| format!("TLS can't be set up: {}", chain(&error)))
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let value = match &self.credentials {
            Credentials::Absent => return Ok(HeaderMap::new()),
            Credentials::Bearer(token) => format!("Bearer {token}"),
            Credentials::Basic { username, password } => {
                format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
            }
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| "the credentials hold characters that a header can't carry".to_owned())?;
        value.set_sensitive(true);
        Ok([(AUTHORIZATION, value)].into_iter().collect())
    }
}

/// Sends a JSON document. Any answer of the 200s is taken for success.
///
/// # Errors
/// A sentence: it is unreachable, or what it answered.
pub async fn post_json(access: &Access, path: &str, body: &serde_json::Value, timeout: Duration) -> Result<(), String> {
    let url = format!("{}{path}", access.url.trim_end_matches('/'));
    let sent = access.client(timeout)?.post(&url).json(body).send().await;
    let answer = sent.map_err(|error| format!("{url} can't be reached: {}", chain(&error.without_url())))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let words: String = answer.text().await.unwrap_or_default().trim().chars().take(200).collect();
    Err(format!("{url} answered {status}: {words}"))
}

/// An error with its causes: the transport's say little at the top.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut words: Vec<String> = causes.map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document would not arrive, and whoever answers there knows nothing of it.
    #[tokio::test]
    async fn a_receiver_that_sends_elsewhere_was_not_told() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let moved = || async { axum::response::Redirect::permanent("/b") };
        let see_other = || async { axum::response::Redirect::to("/b") };
        let routes = axum::Router::new()
            .route("/a", axum::routing::post(moved))
            .route("/c", axum::routing::post(see_other))
            .route("/b", axum::routing::any(|| async { "fine" }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let access = Access::to(format!("http://{}", listener.local_addr().unwrap()));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        for (path, status) in [("/a", "308"), ("/c", "303")] {
            let told = post_json(&access, path, &serde_json::json!({}), CONNECT_WITHIN).await;
            assert!(told.as_ref().is_err_and(|why| why.contains(status)), "{told:?}");
        }
        server.abort();
    }

    #[test]
    fn certificates_that_are_none_are_told() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let with = |ca: Option<&str>, identity: Option<&str>| {
            let access = Access {
                ca: ca.map(str::to_owned),
                identity: identity.map(str::to_owned),
                ..Access::to("https://prometheus")
            };
            access.client(CONNECT_WITHIN).map(drop)
        };
        assert!(with(Some("nothing"), None).unwrap_err().contains("ca.crt"));
        assert!(with(None, Some("nothing")).unwrap_err().contains("tls.crt"));
        assert_eq!(with(None, None), Ok(()));
    }
}
