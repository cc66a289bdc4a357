//! The head index: the heads of all postings in memory, searched before any posting is read.
//!
//! Heads are vectors of the index and lie here in its element type, a quarter of the memory of floats for bytes. Up to
//! [`EXACT_MAX`] heads (or always, with [`HeadIndexKind::Exact`]) every head is looked at. Beyond, heads lie in about `2 sqrt(H)` cells
//! around some of them, each head in the cell of the nearest center, and a search looks at the nearest cells only. A cell that grows
//! past [`CELL_MAX`] times the mean is cut in two.

use crate::config::HeadIndexKind;
use crate::space::{Query, Space};

/// Heads that are scanned as a whole under [`HeadIndexKind::Auto`].
const EXACT_MAX: usize = 2048;
/// Cells looked at, at least, and the share of all: set so that 98 % of the true 64 nearest heads are found (the test measures it).
const PROBE_MIN: usize = 24;
const PROBE_SHARE: usize = 3;
const CELL_MAX: usize = 4;
const NOWHERE: u32 = u32::MAX;

/// A head and its distance.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Found {
    pub(crate) distance: f32,
    pub(crate) head: u32,
}

/// Collects the nearest `n` of what it is shown.
#[derive(Debug, Default)]
pub(crate) struct Nearest {
    found: Vec<Found>,
    n: usize,
    bound: f32,
}

impl Nearest {
    pub(crate) fn begin(&mut self, n: usize) {
        self.found.clear();
        self.n = n;
        self.bound = f32::INFINITY;
    }

