//! The gate of decode: a score for every query and block of keys, shared by the query heads of a key head (PAPER(seerattention -R §3.1)).

use super::linear::{project, project_grad, rms_norm, rms_norm_grad};
use super::{GateRope, GateShape, Pooling, Real, pool_blocks, softmax_rows};
use crate::kv::check_len;
use crate::{AttnError, Grid};

/// How the query heads of a group become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QHeadPooling {
    /// Each has a projection of its own, and the results are added: `w_q [n_k, g, d, d_gate]`.
    Proj,
    /// Their mean is projected: `w_q [n_k, d, d_gate]`.
    AvgProj,
    /// Their mean.
    Avg,
    /// They are not pooled: their logits are averaged.
    Orig,
}

impl QHeadPooling {
    /// The pooling of a name in a file.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "Qproj" => Some(QHeadPooling::Proj),
            "Qavgproj" => Some(QHeadPooling::AvgProj),
            "Qavg" => Some(QHeadPooling::Avg),
            "Qorig" => Some(QHeadPooling::Orig),
            _ => None,
        }
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            QHeadPooling::Proj => "Qproj",
            QHeadPooling::AvgProj => "Qavgproj",
            QHeadPooling::Avg => "Qavg",
            QHeadPooling::Orig => "Qorig",
        }
    }
}

/// A decode gate of one layer.
#[derive(Clone, PartialEq, Debug)]
pub struct DecodeGate<R> {
    pub(super) shape: GateShape,
    pub(super) pooling: QHeadPooling,
    k_pool: Pooling,
    rope: Option<GateRope>,
    norm_eps: f64,
    pub(super) w_q: Option<Vec<R>>,
    /// `[n_k, d * pools, d_gate]`.
    pub(super) w_k: Vec<R>,
    /// Weights of the norms of gated queries and keys.
    pub(super) norms: Option<[Vec<R>; 2]>,
}

/// Everything that a gate computes on its way, in training.
#[derive(Clone, PartialEq, Debug)]
pub struct DecodeGateForward<R> {
    /// `[t, n_k or n_q, d_gate]`.
    pub q_gate: Vec<R>,
    /// `[n_blk, n_k, d_gate]`.
    pub k_gate: Vec<R>,
    /// `[n_k, t, n_blk]`; -inf for the own block and later ones.
    pub logits: Vec<R>,
    /// The softmax of the logits.
    pub scores: Vec<R>,
    k_pool: Vec<R>,
    /// Gated queries and keys before their norms.
    before_norm: [Vec<R>; 2],
}

/// Gradients of the weights.
#[derive(Clone, PartialEq, Debug)]
pub struct DecodeGateGrads<R> {
    /// Of `w_q`.
    pub w_q: Option<Vec<R>>,
    /// Of `w_k`.
    pub w_k: Vec<R>,
    /// Of the norms.
    pub norms: Option<[Vec<R>; 2]>,
}

impl<R: Real> DecodeGate<R> {
    /// A gate with its weights: `w_q` as the pooling asks for, `w_k`, and the norms of queries and keys.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] for weights of another length, [`AttnError::ZeroDim`] for sizes of 0.
    pub fn try_new(
        shape: GateShape,
        (pooling, k_pool): (QHeadPooling, Pooling),
        rope: Option<GateRope>,
        (w_q, w_k): (Option<Vec<R>>, Vec<R>),
        norms: Option<([Vec<R>; 2], f64)>,
    ) -> Result<Self, AttnError> {
        shape.check()?;
        let GateShape { heads, d, d_gate, .. } = shape;
        check_len("w_k", heads.n_k() * d * k_pool.len() * d_gate, w_k.len())?;
        let expected = match pooling {
            QHeadPooling::Proj => heads.n_q() * d * d_gate,
            QHeadPooling::AvgProj => heads.n_k() * d * d_gate,
            QHeadPooling::Avg | QHeadPooling::Orig => 0,
        };
        check_len("w_q", expected, w_q.as_ref().map_or(0, Vec::len))?;
        if expected == 0 {
            check_len("d_gate of a gate without w_q", d, d_gate)?;
        }
        let (norms, norm_eps) = norms.map_or((None, 0.0), |(norms, eps)| (Some(norms), eps));
        for norm in norms.iter().flatten() {
            check_len("norm", d_gate, norm.len())?;
        }
        if let Some(rope) = rope.as_ref().filter(|rope| rope.rotary_dim() > d_gate) {
            return Err(AttnError::Shape { what: "rotary_dim", expected: d_gate, actual: rope.rotary_dim() });
        }
        Ok(DecodeGate { shape, pooling, k_pool, rope, norm_eps, w_q, w_k, norms })
    }

