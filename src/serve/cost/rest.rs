//! The REST API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;
use utoipa::ToSchema;

use super::problem::Problem;
use super::{Ask, INFLATED, PIECE, Refusal, SMALL, Serving, inference, openapi};
use crate::control::metrics::OPEN_METRICS;
use crate::cost::answer::{Answer, TargetInfo};

/// The routes of a served model.
pub fn routes(serving: Arc<Serving>) -> Router {
    // Trino's gateway passes on what its own callers accept, and reads nothing that is compressed: what routers ask for is
    // as it is.
    let of_routers = Router::new().route("/v1/route", post(route)).route("/v1/{target}", post(label));
    let compressed = Router::new()
        .route("/v1/predict", post(predict))
        .route("/v1/models", get(models))
        .route("/v2", get(inference::server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/{target}", get(inference::model))
        .route("/v2/models/{target}/ready", get(inference::model_ready))
        .route("/v2/models/{target}/infer", post(inference::infer))
        .route("/openapi.json", get(openapi::document))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(CompressionLayer::new());
    of_routers
        .merge(compressed)
        .fallback(|| async {
            Refusal::NotFound("there is nothing at this path: /openapi.json lists what there is".into())
        })
        .method_not_allowed_fallback(|| async {
            Refusal::Method("this path takes another method: /openapi.json says which".into())
        })
        .layer(DefaultBodyLimit::max(serving.limits.body_bytes))
        .layer(RequestDecompressionLayer::new())
        .layer(from_fn_with_state(serving.clone(), bound))
        .layer(from_fn_with_state(serving.clone(), count))
        .with_state(serving)
}

/// Bodies take memory and time before anything is known of what they ask: of both there is an end.
async fn bound(State(serving): State<Arc<Serving>>, request: Request, next: Next) -> Response {
    let (headers, limits) = (request.headers(), &serving.limits);
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let grows = if headers.contains_key(header::CONTENT_ENCODING) { INFLATED } else { 1 };
    let length = length.map_or(limits.body_bytes, |length| length.saturating_mul(grows));
    let bodiless = matches!(*request.method(), Method::GET | Method::HEAD);
    let bytes = if bodiless { 0 } else { length.min(limits.body_bytes) };
    let pieces = u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX);
    let of_its_size = &serving.pieces[usize::from(bytes > SMALL)];
    let Ok(_held) = of_its_size.clone().try_acquire_many_owned(pieces) else {
        return Refusal::Full.into_response();
    };
    // The answer has its own time; this is for whoever sends a body byte by byte.
    let answered = tokio::time::timeout(2 * limits.timeout, next.run(request)).await;
    answered.unwrap_or_else(|_| Refusal::Timeout(2 * limits.timeout.as_secs()).into_response())
}

/// Paths that a kubelet or Prometheus asks for: no requests of anybody who waits for an answer.
const PROBES: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"];

/// The status that an answer is counted under, where it is another than its own.
#[derive(Clone, Copy)]
struct CountedAs(StatusCode);

async fn count(State(serving): State<Arc<Serving>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let begin = Instant::now();
    let mut response = next.run(request).await;
    if !serving.ready() {
        // Whoever keeps connections opens the next one to another replica.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    // A path that is none of ours is nobody's label.
    let route = route.as_deref().unwrap_or("none");
    if !PROBES.contains(&route) {
        let status = response.extensions().get::<CountedAs>().map_or(response.status(), |counted| counted.0);
        serving.metrics.requested(route, status.as_str(), begin.elapsed());
    }
    response
}

/// A body as JSON, whatever its content type says: routers do not all say one.
///
/// # Errors
/// It is too large, or not JSON of that shape; says where.
pub(super) fn json<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>, limit: usize) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal::TooLarge(format!("the request is larger than {limit} bytes: ask in several requests"))
        }
        _ => Refusal::Malformed(format!("the body can't be read: {}", rejection.body_text())),
    })?;
    serde_json::from_slice(&body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Refusal::Unprocessable(format!("the body is not as expected: {error}")),
        _ => Refusal::Malformed(format!("the body is not JSON: {error}")),
    })
}

/// Statements, and what is asked of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PredictRequest {
    /// The statements.
    #[schema(min_items = 1)]
    queries: Vec<String>,
    /// Names of targets; without them all.
    #[serde(default)]
    targets: Vec<String>,
    /// Tokens that pushed, for each estimate at the most.
    #[serde(default)]
    #[schema(maximum = 100)]
    tokens: usize,
    /// Known statements nearby, at the most.
    #[serde(default)]
    #[schema(maximum = 100)]
    nearest: usize,
}

/// One answer for each statement, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PredictResponse {
    answers: Vec<Answer>,
}

