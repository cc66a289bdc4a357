//! The running softmax, written to be vectorized.

use parsimon_simd::math::{exp2, tanh};

use crate::ScoreMod;

/// Replaces `s / cap` by the capped score `cap tanh(s / cap)` in base 2.
#[inline(always)]
fn soft_cap<const FMA: bool>(scores: &mut [f32], cap: f32) {
    let factor = cap * std::f32::consts::LOG2_E;
    for score in scores {
        *score = factor * tanh::<FMA>(*score);
    }
}

/// Replaces scores, which [`AttnConfig::dot_scale`](crate::AttnConfig::dot_scale) scaled, of head `h` and keys from `j` on by scores in base 2; the
/// query stands at `position`.
#[inline(always)]
pub(crate) fn modify<const FMA: bool>(scores: &mut [f32], modifier: &ScoreMod, h: usize, position: i64, j: usize) {
    match modifier {
        ScoreMod::None => {}
        ScoreMod::SoftCap(cap) => soft_cap::<FMA>(scores, *cap),
        ScoreMod::Alibi(slopes) => {
            for (i, score) in scores.iter_mut().enumerate() {
                let distance = (position - (j + i) as i64).unsigned_abs() as f32;
                *score = std::f32::consts::LOG2_E * (*score - slopes[h] * distance);
            }
        }
    }
}

/// The maximum that ignores NaN (a NaN score shows in the exponentials instead).
#[inline(always)]
pub(crate) fn max(values: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, &value| if value > max { value } else { max })
}

/// Replaces base-2 scores by `2^(s - max)` and returns their sum.
#[inline(always)]
pub(crate) fn exponentiate<const FMA: bool>(scores: &mut [f32], max: f32) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = scores.as_chunks_mut::<LANES>();
    for block in blocks {
        for (lane, score) in lanes.iter_mut().zip(block) {
            *score = exp2::<FMA>(*score - max);
            *lane += *score;
        }
    }
    let mut sum: f32 = lanes.iter().sum();
    for score in rest {
        *score = exp2::<FMA>(*score - max);
        sum += *score;
    }
    sum
}

#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}
