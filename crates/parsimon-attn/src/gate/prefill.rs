//! The gate of prefill: a score for every block of queries and block of keys (PAPER(seerattention §3.1)).
//!
//! ```text
//! Q_p, K_p = pooled queries and keys     Q_g = rope(Q_p W_q)     K_g = rope(K_p W_k)     S = <Q_g, K_g> / sqrt(d_g), blocks after the own hidden
//! ```
//!
//! The published gates have no `W_q` and a `W_k` for every query head. Blocks turn by the position of their first token, as the released code does; the paper's
//! `theta / B` is not what it ran.

use super::linear::{project, project_grad};
use super::{GateRope, GateShape, Pooling, Real, pool_blocks, softmax_rows};
use crate::kv::check_len;
use crate::{AttnError, Grid};

/// A prefill gate of one layer.
#[derive(Clone, PartialEq, Debug)]
pub struct PrefillGate<R> {
    shape: GateShape,
    q_pool: Pooling,
    k_pool: Pooling,
    rope: Option<GateRope>,
    /// `[n_q, d * pools, d_gate]`; without it queries are pooled only.
    pub(super) w_q: Option<Vec<R>>,
    /// `[n_k, d * pools, d_gate]`, or `[n_q, ..]` without `w_q`.
    pub(super) w_k: Vec<R>,
}

/// Everything that a gate computes on its way.
#[derive(Clone, PartialEq, Debug)]
pub struct PrefillGateForward<R> {
    /// `[rows, n_q, d * pools]`.
    pub q_pool: Vec<R>,
    /// `[cols, n_k, d * pools]`.
    pub k_pool: Vec<R>,
    /// `[rows, n_q, d_gate]`.
    pub q_gate: Vec<R>,
    /// `[cols, n_k or n_q, d_gate]`.
    pub k_gate: Vec<R>,
    /// `[n_q, rows, cols]`; -inf for blocks after the own.
    pub logits: Vec<R>,
    /// The softmax of the logits.
    pub scores: Vec<R>,
}

/// Gradients of the weights.
#[derive(Clone, PartialEq, Debug)]
pub struct PrefillGateGrads<R> {
    /// Of `w_q`.
    pub w_q: Option<Vec<R>>,
    /// Of `w_k`.
    pub w_k: Vec<R>,
}

impl<R: Real> PrefillGate<R> {
    /// A gate with its weights; without `w_q` it is of the published form.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] for weights of another length, or rotations that are wider than the gate, [`AttnError::ZeroDim`] for sizes of 0.
    pub fn try_new(
        shape: GateShape,
        (q_pool, k_pool): (Pooling, Pooling),
        rope: Option<GateRope>,
        w_q: Option<Vec<R>>,
        w_k: Vec<R>,
    ) -> Result<Self, AttnError> {
        shape.check()?;
        let GateShape { heads, d, d_gate, .. } = shape;
        let k_heads = if w_q.is_some() { heads.n_k() } else { heads.n_q() };
        check_len("w_k", k_heads * d * k_pool.len() * d_gate, w_k.len())?;
        match &w_q {
            Some(w_q) => check_len("w_q", heads.n_q() * d * q_pool.len() * d_gate, w_q.len())?,
            None => check_len("d_gate of a gate without w_q", d * q_pool.len(), d_gate)?,
        }
        if let Some(rope) = rope.as_ref().filter(|rope| rope.rotary_dim() > d_gate) {
            return Err(AttnError::Shape { what: "rotary_dim", expected: d_gate, actual: rope.rotary_dim() });
        }
        Ok(PrefillGate { shape, q_pool, k_pool, rope, w_q, w_k })
    }

    /// The sizes.
    pub fn shape(&self) -> GateShape {
        self.shape
    }

    /// The weights `w_q` and `w_k`.
    pub fn weights(&self) -> (Option<&[R]>, &[R]) {
        (self.w_q.as_deref(), &self.w_k)
    }

