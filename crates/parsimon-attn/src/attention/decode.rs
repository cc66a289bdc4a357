//! One query a sequence over many keys: heads that read the same keys walk them together, in parts.
//!
//! Scores are computed by key head and values added by value head, so that each row of the cache is read once for all query heads that need it, also
//! where the two are shared by different numbers of heads. A *unit* is a range of query heads that no key or value head crosses (fewer heads where block
//! lists differ within it). The blocks that a unit visits are divided into consecutive splits, and the parts are merged.
//!
//! What a head gives depends on its own query, keys and split only, not on the heads and sequences beside it.

use std::ops::Range;

use parsimon_simd::Level;
use rayon::prelude::*;

use super::rows::{UNIT_MAX, attend};
use crate::kernel::PackBuffers;
use crate::merge::merge_rows;
use crate::{AttnConfig, BlockList, KvView};

/// Below this many multiply-adds a call stays on the calling thread.
const PARALLEL_MIN: usize = 1 << 19;

/// How the keys of a sequence are divided.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Splits {
    /// By the length of the sequence and the number of units: enough for eight pieces of work, of 2,048 keys at least.
    #[default]
    Auto,
    /// Into so many parts, of which some may be empty.
    Exactly(usize),
}

/// One query and what it sees.
#[derive(Clone, Debug)]
pub(super) struct Query<'a> {
    pub(super) kv: KvView<'a>,
    pub(super) keys: Range<usize>,
    /// The query's own position among the keys.
    pub(super) position: i64,
    pub(super) blocks: Option<&'a BlockList>,
}

impl Query<'_> {
    fn splits(&self, splits: Splits, units: usize) -> usize {
        match splits {
            Splits::Exactly(n) => n.max(1),
            Splits::Auto => 8usize.div_ceil(units).min(self.keys.len() / 2048).max(1),
        }
    }
}

/// Partial results of a call, kept for the next one.
#[derive(Clone, Default, Debug)]
pub struct Workspace {
    /// `[queries][units][splits][rows][d_v]`.
    pub(super) o: Vec<f32>,
    /// `[queries][units][splits][rows]`.
    pub(super) lse: Vec<f32>,
    /// Packed keys and values of prefill.
    pub(super) packed: PackBuffers,
    /// Scores of whole sequences, where values are selected.
    pub(super) scores: Vec<f32>,
}

/// A checked call.
pub(super) struct Decode<'a, Q> {
    pub(super) config: &'a AttnConfig,
    pub(super) level: Level,
    /// `[queries, n_q, d_qk]`.
    pub(super) q: &'a [f32],
    /// The query of an index.
    pub(super) query: Q,
    /// Numbers of splits, and the size of the blocks that they consist of where there is no list.
    pub(super) splits: (Splits, usize),
}

/// Where partial results go, if they are asked for: `o [queries, n_q, splits, d_v]` and `lse [queries, n_q, splits]`.
#[derive(Debug)]
pub struct DecodeParts<'a> {
    /// Outputs.
    pub o: &'a mut [f32],
    /// Log-sum-exps.
    pub lse: &'a mut [f32],
}

