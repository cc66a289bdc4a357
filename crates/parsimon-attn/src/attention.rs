//! The drivers: what is prefill, what is decode, who owns which rows of the output.

mod decode;
mod panels;
mod prefill;

use parsimon_simd::Level;

use crate::kv::check_len;
use crate::{AttnConfig, AttnError, KvView};

/// Up to so many queries a row at a time is faster than packing the keys.
const DECODE_MAX: usize = 4;

/// A prepared attention.
#[derive(Clone, Debug)]
pub struct Attention {
    config: AttnConfig,
}

impl Attention {
    /// Checks a configuration.
    ///
    /// # Errors
    ///
    /// As [`AttnConfig::validate`].
    pub fn prepare(config: &AttnConfig) -> Result<Self, AttnError> {
        config.validate()?;
        Ok(Attention { config: *config })
    }

    /// The configuration.
    pub fn config(&self) -> &AttnConfig {
        &self.config
    }

    /// The instruction-set level that the bodies run at.
    pub fn level(&self) -> Level {
        Level::best()
    }

    /// Attends queries `q [t_q, n_q, d_qk]` to `kv`; writes `out [t_q, n_q, d_v]` and, if asked, `lse [t_q, n_q]` (natural log).
    ///
    /// The queries are the last `t_q` positions of the sequence, whose keys are already in `kv`. Runs on the current rayon pool.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when a length does not fit; nothing is written then.
    pub fn forward_into(
        &self,
        q: &[f32],
        kv: KvView<'_>,
        out: &mut [f32],
        lse: Option<&mut [f32]>,
    ) -> Result<(), AttnError> {
        let t_q = self.check(q, kv, out, lse.as_deref())?;
        let form = if t_q <= DECODE_MAX { decode::forward } else { prefill::forward };
        form(&self.config, q, kv, out, lse);
        Ok(())
    }

    /// As [`Attention::forward_into`], with the bits that each query has in a call of its own, after which the next key follows. Faster for a few
    /// queries, slower for many.
    ///
    /// # Errors
    ///
    /// As [`Attention::forward_into`].
    pub fn rows_into(
        &self,
        q: &[f32],
        kv: KvView<'_>,
        out: &mut [f32],
        lse: Option<&mut [f32]>,
    ) -> Result<(), AttnError> {
        self.check(q, kv, out, lse.as_deref())?;
        decode::forward(&self.config, q, kv, out, lse);
        Ok(())
    }

    /// The number of queries.
    fn check(&self, q: &[f32], kv: KvView<'_>, out: &[f32], lse: Option<&[f32]>) -> Result<usize, AttnError> {
        let AttnConfig { heads, d_qk, d_v, .. } = self.config;
        let n_q = heads.n_q();
        let t_q = q.len() / (n_q * d_qk);
        check_len("q", t_q * n_q * d_qk, q.len())?;
        check_len("d_qk of the keys", d_qk, kv.dims().0)?;
        check_len("d_v of the values", d_v, kv.dims().1)?;
        check_len("out", t_q * n_q * d_v, out.len())?;
        if let Some(lse) = lse {
            check_len("lse", t_q * n_q, lse.len())?;
        }
        Ok(t_q)
    }
}

#[cfg(test)]
mod tests;
