//! Vector quantization: the vocabulary of VPTQ and LUT-DLA. There is no quantizer here yet.
//!
//! ```
//! use parsimon_vq::Metric;
//!
//! let (x, p) = ([1.0, -2.0, 0.5], [0.0, 0.0, 0.0]);
//! assert_eq!(Metric::L2.distance(&x, &p)?, 5.25);
//! assert_eq!(Metric::L1.distance(&x, &p)?, 3.5);
//! assert_eq!(Metric::Chebyshev.distance(&x, &p)?, 2.0);
//! # Ok::<(), parsimon_vq::VqError>(())
//! ```
//!
//! # Overview
//!
//! - [`Metric`]: how far a vector is from a centroid.
//! - [`VqError`]: what is wrong with a vector.
//!
//! # What it will be
//!
//! Deterministic k-means, product and residual quantizers; VPTQ, which replaces short vectors of weights by rows of small codebooks at
//! 2 to 4 bits; and LUT-DLA's operators, which quantize activations instead and multiply by adding table rows.
//!
//! # When to use it
//!
//! Not yet, unless you need the names. Scalar quantization (round to nearest, GPTQ packing) is in parsimon-core.
//!
//! # Numerics
//!
//! Distances are computed in f64 from the first element to the last.
//!
//! # The papers
//!
//! VPTQ: Extreme Low-bit Vector Post-Training Quantization for Large Language Models (EMNLP 2024, arXiv 2409.17066) and LUT-DLA: Lookup
//! Table as Efficient Extreme Low-Bit Deep Learning Accelerator (HPCA 2025). Implemented: the three metrics. `docs/papers/vptq.md` and
//! `docs/papers/lutdla.md` keep the account.
#![forbid(unsafe_code)]

mod metric;

pub use metric::{Metric, VqError};