    /// The sizes.
    pub fn shape(&self) -> GateShape {
        self.shape
    }

    /// How query heads are pooled.
    pub fn pooling(&self) -> QHeadPooling {
        self.pooling
    }

    /// The weights `w_q`, `w_k` and of the norms.
    #[allow(clippy::type_complexity, reason = "three things that belong together once")]
    pub fn weights(&self) -> (Option<&[R]>, &[R], Option<&[Vec<R>; 2]>) {
        (self.w_q.as_deref(), &self.w_k, self.norms.as_ref())
    }

    pub(super) fn q_heads(&self) -> usize {
        if self.pooling == QHeadPooling::Orig { self.shape.heads.n_q() } else { self.shape.heads.n_k() }
    }

    /// The mean of the heads of each group.
    fn group_mean(&self, q: &[R]) -> Vec<R> {
        let (d, g) = (self.shape.d, self.shape.group());
        let mut mean = Vec::with_capacity(q.len() / g);
        for group in q.chunks_exact(g * d) {
            mean.extend((0..d).map(|c| R::sum(group[c..].iter().step_by(d).copied()) / R::of(g as f64)));
        }
        mean
    }

    /// Queries `[t, n_q, d]` before norm and rotation.
    fn project_queries(&self, q: &[R]) -> Vec<R> {
        let GateShape { heads, d, d_gate, .. } = self.shape;
        match (&self.w_q, self.pooling) {
            (Some(w_q), QHeadPooling::Proj) => {
                let by_head = project(q, (heads.n_q(), d), w_q, (heads.n_q(), d_gate), |w| w);
                let groups = by_head.chunks_exact(self.shape.group() * d_gate);
                groups
                    .flat_map(|group| (0..d_gate).map(|c| R::sum(group[c..].iter().step_by(d_gate).copied())))
                    .collect()
            }
            (Some(w_q), _) => project(&self.group_mean(q), (heads.n_k(), d), w_q, (heads.n_k(), d_gate), |w| w),
            (None, QHeadPooling::Orig) => q.to_vec(),
            (None, _) => self.group_mean(q),
        }
    }

    fn normalize(&self, rows: &[R], at: usize) -> Vec<R> {
        self.norms.as_ref().map_or_else(|| rows.to_vec(), |norms| rms_norm(rows, &norms[at], self.norm_eps))
    }

    fn rotate(&self, rows: &mut [R], positions: impl ExactSizeIterator<Item = usize>, is_back: bool) {
        if let Some(rope) = &self.rope {
            rope.rotate(rows, self.shape.d_gate, positions, is_back);
        }
    }

    /// Gated queries of `q [t, n_q, d]` at positions from `first` on.
    pub fn queries(&self, q: &[R], first: usize) -> Vec<R> {
        let mut gated = self.normalize(&self.project_queries(q), 0);
        let t = q.len() / (self.shape.heads.n_q() * self.shape.d);
        self.rotate(&mut gated, first..first + t, false);
        gated
    }

    /// The gated keys `[n_k, d_gate]` of one block `k [B, n_k, d]`, turned to `position`.
    pub fn block_keys(&self, k: &[R], position: usize) -> Vec<R> {
        let mut gated = self.normalize(&self.project_keys(&self.pool_keys(k)), 1);
        self.rotate(&mut gated, std::iter::once(position), false);
        gated
    }

    fn pool_keys(&self, k: &[R]) -> Vec<R> {
        let grid = Grid::try_new(self.shape.block as u32, 0).expect("the block size was checked");
        pool_blocks(k, (self.shape.heads.n_k(), self.shape.d), grid, &self.k_pool)
    }

    fn project_keys(&self, pooled: &[R]) -> Vec<R> {
        let GateShape { heads, d, d_gate, .. } = self.shape;
        project(pooled, (heads.n_k(), d * self.k_pool.len()), &self.w_k, (heads.n_k(), d_gate), |w| w)
    }

    /// The logit of gated query row `q [q_heads, d_gate]` of key head `head` and a gated key `[d_gate]`.
    pub(super) fn logit(&self, q: &[R], head: usize, k: &[R]) -> R {
        let d_gate = self.shape.d_gate;
        let n = self.q_heads() / self.shape.heads.n_k();
        let dots = (head * n..(head + 1) * n).map(|h| R::dot(&q[h * d_gate..][..d_gate], k));
        R::sum(dots) * R::of(1.0 / ((d_gate as f64).sqrt() * n as f64))
    }

