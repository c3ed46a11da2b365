//! The description of the REST API.

use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(title = "Howdah query cost", description = "What a SQL statement will cost, before it runs."),
    paths(
        super::rest::predict,
        super::rest::label,
        super::rest::route,
        super::rest::models,
        super::rest::live,
        super::rest::ready,
        super::inference::server,
        super::inference::model,
        super::inference::model_ready,
        super::inference::infer,
    )
)]
struct Document;

pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
