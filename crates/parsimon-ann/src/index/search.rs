//! Search: the nearest heads, then exact distances of everything in their postings. PAPER(spfresh SPANN §3).

use std::collections::BinaryHeap;
use std::sync::Arc;

use rayon::prelude::*;

use super::{Core, Index};
use crate::epoch::Pin;
use crate::heads::HeadScratch;
use crate::ids::State;
use crate::space::Query;
use crate::{AnnError, Neighbor, VectorId};

/// Results at most.
const K_MAX: usize = 1 << 20;

/// Candidates beyond `k`, for external ids that upserts during the search show twice.
const SLACK: usize = 4;

/// How a search is done.
#[derive(Clone, Copy)]
pub struct SearchParams<'a> {
    /// Results wanted.
    pub k: usize,
    /// Postings to read; with all of them results are exact.
    pub nprobe: usize,
    /// Postings whose head is farther than this many times the nearest head's distance are not read (plain distance).
    pub max_dist_ratio: f32,
    /// Only ids that pass count.
    pub filter: Option<&'a (dyn Fn(VectorId) -> bool + Sync)>,
    /// Asked before every posting: true ends the search with what it has.
    pub stop: Option<&'a (dyn Fn() -> bool + Sync)>,
    /// Read no more than `nprobe` postings, also where they hold fewer than `k` results.
    pub strict_nprobe: bool,
}

impl Default for SearchParams<'_> {
    fn default() -> Self {
        SearchParams {
            k: 10,
            nprobe: 64,
            max_dist_ratio: f32::INFINITY,
            filter: None,
            stop: None,
            strict_nprobe: false,
        }
    }
}

/// What a search did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SearchOutcome {
    /// Postings read.
    pub postings_read: u64,
    /// Records looked at, stale ones and copies included.
    pub records_scanned: u64,
    /// False when [`SearchParams::stop`] ended it.
    pub complete: bool,
}

/// A candidate; the heap keeps the worst on top.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Candidate {
    distance: f32,
    ext: u64,
    iid: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.ext.cmp(&other.ext)).then(self.iid.cmp(&other.iid))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Ids that a search has seen: a mark a slot, so that a new search forgets them at once.
#[derive(Debug, Default)]
struct Seen {
    marks: Vec<u32>,
    mark: u32,
}

impl Seen {
    fn begin(&mut self, len: usize) {
        self.mark = self.mark.wrapping_add(1);
        if self.mark == 0 {
            self.marks.fill(0);
            self.mark = 1;
        }
        if self.marks.len() < len {
            self.marks.resize(len, 0);
        }
    }

    /// True at the first sight.
    #[inline]
    fn see(&mut self, iid: u32) -> bool {
        if self.marks.len() <= iid as usize {
            self.marks.resize(iid as usize + 1024, 0);
        }
        std::mem::replace(&mut self.marks[iid as usize], self.mark) != self.mark
    }
}

/// Searches one index; each thread has its own, with the memory that it uses again and again.
pub struct Searcher {
    core: Arc<Core>,
    pin: Pin,
    query: Query,
    heads: HeadScratch,
    buffer: Vec<u8>,
    distances: Vec<f32>,
    seen: Seen,
    best: BinaryHeap<Candidate>,
    sorted: Vec<Candidate>,
}

impl Index {
    /// A searcher for one thread.
    pub fn searcher(&self) -> Searcher {
        Searcher {
            core: Arc::clone(&self.core),
            pin: self.core.epochs.register(),
            query: Query::default(),
            heads: HeadScratch::default(),
            buffer: Vec::new(),
            distances: Vec::new(),
            seen: Seen::default(),
            best: BinaryHeap::new(),
            sorted: Vec::new(),
        }
    }

    /// Searches for every query (their bytes, row after row), on all threads; results and outcomes are in the order of the queries.
    ///
    /// # Errors
    ///
    /// As [`Searcher::search_into`].
    pub fn search_batch(
        &self,
        queries: &[u8],
        params: &SearchParams<'_>,
    ) -> Result<Vec<(Vec<Neighbor>, SearchOutcome)>, AnnError> {
        let size = self.core.space.vector_bytes();
        if !queries.len().is_multiple_of(size) {
            return Err(AnnError::Shape { what: "bytes of the queries", expected: size, actual: queries.len() % size });
        }
        let search = |searcher: &mut Searcher, query: &[u8]| {
            let mut found = Vec::new();
            let outcome = searcher.search_into(query, params, &mut found)?;
            Ok((found, outcome))
        };
        queries.par_chunks_exact(size).map_init(|| self.searcher(), search).collect()
    }

    /// The vector of an id in stored form as floats (normalised for the cosine of float types), if the id is live.
    ///
    /// # Errors
    ///
    /// [`AnnError::Storage`] when a posting cannot be read.
    pub fn get(&self, id: VectorId) -> Result<Option<Vec<f32>>, AnnError> {
        let core = &self.core;
        let pin = core.epochs.register();
        let _pinned = core.epochs.pin(&pin);
        let Some(iid) = core.ids.get(id.0) else { return Ok(None) };
        let heads = core.heads().ids();
        for head in heads {
            let Some(posting) = core.postings.read(head) else { continue };
            let records = core.load(head, &posting)?;
            if let Some(i) = records.iids.iter().position(|&found| found == iid) {
                let row = records.row(i, core.space.stride());
                return Ok(Some(core.space.element().decode(&row[..core.space.vector_bytes()])));
            }
        }
        Ok(None)
    }

