//! Keys whose heads are compressed in the cache (PAPER(sigma §3.1), "half K dim").
//!
//! The cache holds `k_c [d_kc]`, and a linear layer `U [n_k, d_kc, d_qk]` brings it to the width of queries. Where the rotation goes, the paper does not say:
//!
//! | [`RopePlace`] | score | the cache holds | evaluated |
//! |---|---|---|---|
//! | `None` | `<q, k_c U> = <q U^T, k_c>` | `k_c` | either way |
//! | `Compressed` | `<rope(q U^T), rope(k_c)>` | `rope(k_c)` | absorbed: queries become narrow |
//! | `Expanded` | `<rope(q), rope(k_c U)>` | `k_c`, not rotated | expanded: keys become wide when they are read |
//!
//! The scale stays that of the wide query, `1 / sqrt(d_qk)`.

use crate::kv::check_len;
use crate::{AttnError, HeadMap};

/// Where the rotation goes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RopePlace {
    /// Nowhere.
    None,
    /// On the compressed width.
    #[default]
    Compressed,
    /// On the width of queries.
    Expanded,
}

impl RopePlace {
    /// The place of a name in a file.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(RopePlace::None),
            "compressed" => Some(RopePlace::Compressed),
            "expanded" => Some(RopePlace::Expanded),
            _ => None,
        }
    }
}

/// The layer between compressed keys and queries.
#[derive(Clone, PartialEq, Debug)]
pub struct KExpand {
    heads: HeadMap,
    d_kc: usize,
    d_qk: usize,
    /// `[n_k, d_kc, d_qk]`.
    u: Vec<f32>,
}

impl KExpand {
    /// The layer with its weights `u [n_k, d_kc, d_qk]`.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] for weights of another length, [`AttnError::ZeroDim`] for widths of 0.
    pub fn try_new(heads: HeadMap, (d_kc, d_qk): (usize, usize), u: Vec<f32>) -> Result<Self, AttnError> {
        for (what, d) in [("d_kc", d_kc), ("d_qk", d_qk)] {
            if d == 0 {
                return Err(AttnError::ZeroDim { what });
            }
        }
        check_len("u", heads.n_k() * d_kc * d_qk, u.len())?;
        Ok(KExpand { heads, d_kc, d_qk, u })
    }

    /// Narrow queries: `q [t, n_q, d_qk]` to `q U^T [t, n_q, d_kc]`.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when `q` is no whole rows.
    pub fn absorb(&self, q: &[f32]) -> Result<Vec<f32>, AttnError> {
        let row = self.heads.n_q() * self.d_qk;
        check_len("q", q.len() / row * row, q.len())?;
        let mut out = Vec::with_capacity(q.len() / self.d_qk * self.d_kc);
        for (at, q) in q.chunks_exact(self.d_qk).enumerate() {
            let u = self.head(self.heads.k_of(at % self.heads.n_q()));
            out.extend(u.chunks_exact(self.d_qk).map(|u| q.iter().zip(u).map(|(q, u)| q * u).sum::<f32>()));
        }
        Ok(out)
    }

    /// Wide keys: `k_c [t, n_k, d_kc]` to `k_c U [t, n_k, d_qk]`.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when `k_c` is no whole rows.
    pub fn expand(&self, k_c: &[f32]) -> Result<Vec<f32>, AttnError> {
        let row = self.heads.n_k() * self.d_kc;
        check_len("k_c", k_c.len() / row * row, k_c.len())?;
        let mut out = vec![0.0; k_c.len() / self.d_kc * self.d_qk];
        for (at, (k_c, out)) in k_c.chunks_exact(self.d_kc).zip(out.chunks_exact_mut(self.d_qk)).enumerate() {
            for (&k, u) in k_c.iter().zip(self.head(at % self.heads.n_k()).chunks_exact(self.d_qk)) {
                out.iter_mut().zip(u).for_each(|(out, u)| *out += k * u);
            }
        }
        Ok(out)
    }

    fn head(&self, head: usize) -> &[f32] {
        &self.u[head * self.d_kc * self.d_qk..][..self.d_kc * self.d_qk]
    }
}
