//! What an attention computes.

use std::ops::Range;

use crate::{AttnError, HeadMap};

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

/// Head counts, widths, scale and mask.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AttnConfig {
    /// Numbers of heads.
    pub heads: HeadMap,
    /// Width of a query or key head.
    pub d_qk: usize,
    /// Width of a value head.
    pub d_v: usize,
    /// What scores are multiplied with; `1 / sqrt(d_qk)` by default.
    pub scale: Option<f32>,
    /// Which keys a query sees.
    pub mask: Mask,
    /// Scores `s` become `cap * tanh(s / cap)` before the softmax.
    pub soft_cap: Option<f32>,
}

impl AttnConfig {
    /// Checks the widths and the scale.
    ///
    /// # Errors
    ///
    /// [`AttnError::ZeroDim`], or [`AttnError::Config`] for a scale that is not finite or a cap that is not positive.
    pub fn validate(&self) -> Result<(), AttnError> {
        for (what, d) in [("d_qk", self.d_qk), ("d_v", self.d_v)] {
            if d == 0 {
                return Err(AttnError::ZeroDim { what });
            }
        }
        let config = |field, value, reason| Err(AttnError::Config { field, value: f64::from(value), reason });
        match (self.scale, self.soft_cap) {
            (Some(scale), _) if !scale.is_finite() => config("scale", scale, "must be finite"),
            (_, Some(cap)) if !(cap.is_finite() && cap > 0.0) => config("soft_cap", cap, "must be positive"),
            _ => Ok(()),
        }
    }

    /// The scale in use.
    pub fn scale(&self) -> f32 {
        self.scale.unwrap_or_else(|| (1.0 / (self.d_qk as f64).sqrt()) as f32)
    }

    /// What dot products are multiplied with: the scores in base 2, or what the cap takes.
    pub(crate) fn dot_scale(&self) -> f32 {
        match self.soft_cap {
            Some(cap) => self.scale() / cap,
            None => self.scale() * std::f32::consts::LOG2_E,
        }
    }
}
