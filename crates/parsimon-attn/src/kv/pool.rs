//! Pages of keys and values, shared by sequences.

use super::elements::{Block, Elements, KvDtype};
use super::{KvView, Rows, check_len};
use crate::{AttnError, HeadMap};

/// What a pool holds for a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KvShape {
    /// Layers.
    pub layers: usize,
    /// Numbers of key and value heads.
    pub heads: HeadMap,
    /// Width of a key head.
    pub d_qk: usize,
    /// Width of a value head.
    pub d_v: usize,
    /// How numbers are kept.
    pub dtype: KvDtype,
}

impl KvShape {
    /// Bytes of a position: `layers (n_k row(d_qk) + n_v row(d_v))`.
    pub fn position_bytes(&self) -> usize {
        let KvShape { layers, heads, d_qk, d_v, dtype } = *self;
        layers * (heads.n_k() * dtype.row_bytes(d_qk) + heads.n_v() * dtype.row_bytes(d_v))
    }
}

/// Keys and values of many sequences and all layers, in pages of [`KvPool::PAGE`] positions.
///
/// A sequence holds a list of pages. Pages that several sequences begin with are held by all of them; a page that one of them writes to is
/// copied first. Memory is taken a page at a time, when a sequence grows, and kept for the next one.
///
/// ```
/// use parsimon_attn::{HeadMap, KvDtype, KvPool, KvSequence, KvShape};
///
/// let heads = HeadMap::try_new(4, 2, 2)?;
/// let mut pool = KvPool::new(KvShape { layers: 1, heads, d_qk: 8, d_v: 8, dtype: KvDtype::F16 }, Some(10));
/// let mut sequence = KvSequence::default();
/// pool.append(&mut sequence, &[0.5; 3 * 2 * 8], &[1.0; 3 * 2 * 8])?;
/// assert_eq!((sequence.len(), pool.free_pages()), (3, 9));
/// pool.truncate(&mut sequence, 0);
/// assert_eq!(pool.free_pages(), 10);
/// # Ok::<(), parsimon_attn::AttnError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KvPool {
    shape: KvShape,
    max_pages: Option<usize>,
    pages: Vec<Page>,
    free: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Page {
    /// How many sequences and other owners hold it; 0 when it is free.
    owners: u32,
    /// `[layers][n_k][PAGE][d_qk]`.
    k: Elements,
    /// `[layers][n_v][PAGE][d_v]`.
    v: Elements,
}

/// Names a page of a pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageId(u32);

/// The pages of one sequence; it belongs to one pool, which must be told when it ends ([`KvPool::truncate`] to 0).
#[derive(Clone, Default, Debug)]
pub struct KvSequence {
    pages: Vec<PageId>,
    len: usize,
}

impl KvSequence {
    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pages; the last may hold positions beyond the end.
    pub fn pages(&self) -> &[PageId] {
        &self.pages
    }
}

impl KvPool {
    /// Positions of a page.
    pub const PAGE: usize = 64;

    /// An empty pool of at most `max_pages` pages; `None` for as many as there is memory.
    pub fn new(shape: KvShape, max_pages: Option<usize>) -> Self {
        KvPool { shape, max_pages, pages: Vec::new(), free: Vec::new() }
    }

