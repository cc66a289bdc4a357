//! From the bytes of a request to its fields.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::errors::ApiError;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The JSON object of a body of at most `limit` bytes.
pub(crate) async fn read_json(body: Body, limit: usize) -> Result<Value, ApiError> {
    let bytes = tokio::time::timeout(BODY_TIMEOUT, read(body, limit))
        .await
        .unwrap_or_else(|_| Err(ApiError::body_timeout(BODY_TIMEOUT.as_secs())))?;
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|e| ApiError::invalid(format!("the body is no JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(ApiError::invalid("the body is no JSON object")) }
}

async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(ApiError::body_too_large(limit));
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|e| ApiError::invalid(format!("the body cannot be read: {e}")))?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(ApiError::body_too_large(limit));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// The fields of a request; fields that the type does not have are ignored.
pub(crate) fn fields<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        match path.as_str() {
            "." => ApiError::invalid(e.inner().to_string()),
            _ => ApiError::param(&path, format!("`{path}`: {}", e.inner())),
        }
    })
}

/// A JSON response.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(e) => ApiError::internal(format!("the answer cannot be written: {e}")).into_response(),
    }
}
