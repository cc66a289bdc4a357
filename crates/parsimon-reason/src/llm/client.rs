//! The client of completion endpoints.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::retry::{Poster, Sleep, Wait};
use super::{chat, wire};
use crate::error::PolicyError;
use crate::policy::{Policy, Reply, Request, Sample, Sampling, Usage};

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// vLLM's `/v1/completions`: says which stop fired, takes any number of stops.
    VllmCompletions,
    /// OpenAI's `/v1/completions`: at most four stops, and does not say which fired.
    OpenaiCompletions,
    /// vLLM's `/v1/chat/completions`: continues a partial assistant message.
    VllmChat,
    /// OpenAI's `/v1/chat/completions`: the continuation of a partial message is approximate.
    OpenaiChat,
    /// llama.cpp's `/completion`: one sequence a request.
    LlamaCpp,
    /// SGLang's `/generate`.
    Sglang,
}

impl Kind {
    /// The kind of a name such as `vllm-chat`.
    pub fn named(name: &str) -> Option<Kind> {
        Some(match name {
            "vllm" | "vllm-completions" => Kind::VllmCompletions,
            "openai" | "openai-completions" => Kind::OpenaiCompletions,
            "vllm-chat" => Kind::VllmChat,
            "openai-chat" => Kind::OpenaiChat,
            "llamacpp" => Kind::LlamaCpp,
            "sglang" => Kind::Sglang,
            _ => return None,
        })
    }

    /// Most stop strings of a request.
    pub fn max_stops(self) -> usize {
        match self {
            Kind::OpenaiCompletions | Kind::OpenaiChat => 4,
            _ => 64,
        }
    }

    fn is_chat(self) -> bool {
        matches!(self, Kind::VllmChat | Kind::OpenaiChat)
    }

    /// Whether extensions of vLLM may be sent.
    pub(super) fn is_vllm(self) -> bool {
        matches!(self, Kind::VllmCompletions | Kind::VllmChat)
    }
}

/// How to reach a server.
#[derive(Clone)]
pub struct ClientConfig {
    /// What it speaks.
    pub kind: Kind,
    /// Scheme, host and port.
    pub url: String,
    /// The name of the model.
    pub model: String,
    /// Goes into the authorization header and nowhere else.
    pub api_key: Option<String>,
    /// Longest wait for a reply.
    pub timeout_ms: u64,
    /// Attempts of a request.
    pub max_attempts: u32,
    /// Longest reply.
    pub max_response_bytes: usize,
    /// Most requests at once.
    pub max_in_flight: usize,
    /// Waits between attempts.
    pub wait: Arc<dyn Wait>,
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key: configurations end up in logs.
        f.debug_struct("ClientConfig")
            .field("kind", &self.kind)
            .field("url", &self.url)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl ClientConfig {
    /// Five attempts, two minutes, 64 MiB, 64 requests in flight.
    pub fn new(kind: Kind, url: impl Into<String>, model: impl Into<String>) -> Self {
        ClientConfig {
            kind,
            url: url.into(),
            model: model.into(),
            api_key: None,
            timeout_ms: 120_000,
            max_attempts: 5,
            max_response_bytes: 64 << 20,
            max_in_flight: 64,
            wait: Arc::new(Sleep),
        }
    }
}

/// What one call gave.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Completion {
    /// The samples of each prompt.
    pub samples: Vec<Vec<Sample>>,
    /// The cost.
    pub usage: Usage,
    /// What was odd: `prefill_echoed`.
    pub warnings: Vec<&'static str>,
}

/// A policy behind a server.
pub struct Client {
    config: ClientConfig,
    poster: Poster,
    id: String,
}

impl Client {
    /// A client; nothing is sent yet.
    pub fn new(config: ClientConfig) -> Self {
        Client {
            id: format!("{:?}:{}", config.kind, config.model).to_lowercase(),
            poster: Poster::new(&config),
            config,
        }
    }

