//! Which postings hold a vector: closure and the RNG rule. PAPER(spfresh SPANN §3).
//!
//! A vector goes to its nearest head and to others that are not much farther, unless a head that was taken lies nearer to them than
//! the vector does: such a head would be read by nearly the same searches.

use std::collections::HashSet;

use crate::config::IndexConfig;
use crate::heads::{Found, HeadScratch, Heads, Nearest};
use crate::space::{Query, Space};

/// What the rule says about a vector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Selection {
    /// It belongs into these postings, the nearest first.
    Heads(Vec<u32>),
    /// It belongs where it is already.
    NoNeed,
}

/// Chooses the postings of the row that `query` was made from. With `stop`, [`Selection::NoNeed`] as soon as that head is chosen.
pub(crate) fn select(
    space: &Space,
    config: &IndexConfig,
    heads: &Heads,
    query: &Query,
    stop: Option<u32>,
    scratch: &mut HeadScratch,
) -> Selection {
    let candidates = heads.search(query, config.candidates, scratch);
    let row = |found: &Found| heads.row(found.head).expect("a head that was found has a row");
    match choose(space, config, candidates, row, stop) {
        Some(chosen) => Selection::Heads(chosen.into_iter().map(|found| found.head).collect()),
        None => Selection::NoNeed,
    }
}

/// The rule on candidates, nearest first; `None` as soon as `stop` is chosen.
fn choose<'r>(
    space: &Space,
    config: &IndexConfig,
    candidates: &[Found],
    row: impl Fn(&Found) -> &'r [u8],
    stop: Option<u32>,
) -> Option<Vec<Found>> {
    let nearest = candidates.iter().map(|c| c.distance).find(|&d| d > 0.0);
    let bound = nearest.map_or(f32::INFINITY, |d| space.factor(1.0 + config.closure) * d);
    let mut chosen: Vec<(Found, Query)> = Vec::with_capacity(config.replicas);
    for candidate in candidates {
        if chosen.len() == config.replicas || candidate.distance > bound {
            break;
        }
        let row = row(candidate);
        let covered = |(_, by): &(Found, Query)| config.rng_factor * space.distance(by, row) <= candidate.distance;
        if chosen.iter().any(covered) {
            continue;
        }
        if Some(candidate.head) == stop {
            return None;
        }
        chosen.push((*candidate, space.row_query(row)));
    }
    Some(chosen.into_iter().map(|(found, _)| found).collect())
}

/// Heads of one place, beside each other in memory: what many vectors of that place choose from.
pub(crate) struct Pool {
    /// Ascending.
    ids: Vec<u32>,
    rows: Vec<u8>,
}

/// Heads of a pool for every candidate of a vector. Measured: in 128 dimensions the 64 heads nearest to a vector are not among the 256
/// nearest to the middle of its leaf (0.5 copies and two points of recall go), but among 1,536.
const POOL: usize = 24;
/// Heads up to which a pool is taken from all of them: what one misses its vectors can never have.
const POOL_EXACT_MAX: usize = 1 << 15;

impl Pool {
    /// The heads around a row.
    pub(crate) fn around(
        space: &Space,
        config: &IndexConfig,
        heads: &Heads,
        query: &Query,
        scratch: &mut HeadScratch,
    ) -> Pool {
        let n = POOL * config.candidates;
        let found = match heads.len() {
            0..=POOL_EXACT_MAX => heads.search_all(query, n, scratch),
            _ => heads.search(query, n, scratch),
        };
        let mut ids: Vec<u32> = found.iter().map(|found| found.head).collect();
        ids.sort_unstable();
        let mut rows = Vec::with_capacity(ids.len() * space.stride());
        ids.iter().for_each(|&id| rows.extend(heads.row(id).expect("a head that was found has a row")));
        Pool { ids, rows }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The nearest head of the pool.
    pub(crate) fn nearest(&self, space: &Space, query: &Query, scratch: &mut HeadScratch) -> Option<Found> {
        scratch.heads.begin(1);
        space.scan(query, &self.rows, space.stride(), |at, distance| scratch.heads.see(at as u32, distance));
        scratch.heads.finish().first().map(|f| Found { head: self.ids[f.head as usize], ..*f })
    }

    /// Whether a head that is not one of `except` is equal to a row.
    pub(crate) fn has_equal(&self, space: &Space, row: &[u8], except: &HashSet<u32>) -> bool {
        let rows = self.rows.chunks_exact(space.stride());
        self.ids.iter().zip(rows).any(|(id, head)| head == row && !except.contains(id))
    }

    /// The pool with other heads in the place of some: `rows`, under ids from `first` on, which are above all ids of the pool.
    pub(crate) fn with(&self, gone: &[u32], first: u32, rows: &[Vec<u8>]) -> Pool {
        let mut pool = Pool { ids: Vec::with_capacity(self.ids.len() + rows.len()), rows: Vec::new() };
        let stride = if self.ids.is_empty() { 0 } else { self.rows.len() / self.ids.len() };
        for (i, id) in self.ids.iter().enumerate().filter(|(_, id)| !gone.contains(id)) {
            pool.ids.push(*id);
            pool.rows.extend(&self.rows[i * stride..][..stride]);
        }
        for (id, row) in (first..).zip(rows) {
            pool.ids.push(id);
            pool.rows.extend(row);
        }
        pool
    }

    /// The postings of a row among these heads, the nearest first.
    pub(crate) fn select(
        &self,
        space: &Space,
        config: &IndexConfig,
        query: &Query,
        scratch: &mut Nearest,
    ) -> Vec<Found> {
        scratch.begin(config.candidates.min(self.ids.len()));
        // Ids ascend, so ties between places are ties between ids.
        space.scan(query, &self.rows, space.stride(), |at, distance| scratch.see(at as u32, distance));
        let row = |found: &Found| &self.rows[found.head as usize * space.stride()..][..space.stride()];
        let chosen = choose(space, config, scratch.finish(), row, None).expect("there is no posting to stop at");
        chosen.into_iter().map(|f| Found { head: self.ids[f.head as usize], ..f }).collect()
    }
}

#[cfg(test)]
mod tests;
