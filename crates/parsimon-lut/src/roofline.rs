//! What a product costs at least: bytes to read and bytes to look up or multiply.
//!
//! A time below `bytes / bandwidth` or `operations / peak` is impossible; the larger of the two is the roof. Bandwidth is the machine's, and
//! so is the peak: time [`run_peak`] in the run that measures the kernel.

use parsimon_simd::{Level, Vectorize, vectorize};

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
        Work::of_shape(matrix.kernel().method(), matrix.bits(), matrix.shape(), matrix.bytes(), n)
    }

    /// The work of a matrix of `shape` (outputs, inputs) and `bits` that takes `bytes`, without the matrix: see
    /// [`Footprint`](crate::Footprint). Numbers beyond 64 bits stop there.
    ///
    /// ```text
    /// operations = m k n b / 4 (Lut), m k n / 5 (Elut), m k n (Dot)          flops = 2 m k n
    /// ```
    pub fn of_shape(method: Method, bits: u8, (m, k): (usize, usize), bytes: usize, n: usize) -> Work {
        let weights = (m as u128 * k as u128).saturating_mul(n as u128);
        let operations = match method {
            Method::Lut => weights.saturating_mul(u128::from(bits)) / 4,
            Method::Elut => weights / 5,
            Method::Dot => weights,
        };
        let fit = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        Work { bytes: bytes as u64, operations: fit(operations), flops: fit(weights.saturating_mul(2)) }
    }
}

/// Runs about `n` of the instruction that bounds a method at `level`, one thread, and returns how many [`Work::operations`] that was; divide by
/// the time it took. `None` where the level has no such instruction or is not available.
pub fn run_peak(method: Method, level: Level, n: usize) -> Option<u64> {
    kernel::peak::run(method, level, n)
}

/// Reads `words` once, in order and as fast as a plain loop does, and returns their exclusive or, so that no read can be left out. The bytes over
/// the time it took are the bandwidth of the memory that holds them.
pub fn read_words(words: &[u64]) -> u64 {
    vectorize(Level::best(), ExclusiveOr(words))
}

struct ExclusiveOr<'a>(&'a [u64]);

impl Vectorize for ExclusiveOr<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> u64 {
        const LANES: usize = 32;
        let mut lanes = [0u64; LANES];
        let (blocks, rest) = self.0.as_chunks::<LANES>();
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block) {
                *lane ^= word;
            }
        }
        lanes.iter().chain(rest).fold(0, |all, word| all ^ word)
    }
}

#[cfg(test)]
mod tests;
