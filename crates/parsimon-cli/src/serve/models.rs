//! What can be asked about the server: models, health, metrics, the page and the API's description.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::app::App;
use super::body::json;
use super::errors::{ApiError, ErrorBody};
use super::schema::{List, ModelCard};

/// A chat in one file, without resources from elsewhere.
const PAGE: &str = include_str!("page.html");
/// The page runs its own script and style and talks to this server alone.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The served models: one.
#[utoipa::path(get, path = "/v1/models", responses((status = 200, description = "The model", body = List<ModelCard>)))]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    json(&List { object: "list", data: vec![app.card()] })
}

/// One model by its name.
#[utoipa::path(get, path = "/v1/models/{id}", params(("id" = String, Path, description = "The model's name")), responses(
    (status = 200, description = "The model", body = ModelCard),
    (status = 404, description = "There is no such model", body = ErrorBody)))]
pub(crate) async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    app.served.check_name(Some(&id))?;
    Ok(json(&app.card()))
}

/// Whether requests are taken.
#[utoipa::path(get, path = "/health", responses(
    (status = 200, description = "Requests are taken"), (status = 503, description = "The server is stopping")))]
pub(crate) async fn health(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    if app.is_draining() {
        return Err(ApiError::unavailable("the server is stopping"));
    }
    if !app.engine.is_alive() {
        return Err(ApiError::unavailable("the engine has stopped"));
    }
    Ok(json(&json!({"status": "ok", "model": app.served.name})))
}

/// Counters in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Counters", content_type = "text/plain")))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render()).into_response()
}

pub(crate) async fn page() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, PAGE_POLICY)];
    (headers, PAGE).into_response()
}
