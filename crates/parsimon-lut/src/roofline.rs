//! What a product costs at least: bytes to read and bytes to look up or multiply.
//!
//! A time below `bytes / bandwidth` or `operations / peak` is impossible; the larger of the two is the roof. Bandwidth is the machine's, and
//! so is the peak: time [`run_peak`] in the run that measures the kernel.

use parsimon_simd::Level;

use crate::{LowBitMatrix, Method, kernel};

/// The work of one product with `n` tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Work {
    /// Bytes of weights, scales and constants.
    pub bytes: u64,
    /// Bytes that the method's inner operation handles: looked up, or multiplied and added.
    pub operations: u64,
    /// Multiplications and additions of the product itself, `2 m n k`.
    pub flops: u64,
}

impl Work {
    /// The work of `matrix` times `n` tokens, padding not counted.
    pub fn new(matrix: &LowBitMatrix, n: usize) -> Work {
        let (m, k) = matrix.shape();
        let weights = (m * k * n) as u64;
        let operations = match matrix.kernel().method() {
            Method::Lut => weights * u64::from(matrix.bits()) / 4,
            Method::Elut => weights / 5,
            Method::Dot => weights,
        };
        Work { bytes: matrix.bytes() as u64, operations, flops: 2 * weights }
    }
}

/// Runs about `n` of the instruction that bounds a method at `level`, one thread, and returns how many [`Work::operations`] that was; divide by
/// the time it took. `None` where the level has no such instruction or is not available.
pub fn run_peak(method: Method, level: Level, n: usize) -> Option<u64> {
    kernel::peak::run(method, level, n)
}