    /// Heads of gated keys.
    fn k_heads(&self) -> usize {
        if self.w_q.is_some() { self.shape.heads.n_k() } else { self.shape.heads.n_q() }
    }

    /// The key head that weight `w` of the keys reads.
    fn k_head(&self, w: usize) -> usize {
        w * self.shape.heads.n_k() / self.k_heads()
    }

    fn grid(&self) -> Grid {
        Grid::try_new(self.shape.block as u32, 0).expect("the block size was checked")
    }

    fn rotate(&self, rows: &mut [R], heads: usize, first: usize, is_back: bool) {
        if let Some(rope) = &self.rope {
            let n = rows.len() / (heads * self.shape.d_gate);
            let positions = (0..n).map(|block| first + block * self.shape.block);
            rope.rotate(rows, self.shape.d_gate, positions, is_back);
        }
    }

    /// Pooled and gated queries of `q [t, n_q, d]`, whose first position is `first`; a first block that began before it pools what is here.
    pub fn queries(&self, q: &[R], first: usize) -> (Vec<R>, Vec<R>) {
        let GateShape { heads, d, d_gate, block } = self.shape;
        let grid = Grid::try_new(block as u32, (first % block) as u32).expect("a remainder is less");
        let pooled = pool_blocks(q, (heads.n_q(), d), grid, &self.q_pool);
        let mut gated = match &self.w_q {
            Some(w_q) => project(&pooled, (heads.n_q(), d * self.q_pool.len()), w_q, (heads.n_q(), d_gate), |w| w),
            None => pooled.clone(),
        };
        self.rotate(&mut gated, heads.n_q(), first / block * block, false);
        (pooled, gated)
    }

    /// Pooled and gated keys of `k [t, n_k, d]`, whose first position is `first`, a multiple of the block.
    pub fn keys(&self, k: &[R], first: usize) -> (Vec<R>, Vec<R>) {
        let GateShape { heads, d, d_gate, .. } = self.shape;
        let pooled = pool_blocks(k, (heads.n_k(), d), self.grid(), &self.k_pool);
        let x = (heads.n_k(), d * self.k_pool.len());
        let mut gated = project(&pooled, x, &self.w_k, (self.k_heads(), d_gate), |w| self.k_head(w));
        self.rotate(&mut gated, self.k_heads(), first, false);
        (pooled, gated)
    }

    /// Logits `[n_q, rows, cols]` of gated queries, the first of which is block `first_row`, and gated keys from the first block on.
    pub fn logits(&self, q_gate: &[R], k_gate: &[R], first_row: usize) -> Vec<R> {
        let GateShape { heads, d_gate, .. } = self.shape;
        let (n_q, k_heads) = (heads.n_q(), self.k_heads());
        let (rows, cols) = (q_gate.len() / (n_q * d_gate), k_gate.len() / (k_heads * d_gate));
        let scale = R::of(1.0 / (d_gate as f64).sqrt());
        let mut logits = vec![R::NEG_INFINITY; n_q * rows * cols];
        for (at, logits) in logits.chunks_exact_mut(cols.max(1)).enumerate() {
            let (h, i) = (at / rows, at % rows);
            let q = &q_gate[(i * n_q + h) * d_gate..][..d_gate];
            for (j, logit) in logits.iter_mut().enumerate().take(first_row + i + 1) {
                *logit = R::dot(q, &k_gate[(j * k_heads + h * k_heads / n_q) * d_gate..][..d_gate]) * scale;
            }
        }
        logits
    }

