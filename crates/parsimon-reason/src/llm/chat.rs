//! Chat turns: a prompt split into what the user says and what the assistant has begun to say.

use serde_json::{Map, Value, json};

use super::client::ClientConfig;
use super::wire::sampling_fields;
use crate::policy::Sampling;

/// One exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Turn {
    pub(super) system: Option<String>,
    pub(super) user: String,
    pub(super) prefill: String,
}

impl Turn {
    /// Splits a raw prompt at the mark where the assistant begins; without a mark all of it is the user's.
    pub(super) fn of_prompt(prompt: &str) -> Turn {
        for (mark, before) in [("\n<|assistant|>:", "<|user|>:\n"), ("### Response:\n", "")] {
            if let Some((user, prefill)) = prompt.rsplit_once(mark) {
                let user = user.strip_prefix(before).unwrap_or(user).trim_end();
                return Turn { system: None, user: user.to_owned(), prefill: prefill.trim_start().to_owned() };
            }
        }
        Turn { system: None, user: prompt.to_owned(), prefill: String::new() }
    }
}

pub(super) fn request(
    config: &ClientConfig,
    turn: &Turn,
    n: usize,
    stops: &[String],
    sampling: &Sampling,
    seed: Option<u64>,
) -> Value {
    let mut messages = Vec::new();
    if let Some(system) = &turn.system {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.push(json!({ "role": "user", "content": turn.user }));
    if !turn.prefill.is_empty() {
        messages.push(json!({ "role": "assistant", "content": turn.prefill }));
    }
    let mut body = Map::new();
    body.insert("model".into(), config.model.clone().into());
    body.insert("messages".into(), messages.into());
    sampling_fields(&mut body, config.kind, n, stops, sampling, seed);
    if config.kind.is_vllm() && !turn.prefill.is_empty() {
        body.insert("add_generation_prompt".into(), false.into());
        body.insert("continue_final_message".into(), true.into());
    }
    body.into()
}
