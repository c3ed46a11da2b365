//! Refusals over HTTP: problem details (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Refusal;

/// What went wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is, as a URI reference into the documentation.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The same in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What was wrong with this request, and what to do.
    detail: String,
    /// The same again, where clients of the Open Inference Protocol look for it.
    error: String,
}

impl Refusal {
    /// Status, kind of problem, and the same in words.
    pub(super) fn status(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "/docs/cost-api#malformed", "The request can't be read"),
            Self::Unprocessable(_) | Self::Abstains(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "/docs/cost-api#unprocessable", "The request can't be answered")
            }
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "about:blank", "There is nothing here"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "about:blank", "The path has another method"),
            Self::TooLarge(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "/docs/cost-api#too-large", "The request is too large")
            }
            Self::Busy(_) | Self::Full => {
                (StatusCode::SERVICE_UNAVAILABLE, "/docs/cost-api#busy", "Too many requests at once")
            }
            Self::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "/docs/cost-api#timeout", "The answer took too long"),
            Self::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "about:blank", "The model failed"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind, title) = self.status();
        let detail = self.to_string();
        let problem = Problem { kind, title, status: status.as_u16(), error: detail.clone(), detail };
        let mut response = (status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
