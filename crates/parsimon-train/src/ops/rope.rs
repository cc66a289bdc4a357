//! Rotary position embedding: tables, and the rotation of single heads between layouts.

use parsimon_model::{ModelConfig, RopeFrequencies};

use crate::kernel::{fma, vectorized};

/// `cos` and `sin` of `position f_i`, computed in `f64` and rounded to `f32`.
#[derive(Clone, Debug)]
pub(crate) struct RopeTable {
    half: usize,
    /// Per position `half` cosines, then `half` sines.
    values: Vec<f32>,
}

impl RopeTable {
    /// The table of a model for positions `0..context`.
    pub(crate) fn new(config: &ModelConfig, context: usize) -> Self {
        let half = config.head_dim / 2;
        let frequencies = RopeFrequencies::new(config);
        let mut values = Vec::with_capacity(context * 2 * half);
        for position in 0..context {
            let angles = frequencies.inv_freq().iter().map(|f| position as f64 * f);
            values.extend(angles.clone().map(|angle| angle.cos() as f32));
            values.extend(angles.map(|angle| angle.sin() as f32));
        }
        RopeTable { half, values }
    }

    /// Copies one head of `rows` rows, rotated: `dst [rows, d]` contiguous from `src` with rows `stride` apart; the first row
    /// is at position 0. With `scale` multiplied in.
    pub(crate) fn rotate(&self, src: &[f32], stride: usize, scale: f32, dst: &mut [f32]) {
        rotate_rows(&self.values, self.half, src, stride, scale, 1.0, dst, 2 * self.half);
    }

    /// The transposed rotation, which is the gradient of [`RopeTable::rotate`]: `dst` with rows `stride` apart from `src`
    /// contiguous.
    pub(crate) fn rotate_back(&self, src: &[f32], scale: f32, dst: &mut [f32], stride: usize) {
        rotate_rows(&self.values, self.half, src, 2 * self.half, scale, -1.0, dst, stride);
    }
}

vectorized! {
    /// `[a cos - b sin, b cos + a sin]` for every row `[a, b]` of two halves; `direction` multiplies the sines.
    #[allow(clippy::too_many_arguments, reason = "two matrices with their strides, and the two factors")]
    fn rotate_rows<'a>(
        table: &'a [f32],
        half: usize,
        src: &'a [f32],
        src_stride: usize,
        scale: f32,
        direction: f32,
        dst: &'a mut [f32],
        dst_stride: usize,
    ) {
        for ((src, dst), angle) in src.chunks(src_stride).zip(dst.chunks_mut(dst_stride)).zip(table.chunks(2 * half)) {
            let (cos, sin) = angle.split_at(half);
            let (a, b) = src[..2 * half].split_at(half);
            let (to_a, to_b) = dst[..2 * half].split_at_mut(half);
            for (((a, b), (to_a, to_b)), (cos, sin)) in
                a.iter().zip(b).zip(to_a.iter_mut().zip(to_b)).zip(cos.iter().zip(sin))
            {
                let (cos, sin) = (cos * scale, sin * scale * direction);
                *to_a = fma::<FMA>(*a, cos, -(b * sin));
                *to_b = fma::<FMA>(*b, cos, a * sin);
            }
        }
    }
}