    #[inline]
    pub(crate) fn see(&mut self, head: u32, distance: f32) {
        if distance <= self.bound {
            self.found.push(Found { distance, head });
            if self.found.len() >= 2 * self.n + 32 {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        if self.n == 0 {
            self.found.clear();
            self.bound = f32::NEG_INFINITY;
        } else if self.found.len() > self.n {
            self.found.select_nth_unstable_by(self.n - 1, by_distance);
            self.found.truncate(self.n);
            self.bound = self.found[self.n - 1].distance;
        }
    }

    pub(crate) fn finish(&mut self) -> &[Found] {
        self.cut();
        self.found.sort_unstable_by(by_distance);
        &self.found
    }

    /// What the last search found, nearest first.
    pub(crate) fn found(&self) -> &[Found] {
        &self.found
    }
}

fn by_distance(a: &Found, b: &Found) -> std::cmp::Ordering {
    a.distance.total_cmp(&b.distance).then(a.head.cmp(&b.head))
}

#[derive(Debug, Default)]
struct Cell {
    ids: Vec<u32>,
    rows: Vec<u8>,
}

/// The memory that a search of heads needs.
#[derive(Debug, Default)]
pub(crate) struct HeadScratch {
    cells: Nearest,
    pub(crate) heads: Nearest,
}

/// Heads with their rows.
#[derive(Debug)]
pub(crate) struct Heads {
    space: Space,
    kind: HeadIndexKind,
    /// One row a cell; none where there is a single cell.
    centers: Vec<u8>,
    cells: Vec<Cell>,
    /// By head id: cell and place in it.
    place: Vec<(u32, u32)>,
    len: usize,
    /// Where the cells are made anew.
    rebuild_at: usize,
}

impl Heads {
    pub(crate) fn new(space: Space, kind: HeadIndexKind) -> Self {
        let rebuild_at = match kind {
            HeadIndexKind::Auto => EXACT_MAX,
            HeadIndexKind::Exact => usize::MAX,
            HeadIndexKind::TwoLevel => 64,
        };
        Heads { space, kind, centers: Vec::new(), cells: vec![Cell::default()], place: Vec::new(), len: 0, rebuild_at }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contains(&self, head: u32) -> bool {
        self.place.get(head as usize).is_some_and(|place| place.0 != NOWHERE)
    }

    /// A head's row with its padding.
    pub(crate) fn row(&self, head: u32) -> Option<&[u8]> {
        let &(cell, at) = self.place.get(head as usize).filter(|place| place.0 != NOWHERE)?;
        let stride = self.space.stride();
        Some(&self.cells[cell as usize].rows[at as usize * stride..][..stride])
    }

    /// Every head, ascending.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.cells.iter().flat_map(|cell| &cell.ids).copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Adds a head.
    ///
    /// # Panics
    ///
    /// When the id is there already.
    pub(crate) fn insert(&mut self, head: u32, row: &[u8]) {
        assert!(!self.contains(head), "head {head} is there already");
        let mut cell = 0;
        if self.cells.len() > 1 {
            let mut nearest = f32::INFINITY;
            let query = self.space.row_query(row);
            self.space.scan(&query, &self.centers, self.space.stride(), |i, distance| {
                if distance < nearest {
                    (nearest, cell) = (distance, i);
                }
            });
        }
        self.push(cell, head, row);
        self.len += 1;
        if self.len > self.rebuild_at {
            self.rebuild();
        } else if self.cells.len() > 1 && self.cells[cell].ids.len() > CELL_MAX * (self.len / self.cells.len()).max(8) {
            self.cut_cell(cell);
        }
    }

    fn push(&mut self, cell: usize, head: u32, row: &[u8]) {
        if self.place.len() <= head as usize {
            self.place.resize(head as usize + 1, (NOWHERE, 0));
        }
        let into = &mut self.cells[cell];
        self.place[head as usize] = (cell as u32, into.ids.len() as u32);
        into.ids.push(head);
        into.rows.extend(row);
    }

    /// Removes a head; false where it is not there.
    pub(crate) fn remove(&mut self, head: u32) -> bool {
        let Some(&(cell, at)) = self.place.get(head as usize).filter(|place| place.0 != NOWHERE) else { return false };
        let stride = self.space.stride();
        let from = &mut self.cells[cell as usize];
        let last = from.ids.len() - 1;
        from.ids.swap_remove(at as usize);
        from.rows.copy_within(last * stride.., at as usize * stride);
        from.rows.truncate(last * stride);
        if let Some(&moved) = from.ids.get(at as usize) {
            self.place[moved as usize].1 = at;
        }
        self.place[head as usize].0 = NOWHERE;
        self.len -= 1;
        true
    }

    /// The nearest `n` heads, nearest first, ties by id; all of them where `n` is at least [`Heads::len`].
    pub(crate) fn search<'s>(&self, query: &Query, n: usize, scratch: &'s mut HeadScratch) -> &'s [Found] {
        let stride = self.space.stride();
        scratch.heads.begin(n.min(self.len));
        let scan = |cell: &Cell, heads: &mut Nearest| {
            self.space.scan(query, &cell.rows, stride, |i, distance| heads.see(cell.ids[i], distance));
        };
        if self.cells.len() == 1 || n >= self.len {
            for cell in &self.cells {
                scan(cell, &mut scratch.heads);
            }
            return scratch.heads.finish();
        }
        let mut probe = PROBE_MIN.max(self.cells.len() / PROBE_SHARE).min(self.cells.len());
        loop {
            scratch.cells.begin(probe);
            self.space.scan(query, &self.centers, stride, |i, distance| scratch.cells.see(i as u32, distance));
            let cells = scratch.cells.finish();
            let seen: usize = cells.iter().map(|found| self.cells[found.head as usize].ids.len()).sum();
            if seen >= n || probe == self.cells.len() {
                for found in cells {
                    scan(&self.cells[found.head as usize], &mut scratch.heads);
                }
                return scratch.heads.finish();
            }
            probe = (2 * probe).min(self.cells.len());
        }
    }

    /// As [`Heads::search`], but every head is looked at.
    pub(crate) fn search_all<'s>(&self, query: &Query, n: usize, scratch: &'s mut HeadScratch) -> &'s [Found] {
        scratch.heads.begin(n.min(self.len));
        for cell in &self.cells {
            let see = |i: usize, distance: f32| scratch.heads.see(cell.ids[i], distance);
            self.space.scan(query, &cell.rows, self.space.stride(), see);
        }
        scratch.heads.finish()
    }

    /// Makes the cells anew around every `sqrt(H) / 2`-th head, and lets each center move to the middle of its cell twice.
    fn rebuild(&mut self) {
        let stride = self.space.stride();
        let mut all: Vec<(u32, Vec<u8>)> = Vec::with_capacity(self.len);
        for cell in std::mem::take(&mut self.cells) {
            let rows = cell.rows.chunks_exact(stride).map(<[u8]>::to_vec);
            all.extend(cell.ids.into_iter().zip(rows));
        }
        all.sort_unstable_by_key(|(id, _)| *id);
        let n = (2.0 * (self.len as f64).sqrt()) as usize;
        let pick = |i: usize| all[(i * all.len() + all.len() / 2) / n].1.as_slice();
        self.centers = (0..n).flat_map(pick).copied().collect();
        for round in 0..3 {
            self.cells = (0..n).map(|_| Cell::default()).collect();
            for (id, row) in &all {
                let cell = self.nearest_center(row);
                self.push(cell, *id, row);
            }
            if round < 2 {
                for cell in 0..n {
                    if let Some(middle) = self.middle(cell) {
                        self.centers[cell * stride..][..stride].copy_from_slice(&middle);
                    }
                }
            }
        }
        self.rebuild_at = if self.kind == HeadIndexKind::Exact { usize::MAX } else { 2 * self.len };
    }

    fn nearest_center(&self, row: &[u8]) -> usize {
        let query = self.space.row_query(row);
        let mut nearest = (f32::INFINITY, 0);
        self.space.scan(&query, &self.centers, self.space.stride(), |i, distance| {
            if distance < nearest.0 {
                nearest = (distance, i);
            }
        });
        nearest.1
    }

    /// The head of a cell that is nearest to the mean of its rows.
    fn middle(&self, cell: usize) -> Option<Vec<u8>> {
        let rows: Vec<&[u8]> = self.cells[cell].rows.chunks_exact(self.space.stride()).collect();
        let at = crate::cluster::medoid(&self.space, &rows)?;
        Some(rows[at].to_vec())
    }

    fn cut_cell(&mut self, cell: usize) {
        let stride = self.space.stride();
        let old = std::mem::take(&mut self.cells[cell]);
        let rows: Vec<&[u8]> = old.rows.chunks_exact(stride).collect();
        let parts = crate::cluster::split_in_two(&self.space, &rows, 1);
        let Some(parts) = parts else {
            self.cells[cell] = old;
            return;
        };
        self.cells.push(Cell::default());
        let other = self.cells.len() - 1;
        self.centers[cell * stride..][..stride].copy_from_slice(rows[parts.medoids[0]]);
        self.centers.extend(rows[parts.medoids[1]]);
        for (i, row) in rows.iter().enumerate() {
            self.push(if parts.second[i] { other } else { cell }, old.ids[i], row);
        }
    }

    /// Bytes in memory.
    pub(crate) fn ram_bytes(&self) -> u64 {
        let cells: usize = self.cells.iter().map(|cell| cell.rows.capacity() + 4 * cell.ids.capacity()).sum();
        (cells + self.centers.capacity() + 8 * self.place.capacity()) as u64
    }
}

#[cfg(test)]
mod tests;
