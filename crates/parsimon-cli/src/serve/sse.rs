//! Server-sent events: a body that a task writes, and that stops the task when nobody reads it any more.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;

/// Events that may wait for a slow reader before the writer waits too.
const EVENTS_MAX: usize = 32;

/// The writing side.
pub(crate) struct EventWriter(mpsc::Sender<Bytes>);

/// The reader has gone.
pub(crate) struct Gone;

struct EventBody(mpsc::Receiver<Bytes>);

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A response of events and its writer.
pub(crate) fn channel() -> (EventWriter, Response) {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        // Proxies that buffer answers are told not to.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (EventWriter(sender), (headers, Body::new(EventBody(receiver))).into_response())
}

impl EventWriter {
    /// Sends one event: `data: {json}` and an empty line.
    pub(crate) async fn send<T: Serialize>(&self, value: &T) -> Result<(), Gone> {
        let text = serde_json::to_string(value).map_err(|_| Gone)?;
        self.send_text(&text).await
    }

    /// Sends the event that ends OpenAI's streams.
    pub(crate) async fn done(&self) -> Result<(), Gone> {
        self.send_text("[DONE]").await
    }

    async fn send_text(&self, text: &str) -> Result<(), Gone> {
        self.0.send(Bytes::from(format!("data: {text}\n\n"))).await.map_err(|_| Gone)
    }

    /// Waits until the reader has gone.
    pub(crate) async fn gone(&self) {
        self.0.closed().await;
    }
}
