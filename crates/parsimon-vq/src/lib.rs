//! Vector quantization for the CPU.
#![deny(unsafe_code)]

mod chunks;
mod codebook;
mod kernel;
mod kmeans;
mod metric;
mod stream;

pub use codebook::{Codebook, ProductQuantizer, ResidualQuantizer};
pub use kmeans::{Init, KMeans, KMeansConfig, KMeansError, KMeansReport, Numerics, Points, kmeans};
pub use metric::{Metric, VqError};
pub use stream::{Stage, layer_seed, stream};
