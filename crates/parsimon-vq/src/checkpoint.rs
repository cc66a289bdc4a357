//! VPTQ layers in Hugging Face folders: the configuration and the tensors of a layer, read with every check and written so that they come back.

mod config;
mod error;
mod read;
mod write;

pub use config::{LayerConfig, QuantizationConfig};
pub use error::{CheckpointError, CheckpointErrorKind};
