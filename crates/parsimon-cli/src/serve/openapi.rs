//! The description of the API.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;

use super::{chat, completions, embeddings, models};

#[derive(OpenApi)]
#[openapi(
    info(title = "Parsimon", description = "An OpenAI-compatible server of one model"),
    paths(
        chat::chat,
        completions::complete,
        embeddings::embed,
        models::list,
        models::one,
        models::health,
        models::metrics
    )
)]
struct Api;

pub(crate) async fn openapi() -> Response {
    let text = Api::openapi().to_json().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
