//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use data_encoding::BASE64;

use super::app::App;
use super::body::{fields, json, read_json};
use super::errors::{ApiError, ErrorBody};
use super::sampling::check_prompt;
use super::schema::{Embedding, EmbeddingAnswer, EmbeddingRequest, EmbeddingUsage, Vector};

/// The most texts of one request.
const INPUTS_MAX: usize = 2048;

/// Vectors of texts.
#[utoipa::path(post, path = "/v1/embeddings", request_body = EmbeddingRequest, responses(
    (status = 200, description = "One vector a text", body = EmbeddingAnswer),
    (status = "4XX", description = "The request is wrong or the queue is full", body = ErrorBody)))]
pub(crate) async fn embed(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let value = read_json(body, app.body_limit).await?;
    let request: EmbeddingRequest = fields(&value)?;
    app.served.check_name(request.model.as_deref())?;
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("the format is `{other}`: expected float or base64");
            return Err(ApiError::param("encoding_format", message));
        }
    };
    let width = app.served.hidden_size;
    if let Some(dimensions) = request.dimensions.filter(|&dimensions| dimensions != width) {
        let message = format!("{dimensions} dimensions are not supported, the model has {width}");
        return Err(ApiError::unsupported("dimensions", message));
    }
    let inputs = app.served.encode(request.input, "input", INPUTS_MAX).await?;
    for input in &inputs {
        check_prompt(input, "input", &app.served)?;
    }
    let prompt_tokens = inputs.iter().map(Vec::len).sum();
    let mut data = Vec::with_capacity(inputs.len());
    for (index, tokens) in inputs.into_iter().enumerate() {
        let vector = app.engine.embed(tokens).await?;
        let embedding = if base64 { Vector::Base64(encode(&vector)) } else { Vector::Float(vector) };
        data.push(Embedding { object: "embedding", index, embedding });
    }
    let usage = EmbeddingUsage { prompt_tokens, total_tokens: prompt_tokens };
    Ok(json(&EmbeddingAnswer { object: "list", data, model: app.served.name.clone(), usage }))
}

fn encode(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    BASE64.encode(&bytes)
}
