//! What goes into an engine and what comes out.

use std::fmt::Debug;

use crate::{ModelError, SamplingOptions};

/// Text to continue, and how.
#[derive(Debug)]
pub struct Request {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// Tokens that end the output, besides the end-of-text tokens of the model.
    pub stop_tokens: Vec<u32>,
    /// Whether end-of-text tokens of the model are tokens like others.
    pub ignore_eos: bool,
    /// How many of the most likely tokens to report with each token; `None` for no probabilities at all.
    pub logprobs: Option<usize>,
    /// Which tokens may follow.
    pub constraint: Option<Box<dyn TokenConstraint>>,
}

impl Request {
    /// A greedy request that ends with the text.
    pub fn new(prompt: Vec<u32>, max_tokens: usize) -> Self {
        Request {
            prompt,
            max_tokens,
            sampling: SamplingOptions::default(),
            stop_tokens: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            constraint: None,
        }
    }
}

/// A grammar over tokens: what may come next.
pub trait TokenConstraint: Send + Debug {
    /// Sets the logits of forbidden tokens to negative infinity. End-of-text tokens are tokens like others.
    fn mask(&mut self, logits: &mut [f32]);

    /// Takes the token that was chosen.
    fn accept(&mut self, token: u32);

    /// Whether the output is whole: the request then ends with [`FinishReason::Stop`].
    fn is_complete(&self) -> bool;
}

/// Names a request of one engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub(super) u64);

impl RequestId {
    /// The number: requests count from 0 in the order of their submission.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// A token of the output.
#[derive(Clone, PartialEq, Debug)]
pub struct SampledToken {
    /// Its id.
    pub id: u32,
    /// `ln softmax(logits)[id]` of the model's logits, before biases, penalties and temperature; `None` unless asked for.
    pub logprob: Option<f32>,
    /// The most likely tokens with theirs, most likely first.
    pub top: Vec<(u32, f32)>,
}

/// What a step of an engine has to tell.
#[derive(Debug)]
pub enum Event {
    /// A request has one more token.
    Token {
        /// The request.
        request: RequestId,
        /// The token; never the one that ended the output.
        token: SampledToken,
    },
    /// A request is done.
    Finished {
        /// The request.
        request: RequestId,
        /// Why.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
    /// A request cannot go on; the others do.
    Failed {
        /// The request.
        request: RequestId,
        /// Why.
        error: ModelError,
    },
}

/// Why a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FinishReason {
    /// An end-of-text or stop token, which is no part of the output, or a constraint that is complete.
    Stop,
    /// It has `max_tokens`.
    Length,
    /// [`Engine::cancel`](crate::Engine::cancel).
    Cancelled,
    /// The model's context is full.
    Context,
}

/// The tokens of a request.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt whose keys and values were there already.
    pub cached_tokens: usize,
    /// Tokens of the output.
    pub completion_tokens: usize,
}
