//! Transformer runtime: reads Hugging Face folders and GGUF files of nine families of models, runs them in `f32` or through the low-bit kernels
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
//! - [`ModelConfig`]: `config.json` or the keys of a GGUF file, with every check before a tensor is touched. What sets a family apart is data
//!   ([`BlockTraits`], [`RopeScaling`]); the forward pass knows no names.
//! - [`Model`]: the weights ([`Linear`] layers, dense or low-bit) and the forward pass; [`KvState`] is one sequence's cache.
//! - [`PackCache`]: a folder of packed layers that the next opening maps ([`LoadOptions::pack_cache`]).
//! - [`Engine`]: many requests at once, batched decoding, paged cache, shared beginnings, drafts; [`MemoryNeed`] says before what it takes.
//! - [`Sampler`] and [`generate`]: one sequence; [`SamplingOptions`] has the filters and their order.
//! - [`perplexity`]: negative log-likelihood over consecutive windows.
//! - [`quantize_folder`]: a float checkpoint to a GPTQ one, by rounding to nearest; [`quantize_calibrated`]: to a VPTQ or GPTQ one, by what a
//!   calibration text makes of the layers' inputs.
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
//! | `model_type` | beyond pre-RMSNorm, RoPE, grouped-query attention, a gated feed-forward network, tied or untied embeddings |
//! |---|---|
//! | `llama` (2, 3, 3.1, 3.2) | biases (`attention_bias`, `mlp_bias`) |
//! | `sigma` | DiffQKV heads (`num_key_heads`, `num_value_heads`), augmented Q (`aug_q_size`) |
//! | `qwen2` (also 2.5) | biases of query, key and value; sliding windows from `max_window_layers` on or by `layer_types` |
//! | `qwen3` | norms of query and key heads |
//! | `mistral` | a sliding window in every layer |
//! | `phi3` | `qkv_proj` and `gate_up_proj` split at load, partial rotation, longrope, sliding windows |
//! | `gemma` | norms with `1 + w`, tangent GELU, scaled embeddings |
//! | `gemma2` | the same with four norms a block, capped scores and logits, windows in every other layer, `query_pre_attn_scalar` |
//! | `bitnet` | norms before `o_proj` and `down_proj`, squared ReLU, ternary weights on 8-bit activations |
//!
//! Rotary scalings: default, linear, dynamic, llama3, yarn, longrope, each of all or a part of a head. Dynamic and longrope tables depend on the
//! length of the sequence; one whose table changes is computed again from its first token, as the reference does ([`Model::is_stale`]).
//! Mixtures of experts, Gemma 3 and images are not read.
//!
//! # Checkpoints
//!
//! | form | what is read |
//! |---|---|
//! | safetensors | F32, F16, BF16 (16 bits stay 16 bits in memory); one file or shards |
//! | GPTQ | 2, 3, 4 and 8 bits, version 1 and 2, act-order; EfficientQAT's 3-bit words |
//! | AWQ | 4 bits, version gemm |
//! | VPTQ | main, residual and outlier codebooks, groups, norm and permutation; packed or not, both layouts of the configuration |
//! | BitNet | packed with either rule of `weight_scale`, and made ternary at load (`quantization_mode` "online") |
//! | GGUF 2 and 3 | one file or split; architectures llama, qwen2, qwen3, phi3, gemma, gemma2, bitnet, bitnet-b1.58; every block type of parsimon-core, I2_S with [`LoadOptions::dialect`] |
//!
//! Codes on a grid stay packed; the others (codebooks, FP4), and groups or orders of columns that no kernel takes, become `f32`, as everything
//! does with [`LoadOptions::dequantize`]. An embedding table in blocks or of 16 bits stays so and is decoded where it is looked up.
//!
//! # Numerics
//!
//! Weights as stored, arithmetic in `f32`. Logits agree with `transformers` and with `f64` evaluations within 2e-4 of the largest
//! logit; GGUF files with decoded weights have a normalized squared error of 1e-12, packed ones of 1e-4 to 4e-4. BitNet's products are exact integers. The same seed gives the same tokens for any number of threads, and in an [`Engine`]
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
mod calibration;
#[cfg(feature = "chat")]
mod chat;
mod config;
mod embedding;
mod engine;
mod error;
mod export;
mod float_source;
mod gates;
mod generate;
mod json;
mod linear;
mod model;
mod naming;
mod pack_cache;
mod perplexity;
mod quantize;
mod rope;
mod sample;
mod splits;
mod synthetic;
mod text;
#[cfg(feature = "tokenizer")]
mod tokenizer;
mod workspace;

pub use bind::LoadOptions;
pub use calibration::calibration_windows;
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
pub use export::{FolderOptions, GgufOptions, write_folder, write_gguf};
pub use gates::{GateError, GateForm, GateTrainOptions, GateTrainReport, Gating, train_gates};
pub use generate::{GenerateOptions, generate, generate_in};
pub use json::{JsonConstraint, JsonPrefix, JsonVocabulary};
pub use linear::{Activations, BitNetMatrix, Linear};
pub use model::{KvState, Model};
pub use pack_cache::{PackCache, PackCacheReport};
pub use parsimon_attn::KvDtype;
pub use perplexity::{Perplexity, PerplexityOptions, perplexity};
pub use quantize::{
    CalibratedLayer, CalibratedMethod, CalibratedReport, LayerReport, QuantizeOptions, QuantizeReport, VptqChoice,
    quantize_calibrated, quantize_folder,
};
pub use rope::{RopeFrequencies, RopePhase};
pub use sample::{Sampler, SamplerError, SamplingOptions};
pub use synthetic::write_random_folder;
pub use text::{TextStream, TokenBytes};
#[cfg(feature = "tokenizer")]
pub use tokenizer::{Tokenizer, TokenizerError};
