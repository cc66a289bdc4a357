//! Round-to-nearest: the simplest quantizer, and the baseline of every other.
//!
//! Each group of `group` consecutive inputs of a row is quantized alone:
//!
//! ```text
//! q = clamp(round(w / s) + zp, 0, 2^b - 1)        w' = (q - zp) s
//! ```
//!
//! `s` and the integer `zp` are the ones with the least squared error among ranges that are the group's own range, widened to hold zero and then
//! shrunk in steps of 1/32 down to a quarter: few levels are better spent on the many small weights than on the largest one. Zero is always
//! exact. The scale is rounded to f16, the precision of the file, *before* the codes are chosen.
//!
//! Ternary weights `t * s`, `t in {-1, 0, 1}`, start from BitNet b1.58's `s = mean |w|` (PAPER(bitnet-b1.58 §2)) and alternate nearest codes with
//! the least-squares scale until the codes stay.

use half::f16;
use parsimon_simd::{Level, Vectorize, vectorize};

use super::{GroupQuantized, QuantError, Zeros};

/// The number of levels of a weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Levels {
    /// `2^bits` levels with a zero point; 1 to 8 bits.
    Bits(u8),
    /// -1, 0 and 1 times a scale: 1.58 bits of information, stored as 2-bit codes `t + 1` with zero point 1.
    Ternary,
}

impl Levels {
    /// Bits of a stored code.
    pub fn code_bits(self) -> u8 {
        match self {
            Levels::Bits(bits) => bits,
            Levels::Ternary => 2,
        }
    }
}

/// Quantizes `weights [m, k]` by rounding to nearest in groups of `group` columns.
///
/// # Errors
///
/// [`QuantError`] for an empty shape, a wrong length, bits outside 1..=8 or a weight that is not finite.
///
/// ```
/// use parsimon_core::quant::rtn::{Levels, quantize};
/// let w = [0.0, 0.1, 0.2, 0.3];
/// let q = quantize(&w, 1, 4, Levels::Bits(2), 4)?;
/// assert_eq!(q.codes, [0, 1, 2, 3]);
/// # Ok::<(), parsimon_core::quant::QuantError>(())
/// ```
pub fn quantize(
    weights: &[f32],
    m: usize,
    k: usize,
    levels: Levels,
    group: usize,
) -> Result<GroupQuantized, QuantError> {
    let bits = levels.code_bits();
    if !(1..=8).contains(&bits) {
        return Err(QuantError::UnsupportedBits { bits: u32::from(bits) });
    }
    if m == 0 || k == 0 || group == 0 {
        return Err(QuantError::EmptyShape { m, k, group });
    }
    let elements = m.checked_mul(k).ok_or(QuantError::TooLarge { m, k })?;
    if weights.len() != elements {
        return Err(QuantError::LengthMismatch { what: "weights", expected: elements, actual: weights.len() });
    }
    if let Some(i) = weights.iter().position(|w| !w.is_finite()) {
        return Err(QuantError::NonFiniteWeight { row: i / k, col: i % k });
    }
    let n_groups = k.div_ceil(group);
    let mut codes = vec![0; elements];
    let mut scales = Vec::with_capacity(m * n_groups);
    let mut zero_points = Vec::with_capacity(m * n_groups);
    for (row, row_codes) in weights.chunks_exact(k).zip(codes.chunks_exact_mut(k)) {
        for (w, q) in row.chunks(group).zip(row_codes.chunks_mut(group)) {
            let (scale, zero_point) = match levels {
                Levels::Bits(bits) => uniform_group(w, q, bits),
                Levels::Ternary => (ternary_group(w, q), 1),
            };
            scales.push(scale);
            zero_points.push(zero_point);
        }
    }
    Ok(GroupQuantized { bits, m, k, group, codes, scales, zeros: Zeros::Points(zero_points), g_idx: None })
}

/// The file's precision; a finite scale stays finite.
fn stored(scale: f32) -> f32 {
    f16::from_f32(scale.min(f16::MAX.to_f32())).to_f32()
}

/// Tries shrunk ranges and both neighbouring zero points, and keeps the least squared error.
fn uniform_group(w: &[f32], q: &mut [u8], bits: u8) -> (f32, u16) {
    let code_max = f32::from(u8::MAX >> (8 - bits));
    let (scale, zero_point) = vectorize(Level::best(), Search { w, code_max });
    for (&w, q) in w.iter().zip(q) {
        *q = if scale == 0.0 { 0 } else { code(w, scale, zero_point, code_max) as u8 };
    }
    (scale, zero_point as u16)
}

/// The scale and the zero point with the least squared error.
struct Search<'a> {
    w: &'a [f32],
    code_max: f32,
}

impl Vectorize for Search<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<const FMA: bool>(self) -> (f32, f32) {
        const SHRINK_STEPS: u8 = 32;
        let Search { w, code_max } = self;
        let lo = w.iter().copied().fold(0.0, f32::min);
        let hi = w.iter().copied().fold(0.0, f32::max);
        let (mut best, mut least) = ((0.0, 0.0), f32::INFINITY);
        for step in (SHRINK_STEPS / 4..=SHRINK_STEPS).rev() {
            let shrink = f32::from(step) / f32::from(SHRINK_STEPS);
            let scale = stored(shrink * (hi - lo) / code_max);
            if scale == 0.0 {
                continue;
            }
            let middle = (-lo * shrink / scale).clamp(0.0, code_max);
            let (below, above) = (middle.floor(), middle.ceil());
            // A whole number is its own neighbour.
            let neighbours = [below, above];
            for &zero_point in &neighbours[usize::from(below == above)..] {
                let error = squared_error(w, scale, zero_point, code_max);
                if error < least {
                    (best, least) = ((scale, zero_point), error);
                }
            }
        }
        best
    }
}

/// `sum (w - w')^2`, in lanes, which the compiler turns into vectors.
#[inline(always)]
fn squared_error(w: &[f32], scale: f32, zero_point: f32, code_max: f32) -> f32 {
    const LANES: usize = 16;
    let error = |w: f32| (w - (code(w, scale, zero_point, code_max) - zero_point) * scale).powi(2);
    let (blocks, rest) = w.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for block in blocks {
        for (lane, &w) in lanes.iter_mut().zip(block) {
            *lane += error(w);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&w| error(w)).sum::<f32>()
}

#[inline(always)]
fn code(w: f32, scale: f32, zero_point: f32, code_max: f32) -> f32 {
    ((w / scale).round() + zero_point).clamp(0.0, code_max)
}

fn ternary_group(w: &[f32], q: &mut [u8]) -> f32 {
    const ROUNDS_MAX: usize = 20;
    let mut scale = w.iter().map(|w| w.abs()).sum::<f32>() / w.len() as f32;
    let mut previous: Vec<u8> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        assign_ternary(w, q, scale);
        if previous == q {
            break;
        }
        previous = q.to_vec();
        // argmin over s of sum (w - t s)^2 is sum |w| over the chosen ones divided by their count.
        let (sum, count) =
            w.iter().zip(&*q).filter(|&(_, &q)| q != 1).fold((0.0, 0), |(s, n), (w, _)| (s + w.abs(), n + 1));
        if count > 0 {
            scale = sum / count as f32;
        }
    }
    let scale = stored(scale);
    assign_ternary(w, q, scale);
    scale
}

fn assign_ternary(w: &[f32], q: &mut [u8], scale: f32) {
    for (&w, q) in w.iter().zip(q) {
        *q = if w.abs() <= 0.5 * scale {
            1
        } else if w < 0.0 {
            0
        } else {
            2
        };
    }
}

#[cfg(test)]
mod tests;
