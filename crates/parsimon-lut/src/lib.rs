//! Low-bit matrix multiply by table lookup: weights of 1 to 8 bits times `f32` activations without dequantizing the weights.
//!
//! ```
//! use parsimon_core::quant::rtn::{Levels, quantize};
//! use parsimon_lut::{ActConfig, Backend, LowBitMatrix, PreparedActivations};
//!
//! let (m, k) = (64, 128);
//! let w: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.37).sin()).collect();
//! let matrix = LowBitMatrix::from_quantized(&quantize(&w, m, k, Levels::Bits(4), 64)?, Backend::Auto)?;
//!
//! let x: Vec<f32> = (0..k).map(|i| (i as f32 * 0.11).cos()).collect();
//! let prepared = PreparedActivations::try_new(&x, 1, k, &ActConfig::for_matrix(&matrix))?;
//! let mut y = vec![0.0; m];
//! matrix.matmul_into(&prepared, &mut y);
//! # let exact: f32 = (0..k).map(|c| w[c] * x[c]).sum();
//! # assert!((y[0] - exact).abs() < 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Overview
//!
//! Letters: `m` output features, `k` input features, `n` tokens, `b` bits, `g` = 4 inputs a lookup, `G` weights that share a scale,
//! `ags` activations that share a table scale. Weights `[m, k]`, activations `[n, k]`, outputs `[n, m]`, row-major.
//!
//! - [`LowBitMatrix`]: weights in the layout of one kernel, made from [`GroupQuantized`](parsimon_core::quant::GroupQuantized) codes.
//!   The backend is chosen when the weights are packed, and stored with them. Packed weights can be kept in a file and mapped again
//!   ([`LowBitMatrix::write_cache`], [`LowBitMatrix::from_cache`]).
//! - [`PreparedActivations`]: `n` activation vectors in the form that a method reads ([`ActQuant`]): tables of four or five inputs, 8-bit
//!   integers, or bfloat16 for many tokens. Matrices that read the same activations share it.
//! - [`DenseMatrix`]: `f32` weights behind the same shape of call, the baseline of every comparison and the runtime of layers that
//!   stay in floats.
//! - [`HalfMatrix`]: the same for weights of 16 bits, F16 or BF16, which stay 16 bits in memory.
//! - [`Plan`] and [`Footprint`]: the kernel that a matrix gets and the bytes it takes, without the matrix; [`roofline`] turns them into a
//!   bound on the time.
//! - [`symmetrize`]: half tables and folded weights, the form that hardware reads.
//! - [`mod@reference`]: the same mathematics in `f64`, written to be obviously right.
//!
//! # When to use it
//!
//! When weights are quantized and run on a CPU, most of all at `n = 1`, where reading the weights is what takes time: fewer bits are fewer
//! bytes. Up to 3 bits are looked up, 4 to 8 bits are multiplied as integers. Not where a GPU is at hand.
//!
//! # Cookbook
//!
//! - *A matrix from a GGUF, GPTQ, AWQ or BitNet file*: parsimon-core's `quant::BlockMatrix::to_group_quantized`, `quant::gptq` and
//!   `quant::packed` give [`GroupQuantized`](parsimon_core::quant::GroupQuantized), columns in act-order included; then
//!   [`LowBitMatrix::from_quantized`].
//! - *Lossless ternary products*, as BitNet computes them: pack with [`Backend::Method`]`(Method::Dot)`, quantize each token to 8 bits, and give
//!   integers and scales to [`PreparedActivations::from_integers`]: the result is the exact integer times the scales.
//! - *Normalization without storing it*: [`PreparedActivations::prepare_with`] computes rows straight into the preparation.
//! - *Why is it slow*: [`LowBitMatrix::plan`] says which body runs and why, [`roofline::Work`] how much it has to do.
//!
//! # The method
//!
//! PAPER(tmac §3.1): a code is a sum of bit planes, `q - 2^(b-1) = sum_i 2^(i-1) v'_i - 1/2` with `v'_i` the bits read as -1 or +1. For four
//! inputs, a plane's contribution is one of 16 signed sums of the activations. These are computed once, quantized to 8 bits, and looked up by
//! four weight bits at a time:
//!
//! ```text
//! T_j[i] = sum_{t<4} (bit t of i ? +a[4j+t] : -a[4j+t])                                             T[i] = -T[15-i]
//! y_m    = sum_G s_{m,G} / 2 * ( sum_i 2^i sum_{j in G} T_j[idx_{m,i,j}]  +  o_{m,G} * beta_G )     beta_G = -sum_{k in G} a_k
//! ```
//!
//! with `o = 2 zp - 2^b + 1` from the zero point (a real zero `z` gives `(s / 2 + z) beta` instead of `s / 2 o beta`). `beta` comes from the
//! unquantized activations, so the constant term is exact. Time and bytes are proportional to `b`. PAPER(luttc §3.1): the mirror `T[i] = -T[15-i]` halves the work of the build ("table
//! symmetrization").
//!
//! # Kernels and backends
//!
//! See [`kernel`]'s status table. [`Backend::Auto`] takes the best body that [`Level::best`](parsimon_simd::Level::best) allows.
//!
//! # Numerics
//!
//! Tables carry 8 bits with one scale per `ags` (64) activations: the error is about 4e-5 of the output's energy for Gaussian
//! activations, and at most 1e-4 with eight of them 20 times as large. 8-bit integers with a scale for 32 activations have about the same,
//! ternary tables (160 activations a scale) at most 1e-4 and 1.6e-4. Integer sums are exact; scales are `f16`, rounded when packed, relative to a power
//! of two where they would overflow. Results do not depend on the number of threads:
//! the reduction over `k` is never split. Levels differ only in the order of a few `f32` additions.
//!
//! With [`ActQuant::Bf16`], which [`ActConfig::for_tokens`] takes from 32 tokens on where the processor multiplies tiles, weights and activations
//! are rounded to the 8 bits of bfloat16: about a third of the error of 8-bit activations, but not the same bits that a token has alone.
//!
//! # Performance
//!
//! A GEMV reads `m k b / 8` bytes of codes and 2 to 3 bytes a group. `cargo xtask bench lut` prints the fraction of the measured
//! memory bandwidth and the ratio to `f32`; docs/papers/tmac.md keeps the record.
//!
//! # The papers
//!
//! *T-MAC: CPU Renaissance via Table Lookup for Low-Bit LLM Deployment on Edge* (arXiv 2407.00088) and the software side of *LUT
//! Tensor Core* (arXiv 2408.06003). Implemented: bit-serial tables with mirror consolidation and table quantization; element-wise lookup of
//! five ternary weights a byte; integer dot products for 4 to 8 bits and lossless ternary models; several tokens at once for prefill;
//! preparation fused with the operator before it ([`PreparedActivations::prepare_with`]); table symmetrization with folded weights
//! ([`symmetrize`]). Not yet: fast 8-bit aggregation. Deviation: codes are laid out for one byte permute over four tables (see [`kernel`]) instead of upstream's per-shape tiles, so that one layout serves any shape.
#![deny(unsafe_code)]

mod activations;
mod cache;
mod dense;
mod error;
mod footprint;
mod groups;
mod half_dense;
mod int8;
pub mod kernel;
mod matrix;
mod pack;
mod plan;
pub mod reference;
pub mod roofline;
mod storage;
pub mod symmetrize;
mod table;
mod trit;

pub use activations::{ActConfig, ActQuant, PreparedActivations};
pub use dense::DenseMatrix;
pub use error::{ActivationError, CacheError, PackError};
pub use footprint::{Footprint, StoredZeros};
pub use half_dense::{HalfFormat, HalfMatrix};
pub use kernel::{Kernel, Method};
pub use matrix::LowBitMatrix;
pub use plan::{Backend, Plan, Traits};
pub use table::{AGS_DEFAULT, quantize_table};