/// What statements will cost.
#[utoipa::path(post, path = "/v1/predict", request_body = PredictRequest, responses(
    (status = 200, body = PredictResponse),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
    (status = 504, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn predict(
    State(serving): State<Arc<Serving>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<PredictResponse>, Refusal> {
    let PredictRequest { queries, targets, tokens, nearest } = json(body, serving.limits.body_bytes)?;
    let answers = serving.answer(Ask { queries, targets, tokens, nearest }).await?;
    Ok(Json(PredictResponse { answers }))
}

/// One statement.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct LabelRequest {
    /// Its text.
    query: String,
}

/// A label as Presto's router reads it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum LabelField {
    /// `TARGET_pred_label`: the class, from 0.
    Label(usize),
    /// `TARGET_pred_str`: the class's range.
    Text(String),
}

/// The class of one statement, for one target: what Presto's router calls at `/v1/cpu` and `/v1/memory`.
#[utoipa::path(post, path = "/v1/{target}", params(("target" = String, Path, description = "Name of a target")),
    request_body = LabelRequest, responses(
    (status = 200, body = BTreeMap<String, LabelField>),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
    (status = 504, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn label(
    State(serving): State<Arc<Serving>>,
    Path(target): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<BTreeMap<String, LabelField>>, Refusal> {
    serving.target_of_path(&target)?;
    let LabelRequest { query } = json(body, serving.limits.body_bytes)?;
    let estimate = serving.estimate(query, &target).await?;
    Ok(Json(BTreeMap::from([
        (format!("{}_pred_label", estimate.target), LabelField::Label(estimate.class)),
        (format!("{}_pred_str", estimate.target), LabelField::Text(estimate.label)),
    ])))
}

/// What Trino's gateway posts to an external routing service; other fields are passed over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RouteRequest {
    /// What the gateway knows of the statement; it does not where it is not set to analyse requests.
    #[serde(default)]
    trino_query_properties: Option<TrinoQueryProperties>,
}

/// What Trino's gateway knows of a statement.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct TrinoQueryProperties {
    /// The statement.
    #[serde(default)]
    body: Option<String>,
}

/// What Trino's gateway reads.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RouteResponse {
    /// The group of clusters. None: the gateway takes its default.
    routing_group: Option<String>,
    /// Why there is none.
    errors: Vec<String>,
}

/// The group of clusters that a statement belongs to: an external routing service of Trino's gateway.
#[utoipa::path(post, path = "/v1/route", request_body = RouteRequest, responses(
    (status = 200, body = RouteResponse),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 500, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
    (status = 504, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn route(
    State(serving): State<Arc<Serving>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let RouteRequest { trino_query_properties } = json(body, serving.limits.body_bytes)?;
    let query = trino_query_properties.and_then(|properties| properties.body);
    let found = match query {
        // What is no statement, or one that is longer than the gateway reads.
        Some(query) if query.is_empty() => Err(Refusal::Abstains("there is no statement".into())),
        Some(query) => serving.route(query).await,
        None => Err(Refusal::Unprocessable(
            "the request has no trinoQueryProperties.body: set requestAnalyzerConfig.analyzeRequest in the gateway's \
             configuration"
                .into(),
        )),
    };
    let no_group = |errors: Vec<String>| Json(RouteResponse { routing_group: None, errors });
    match found {
        Ok(group) => Ok(Json(RouteResponse { routing_group: Some(group), errors: Vec::new() }).into_response()),
        // No error: a gateway that passes errors on would refuse the statement.
        Err(Refusal::Abstains(_)) => Ok(no_group(Vec::new()).into_response()),
        // What is configured wrong the gateway reads from an ordinary answer.
        Err(refusal @ Refusal::Unprocessable(_)) => {
            Ok((Extension(CountedAs(refusal.status().0)), no_group(vec![refusal.to_string()])).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

/// The model that answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelsResponse {
    /// Its version.
    version: String,
    /// Its targets.
    targets: Vec<TargetInfo>,
}

/// The model that answers, and its targets.
#[utoipa::path(get, path = "/v1/models", responses((status = 200, body = ModelsResponse)))]
pub(super) async fn models(State(serving): State<Arc<Serving>>) -> Json<ModelsResponse> {
    Json(ModelsResponse { version: serving.model.version().to_owned(), targets: serving.model.targets().to_vec() })
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// The process takes new callers.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 503, body = String, content_type = "text/plain"),
))]
pub(super) async fn ready(State(serving): State<Arc<Serving>>) -> Response {
    if serving.ready() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the process ends\n").into_response()
}

async fn metrics(State(serving): State<Arc<Serving>>) -> Response {
    match serving.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => Refusal::Failed(format!("the metrics can't be written: {error}")).into_response(),
    }
}