    /// Completes a list of prompts in one request (several where the server takes one sequence at a time).
    ///
    /// # Errors
    ///
    /// [`PolicyError`].
    pub fn complete(
        &self,
        prompts: &[&str],
        n: usize,
        stops: &[String],
        sampling: &Sampling,
        seed: Option<u64>,
    ) -> Result<Completion, PolicyError> {
        let kind = self.config.kind;
        if stops.len() > kind.max_stops() {
            return Err(PolicyError::TooManyStops { given: stops.len(), limit: kind.max_stops() });
        }
        let mut completion = Completion::default();
        if kind.is_chat() {
            for prompt in prompts {
                let turn = chat::Turn::of_prompt(prompt);
                completion.absorb(self.chat(&turn, n, stops, sampling, seed)?);
            }
            return Ok(completion);
        }
        if kind == Kind::LlamaCpp {
            for prompt in prompts {
                let mut samples = Vec::with_capacity(n);
                for index in 0..n {
                    let seed = seed.map(|seed| seed.wrapping_add(index as u64));
                    let body = wire::llamacpp_request(prompt, stops, sampling, seed);
                    let reply = self.post("/completion", &body, seed, &mut completion.usage)?;
                    samples.push(wire::llamacpp_reply(&reply, &mut completion.usage)?);
                }
                completion.samples.push(samples);
            }
            return Ok(completion);
        }
        let (path, body) = match kind {
            Kind::Sglang => ("/generate", wire::sglang_request(prompts, n, stops, sampling)),
            _ => ("/v1/completions", wire::completions_request(&self.config, prompts, n, stops, sampling, seed)),
        };
        let reply = self.post(path, &body, seed, &mut completion.usage)?;
        let flat = match kind {
            Kind::Sglang => wire::sglang_reply(&reply, &mut completion.usage)?,
            _ => wire::choices(&reply, "text", &mut completion.usage)?,
        };
        if flat.len() != prompts.len() * n {
            return Err(PolicyError::ChoiceCount { expected: prompts.len() * n, actual: flat.len() });
        }
        let mut flat = flat.into_iter();
        for prompt in prompts {
            let samples = flat.by_ref().take(n).map(|sample| wire::infer_stop(sample, prompt, stops, kind)).collect();
            completion.samples.push(samples);
        }
        Ok(completion)
    }

    /// One chat turn: a system and a user message, and what the assistant has said already.
    ///
    /// # Errors
    ///
    /// [`PolicyError`].
    pub fn complete_turn(
        &self,
        system: Option<&str>,
        user: &str,
        prefill: &str,
        n: usize,
        stops: &[String],
        sampling: &Sampling,
        seed: Option<u64>,
    ) -> Result<Completion, PolicyError> {
        let turn = chat::Turn { system: system.map(str::to_owned), user: user.to_owned(), prefill: prefill.to_owned() };
        self.chat(&turn, n, stops, sampling, seed)
    }

    fn chat(
        &self,
        turn: &chat::Turn,
        n: usize,
        stops: &[String],
        sampling: &Sampling,
        seed: Option<u64>,
    ) -> Result<Completion, PolicyError> {
        let mut completion = Completion::default();
        let body = chat::request(&self.config, turn, n, stops, sampling, seed);
        let reply = self.post("/v1/chat/completions", &body, seed, &mut completion.usage)?;
        let mut samples = wire::choices(&reply, "message", &mut completion.usage)?;
        if samples.len() != n {
            return Err(PolicyError::ChoiceCount { expected: n, actual: samples.len() });
        }
        for sample in &mut samples {
            if !turn.prefill.is_empty()
                && let Some(rest) = sample.text.strip_prefix(turn.prefill.as_str())
            {
                sample.text = rest.to_owned();
                completion.warnings.push("prefill_echoed");
            }
        }
        let kind = self.config.kind;
        completion
            .samples
            .push(samples.into_iter().map(|sample| wire::infer_stop(sample, &turn.prefill, stops, kind)).collect());
        Ok(completion)
    }

    fn post(&self, path: &str, body: &Value, seed: Option<u64>, usage: &mut Usage) -> Result<Value, PolicyError> {
        self.poster.post(&self.config, path, body, false, seed.unwrap_or(0), usage)
    }
}

impl Completion {
    fn absorb(&mut self, other: Completion) {
        self.samples.extend(other.samples);
        self.usage += other.usage;
        self.warnings.extend(other.warnings);
    }
}

impl Policy for Client {
    fn id(&self) -> &str {
        &self.id
    }

    /// One request a prompt, as many at once as the configuration allows; the order of replies is that of the batch.
    fn propose(&self, batch: &[Request<'_>]) -> Result<Reply, PolicyError> {
        let one = |request: &Request<'_>| {
            self.complete(&[request.prompt.as_str()], request.n, &request.stops, &request.sampling, Some(request.seed))
        };
        let results = in_parallel(batch, self.config.max_in_flight, one);
        let mut reply = Reply::default();
        for result in results {
            let completion = result?;
            reply.samples.extend(completion.samples);
            reply.usage += completion.usage;
        }
        Ok(reply)
    }
}

/// Maps a list with up to `width` threads; one element needs none.
fn in_parallel<T: Sync, R: Send>(items: &[T], width: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if items.len() <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..width.clamp(1, items.len()))
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        match items.get(at) {
                            Some(item) => done.push((at, work(item))),
                            None => return done,
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
