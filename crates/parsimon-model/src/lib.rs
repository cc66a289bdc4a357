//! Transformer runtime: reads Hugging Face folders of Llama- and Sigma-style models, runs them in `f32` or through the lookup-table kernels
//! of parsimon-lut, samples, measures perplexity, and quantizes.
//!
//! ```no_run
//! use parsimon_model::{GenerateOptions, LoadOptions, Model, Sampler, generate};
//!
//! let model = Model::open("model".as_ref(), &LoadOptions::default())?;
//! let mut sampler = Sampler::greedy();
//! let tokens = generate(&model, &[1, 2, 3], &GenerateOptions { max_tokens: 20 }, &mut sampler, &mut |_| true)?;
//! # Ok::<(), parsimon_model::ModelError>(())
//! ```
//!
//! # Overview
//!
//! - [`ModelConfig`]: `config.json`, with every check before a tensor is touched.
//! - [`Model`]: the weights ([`Linear`] layers, dense or low-bit) and the forward pass; [`KvState`] is one sequence's cache.
//! - [`PackCache`]: a folder of packed layers that the next opening maps ([`LoadOptions::pack_cache`]).
//! - [`Engine`]: many requests at once, batched decoding, paged cache, shared beginnings, drafts; [`MemoryNeed`] says before what it takes.
//! - [`Sampler`] and [`generate`]: one sequence; [`SamplingOptions`] has the filters and their order.
//! - [`perplexity`]: negative log-likelihood over consecutive windows.
//! - [`quantize_folder`]: a float checkpoint to a GPTQ one, by rounding to nearest.
//! - `Tokenizer` (feature `tokenizer`): `tokenizer.json`; [`TextStream`] turns its tokens into text as they come.
//! - `ChatTemplate` (feature `chat`): messages to a prompt, by the template of the model folder.
//! - [`JsonPrefix`]: whether bytes begin a JSON value; [`JsonConstraint`] keeps generation within one.
//!
//! # When to use it
//!
//! To run small and middle-sized models on a CPU, quantized ones most of all: one sequence with [`generate`], many with an [`Engine`].
//!
//! # Architectures
//!
//! | `model_type` | what is read |
//! |---|---|
//! | `llama` | pre-RMSNorm, RoPE (default, linear, llama3), grouped-query attention, SwiGLU, tied or untied embeddings |
//! | `sigma` | the same with DiffQKV heads (`num_key_heads`, `num_value_heads`) and augmented Q (`aug_q_size`) |
//!
//! Weights: safetensors in F32, F16 or BF16, single file or sharded; projections also as GPTQ, version 1 or 2, 2 to 4 bits.
//!
//! # Numerics
//!
//! Weights as stored, arithmetic in `f32`. Logits agree with `transformers` and with `f64` evaluations within 2e-4 of the largest
//! logit. The same seed gives the same tokens for any number of threads, and in an [`Engine`]
//! in any company.
//!
//! # Performance
//!
//! Decoding reads every weight once a token, or once for up to 16 sequences of an [`Engine`], so it is bound by bytes;
//! the same activations are turned into tables once for query, key and value, and once for gate and up, in the same pass as the norm or the activation function before them ([`Activations`]).
//! `cargo xtask bench model` measures tokens per second beside `f32`.
//!
//! # The papers
//!
//! *Sigma* (arXiv 2501.13629): DiffQKV heads and augmented Q are implemented, K compression and selective value loading are not.
//! *LUT Tensor Core* (arXiv 2408.06003): tables are built once for all layers that read them, fused with the operator before.
#![forbid(unsafe_code)]

mod batch;
mod bind;
mod block;
#[cfg(feature = "chat")]
mod chat;
mod config;
mod embedding;
mod engine;
mod error;
mod generate;
mod json;
mod linear;
mod model;
mod pack_cache;
mod perplexity;
mod quantize;
mod rope;
mod sample;
mod text;
#[cfg(feature = "tokenizer")]
mod tokenizer;

pub use bind::LoadOptions;
#[cfg(feature = "chat")]
pub use chat::{ChatError, ChatMessage, ChatTemplate, RenderOptions};
pub use config::{
    Activation, Architecture, BitNetConfig, BlockTraits, ConfigError, ModelConfig, Quantization, RopeScaling,
    SIGMA_TINY,
};
pub use engine::{
    Engine, EngineOptions, EngineStats, Event, FinishReason, MemoryNeed, NGramOptions, Request, RequestId,
    SampledToken, TokenConstraint, Usage,
};
pub use error::ModelError;
pub use generate::{GenerateOptions, generate};
pub use json::{JsonConstraint, JsonPrefix, JsonVocabulary};
pub use linear::{Activations, BitNetMatrix, Linear};
pub use model::{KvState, Model};
pub use pack_cache::{PackCache, PackCacheReport};
pub use parsimon_attn::KvDtype;
pub use perplexity::{Perplexity, PerplexityOptions, perplexity};
pub use quantize::{LayerReport, QuantizeOptions, QuantizeReport, quantize_folder};
pub use rope::{RopeFrequencies, RopePhase};
pub use sample::{Sampler, SamplerError, SamplingOptions};
pub use text::{TextStream, TokenBytes};
#[cfg(feature = "tokenizer")]
pub use tokenizer::{Tokenizer, TokenizerError};