impl<'q, Q: Fn(usize) -> Query<'q> + Sync> Decode<'_, Q> {
    /// Query heads of a unit.
    fn unit_rows(&self, n: usize) -> usize {
        let heads = self.config.heads;
        let n_q = heads.n_q();
        let lists = (0..n).filter_map(|i| (self.query)(i).blocks).map(BlockList::heads).max().unwrap_or(1);
        let shared = if lists > 1 { lists } else { gcd(heads.n_k(), heads.n_v()) };
        // A divisor of what is left, so that all units have one size.
        let rows = n_q / shared;
        (1..=rows).rev().find(|&size| rows.is_multiple_of(size) && size <= UNIT_MAX).unwrap_or(1)
    }

    /// Writes `out [queries, n_q, d_v]`, `lse [queries, n_q]` and the parts.
    pub(super) fn run(
        &self,
        out: &mut [f32],
        lse: Option<&mut [f32]>,
        parts: Option<DecodeParts<'_>>,
        work: &mut Workspace,
    ) {
        let AttnConfig { heads, d_qk, d_v, .. } = *self.config;
        let n = out.len() / (heads.n_q() * d_v);
        let rows = self.unit_rows(n);
        let units = heads.n_q() / rows;
        let splits = (0..n).map(|i| (self.query)(i).splits(self.splits.0, units)).max().unwrap_or(1);
        let keys: usize = (0..n).map(|i| (self.query)(i).keys.len()).sum();
        let is_parallel = keys * heads.n_q() * (d_qk + d_v) >= PARALLEL_MIN && rayon::current_num_threads() > 1;
        if splits == 1 && parts.is_none() {
            return self.direct(out, lse, rows, is_parallel);
        }
        let Workspace { o, lse: part_lse, .. } = work;
        o.resize(n * heads.n_q() * splits * d_v, 0.0);
        part_lse.resize(n * heads.n_q() * splits, 0.0);
        let item = |at: usize, o: &mut [f32], lse: &mut [f32]| {
            let (i, unit, split) = (at / splits / units, at / splits % units, at % splits);
            self.unit((i, unit * rows), (split, splits), o, lse);
        };
        let (o_len, lse_len) = (rows * d_v, rows);
        if is_parallel {
            let items = o.par_chunks_exact_mut(o_len).zip(part_lse.par_chunks_exact_mut(lse_len)).enumerate();
            items.for_each(|(at, (o, lse))| item(at, o, lse));
        } else {
            let items = o.chunks_exact_mut(o_len).zip(part_lse.chunks_exact_mut(lse_len)).enumerate();
            items.for_each(|(at, (o, lse))| item(at, o, lse));
        }
        self.merge((rows, splits), (o, part_lse), out, lse, parts);
    }

    /// Without splits: units write where their results belong.
    fn direct(&self, out: &mut [f32], lse: Option<&mut [f32]>, rows: usize, is_parallel: bool) {
        let units = self.config.heads.n_q() / rows;
        let unit =
            |at: usize, out: &mut [f32], lse: &mut [f32]| self.unit((at / units, at % units * rows), (0, 1), out, lse);
        let width = rows * self.config.d_v;
        match (lse, is_parallel) {
            (Some(lse), true) => {
                let items = out.par_chunks_exact_mut(width).zip(lse.par_chunks_exact_mut(rows)).enumerate();
                items.for_each(|(at, (out, lse))| unit(at, out, lse));
            }
            (Some(lse), false) => {
                let items = out.chunks_exact_mut(width).zip(lse.chunks_exact_mut(rows)).enumerate();
                items.for_each(|(at, (out, lse))| unit(at, out, lse));
            }
            (None, true) => {
                let items = out.par_chunks_exact_mut(width).enumerate();
                items.for_each(|(at, out)| unit(at, out, &mut [0.0; UNIT_MAX][..rows]));
            }
            (None, false) => {
                let items = out.chunks_exact_mut(width).enumerate();
                items.for_each(|(at, out)| unit(at, out, &mut [0.0; UNIT_MAX][..rows]));
            }
        }
    }

    /// Part `split` of the unit of query `i` that begins at head `h`.
    fn unit(&self, (i, h): (usize, usize), (split, splits): (usize, usize), out: &mut [f32], lse: &mut [f32]) {
        let AttnConfig { heads, d_qk, .. } = *self.config;
        let query = (self.query)(i);
        let own = query.splits(self.splits.0, heads.n_q() / lse.len());
        debug_assert!(own <= splits, "splits are the most that any query has");
        let q = &self.q[(i * heads.n_q() + h) * d_qk..][..lse.len() * d_qk];
        let mut unit = |spans: &mut dyn Iterator<Item = Range<usize>>| {
            attend(self.config, self.level, (q, h), &query, spans, out, lse);
        };
        let Range { start, end } = query.keys;
        match query.blocks {
            Some(blocks) => {
                let cols = blocks.row(blocks.head_of(h, heads.n_q()), 0);
                let range = |&col: &u32| {
                    let keys = blocks.k_grid().range(col as usize, end);
                    keys.start.max(start).min(keys.end)..keys.end
                };
                unit(&mut cols[part(cols.len(), split, own)].iter().map(range));
            }
            None => {
                // Blocks are counted from the first key of the sequence.
                let grid = self.splits.1;
                let (first, last) = (start / grid, end.div_ceil(grid).max(start / grid));
                let Range { start: from, end: to } = part(last - first, split, own);
                let keys = ((first + from) * grid).max(start)..((first + to) * grid).min(end);
                unit(&mut std::iter::once(keys));
            }
        }
    }

    fn merge(
        &self,
        (rows, splits): (usize, usize),
        (o, part_lse): (&[f32], &[f32]),
        out: &mut [f32],
        mut lse: Option<&mut [f32]>,
        mut parts: Option<DecodeParts<'_>>,
    ) {
        let d_v = self.config.d_v;
        for (head, out) in out.chunks_exact_mut(d_v).enumerate() {
            let (unit, row) = (head / rows, head % rows);
            let at = |split: usize| (unit * splits + split) * rows + row;
            let part = |split: usize| (&o[at(split) * d_v..][..d_v], part_lse[at(split)]);
            let merged = merge_rows((0..splits).map(part), out);
            if let Some(lse) = &mut lse {
                lse[head] = merged;
            }
            if let Some(parts) = &mut parts {
                for split in 0..splits {
                    let (o, lse) = part(split);
                    parts.o[(head * splits + split) * d_v..][..d_v].copy_from_slice(o);
                    parts.lse[head * splits + split] = lse;
                }
            }
        }
    }
}

/// Part `split` of `n` blocks: the first `n % splits` parts have one more.
fn part(n: usize, split: usize, splits: usize) -> Range<usize> {
    if split >= splits {
        return n..n;
    }
    let start = split * (n / splits) + split.min(n % splits);
    start..start + n / splits + usize::from(split < n % splits)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
