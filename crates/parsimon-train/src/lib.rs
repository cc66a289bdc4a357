//! Training with burn: Sigma language-model pre-training.
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
