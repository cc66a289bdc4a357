//! Rotation of pooled rows by the positions of their blocks.

use super::Real;

/// Rotary angles, half-split: number `i` turns with number `i + rotary_dim / 2`.
#[derive(Clone, PartialEq, Debug)]
pub struct GateRope {
    inverse_frequencies: Vec<f64>,
}

impl GateRope {
    /// Angles `position * theta^(-2 i / rotary_dim)`.
    pub fn new(theta: f64, rotary_dim: usize) -> Self {
        let frequency = |i: usize| theta.powf(-((2 * i) as f64) / rotary_dim as f64);
        GateRope { inverse_frequencies: (0..rotary_dim / 2).map(frequency).collect() }
    }

    /// Angles `position * frequency`, of a model whose frequencies are scaled.
    pub fn from_frequencies(inverse_frequencies: Vec<f64>) -> Self {
        GateRope { inverse_frequencies }
    }

    /// Cosine and sine of pair `i` at a position.
    pub fn cos_sin(&self, position: usize, i: usize) -> (f64, f64) {
        let angle = position as f64 * self.inverse_frequencies[i];
        (angle.cos(), angle.sin())
    }

    /// Numbers that turn.
    pub fn rotary_dim(&self) -> usize {
        2 * self.inverse_frequencies.len()
    }

    /// Rotates rows `[positions, heads, d_gate]`, or turns them back.
    pub(super) fn rotate<R: Real>(
        &self,
        rows: &mut [R],
        d_gate: usize,
        positions: impl ExactSizeIterator<Item = usize>,
        is_back: bool,
    ) {
        let half = self.inverse_frequencies.len();
        let width = rows.len() / positions.len().max(1);
        for (rows, position) in rows.chunks_exact_mut(width.max(1)).zip(positions) {
            for i in 0..half {
                let (cos, sin) = self.cos_sin(position, i);
                let (cos, sin) = (R::of(cos), R::of(if is_back { -sin } else { sin }));
                for row in rows.chunks_exact_mut(d_gate) {
                    let (a, b) = (row[i], row[i + half]);
                    (row[i], row[i + half]) = (a * cos - b * sin, b * cos + a * sin);
                }
            }
        }
    }
}
