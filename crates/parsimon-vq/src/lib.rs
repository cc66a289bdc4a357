//! Vector quantization for the CPU: deterministic k-means, product and residual quantizers, and VPTQ, which stores the weights of a layer as rows of
//! small codebooks at 2 to 4 bits and multiplies with them as they are.
//!
//! ```
//! use parsimon_core::{CancelFlag, Control, NoProgress};
//! use parsimon_vq::{Hessian, Layer, Quantizer, Vptq, VptqBackend, VptqConfig, VptqMatrix};
//!
//! let weights: Vec<f32> = (0..64 * 32).map(|i| (i as f32 * 0.7).sin()).collect();
//! let layer = Layer { name: "l", weights: &weights, m: 64, k: 32, hessian: &Hessian::identity(32) };
//! let config = VptqConfig { centroids: 16, ..VptqConfig::default() };
//! let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
//! let (linear, report) = Vptq { config }.quantize(&layer, &control)?;
//! assert!(report.rel < 0.3 && report.bits.index == 1.0);
//!
//! let mut y = vec![0.0; 64];
//! VptqMatrix::new(&linear, &VptqBackend::default()).matmul_into(&[1.0; 32], 1, &mut y);
//! # Ok::<(), parsimon_vq::QuantizeError>(())
//! ```
//!
//! # Overview
//!
//! Letters: weights `W [m, k]`; `v` vector length; `K`, `Kr` centroids of the main and the residual codebook; `H = E[x x^T]` of a layer's inputs.
//!
//! - [`kmeans`]: weighted k-means; [`Codebook`], [`ProductQuantizer`], [`ResidualQuantizer`] on top of it, in three [`Metric`]s.
//! - [`HessianAccumulator`] and [`Hessian`]: the second moments of a layer's inputs; [`InverseFactor`] spreads errors by them.
//! - [`Quantizer`]: [`Vptq`], and the scalar [`Rtn`] and [`Gptq`] to compare with; [`finetune`] trains codebooks afterwards.
//! - [`VptqLinear`]: a quantized layer, read from and written to Hugging Face folders by a [`LayerConfig`] of a [`QuantizationConfig`].
//! - [`VptqMatrix`]: the layer prepared for products, by the kernel of its [`VptqPlan`].
//!
//! # When to use it
//!
//! To get below the 3 bits where scalar codes stop working, and to run published VPTQ models without a GPU. The whole-model driver is
//! `parsimon_model::quantize_calibrated`. At 4 bits and more scalar codes are as good and faster; they are in parsimon-lut. Small matrices pay for
//! their codebooks: a layer of 512 x 512 with `v = 4`, `K = 256` has 2.16 bits a weight, one of 4096 x 4096 has 2.02.
//!
//! # Cookbook
//!
//! - 2 bits: `VptqConfig::preset(2.0, shape, float)` takes two codebooks of 256 at `v = 8` where the matrix is large enough for them.
//! - Fewer errors for some bits: [`OutlierConfig`], [`VptqConfig::groups`], a wider [`VptqConfig::beam`], more [`VptqConfig::em_rounds`].
//! - A file that the authors' package loads: [`VptqConfig::for_upstream`] before anything is computed.
//! - Products without 8-bit activations: [`VptqBackend::exact`].
//!
//! # Kernels and backends
//!
//! Up to 256 centroids are looked up inside registers (`vpermi2b`, AVX-512 VBMI), with 8-bit activations; other codebooks, other processors and
//! codebooks that bytes would hurt are fetched centroid by centroid in `f32`; from 16 tokens on rows are decoded and multiplied densely.
//! [`VptqPlan`] says what was picked, why, and what it costs.
//!
//! # Numerics
//!
//! The same bits for any number of threads: sums are cut into fixed chunks, random numbers depend on the layer's name alone. [`Numerics::Exact`]
//! computes in `f64` and meets an independent program's codes exactly; [`Numerics::Fast`] compares in `f32`. [`VptqLinear::dequantize_into`] has
//! the roundings of the file format, bit for bit as the authors' package has them on a CPU; kernels do not round sums of two centroids.
//!
//! # Performance
//!
//! Quantizing costs `m k K` multiplications a round of k-means and a pass, and `m k^2 / 2` a pass for the errors; the Hessian costs `k^2` a token. A
//! product of one token reads `m k T / (8 v)` bytes of codes for `T` bits a vector. `cargo xtask bench vq` measures.
//!
//! # The paper
//!
//! VPTQ: Extreme Low-bit Vector Post-Training Quantization for Large Language Models (EMNLP 2024, arXiv 2409.17066). Implemented: the algorithm
//! with outliers, groups, residual codebooks and training of each layer's codebooks; the file format. Not implemented: training of whole
//! blocks and of the model. Deviations: columns are normalised by mean and deviation with the Hessian rescaled, k-means weighs columns by
//! what an error costs after compensation, codebooks are refitted. LUT-DLA (HPCA 2025) is not implemented.
//! `docs/papers/vptq.md` keeps the account.
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
