//! The Open Inference Protocol (v2), which KServe's clients speak: each target is a model.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::problem::Problem;
use super::rest::json;
use super::{Ask, Refusal, Serving};
use crate::cost::answer::{Answer, Estimate, Novelty};

/// The server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Server {
    name: &'static str,
    version: &'static str,
    extensions: Vec<String>,
}

/// What the server is.
#[utoipa::path(get, path = "/v2", responses((status = 200, body = Server)))]
pub(super) async fn server() -> Json<Server> {
    Json(Server { name: "howdah", version: env!("CARGO_PKG_VERSION"), extensions: Vec::new() })
}

/// A tensor that a model takes or gives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TensorInfo {
    name: &'static str,
    datatype: &'static str,
    /// -1: as many as there are statements.
    shape: Vec<i64>,
}

/// A target as a model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Model {
    name: String,
    versions: Vec<String>,
    platform: &'static str,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
}

/// What a target takes and gives.
#[utoipa::path(get, path = "/v2/models/{target}", params(("target" = String, Path, description = "Name of a target")), responses(
    (status = 200, body = Model),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn model(
    State(serving): State<Arc<Serving>>,
    Path(target): Path<String>,
) -> Result<Json<Model>, Refusal> {
    let place = serving.target_of_path(&target)?;
    let classes = serving.model.targets()[place].labels.len() as i64;
    let tensor = |name, datatype, shape: &[i64]| TensorInfo { name, datatype, shape: shape.to_vec() };
    Ok(Json(Model {
        name: target,
        versions: vec![serving.model.version().to_owned()],
        platform: "howdah",
        inputs: vec![tensor("query", "BYTES", &[-1])],
        outputs: vec![
            tensor("class", "INT64", &[-1]),
            tensor("label", "BYTES", &[-1]),
            tensor("probabilities", "FP64", &[-1, classes]),
            tensor("p50", "FP64", &[-1]),
            tensor("p90", "FP64", &[-1]),
            tensor("source", "BYTES", &[-1]),
            tensor("abstains", "BOOL", &[-1]),
            tensor("new_fingerprint", "BOOL", &[-1]),
            tensor("unknown_tokens", "FP64", &[-1]),
            tensor("unknown_tables", "FP64", &[-1]),
        ],
    }))
}

/// Whether a target can be asked.
#[utoipa::path(get, path = "/v2/models/{target}/ready", params(("target" = String, Path, description = "Name of a target")), responses(
    (status = 200),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn model_ready(
    State(serving): State<Arc<Serving>>,
    Path(target): Path<String>,
) -> Result<StatusCode, Refusal> {
    serving.target_of_path(&target).map(|_| StatusCode::OK)
}

/// A request of the Open Inference Protocol.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct InferRequest {
    /// Comes back with the answer.
    #[serde(default)]
    id: Option<String>,
    /// One tensor `query` of BYTES.
    inputs: Vec<InputTensor>,
}

/// A tensor of statements.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct InputTensor {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: Vec<String>,
}

/// An answer of the Open Inference Protocol.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InferResponse {
    model_name: String,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<OutputTensor>,
}

/// A tensor of answers, flat.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OutputTensor {
    name: &'static str,
    shape: Vec<usize>,
    datatype: &'static str,
    data: Vec<Value>,
}

/// What statements will cost of one target, as tensors.
#[utoipa::path(post, path = "/v2/models/{target}/infer", params(("target" = String, Path, description = "Name of a target")),
    request_body = InferRequest, responses(
    (status = 200, body = InferResponse),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 413, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
    (status = 504, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn infer(
    State(serving): State<Arc<Serving>>,
    Path(target): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<InferResponse>, Refusal> {
    serving.target_of_path(&target)?;
    let InferRequest { id, inputs } = json(body, serving.limits.body_bytes)?;
    let input = inputs.into_iter().find(|input| input.name == "query").ok_or_else(|| {
        Refusal::Unprocessable("there is no input named query: give one of datatype BYTES with the statements".into())
    })?;
    let elements = input.shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
    if input.datatype != "BYTES" || elements != Some(input.data.len()) {
        return Err(Refusal::Unprocessable(format!(
            "the input query is {} of shape {:?} with {} elements: it must be BYTES with as many elements as its shape says",
            input.datatype,
            input.shape,
            input.data.len()
        )));
    }
    let ask = Ask { queries: input.data, targets: vec![target.clone()], ..Ask::default() };
    let answers = serving.answer(ask).await?;
    let with_novelty = |answer: Answer| answer.targets.into_iter().map(move |estimate| (estimate, answer.novelty));
    let estimates: Vec<(Estimate, Novelty)> = answers.into_iter().flat_map(with_novelty).collect();
    let count = estimates.len();
    let output = |name, datatype, data: Vec<Value>| OutputTensor { name, datatype, shape: vec![count], data };
    let tensor = |name, datatype, of: &dyn Fn(&Estimate) -> Value| {
        output(name, datatype, estimates.iter().map(|(estimate, _)| of(estimate)).collect())
    };
    let novelty = |name, datatype, of: &dyn Fn(&Novelty) -> Value| {
        output(name, datatype, estimates.iter().map(|(_, novelty)| of(novelty)).collect())
    };
    let probabilities: Vec<Value> =
        estimates.iter().flat_map(|(estimate, _)| estimate.probabilities.iter().copied().map(Value::from)).collect();
    let classes = probabilities.len() / count.max(1);
    let outputs = vec![
        tensor("class", "INT64", &|estimate| estimate.class.into()),
        tensor("label", "BYTES", &|estimate| estimate.label.clone().into()),
        OutputTensor { name: "probabilities", datatype: "FP64", shape: vec![count, classes], data: probabilities },
        tensor("p50", "FP64", &|estimate| estimate.p50.into()),
        tensor("p90", "FP64", &|estimate| estimate.p90.into()),
        tensor("source", "BYTES", &|estimate| estimate.source.word().into()),
        tensor("abstains", "BOOL", &|estimate| estimate.abstains.into()),
        novelty("new_fingerprint", "BOOL", &|novelty| novelty.fingerprint.into()),
        novelty("unknown_tokens", "FP64", &|novelty| novelty.unknown_tokens.into()),
        novelty("unknown_tables", "FP64", &|novelty| novelty.unknown_tables.into()),
    ];
    Ok(Json(InferResponse { model_name: target, model_version: serving.model.version().to_owned(), id, outputs }))
}
