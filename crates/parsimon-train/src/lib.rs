//! Training with burn: pre-training of Sigma and Llama language models on the CPU, the same bytes for every seed.
//!
//! ```no_run
//! use std::time::Instant;
//! use parsimon_core::{CancelFlag, Control, NoProgress};
//! use parsimon_train::{Corpus, Run, preset, train_lm};
//!
//! let corpus = Corpus::open("corpus".as_ref())?;
//! let (model, train) = preset("sigma-tiny", corpus.vocab_size())?;
//! let run = Run { preset: "sigma-tiny", model: &model, train, corpus: &corpus, out: "model".as_ref() };
//! let (start, cancel) = (Instant::now(), CancelFlag::new());
//! let report = train_lm(&run, &|| start.elapsed(), &Control { progress: &NoProgress, cancel: &cancel })?;
//! println!("loss {:.3} after {} tokens", report.final_loss, report.tokens);
//! # Ok::<(), parsimon_train::TrainError>(())
//! ```
//!
//! # Overview
//!
//! - [`Corpus`] reads the token shards that parsimon-data packs; [`BatchSampler`] draws windows without replacement by a seed.
//! - [`LmModel`] is the model on burn tensors: random weights, a model folder read or written, logits, loss.
//! - [`TrainConfig`] and [`preset`]: how it is trained. AdamW (0.9, 0.95), decay on matrices only, clipping of the gradient's
//!   norm, linear warm-up and half a cosine down to a tenth.
//! - [`LmTrainer`] makes one step at a time; [`train_lm`] runs from a corpus to a model folder, resumes, and returns a
//!   [`TrainReport`] with the loss curve.
//!
//! # When to use it
//!
//! To train models of a few million parameters in minutes on processor cores, and to run or quantize them with parsimon-model
//! afterwards: the folder it writes is an ordinary Hugging Face folder. Not for models that need a GPU.
//!
//! # How it computes
//!
//! burn's autodiff tape chains the operations, and its flex tensors hold the numbers. The operations themselves (RMSNorm, linear
//! layers, SwiGLU, causal attention with RoPE through a head map, and the output layer fused with cross-entropy) are written for
//! this crate with their own backward passes: each is one pass over rows instead of a dozen, attention keeps one number a row
//! instead of its probabilities, and the logits of a batch never exist at once. All products go through the gemm crate, which is
//! also burn's.
//!
//! # Numerics
//!
//! Weights, activations and moments in `f32`; losses and norms are added in `f64`. Results are bit-identical for any number of
//! threads: a batch is cut into parts by its shape alone and their gradients are added in order. They differ between
//! instruction-set levels and processors in the last bits, as the matrix products do. Logits agree with an `f64` evaluation within
//! 1e-5 of the largest, and with the runtime of parsimon-model within 1e-4. An interrupted run ends in the same bytes as one that
//! was not.
//!
//! # Performance
//!
//! A step costs about `6 parameters + 7 layers n_q d context` operations a token, most of them in matrix products. Measurements
//! are in `docs/papers/sigma-training.md`.
//!
//! # Features
//!
//! None. burn makes the build long; nothing else in the workspace depends on it.
//!
//! # The papers
//!
//! *Sigma* (arXiv 2501.13629): the architecture with DiffQKV heads and augmented Q is trained as in its listing; K compression is
//! not. The recipe (data mixture, schedule, sizes) is not the paper's: the presets are made for minutes on a processor.
#![deny(unsafe_code)]

mod adamw;
mod config;
mod corpus;
mod error;
#[allow(unsafe_code)]
mod kernel;
mod model;
mod ops;
mod trainer;

pub use config::{TrainConfig, preset};
pub use corpus::{Batch, BatchSampler, Corpus};
pub use error::TrainError;
pub use model::LmModel;
pub use trainer::{LmTrainer, LossPoint, Run, TrainReport, train_lm};
