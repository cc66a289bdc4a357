//! An OpenAI-compatible server: HTTP in async tasks, the model on a thread of its own.
//!
//! A request passes through [`app`] (routes, key, drain), [`body`] (size, time, JSON), [`sampling`] (limits), and is queued with
//! [`engine_thread`]; [`generation`] turns the tokens that come back into text. Dropping a response cancels its sequences.

mod app;
mod body;
mod chat;
mod completions;
mod connection;
mod embeddings;
mod engine_thread;
mod errors;
mod generation;
mod metrics;
mod models;
mod openapi;
mod sampling;
mod schema;
mod sse;

pub(crate) use app::{App, Folder, Served, now_s};
pub(crate) use connection::{Limits, serve};
pub(crate) use engine_thread::EngineHandle;
pub(crate) use metrics::Metrics;
