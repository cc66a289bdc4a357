//! The drivers: what is prefill, what is decode, who owns which rows of the output.

mod backward;
mod decode;
mod panels;
mod prefill;
mod rows;
mod selective;
mod teacher;
mod visibility;

use parsimon_simd::Level;

pub use backward::{BackwardArgs, Grads};
pub use decode::{DecodeParts, Splits, Workspace};
pub use selective::{LoadedValues, TopValues};
pub use teacher::Teacher;

use self::decode::{Decode, Query};
use self::prefill::Prefill;
use self::visibility::Visibility;
use crate::kv::check_len;
use crate::{AttnConfig, AttnError, BlockList, KvView};

/// Up to so many queries a row at a time is faster than packing the keys.
const DECODE_MAX: usize = 4;

/// Keys of a block of decode's splits, where nothing else is asked for.
const DECODE_BLOCK: usize = 64;

/// A prepared attention.
#[derive(Clone, Debug)]
pub struct Attention {
    config: AttnConfig,
    level: Level,
}

/// What [`Attention::prefill_into`] can do besides the mask.
#[derive(Default, Debug)]
pub struct PrefillOptions<'a> {
    /// The blocks that may be seen; `None` for all.
    pub blocks: Option<&'a BlockList>,
    /// Whether each key is real, `[t_k]`; padding is seen by no query.
    pub keys: Option<&'a [bool]>,
    /// Maps to fill on the way.
    pub teacher: Option<Teacher<'a>>,
}

/// One sequence of [`Attention::decode_into`]: its query is at the last of its keys.
#[derive(Clone, Copy, Debug)]
pub struct DecodeSequence<'a> {
    /// Its keys and values.
    pub kv: KvView<'a>,
    /// The blocks that the query may see, a list with one row; `None` for all.
    pub blocks: Option<&'a BlockList>,
}

/// How [`Attention::decode_into`] divides keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeOptions {
    /// The number of parts.
    pub splits: Splits,
    /// Keys of the blocks that are divided, where there is no list.
    pub block: usize,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions { splits: Splits::Auto, block: DECODE_BLOCK }
    }
}

/// Where [`Attention::decode_into`] writes.
#[derive(Debug)]
pub struct DecodeOut<'a> {
    /// Outputs `[batch, n_q, d_v]`.
    pub o: &'a mut [f32],
    /// Natural log-sum-exps `[batch, n_q]`.
    pub lse: Option<&'a mut [f32]>,
    /// The parts, with [`Splits::Exactly`].
    pub parts: Option<DecodeParts<'a>>,
}

impl Attention {
    /// Checks a configuration.
    ///
    /// # Errors
    ///
    /// As [`AttnConfig::validate`].
    pub fn prepare(config: &AttnConfig) -> Result<Self, AttnError> {
        config.validate()?;
        Ok(Attention { config: config.clone(), level: Level::best() })
    }

    /// The same attention with the bodies of `level`.
    ///
    /// # Errors
    ///
    /// [`AttnError::BackendUnavailable`] where the process cannot run it.
    pub fn at_level(mut self, level: Level) -> Result<Self, AttnError> {
        let best = Level::best();
        if !best.includes(level) {
            return Err(AttnError::BackendUnavailable { wanted: level, best });
        }
        self.level = level;
        Ok(self)
    }

    /// The configuration.
    pub fn config(&self) -> &AttnConfig {
        &self.config
    }

    /// The instruction-set level that the bodies run at.
    pub fn level(&self) -> Level {
        self.level
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
        if self.check(q, kv, out, lse.as_deref())? <= DECODE_MAX {
            return self.rows_into(q, kv, out, lse);
        }
        self.prefill_into(q, kv, PrefillOptions::default(), (out, lse), &mut Workspace::default())
    }

