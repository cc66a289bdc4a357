//! Vector quantization for the CPU.
#![deny(unsafe_code)]

mod checkpoint;
mod chunks;
mod codebook;
mod factor;
mod float;
mod hessian;
mod kernel;
mod kmeans;
mod linear;
mod matrix;
mod metric;
pub mod pack;
mod quantizer;
mod scalar;
mod stream;
mod vptq;

pub use checkpoint::{CheckpointError, CheckpointErrorKind, LayerConfig, QuantizationConfig};
pub use codebook::{Codebook, ProductQuantizer, ResidualQuantizer};
pub use factor::InverseFactor;
pub use float::FloatType;
pub use hessian::{Hessian, HessianAccumulator};
pub use kmeans::{Init, KMeans, KMeansConfig, KMeansError, KMeansReport, Numerics, Points, kmeans};
pub use linear::VptqLinear;
pub use matrix::{VptqBackend, VptqMatrix, VptqMethod, VptqPlan};
pub use metric::{Metric, VqError};
pub use quantizer::{Bits, Layer, LayerReport, QuantizeError, Quantizer};
pub use scalar::{Gptq, Rtn};
pub use stream::{Stage, layer_seed, stream};
pub use vptq::{
    ColumnOrder, ColumnWeights, FinetuneConfig, Finetuned, Norm, OutlierConfig, Outliers, ResidualSource, Vptq,
    VptqCompat, VptqConfig, finetune,
};