    /// The gate of all queries `q [t, n_q, d]` and keys `k [t, n_k, d]` of a sequence, each query seeing the blocks before its own.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when the two are not rows of equally many positions.
    pub fn forward(&self, q: &[R], k: &[R]) -> Result<DecodeGateForward<R>, AttnError> {
        let GateShape { heads, d, d_gate, block } = self.shape;
        let t = q.len() / (heads.n_q() * d);
        check_len("q", t * heads.n_q() * d, q.len())?;
        check_len("k", t * heads.n_k() * d, k.len())?;
        let k_pool = self.pool_keys(k);
        let before_norm = [self.project_queries(q), self.project_keys(&k_pool)];
        let mut q_gate = self.normalize(&before_norm[0], 0);
        let mut k_gate = self.normalize(&before_norm[1], 1);
        let cols = t.div_ceil(block);
        self.rotate(&mut q_gate, 0..t, false);
        self.rotate(&mut k_gate, (0..cols).map(|j| j * block), false);
        let mut logits = vec![R::NEG_INFINITY; heads.n_k() * t * cols];
        for (at, logits) in logits.chunks_exact_mut(cols.max(1)).enumerate() {
            let (head, i) = (at / t, at % t);
            let q = &q_gate[i * self.q_heads() * d_gate..][..self.q_heads() * d_gate];
            for (j, logit) in logits.iter_mut().enumerate().take(i / block) {
                *logit = self.logit(q, head, &k_gate[(j * heads.n_k() + head) * d_gate..][..d_gate]);
            }
        }
        let mut scores = logits.clone();
        softmax_rows(&mut scores, cols);
        Ok(DecodeGateForward { q_gate, k_gate, logits, scores, k_pool, before_norm })
    }

    /// Gradients of the weights from those of the logits, which are 0 where a block is hidden; `q` as given to [`DecodeGate::forward`].
    pub fn backward(&self, q: &[R], forward: &DecodeGateForward<R>, d_logits: &[R]) -> DecodeGateGrads<R> {
        let GateShape { heads, d, d_gate, block } = self.shape;
        let (n_k, q_heads) = (heads.n_k(), self.q_heads());
        let t = forward.q_gate.len() / (q_heads * d_gate);
        let cols = t.div_ceil(block);
        let n = q_heads / n_k;
        let scale = R::of(1.0 / ((d_gate as f64).sqrt() * n as f64));
        let mut dq = vec![R::ZERO; forward.q_gate.len()];
        let mut dk = vec![R::ZERO; forward.k_gate.len()];
        for (at, ds) in d_logits.chunks_exact(cols.max(1)).enumerate() {
            let (head, i) = (at / t, at % t);
            for (j, &ds) in ds.iter().enumerate().filter(|(_, ds)| **ds != R::ZERO) {
                let k_at = (j * n_k + head) * d_gate;
                for h in head * n..(head + 1) * n {
                    let q_at = (i * q_heads + h) * d_gate;
                    for c in 0..d_gate {
                        dq[q_at + c] += ds * scale * forward.k_gate[k_at + c];
                        dk[k_at + c] += ds * scale * forward.q_gate[q_at + c];
                    }
                }
            }
        }
        self.rotate(&mut dq, 0..t, true);
        self.rotate(&mut dk, (0..cols).map(|j| j * block), true);
        let norms = self.norms.as_ref().map(|[q_norm, k_norm]| {
            let [q, k] = &forward.before_norm;
            [rms_norm_grad(q, q_norm, self.norm_eps, &mut dq), rms_norm_grad(k, k_norm, self.norm_eps, &mut dk)]
        });
        let g = self.shape.group();
        let w_q = self.w_q.as_ref().map(|_| match self.pooling {
            QHeadPooling::Proj => {
                // Every head of a group has the gradient of their sum.
                let spread: Vec<R> =
                    dq.chunks_exact(d_gate).flat_map(|row| std::iter::repeat_n(row, g).flatten().copied()).collect();
                project_grad(q, (heads.n_q(), d), &spread, (heads.n_q(), d_gate), |w| w)
            }
            _ => project_grad(&self.group_mean(q), (n_k, d), &dq, (n_k, d_gate), |w| w),
        });
        let w_k = project_grad(&forward.k_pool, (n_k, d * self.k_pool.len()), &dk, (n_k, d_gate), |w| w);
        DecodeGateGrads { w_q, w_k, norms }
    }
}
