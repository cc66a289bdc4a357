//! CPU features as proof: which instruction set this processor has, read in one place, and tokens that carry the answer.
//!
//! ```
//! use parsimon_simd::{Level, vectorize, Vectorize};
//!
//! struct Sum<'a>(&'a [f32]);
//! impl Vectorize for Sum<'_> {
//!     type Output = f32;
//!     #[inline(always)]
//!     fn run<const FMA: bool>(self) -> f32 {
//!         self.0.iter().sum()
//!     }
//! }
//! assert_eq!(vectorize(Level::best(), Sum(&[1.0, 2.0, 3.5])), 6.5);
//! ```
//!
//! # Overview
//!
//! - [`Level`] names an instruction-set level. [`Level::best`] is what kernels use: the processor's level, lowered by the
//!   environment variable `PARSIMON_ISA` (see [`Selection`]). It is computed once per process.
//! - A *token* ([`Avx2`], [`Avx512`], [`Avx512Vnni`], [`Avx512Vbmi`], [`Avx512Bf16`], [`Amx`], [`Neon`],
//!   [`NeonDot`]) exists only where its features do, so holding one justifies the single `unsafe` call from portable code into a `#[target_feature]` function.
//! - [`vectorize`] compiles one portable body for every level and runs the one asked for: no intrinsics, no `unsafe` at the caller.
//! - [`math`] holds elementary functions for such bodies.
//! - `x86` and `arm` (each on its own architecture) hold loads and stores that take arrays instead of pointers, so that kernels stay free of
//!   raw pointers.
//!
//! # When to use it
//!
//! Every crate of Parsimon with a kernel builds on this one. Outside, use it where you want to write your own
//! `#[target_feature]` kernels with the same dispatch and the same override for tests.
//!
//! # Levels
//!
//! | level | features proved by its token | implies |
//! |---|---|---|
//! | `scalar` | none | |
//! | `avx2` | AVX2, FMA, F16C | `scalar` |
//! | `avx512` | AVX-512 F, BW, VL, DQ | `avx2` |
//! | `avx512vnni` | AVX-512 VNNI | `avx512` |
//! | `avx512vbmi` | AVX-512 VBMI | `avx512vnni` |
//! | `avx512bf16` | AVX-512 BF16 | `avx512vbmi` |
//! | `amx` | AMX-TILE, AMX-BF16, AMX-INT8, and Linux' permission for this process | `avx512bf16` |
//! | `neon` | NEON | `scalar` |
//! | `neondot` | the dot-product extension | `neon` |
//!
//! The x86 levels form a chain on purpose: one name orders them all. A processor with BF16 but without VBMI counts as
//! `avx512vnni`.
//!
//! # Numerics
//!
//! [`vectorize`] passes `FMA = false` at level `scalar` and on x86 below `avx2`, so that a portable body never falls into a
//! software fused multiply-add. Results of one level are repeatable; between levels they differ by rounding.

#[cfg(target_arch = "aarch64")]
pub mod arm;
mod level;
pub mod math;
mod token;
mod vectorize;
#[cfg(target_arch = "x86_64")]
pub mod x86;

pub use level::{ENV_VAR, Level, Selection, UnknownLevel};
pub use token::{Amx, Avx2, Avx512, Avx512Bf16, Avx512Vbmi, Avx512Vnni, Neon, NeonDot};
pub use vectorize::{Vectorize, vectorize};
