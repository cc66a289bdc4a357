//! Clients of model servers: vLLM, OpenAI-compatible servers (`parsimon serve` is one), llama.cpp and SGLang, and reward endpoints.
//!
//! One request a prompt with its own seed, many requests in flight; the server batches. Replies are bounded, retried where that can help,
//! and checked for the number of choices. Which stop string fired is what the server says, or is inferred from the text and flagged.

mod chat;
mod client;
mod retry;
mod reward;
mod wire;

pub use client::{Client, ClientConfig, Completion, Kind};
pub use retry::Wait;
pub use reward::{RewardClient, RewardKind, RewardStyle};
