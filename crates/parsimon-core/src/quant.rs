//! Uniform low-bit weights: codes with a scale and a zero point per group of input columns, and how files pack them.
//!
//! `w[r, c] = (q[r, c] - zp[r, g]) * s[r, g]`, `q` in `[0, 2^bits)`, `g = c / group`, weights `[m, k]` row-major.
//!
//! [`GroupQuantized`] is the exchange form between quantizers, files and the kernels of parsimon-lut: one byte a code, nothing
//! packed. [`rtn`] makes it from floats by rounding to nearest, [`gptq`] stores it the way the GPTQ ecosystem does.
//! [`packed`] reads what others pack into safetensors, [`block`] is the block types of GGUF files, [`encode`] the quantizers of the simpler ones.

pub mod block;
pub mod encode;
pub mod gptq;
mod group;
pub mod packed;
pub mod rtn;
mod words;

pub use block::{BlockError, BlockMatrix, BlockType};
pub use group::{GroupQuantized, QuantError, Zeros};
pub use packed::PackedError;