    /// Whether an id is live.
    pub fn contains(&self, id: VectorId) -> bool {
        self.core.ids.get(id.0).is_some()
    }
}

impl Searcher {
    /// Writes the nearest neighbours of a query to `found`, nearest first, ties by id: at most `k`, fewer only where fewer match.
    ///
    /// # Errors
    ///
    /// [`AnnError::InvalidParam`] for `nprobe` 0 and `k` above 2^20, [`AnnError::Shape`] and [`AnnError::InvalidVector`] for the query,
    /// [`AnnError::Storage`] when a posting is damaged.
    pub fn search_into(
        &mut self,
        query: &[u8],
        params: &SearchParams<'_>,
        found: &mut Vec<Neighbor>,
    ) -> Result<SearchOutcome, AnnError> {
        found.clear();
        if params.nprobe == 0 {
            return Err(AnnError::param("nprobe", 0, "it must be at least 1"));
        }
        if params.k > K_MAX {
            return Err(AnnError::param("k", params.k, "it must be at most 2^20"));
        }
        let core = Arc::clone(&self.core);
        core.space.query_into(query, &mut self.query)?;
        let mut outcome = SearchOutcome { complete: true, ..SearchOutcome::default() };
        if params.k == 0 {
            return Ok(outcome);
        }
        let pinned = core.epochs.pin(&self.pin);
        self.seen.begin(core.ids.len() as usize);
        self.best.clear();
        let (mut nprobe, mut done) = (params.nprobe, 0);
        loop {
            let total = {
                let heads = core.heads();
                heads.search(&self.query, nprobe, &mut self.heads);
                heads.len()
            };
            let bound = self.heads.heads.found().first().map(|f| f.distance * core.space.factor(params.max_dist_ratio));
            let probes = self.heads.heads.found().len();
            for i in done..probes {
                let head = self.heads.heads.found()[i];
                if params.max_dist_ratio.is_finite() && bound.is_some_and(|bound| head.distance > bound) {
                    break;
                }
                if params.stop.is_some_and(|stop| stop()) {
                    outcome.complete = false;
                    break;
                }
                self.scan_posting(&core, head.head, pinned.start, params, &mut outcome)?;
            }
            // Between two head searches a head may have gone and another come, so the second one is read from its start; what was seen
            // is not counted twice.
            let is_enough = self.best.len() >= params.k || params.strict_nprobe || !outcome.complete;
            if is_enough || nprobe >= total {
                break;
            }
            done = 0;
            nprobe = nprobe.saturating_mul(3);
        }
        self.results(&core, params.k, found);
        Ok(outcome)
    }

    /// Looks at the records of one posting.
    fn scan_posting(
        &mut self,
        core: &Core,
        head: u32,
        start: u64,
        params: &SearchParams<'_>,
        outcome: &mut SearchOutcome,
    ) -> Result<(), AnnError> {
        let Some(posting) = core.postings.read(head) else { return Ok(()) };
        outcome.postings_read += 1;
        outcome.records_scanned += posting.len() as u64;
        let stride = core.space.stride();
        let Searcher { query, buffer, distances, seen, best, .. } = self;
        let mut look = |rows: &[u8], iid: &dyn Fn(usize) -> u32| {
            distances.clear();
            core.space.scan_results(query, rows, stride, |_, distance| distances.push(distance));
            for (i, &distance) in distances.iter().enumerate() {
                if best.len() == params.k + SLACK && best.peek().is_some_and(|worst| distance > worst.distance) {
                    continue;
                }
                let iid = iid(i);
                if !seen.see(iid) || !core.ids.is_visible(iid, start) {
                    continue;
                }
                let ext = core.ids.ext(iid);
                if params.filter.is_some_and(|filter| !filter(VectorId(ext))) {
                    continue;
                }
                keep(best, Candidate { distance, ext, iid }, params.k + SLACK);
            }
        };
        core.pool.read(head, &posting.chunks, buffer, |chunk| look(chunk.rows(), &|i| chunk.iid(i)))?;
        if let Some(tail) = &posting.tail {
            look(&tail.rows, &|i| tail.iids[i]);
        }
        Ok(())
    }

    /// The best `k`, one an external id: of two that an upsert during the search showed, the one that lives on.
    fn results(&mut self, core: &Core, k: usize, found: &mut Vec<Neighbor>) {
        self.sorted.clear();
        self.sorted.extend(self.best.drain());
        // By id, and of one id the content to keep first: in the moment when both are live, either is right.
        let is_dying = |c: &Candidate| core.ids.state(c.iid) != State::Live;
        self.sorted.sort_by_cached_key(|c| (c.ext, is_dying(c)));
        self.sorted.dedup_by_key(|c| c.ext);
        self.sorted.sort_unstable();
        found.extend(self.sorted.iter().take(k).map(|c| Neighbor { id: VectorId(c.ext), distance: c.distance }));
    }
}

/// Keeps the best `n`.
fn keep(best: &mut BinaryHeap<Candidate>, candidate: Candidate, n: usize) {
    if best.len() < n {
        best.push(candidate);
    } else if let Some(mut worst) = best.peek_mut().filter(|worst| candidate < **worst) {
        *worst = candidate;
    }
}
