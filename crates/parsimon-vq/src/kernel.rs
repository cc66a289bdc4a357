//! The kernels: the only place of this crate with `unsafe` code.
//!
//! | kernel | scalar | avx2 | avx512 | avx512vbmi |
//! |---|---|---|---|---|
//! | `assign`: nearest centroids | portable | portable, compiled for it | portable, compiled for it | |
//! | `gemm`: dense products | gemm crate | gemm crate | gemm crate | |

pub(crate) mod assign;
#[allow(unsafe_code)]
pub(crate) mod gemm;
