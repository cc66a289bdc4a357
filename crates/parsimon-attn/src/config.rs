//! What an attention computes.

use std::ops::Range;
use std::sync::Arc;

use crate::kv::check_len;
use crate::{AttnError, HeadMap};

/// The widest head.
const D_MAX: usize = 1024;

/// The most query heads.
const HEADS_MAX: usize = 4096;

/// Which keys a query sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mask {
    /// All.
    Full,
    /// Key `j <= i + t_k - t_q`: the last query sees everything, as when queries continue a cached sequence.
    Causal,
    /// Key `j` with `i' - left <= j <= i' + right`, where `i' = i + t_k - t_q`; `None` is unbounded.
    ///
    /// A causal sliding window of `W` keys, the query's own among them, is `left: Some(W - 1), right: Some(0)`.
    Window {
        /// Keys before the query's own.
        left: Option<usize>,
        /// Keys after the query's own.
        right: Option<usize>,
    },
}

impl Mask {
    /// The causal window of the last `size` keys, the query's own among them.
    ///
    /// # Panics
    ///
    /// When `size` is 0.
    pub fn sliding(size: usize) -> Mask {
        assert!(size > 0, "a window holds at least the query's own key");
        Mask::Window { left: Some(size - 1), right: Some(0) }
    }

    /// Which of `t_k` keys query `i` of `t_q` sees. Both ends grow with `i`.
    #[inline]
    pub fn visible(self, i: usize, t_q: usize, t_k: usize) -> Range<usize> {
        match self {
            Mask::Full => 0..t_k,
            Mask::Causal => 0..(i + 1 + t_k).saturating_sub(t_q).min(t_k),
            Mask::Window { left, right } => {
                // One more than the query's own position, which may lie before the first key.
                let own = i + 1 + t_k;
                let end = right.map_or(t_k, |right| own.saturating_add(right).saturating_sub(t_q).min(t_k));
                let start = left.map_or(0, |left| own.saturating_sub(t_q.saturating_add(left).saturating_add(1)));
                start.min(end)..end
            }
        }
    }
}

/// What scores become before the softmax.
#[derive(Clone, PartialEq, Default, Debug)]
pub enum ScoreMod {
    /// Themselves.
    #[default]
    None,
    /// `cap * tanh(s / cap)`.
    SoftCap(f32),
    /// `s - slopes[h] * |i' - j|` with `i' = i + t_k - t_q`: a slope for every query head.
    Alibi(Arc<[f32]>),
}

/// What products are computed in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Compute {
    /// `f32`.
    #[default]
    F32,
    /// Prefill rounds queries, keys, values and probabilities to `bf16` where the processor multiplies those (AVX-512 BF16); sums, maxima and
    /// outputs stay `f32`. Elsewhere, and in decode, as [`Compute::F32`].
    Bf16,
}

/// Head counts, widths, scale and mask.
#[derive(Clone, PartialEq, Debug)]
pub struct AttnConfig {
    /// Numbers of heads.
    pub heads: HeadMap,
    /// Width of a query or key head.
    pub d_qk: usize,
    /// Width of a value head.
    pub d_v: usize,
    /// What scores are multiplied with; `1 / sqrt(d_qk)` by default.
    pub scale: Option<f64>,
    /// Which keys a query sees.
    pub mask: Mask,
    /// What scores become before the softmax.
    pub score_mod: ScoreMod,
    /// What products are computed in.
    pub compute: Compute,
}

impl AttnConfig {
    /// Attention with the usual scale, without a score modifier, in `f32`.
    pub fn new(heads: HeadMap, (d_qk, d_v): (usize, usize), mask: Mask) -> Self {
        AttnConfig { heads, d_qk, d_v, scale: None, mask, score_mod: ScoreMod::None, compute: Compute::F32 }
    }

    /// Checks the widths and the scale.
    ///
    /// # Errors
    ///
    /// [`AttnError::ZeroDim`], or [`AttnError::Config`] for a scale or a slope that is not finite, or a cap that is not positive, [`AttnError::Shape`] for
    /// another number of slopes than query heads, [`AttnError::Limit`] for widths above 1,024 or more than 4,096 heads.
    pub fn validate(&self) -> Result<(), AttnError> {
        for (what, d) in [("d_qk", self.d_qk), ("d_v", self.d_v)] {
            if d == 0 {
                return Err(AttnError::ZeroDim { what });
            }
            check_limit(what, d, D_MAX)?;
        }
        check_limit("n_q", self.heads.n_q(), HEADS_MAX)?;
        let config = |field, value, reason| Err(AttnError::Config { field, value, reason });
        if let Some(scale) = self.scale.filter(|scale| !scale.is_finite()) {
            return config("scale", scale, "must be finite");
        }
        match &self.score_mod {
            ScoreMod::SoftCap(cap) if !(cap.is_finite() && *cap > 0.0) => {
                config("soft_cap", f64::from(*cap), "must be positive")
            }
            ScoreMod::Alibi(slopes) => {
                check_len("slopes", self.heads.n_q(), slopes.len())?;
                let bad = slopes.iter().find(|slope| !slope.is_finite());
                bad.map_or(Ok(()), |&slope| config("slope", f64::from(slope), "must be finite"))
            }
            _ => Ok(()),
        }
    }

    /// The scale in use.
    pub fn scale(&self) -> f64 {
        self.scale.unwrap_or_else(|| 1.0 / (self.d_qk as f64).sqrt())
    }

    /// What dot products are multiplied with: the scores in base 2, or what [`ScoreMod`] takes.
    pub(crate) fn dot_scale(&self) -> f32 {
        let scale = match self.score_mod {
            ScoreMod::None => self.scale() * std::f64::consts::LOG2_E,
            ScoreMod::SoftCap(cap) => self.scale() / f64::from(cap),
            ScoreMod::Alibi(_) => self.scale(),
        };
        scale as f32
    }
}

fn check_limit(what: &'static str, actual: usize, limit: usize) -> Result<(), AttnError> {
    if actual <= limit { Ok(()) } else { Err(AttnError::Limit { what, actual, limit }) }
}
