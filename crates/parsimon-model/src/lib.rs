//! Transformer runtime.

mod config;

pub use config::{Architecture, ConfigError, ModelConfig, RopeScaling, SIGMA_TINY};