    /// What a position holds.
    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        Self::PAGE * self.shape.position_bytes()
    }

    /// Pages that no sequence holds.
    pub fn free_pages(&self) -> usize {
        self.max_pages.map_or(usize::MAX, |max| max - self.pages.len()).saturating_add(self.free.len())
    }

    /// How many pages `sequence` needs to grow by `n` positions.
    pub fn pages_needed(&self, sequence: &KvSequence, n: usize) -> usize {
        let added = (sequence.len + n).div_ceil(Self::PAGE).saturating_sub(sequence.pages.len());
        added + usize::from(n > 0 && self.shared_tail(sequence).is_some())
    }

    /// The place of the page that the next position goes to, when others hold it too.
    fn shared_tail(&self, sequence: &KvSequence) -> Option<usize> {
        let at = sequence.len / Self::PAGE;
        let page = sequence.pages.get(at)?;
        (self.pages[page.0 as usize].owners > 1).then_some(at)
    }

    /// Makes room for `n` positions after the end of `sequence`, and copies its last page when others hold it.
    ///
    /// # Errors
    ///
    /// [`AttnError::PoolFull`]; nothing has changed then.
    pub fn reserve(&mut self, sequence: &mut KvSequence, n: usize) -> Result<(), AttnError> {
        let (needed, free) = (self.pages_needed(sequence, n), self.free_pages());
        if needed > free {
            return Err(AttnError::PoolFull { needed, free });
        }
        if n > 0
            && let Some(at) = self.shared_tail(sequence)
        {
            let copy = self.take();
            let (from, to) = (sequence.pages[at].0 as usize, copy.0 as usize);
            let [from, to] = self.pages.get_disjoint_mut([from, to]).expect("a page was taken that is not held");
            to.k.copy_from(&from.k);
            to.v.copy_from(&from.v);
            self.release(sequence.pages[at]);
            sequence.pages[at] = copy;
        }
        while sequence.pages.len() * Self::PAGE < sequence.len + n {
            sequence.pages.push(self.take());
        }
        Ok(())
    }

    /// A page with one owner; there is one.
    fn take(&mut self) -> PageId {
        let id = self.free.pop().unwrap_or_else(|| {
            let KvShape { layers, heads, d_qk, d_v, dtype } = self.shape;
            self.pages.push(Page {
                owners: 0,
                k: Elements::zeroed(dtype, layers * heads.n_k() * Self::PAGE, d_qk),
                v: Elements::zeroed(dtype, layers * heads.n_v() * Self::PAGE, d_v),
            });
            u32::try_from(self.pages.len() - 1).expect("4 billion pages are more than memory")
        });
        self.pages[id as usize].owners = 1;
        PageId(id)
    }

    /// Writes keys `[t, n_k, d_qk]` and values `[t, n_v, d_v]` of `layer` after the end of `sequence`, which stays where it is until
    /// [`KvPool::advance`]: every layer writes to the same positions.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when the slices are no whole rows, or not equally many, or there is no room ([`KvPool::reserve`]); nothing is
    /// written then.
    pub fn write(&mut self, layer: usize, sequence: &KvSequence, k: &[f32], v: &[f32]) -> Result<(), AttnError> {
        let KvShape { heads, d_qk, d_v, .. } = self.shape;
        let (k_row, v_row) = (heads.n_k() * d_qk, heads.n_v() * d_v);
        let t = k.len() / k_row;
        check_len("k", t * k_row, k.len())?;
        check_len("v", t * v_row, v.len())?;
        let room = sequence.pages.len() * Self::PAGE;
        if sequence.len + t > room {
            return Err(AttnError::Shape { what: "room", expected: sequence.len + t, actual: room });
        }
        for (i, (k, v)) in k.chunks_exact(k_row).zip(v.chunks_exact(v_row)).enumerate() {
            let (place, slot) = ((sequence.len + i) / Self::PAGE, (sequence.len + i) % Self::PAGE);
            let page = &mut self.pages[sequence.pages[place].0 as usize];
            debug_assert_eq!(page.owners, 1, "a shared page is never written to");
            for (head, row) in k.chunks_exact(d_qk).enumerate() {
                page.k.store((layer * heads.n_k() + head) * Self::PAGE + slot, row);
            }
            for (head, row) in v.chunks_exact(d_v).enumerate() {
                page.v.store((layer * heads.n_v() + head) * Self::PAGE + slot, row);
            }
        }
        Ok(())
    }

    /// Takes `n` positions that every layer wrote as part of `sequence`.
    ///
    /// # Panics
    ///
    /// When there is no room for them.
    pub fn advance(&self, sequence: &mut KvSequence, n: usize) {
        assert!(sequence.len + n <= sequence.pages.len() * Self::PAGE, "positions must be reserved first");
        sequence.len += n;
    }

    /// Reserves, writes and advances, for a pool of one layer.
    ///
    /// # Errors
    ///
    /// As [`KvPool::reserve`] and [`KvPool::write`].
    ///
    /// # Panics
    ///
    /// When the pool has several layers.
    pub fn append(&mut self, sequence: &mut KvSequence, k: &[f32], v: &[f32]) -> Result<(), AttnError> {
        assert_eq!(self.shape.layers, 1, "append is for one layer");
        let n = k.len() / (self.shape.heads.n_k() * self.shape.d_qk);
        self.reserve(sequence, n)?;
        self.write(0, sequence, k, v)?;
        self.advance(sequence, n);
        Ok(())
    }

    /// Forgets all positions of `sequence` from `len` on, and gives back the pages that it does not need any more.
    pub fn truncate(&mut self, sequence: &mut KvSequence, len: usize) {
        sequence.len = sequence.len.min(len);
        let kept = sequence.len.div_ceil(Self::PAGE);
        for page in sequence.pages.drain(kept..) {
            self.release(page);
        }
    }

    /// A sequence of whole pages, which stay with their other owners too.
    pub fn share(&mut self, pages: &[PageId]) -> KvSequence {
        pages.iter().for_each(|&page| self.retain(page));
        KvSequence { pages: pages.to_vec(), len: pages.len() * Self::PAGE }
    }

    /// Adds an owner to a page.
    ///
    /// # Panics
    ///
    /// When nothing holds it.
    pub fn retain(&mut self, page: PageId) {
        let page = &mut self.pages[page.0 as usize];
        assert!(page.owners > 0, "a free page cannot be shared");
        page.owners += 1;
    }

    /// Takes an owner from a page.
    ///
    /// # Panics
    ///
    /// When nothing holds it.
    pub fn release(&mut self, page: PageId) {
        let owners = &mut self.pages[page.0 as usize].owners;
        assert!(*owners > 0, "a free page cannot be released");
        *owners -= 1;
        if *owners == 0 {
            self.free.push(page.0);
        }
    }

    /// How many sequences and other owners hold a page.
    pub fn owners(&self, page: PageId) -> usize {
        self.pages[page.0 as usize].owners as usize
    }

    /// The keys and values of `layer` as [`Attention`](crate::Attention) reads them: all positions of `sequence`, and `n` that were written after
    /// them.
    ///
    /// # Panics
    ///
    /// When there is no room for them.
    pub fn view<'a>(&'a self, layer: usize, sequence: &'a KvSequence, n: usize) -> KvView<'a> {
        let KvShape { heads, d_qk, d_v, .. } = self.shape;
        let len = sequence.len + n;
        assert!(len <= sequence.pages.len() * Self::PAGE, "positions must be reserved first");
        let side = |side, n, d| PagedRows { pool: self, pages: &sequence.pages, side, first_head: layer * n, d };
        let k = Rows::Paged(side(Side::Keys, heads.n_k(), d_qk));
        let v = Rows::Paged(side(Side::Values, heads.n_v(), d_v));
        KvView { len, k, v }
    }
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Keys,
    Values,
}

/// Keys or values of a sequence and layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct PagedRows<'a> {
    pool: &'a KvPool,
    pages: &'a [PageId],
    side: Side,
    first_head: usize,
    pub(super) d: usize,
}

impl<'a> PagedRows<'a> {
    pub(super) fn dtype(&self) -> KvDtype {
        self.pool.shape.dtype
    }

    /// The rows of a head from position `t` to the end of its page.
    pub(super) fn block(&self, head: usize, t: usize) -> Block<'a> {
        let (place, slot) = (t / KvPool::PAGE, t % KvPool::PAGE);
        let page = &self.pool.pages[self.pages[place].0 as usize];
        let elements = match self.side {
            Side::Keys => &page.k,
            Side::Values => &page.v,
        };
        elements.block((self.first_head + head) * KvPool::PAGE + slot, KvPool::PAGE - slot, self.d)
    }
}
