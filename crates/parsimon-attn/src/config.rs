//! What an attention computes.

use crate::{AttnError, HeadMap};

/// Which keys a query sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mask {
    /// All.
    Full,
    /// Key `j <= i + t_k - t_q`: the last query sees everything, as when queries continue a cached sequence.
    Causal,
}

impl Mask {
    /// How many of the first `t_k` keys query `i` of `t_q` sees.
    pub fn visible(self, i: usize, t_q: usize, t_k: usize) -> usize {
        match self {
            Mask::Full => t_k,
            Mask::Causal => (i + 1 + t_k).saturating_sub(t_q).min(t_k),
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
}

impl AttnConfig {
    /// Checks the widths and the scale.
    ///
    /// # Errors
    ///
    /// [`AttnError::ZeroDim`], or [`AttnError::Config`] for a scale that is not finite.
    pub fn validate(&self) -> Result<(), AttnError> {
        for (what, d) in [("d_qk", self.d_qk), ("d_v", self.d_v)] {
            if d == 0 {
                return Err(AttnError::ZeroDim { what });
            }
        }
        match self.scale {
            Some(scale) if !scale.is_finite() => {
                Err(AttnError::Config { field: "scale", value: f64::from(scale), reason: "must be finite" })
            }
            _ => Ok(()),
        }
    }

    /// The scale in use.
    pub fn scale(&self) -> f32 {
        self.scale.unwrap_or_else(|| (1.0 / (self.d_qk as f64).sqrt()) as f32)
    }
}
