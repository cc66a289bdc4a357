//! Attention for the CPU: any numbers of query, key and value heads, separate widths of keys and values, KV caches.
//!
//! ```
//! use parsimon_attn::{AttnConfig, Attention, HeadMap, KvDtype, KvPool, KvSequence, KvShape, Mask};
//!
//! let heads = HeadMap::try_new(8, 2, 4)?;
//! let attention = Attention::prepare(&AttnConfig::new(heads, (16, 16), Mask::Causal))?;
//! let shape = KvShape { layers: 1, heads, d_qk: 16, d_v: 16, dtype: KvDtype::F32 };
//! let (mut pool, mut sequence) = (KvPool::new(shape, None), KvSequence::default());
//! let (k, v, q) = (vec![0.1; 3 * 2 * 16], vec![0.2; 3 * 4 * 16], vec![0.3; 3 * 8 * 16]);
//! pool.append(&mut sequence, &k, &v)?;
//! let mut out = vec![0.0; 3 * 8 * 16];
//! attention.forward_into(&q, pool.view(0, &sequence, 0), &mut out, None)?;
//! assert!(out.iter().all(|o| (o - 0.2f32).abs() < 1e-6));
//! # Ok::<(), parsimon_attn::AttnError>(())
//! ```
//!
//! # Overview
//!
//! Letters: `t_q`, `t_k` numbers of queries and keys; `n_q`, `n_k`, `n_v` numbers of heads; `d_qk`, `d_v` widths of a head.
//!
//! - [`HeadMap`]: which key and value head a query head reads, DiffQKV (`n_k != n_v`) included.
//! - [`Attention`]: softmax attention of `q [t_q, n_q, d_qk]` over keys and values: prefill by tiles, with a [`BlockList`], padding and
//!   teacher maps; decode of many sequences of any lengths, in splits; decode that loads the largest values alone; gradients.
//! - [`KvPool`]: pages of keys and values of many sequences and all layers, shared and copied on write, in `f32`, `f16`, `bf16` or 8-bit
//!   integers ([`KvDtype`]); [`KvView`] is what [`Attention`] reads, from a pool, from plain rows, or from pages that tables name.
//! - [`gate`]: the gates of SeerAttention and SeerAttention-R: forward, selection, compressed keys, loss and gradients.
//! - [`KExpand`], [`cost`], [`teacher`]: compressed keys, what attention costs, and from maxima to targets.
//! - [`mod@reference`]: the definition in `f64`.
//!
//! # When to use it
//!
//! For attention on a CPU: dense, causal, within a window, or over blocks that something chose. [`Compute::Bf16`] is worth it where the processor multiplies
//! `bf16` faster than `f32`; on the first generations of Intel servers with AVX-512 BF16 it does not, and [`run_peak`] tells.
//!
//! # Cookbook
//!
//! Attention over chosen blocks, here the own block of every query and the first:
//!
//! ```
//! use parsimon_attn::{Attention, AttnConfig, BlockList, BlockShape, Grid, HeadMap, KvView, Mask, PrefillOptions, Workspace};
//!
//! let (heads, t) = (HeadMap::mha(2)?, 256);
//! let grid = Grid::try_new(64, 0)?;
//! let shape = BlockShape { q: grid, k: grid, t_q: t, t_k: t };
//! let list = BlockList::from_fn(shape, 1, |_, row, col| col == row || col == 0);
//! let rows = vec![0.5; t * 2 * 16];
//! let kv = KvView::from_rows(heads, (16, 16), t, &rows, &rows)?;
//! let attention = Attention::prepare(&AttnConfig::new(heads, (16, 16), Mask::Causal))?;
//! let options = PrefillOptions { blocks: Some(&list), ..PrefillOptions::default() };
//! let mut out = vec![0.0; t * 2 * 16];
//! attention.prefill_into(&rows, kv, options, (&mut out, None), &mut Workspace::default())?;
//! assert!(out.iter().all(|o| (o - 0.5f32).abs() < 1e-6));
//! assert_eq!(list.density(&shape), 7.0 / 10.0);
//! # Ok::<(), parsimon_attn::AttnError>(())
//! ```
//!
//! # Definition
//!
//! ```text
//! s[i, j] = scale <q[i, h], k[j, k_of(h)]>     or cap tanh of that / cap     or that - slope[h] |i' - j|
//! visible: all, causal j <= i' = i + t_k - t_q (aligned at the end), or a window i' - left <= j <= i' + right
//! o[i, h] = sum_j softmax_j(s)[i, j] v[j, v_of(h)]      lse[i, h] = ln sum_j exp s[i, j]
//! ```
//!
//! A block list hides more: an element is visible if its block is listed and the mask allows it. A row that sees no key gives `o = 0` and `lse = -inf`. A NaN reaches only the rows that see it.
//!
//! # Numerics
//!
//! `f32` throughout; the exponential is a degree-6 polynomial with relative error below 1e-7. Results do not depend on the number
//! of threads. Prefill and decode sum in different orders and differ by rounding; [`Attention::rows_into`] gives the bits of decode for any
//! number of queries. Kept keys and values are exact in `f32`; relative to the largest number of a row they are off by 2^-11 in `f16`, 2^-8 in
//! `bf16` and 1/254 in 8 bits at most.
//!
//! # Performance
//!
//! Prefill walks tiles of 64 queries over tiles of 64 keys with running softmax, memory `O(t d)`. Keys and values are packed once per head, only where a row
//! may see them, and up to four tiles of queries walk them together, so that a tile of keys is read from memory once for 256 queries. The inner
//! loops keep 16 sums in registers (the `kernel` module has the table). Decode computes scores by key head and adds values by value head: every
//! row of the cache is read once for all query heads that need it. `cargo xtask bench attention` measures both beside the peak and the memory of the machine.
//!
//! # The papers
//!
//! *Sigma: Differential Rescaling of Query, Key and Value for Efficient Language Models* (arXiv 2501.13629): head maps, selective values, compressed keys, costs;
//! docs/papers/sigma.md. *SeerAttention* (arXiv 2410.13276) and *SeerAttention-R* (arXiv 2506.08889): gates, teacher maps, block-sparse attention;
//! docs/papers/seerattention.md has what deviates and why.
#![deny(unsafe_code)]

mod attention;
mod blocks;
mod config;
pub mod cost;
mod error;
pub mod gate;
mod heads;
#[allow(unsafe_code)]
mod kernel;
mod kexpand;
mod kv;
mod merge;
pub mod reference;
mod softmax;
pub mod teacher;

pub use attention::{
    Attention, BackwardArgs, DecodeOptions, DecodeOut, DecodeParts, DecodeSequence, Grads, LoadedValues,
    PrefillOptions, Splits, Teacher, TopValues, Workspace,
};
pub use blocks::{BlockList, BlockShape, Grid};
pub use config::{AttnConfig, Compute, Mask, ScoreMod};
pub use error::AttnError;
pub use heads::HeadMap;
pub use kernel::{Peak, run_peak};
pub use kexpand::{KExpand, RopePlace};
pub use kv::{KvData, KvDtype, KvPool, KvSequence, KvShape, KvView, PageId, PageTable};
pub use merge::merge_into;