    /// The gate of a whole prompt `q [t, n_q, d]`, `k [t, n_k, d]` that begins at position `first`.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when the two are not rows of equally many positions.
    pub fn forward(&self, q: &[R], k: &[R], first: usize) -> Result<PrefillGateForward<R>, AttnError> {
        let GateShape { heads, d, .. } = self.shape;
        let t = q.len() / (heads.n_q() * d);
        check_len("q", t * heads.n_q() * d, q.len())?;
        check_len("k", t * heads.n_k() * d, k.len())?;
        let ((q_pool, q_gate), (k_pool, k_gate)) = (self.queries(q, first), self.keys(k, first));
        let logits = self.logits(&q_gate, &k_gate, 0);
        let mut scores = logits.clone();
        softmax_rows(&mut scores, self.grid().blocks(t));
        Ok(PrefillGateForward { q_pool, k_pool, q_gate, k_gate, logits, scores })
    }

    /// Gradients of the weights from those of the logits, `d_logits [n_q, rows, cols]`, which are 0 where a block is hidden.
    pub fn backward(&self, forward: &PrefillGateForward<R>, d_logits: &[R], first: usize) -> PrefillGateGrads<R> {
        let GateShape { heads, d, d_gate, .. } = self.shape;
        let (n_q, k_heads) = (heads.n_q(), self.k_heads());
        let rows = forward.q_gate.len() / (n_q * d_gate);
        let cols = forward.k_gate.len() / (k_heads * d_gate);
        let scale = R::of(1.0 / (d_gate as f64).sqrt());
        let mut dq = vec![R::ZERO; forward.q_gate.len()];
        let mut dk = vec![R::ZERO; forward.k_gate.len()];
        for (at, ds) in d_logits.chunks_exact(cols.max(1)).enumerate() {
            let (h, i) = (at / rows, at % rows);
            let q_at = (i * n_q + h) * d_gate;
            for (j, &ds) in ds.iter().enumerate().filter(|(_, ds)| **ds != R::ZERO) {
                let k_at = (j * k_heads + h * k_heads / n_q) * d_gate;
                for c in 0..d_gate {
                    dq[q_at + c] += ds * scale * forward.k_gate[k_at + c];
                    dk[k_at + c] += ds * scale * forward.q_gate[q_at + c];
                }
            }
        }
        self.rotate(&mut dq, n_q, first, true);
        self.rotate(&mut dk, k_heads, first, true);
        let (q_width, k_width) = (d * self.q_pool.len(), d * self.k_pool.len());
        let w_q = |_| project_grad(&forward.q_pool, (n_q, q_width), &dq, (n_q, d_gate), |w| w);
        let w_k = project_grad(&forward.k_pool, (heads.n_k(), k_width), &dk, (k_heads, d_gate), |w| self.k_head(w));
        PrefillGateGrads { w_q: self.w_q.as_ref().map(w_q), w_k }
    }
}

/// Gated keys of a prompt that comes in chunks: whole blocks are kept, the last one is computed again while it is not whole.
#[derive(Clone, PartialEq, Debug)]
pub struct GateKeys<R> {
    gated: Vec<R>,
    /// Keys of the block that is not whole, before rotation.
    tail: Vec<R>,
    len: usize,
}

impl<R: Real> Default for GateKeys<R> {
    fn default() -> Self {
        GateKeys { gated: Vec::new(), tail: Vec::new(), len: 0 }
    }
}

impl<R: Real> GateKeys<R> {
    /// Positions seen.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position was seen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds keys `[t, n_k, d]`, before rotation.
    pub fn extend(&mut self, gate: &PrefillGate<R>, k: &[R]) {
        let GateShape { heads, d, d_gate, block } = gate.shape;
        let row = heads.n_k() * d;
        let start = self.len / block;
        self.gated.truncate(start * gate.k_heads() * d_gate);
        self.tail.extend_from_slice(k);
        self.len += k.len() / row;
        self.gated.extend(gate.keys(&self.tail, start * block).1);
        self.tail.drain(..(self.len / block - start) * block * row);
    }

    /// Gated keys of all blocks, the last of which may not be whole.
    pub fn gated(&self) -> &[R] {
        &self.gated
    }

    /// Forgets all positions.
    pub fn clear(&mut self) {
        *self = GateKeys::default();
    }
}
