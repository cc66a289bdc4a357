//! The one room of `unsafe` in this crate: a checked front of the gemm crate, and elementwise bodies compiled per level.
//!
//! | kernel | scalar | avx2 | avx512 | neon |
//! |---|---|---|---|---|
//! | [`matmul`] | gemm crate, chosen at run time | the same | the same (its feature `x86-v4`) | the same |
//! | [`exp`] and everything under [`vectorized`] | portable body | compiled for it | compiled for it | compiled for it |

mod lanes;
mod matmul;

pub(crate) use lanes::{add, dot, exp, exp_shifted, fma, row_max, vectorized};
pub(crate) use matmul::{Mat, MatMut, Sum, Threads, matmul};
