//! The gRPC API: the same answers.

use std::sync::Arc;
use std::time::Instant;

use axum::middleware::from_fn_with_state;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use super::metered::meter;
use super::{Ask, Refusal, Serving};
use crate::cost::answer;

/// What `proto/howdah/v1/cost.proto` describes.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("howdah.v1");
    /// The description itself, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/howdah.v1.bin"));
}

use v1::query_cost_server::{QueryCost, QueryCostServer};

/// The services: query costs, health, reflection.
///
/// # Errors
/// The descriptors can't be read.
pub async fn routes(
    serving: Arc<Serving>,
) -> Result<(Routes, tonic_health::server::HealthReporter), tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<QueryCostServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let limit = serving.limits.body_bytes;
    let service = QueryCostServer::new(Service(serving.clone()))
        .max_decoding_message_size(limit)
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let routes = Routes::new(service).add_service(health).add_service(reflection);
    Ok((routes.into_axum_router().layer(from_fn_with_state(serving, meter)).into(), reporter))
}

/// Tells callers of the health service that the process ends.
pub async fn drain(reporter: &tonic_health::server::HealthReporter) {
    reporter.set_not_serving::<QueryCostServer<Service>>().await;
    // Who names no service asks for the process.
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
}

/// The service.
pub struct Service(Arc<Serving>);

impl Service {
    fn count<T>(&self, method: &str, begin: Instant, result: Result<T, Refusal>) -> Result<Response<T>, Status> {
        let result = result.map_err(Status::from);
        let code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.0.metrics.requested(method, &format!("{code:?}"), begin.elapsed());
        result.map(Response::new)
    }
}

#[tonic::async_trait]
impl QueryCost for Service {
    async fn predict(&self, request: Request<v1::PredictRequest>) -> Result<Response<v1::PredictResponse>, Status> {
        let begin = Instant::now();
        let v1::PredictRequest { queries, targets, tokens, nearest } = request.into_inner();
        let ask = Ask { queries, targets, tokens: tokens as usize, nearest: nearest as usize };
        let answers = self.0.answer(ask).await;
        let response =
            answers.map(|answers| v1::PredictResponse { answers: answers.into_iter().map(Into::into).collect() });
        self.count("howdah.v1.QueryCost/Predict", begin, response)
    }

    async fn route(&self, request: Request<v1::RouteRequest>) -> Result<Response<v1::RouteResponse>, Status> {
        let begin = Instant::now();
        let group = self.0.route(request.into_inner().query).await;
        let response = group.map(|routing_group| v1::RouteResponse { routing_group });
        self.count("howdah.v1.QueryCost/Route", begin, response)
    }

    async fn list_models(&self, _: Request<v1::ListModelsRequest>) -> Result<Response<v1::ListModelsResponse>, Status> {
        let begin = Instant::now();
        let targets = self.0.model.targets().iter().cloned();
        let targets =
            targets.map(|answer::TargetInfo { name, unit, bounds, labels }| v1::Target { name, unit, bounds, labels });
        let response =
            v1::ListModelsResponse { version: self.0.model.version().to_owned(), targets: targets.collect() };
        self.count("howdah.v1.QueryCost/ListModels", begin, Ok(response))
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Malformed(_) | Refusal::Unprocessable(_) | Refusal::NotFound(_) | Refusal::Method(_) => {
                Code::InvalidArgument
            }
            Refusal::TooLarge(_) | Refusal::Busy(_) | Refusal::Full => Code::ResourceExhausted,
            Refusal::Abstains(_) => Code::FailedPrecondition,
            Refusal::Timeout(_) => Code::DeadlineExceeded,
            Refusal::Failed(_) => Code::Internal,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<answer::Answer> for v1::Answer {
    fn from(answer: answer::Answer) -> Self {
        let answer::Answer { fingerprint, novelty, targets, nearest, model_version } = answer;
        let answer::Novelty { fingerprint: new, unknown_tokens, unknown_tables } = novelty;
        Self {
            fingerprint,
            novelty: Some(v1::Novelty { fingerprint: new, unknown_tokens, unknown_tables }),
            targets: targets.into_iter().map(Into::into).collect(),
            nearest: nearest.into_iter().map(Into::into).collect(),
            model_version,
        }
    }
}

impl From<answer::Estimate> for v1::Estimate {
    fn from(estimate: answer::Estimate) -> Self {
        let answer::Estimate { target, class, label, probabilities, p50, p90, source, abstains, tokens } = estimate;
        let source = match source {
            answer::Source::History => v1::Source::History,
            answer::Source::Text => v1::Source::Text,
            answer::Source::Plan => v1::Source::Plan,
            answer::Source::Default => v1::Source::Default,
        };
        let tokens = tokens.into_iter().map(|answer::Push { token, weight }| v1::Push { token, weight });
        Self {
            target,
            class: u32::try_from(class).unwrap_or(u32::MAX),
            label,
            probabilities,
            p50,
            p90,
            source: source.into(),
            abstains,
            tokens: tokens.collect(),
        }
    }
}

impl From<answer::Neighbour> for v1::Neighbour {
    fn from(neighbour: answer::Neighbour) -> Self {
        let answer::Neighbour { fingerprint, statement, similarity, count, costs } = neighbour;
        let costs = costs.into_iter().map(|answer::Quantiles { target, p50, p90 }| v1::Quantiles { target, p50, p90 });
        Self { fingerprint, statement, similarity, count, costs: costs.collect() }
    }
}
