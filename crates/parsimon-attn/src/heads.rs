//! Which key head and which value head a query head reads.

use crate::AttnError;

/// Head counts of DiffQKV attention: query head `h` reads key head `floor(h * n_k / n_q)` and value head `floor(h * n_v / n_q)`
/// (PAPER(sigma Eq. 3)).
///
/// Both counts divide `n_q`; they need not divide each other. `n_k = n_v = n_q` is multi-head attention, `n_k = n_v < n_q`
/// grouped-query attention, 1 and 1 multi-query attention.
///
/// ```
/// use parsimon_attn::HeadMap;
/// let sigma = HeadMap::try_new(32, 4, 16)?;
/// assert_eq!((sigma.k_of(9), sigma.v_of(9)), (1, 4));
/// # Ok::<(), parsimon_attn::AttnError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadMap {
    n_q: usize,
    n_k: usize,
    n_v: usize,
}

impl HeadMap {
    /// A head map.
    ///
    /// # Errors
    ///
    /// [`AttnError::HeadMap`] unless all counts are positive and both `n_k` and `n_v` divide `n_q`.
    pub fn try_new(n_q: usize, n_k: usize, n_v: usize) -> Result<Self, AttnError> {
        if n_q > 0 && n_k > 0 && n_v > 0 && n_q.is_multiple_of(n_k) && n_q.is_multiple_of(n_v) {
            Ok(HeadMap { n_q, n_k, n_v })
        } else {
            Err(AttnError::HeadMap { n_q, n_k, n_v })
        }
    }

    /// Multi-head attention: every query head has keys and values of its own.
    ///
    /// # Errors
    ///
    /// As [`HeadMap::try_new`].
    pub fn mha(n: usize) -> Result<Self, AttnError> {
        HeadMap::try_new(n, n, n)
    }

    /// Query heads.
    pub fn n_q(&self) -> usize {
        self.n_q
    }

    /// Key heads.
    pub fn n_k(&self) -> usize {
        self.n_k
    }

    /// Value heads.
    pub fn n_v(&self) -> usize {
        self.n_v
    }

    /// The key head of query head `h`.
    pub fn k_of(&self, h: usize) -> usize {
        h * self.n_k / self.n_q
    }

    /// The value head of query head `h`.
    pub fn v_of(&self, h: usize) -> usize {
        h * self.n_v / self.n_q
    }
}
