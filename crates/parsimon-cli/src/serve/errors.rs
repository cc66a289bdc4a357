//! Errors as OpenAI's API words them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Seconds after which a client may try again when the queue is full.
const RETRY_AFTER_S: &str = "1";

/// A refused request.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
}

/// The body of every error.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    message: String,
    r#type: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        ApiError { status, message: message.into(), param: None, code: None }
    }

    /// 400: the request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400: a field is wrong.
    pub(crate) fn param(param: &str, message: impl Into<String>) -> Self {
        ApiError { param: Some(param.to_owned()), ..ApiError::invalid(message) }
    }

    /// 400: a field asks for what this server does not do.
    pub(crate) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        ApiError { code: Some("unsupported_parameter"), ..ApiError::param(param, message) }
    }

    /// 400: the prompt leaves no room for an answer.
    pub(crate) fn context_length(param: &str, tokens: usize, limit: usize) -> Self {
        let message =
            format!("the prompt has {tokens} tokens, and the context of {limit} tokens has no room for an answer");
        ApiError { code: Some("context_length_exceeded"), ..ApiError::param(param, message) }
    }

    pub(crate) fn unauthorized() -> Self {
        let message = "this server needs its API key as `Authorization: Bearer KEY`";
        ApiError { code: Some("invalid_api_key"), ..ApiError::new(StatusCode::UNAUTHORIZED, message) }
    }

    pub(crate) fn unknown_url(path: &str) -> Self {
        ApiError { code: Some("unknown_url"), ..ApiError::new(StatusCode::NOT_FOUND, format!("there is no {path}")) }
    }

    pub(crate) fn unknown_model(asked: &str, served: &str) -> Self {
        let message = format!("there is no model `{asked}`; this server has `{served}`");
        let error = ApiError::new(StatusCode::NOT_FOUND, message);
        ApiError { code: Some("model_not_found"), param: Some("model".into()), ..error }
    }

    pub(crate) fn method(method: &str, path: &str) -> Self {
        let message = format!("{path} does not take {method}");
        ApiError { code: Some("method_not_allowed"), ..ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        ApiError { code: Some("request_too_large"), ..ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message) }
    }

    pub(crate) fn body_timeout(seconds: u64) -> Self {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, format!("the body was not there after {seconds} s"))
    }

    /// 429: the queue is full.
    pub(crate) fn busy() -> Self {
        let message = "the queue is full; try again later";
        ApiError { code: Some("rate_limit_exceeded"), ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    /// 503: the server is stopping, or its engine has stopped.
    pub(crate) fn unavailable(message: &str) -> Self {
        ApiError { code: Some("service_unavailable"), ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// 500: a defect, or a model that cannot compute.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The body alone, as a stream carries it after its headers are out.
    pub(crate) fn body(self) -> ErrorBody {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        ErrorBody { error: ErrorDetail { message: self.message, r#type: kind, param: self.param, code: self.code } }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let body = serde_json::to_string(&self.body()).expect("strings serialize");
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        let extra = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => (header::RETRY_AFTER, RETRY_AFTER_S),
            StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Bearer"),
            // What is left of the body would be read as the next request.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => (header::CONNECTION, "close"),
            _ => return response,
        };
        response.headers_mut().insert(extra.0, HeaderValue::from_static(extra.1));
        response
    }
}
