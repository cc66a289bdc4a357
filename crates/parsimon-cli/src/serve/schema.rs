//! The fields of requests and answers, named as in OpenAI's API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How text is sampled; the same for completions and chats.
#[derive(Clone, Default, Deserialize, ToSchema)]
pub(crate) struct SamplingParams {
    /// The served model; any other is an error.
    pub(crate) model: Option<String>,
    /// The most tokens to generate.
    pub(crate) max_tokens: Option<usize>,
    /// Another name of `max_tokens`, which comes first.
    pub(crate) max_completion_tokens: Option<usize>,
    /// 0 to 2; 1 by default, 0 always takes the most likely token.
    pub(crate) temperature: Option<f32>,
    /// Above 0, at most 1.
    pub(crate) top_p: Option<f32>,
    /// How many of the most likely tokens are drawn from; 0 for all.
    pub(crate) top_k: Option<usize>,
    /// Only tokens with at least this share of the most likely one's probability are drawn.
    pub(crate) min_p: Option<f32>,
    /// -2 to 2.
    pub(crate) presence_penalty: Option<f32>,
    /// -2 to 2.
    pub(crate) frequency_penalty: Option<f32>,
    /// Above 0; 1 for none.
    pub(crate) repetition_penalty: Option<f32>,
    /// Token ids with -100 to 100; -100 forbids the token.
    pub(crate) logit_bias: Option<BTreeMap<String, f32>>,
    /// How many answers; 1 by default.
    pub(crate) n: Option<usize>,
    /// The same seed gives the same answer.
    pub(crate) seed: Option<i64>,
    /// Up to four texts that end the answer and are no part of it.
    pub(crate) stop: Option<Stop>,
    /// Whether the answer comes as server-sent events.
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    /// Whether end-of-text tokens are tokens like others.
    pub(crate) ignore_eos: Option<bool>,
}

#[derive(Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Clone, Deserialize, ToSchema)]
pub(crate) struct StreamOptions {
    /// Whether a last event tells the usage.
    pub(crate) include_usage: Option<bool>,
}

/// `POST /v1/completions`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct CompletionRequest {
    pub(crate) prompt: Prompt,
    /// Whether the answer begins with the prompt.
    pub(crate) echo: Option<bool>,
    /// How many likely tokens are told with each token, up to 20.
    pub(crate) logprobs: Option<usize>,
    /// Not supported.
    pub(crate) suffix: Option<String>,
    /// At most `n`.
    pub(crate) best_of: Option<usize>,
    #[serde(flatten)]
    pub(crate) sampling: SamplingParams,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Prompt {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

/// `POST /v1/chat/completions`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ChatRequest {
    pub(crate) messages: Vec<Message>,
    /// Whether the probabilities of the tokens are told.
    pub(crate) logprobs: Option<bool>,
    /// How many likely tokens are told with each token, up to 20.
    pub(crate) top_logprobs: Option<usize>,
    pub(crate) response_format: Option<ResponseFormat>,
    /// Not supported.
    #[schema(value_type = Option<Vec<Object>>)]
    pub(crate) tools: Option<Vec<serde_json::Value>>,
    #[serde(flatten)]
    pub(crate) sampling: SamplingParams,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct Message {
    /// `system`, `developer`, `user` or `assistant`.
    pub(crate) role: String,
    pub(crate) content: Option<Content>,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message; only `text` is supported.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Part {
    pub(crate) r#type: String,
    pub(crate) text: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct ResponseFormat {
    /// `text` or `json_object`.
    pub(crate) r#type: String,
}

/// `POST /v1/embeddings`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct EmbeddingRequest {
    pub(crate) input: Prompt,
    pub(crate) model: Option<String>,
    /// `float` or `base64`.
    pub(crate) encoding_format: Option<String>,
    /// Not supported, unless it is the model's own.
    pub(crate) dimensions: Option<usize>,
}

#[derive(Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: usize,
    pub(crate) completion_tokens: usize,
    pub(crate) total_tokens: usize,
    pub(crate) prompt_tokens_details: PromptTokensDetails,
}

#[derive(Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct PromptTokensDetails {
    pub(crate) cached_tokens: usize,
}

/// An answer, or one event of a streamed one.
#[derive(Serialize, ToSchema)]
pub(crate) struct Answer<C> {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) choices: Vec<C>,
    /// Absent in events unless asked for, and null in all but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Option<Usage>>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CompletionChoice {
    pub(crate) index: usize,
    pub(crate) text: String,
    pub(crate) logprobs: Option<CompletionLogprobs>,
    /// `stop` or `length`.
    pub(crate) finish_reason: Option<&'static str>,
}

#[derive(Clone, Default, Serialize, ToSchema)]
pub(crate) struct CompletionLogprobs {
    pub(crate) tokens: Vec<String>,
    pub(crate) token_logprobs: Vec<f32>,
    pub(crate) top_logprobs: Vec<BTreeMap<String, f32>>,
    pub(crate) text_offset: Vec<usize>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ChatChoice {
    pub(crate) index: usize,
    pub(crate) message: ReplyMessage,
    pub(crate) logprobs: Option<ChatLogprobs>,
    /// `stop` or `length`.
    pub(crate) finish_reason: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ReplyMessage {
    pub(crate) role: &'static str,
    pub(crate) content: String,
    pub(crate) refusal: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ChunkChoice {
    pub(crate) index: usize,
    pub(crate) delta: Delta,
    pub(crate) logprobs: Option<ChatLogprobs>,
    pub(crate) finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize, ToSchema)]
pub(crate) struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
}

#[derive(Clone, Default, Serialize, ToSchema)]
pub(crate) struct ChatLogprobs {
    pub(crate) content: Vec<TokenLogprob>,
}

#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct TokenLogprob {
    #[serde(flatten)]
    pub(crate) token: LikelyToken,
    pub(crate) top_logprobs: Vec<LikelyToken>,
}

#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct LikelyToken {
    pub(crate) token: String,
    pub(crate) logprob: f32,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct List<T> {
    pub(crate) object: &'static str,
    pub(crate) data: Vec<T>,
}

#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct ModelCard {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    pub(crate) created: u64,
    pub(crate) owned_by: &'static str,
    /// The most tokens of a prompt and its answer together.
    pub(crate) context_length: usize,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct EmbeddingAnswer {
    pub(crate) object: &'static str,
    pub(crate) data: Vec<Embedding>,
    pub(crate) model: String,
    pub(crate) usage: EmbeddingUsage,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Embedding {
    pub(crate) object: &'static str,
    pub(crate) index: usize,
    pub(crate) embedding: Vector,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Vector {
    Float(Vec<f32>),
    /// Little-endian 32-bit floats.
    Base64(String),
}

#[derive(Serialize, ToSchema)]
pub(crate) struct EmbeddingUsage {
    pub(crate) prompt_tokens: usize,
    pub(crate) total_tokens: usize,
}
