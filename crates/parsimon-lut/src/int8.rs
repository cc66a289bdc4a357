//! Activations as 8-bit integers with a scale for every block.

use parsimon_simd::{Level, Vectorize, vectorize};

/// The largest code.
const CODE_MAX: f32 = 127.0;

/// `scale = max |a| / 127` of every block and `code = rne(a / scale)`; a block of zeros has scale 0.
pub(crate) fn quantize(x: &[f32], block: usize, codes: &mut [i8], scales: &mut [f32]) {
    vectorize(Level::best(), Quantize { x, block, codes, scales });
}

struct Quantize<'a> {
    x: &'a [f32],
    block: usize,
    codes: &'a mut [i8],
    scales: &'a mut [f32],
}

impl Vectorize for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        const LANES: usize = 16;
        for ((x, codes), scale) in self.x.chunks(self.block).zip(self.codes.chunks_mut(self.block)).zip(self.scales) {
            let (lanes, rest) = x.as_chunks::<LANES>();
            let mut max = [0.0f32; LANES];
            for lane in lanes {
                for (max, a) in max.iter_mut().zip(lane) {
                    *max = max.max(a.abs());
                }
            }
            let max = max.iter().chain(rest).fold(0.0f32, |max, a| max.max(a.abs()));
            let inv = if max == 0.0 { 0.0 } else { CODE_MAX / max };
            *scale = max / CODE_MAX;
            for (code, &a) in codes.iter_mut().zip(x) {
                // In f32, 1.5 * 2^23 + x has the integer nearest to x in its low bits, ties to even.
                *code = (a * inv + 12_582_912.0).to_bits() as i8;
            }
        }
    }
}

/// `-sum_{k in G} scale(k) code(k)` of every weight group of `group` inputs; groups beyond the codes get 0.
pub(crate) fn negated_group_sums(codes: &[i8], scales: &[f32], block: usize, group: usize, sums: &mut [f32]) {
    vectorize(Level::best(), GroupSums { codes, scales, block, group, sums });
}

struct GroupSums<'a> {
    codes: &'a [i8],
    scales: &'a [f32],
    block: usize,
    group: usize,
    sums: &'a mut [f32],
}

impl Vectorize for GroupSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        // Pieces that straddle neither a block nor a group.
        let piece = self.group.min(if self.group.is_multiple_of(32) { 32 } else { 16 });
        self.sums.fill(0.0);
        for (i, codes) in self.codes.chunks(piece).enumerate() {
            let integer: i32 = codes.iter().map(|&code| i32::from(code)).sum();
            if let Some(sum) = self.sums.get_mut(i * piece / self.group) {
                *sum -= integer as f32 * self.scales[i * piece / self.block];
            }
        }
    }
}

#[cfg(test)]
mod tests;