    /// As [`Attention::forward_into`], by tiles whatever the number of queries, with block lists, padding and teacher maps.
    ///
    /// # Errors
    ///
    /// As [`Attention::forward_into`], and [`AttnError::BlockList`] when the list does not fit the heads or the keys.
    pub fn prefill_into(
        &self,
        q: &[f32],
        kv: KvView<'_>,
        options: PrefillOptions<'_>,
        (out, lse): (&mut [f32], Option<&mut [f32]>),
        work: &mut Workspace,
    ) -> Result<(), AttnError> {
        let t_q = self.check(q, kv, out, lse.as_deref())?;
        let PrefillOptions { blocks, keys, mut teacher } = options;
        let (heads, t_k) = (self.config.heads, kv.len());
        if let Some(blocks) = blocks {
            blocks.check(heads, t_q, t_k)?;
        }
        if let Some(keys) = keys {
            check_len("padding", t_k, keys.len())?;
        }
        if let Some(teacher) = &mut teacher {
            teacher.check(heads.n_q(), t_q, t_k)?;
        }
        let visibility = Visibility { mask: self.config.mask, t_q, t_k, keys, blocks, n_q: heads.n_q() };
        Prefill { config: &self.config, level: self.level, q, kv, visibility }.run(out, lse, teacher, &mut work.packed);
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
        let t_q = self.check(q, kv, out, lse.as_deref())?;
        let query = |i: usize| Query {
            kv,
            keys: self.config.mask.visible(i, t_q, kv.len()),
            position: i as i64 + kv.len() as i64 - t_q as i64,
            blocks: None,
        };
        let splits = (Splits::Auto, DECODE_BLOCK);
        let decode = Decode { config: &self.config, level: self.level, q, query, splits };
        decode.run(out, lse, None, &mut Workspace::default());
        Ok(())
    }

    /// Attends one query of each of several sequences, `q [batch, n_q, d_qk]`, the sequences having any lengths.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when a length does not fit, [`AttnError::BlockList`] when a list does not fit the heads or the keys; nothing is written
    /// then.
    pub fn decode_into(
        &self,
        q: &[f32],
        sequences: &[DecodeSequence<'_>],
        options: DecodeOptions,
        out: DecodeOut<'_>,
        work: &mut Workspace,
    ) -> Result<(), AttnError> {
        let AttnConfig { heads, d_qk, d_v, .. } = self.config;
        let n = sequences.len() * heads.n_q();
        check_len("q", n * d_qk, q.len())?;
        check_len("out", n * d_v, out.o.len())?;
        if let Some(lse) = &out.lse {
            check_len("lse", n, lse.len())?;
        }
        if let Some(parts) = &out.parts {
            let Splits::Exactly(splits @ 1..) = options.splits else {
                return Err(AttnError::ZeroDim { what: "splits" });
            };
            check_len("parts of lse", n * splits, parts.lse.len())?;
            check_len("parts of out", n * splits * d_v, parts.o.len())?;
        }
        if options.block == 0 {
            return Err(AttnError::ZeroDim { what: "block" });
        }
        for DecodeSequence { kv, blocks } in sequences {
            self.check_dims(*kv)?;
            if let Some(blocks) = blocks {
                blocks.check(heads, 1, kv.len())?;
            }
        }
        let query = |i: usize| {
            let DecodeSequence { kv, blocks } = sequences[i];
            let position = kv.len() as i64 - 1;
            Query { kv, keys: self.config.mask.visible(0, 1, kv.len()), position, blocks }
        };
        let splits = (options.splits, options.block);
        let decode = Decode { config: &self.config, level: self.level, q, query, splits };
        decode.run(out.o, out.lse, out.parts, work);
        Ok(())
    }

    /// The number of queries.
    fn check(&self, q: &[f32], kv: KvView<'_>, out: &[f32], lse: Option<&[f32]>) -> Result<usize, AttnError> {
        let AttnConfig { heads, d_qk, d_v, .. } = self.config;
        let n_q = heads.n_q();
        let t_q = q.len() / (n_q * d_qk);
        check_len("q", t_q * n_q * d_qk, q.len())?;
        self.check_dims(kv)?;
        check_len("out", t_q * n_q * d_v, out.len())?;
        if let Some(lse) = lse {
            check_len("lse", t_q * n_q, lse.len())?;
        }
        Ok(t_q)
    }

    fn check_dims(&self, kv: KvView<'_>) -> Result<(), AttnError> {
        check_len("d_qk of the keys", self.config.d_qk, kv.dims().0)?;
        check_len("d_v of the values", self.config.d_v, kv.dims().1)
    }
}

#[cfg(test)]
mod tests;
