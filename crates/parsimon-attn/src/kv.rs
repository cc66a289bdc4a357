//! Keys and values: where they lie, and the pool that keeps them.

mod elements;
mod pool;
mod table;

pub(crate) use elements::{Block, Element, TypedRows};
pub use elements::{KvData, KvDtype};
use pool::PagedRows;
pub use pool::{KvPool, KvSequence, KvShape, PageId};
pub use table::PageTable;
use table::TableRows;

use crate::{AttnError, HeadMap};

/// Keys and values of one sequence and layer, borrowed: plain rows, the pages of a pool, or
/// pages that tables name.
#[derive(Clone, Copy, Debug)]
pub struct KvView<'a> {
    len: usize,
    k: Rows<'a>,
    v: Rows<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Rows<'a> {
    Plain { data: Block<'a>, d: usize },
    Paged(PagedRows<'a>),
    Table(TableRows<'a>),
}

impl<'a> Rows<'a> {
    fn d(&self) -> usize {
        match self {
            Rows::Plain { d, .. } => *d,
            Rows::Paged(rows) => rows.d,
            Rows::Table(rows) => rows.d,
        }
    }

    fn dtype(&self) -> KvDtype {
        match self {
            Rows::Plain { data, .. } => data.dtype(),
            Rows::Paged(rows) => rows.dtype(),
            Rows::Table(rows) => rows.data.dtype(),
        }
    }

    /// The rows of a head from position `t` on, to the end of the page or of all rows, and how many they are at most.
    fn run(&self, head: usize, t: usize) -> (Block<'a>, usize) {
        match *self {
            Rows::Plain { data, d } => (data.starting_at(t * data.stride() + head * d), usize::MAX),
            Rows::Paged(rows) => (rows.block(head, t), KvPool::PAGE - t % KvPool::PAGE),
            Rows::Table(rows) => rows.run(head, t),
        }
    }
}

impl<'a> KvView<'a> {
    /// Keys `[len, n_k, d_qk]` and values `[len, n_v, d_v]`, as projections leave them.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when a slice has another length, or the two have different elements.
    pub fn from_rows(
        heads: HeadMap,
        (d_qk, d_v): (usize, usize),
        len: usize,
        k: impl Into<KvData<'a>>,
        v: impl Into<KvData<'a>>,
    ) -> Result<Self, AttnError> {
        let rows = |what, data: KvData<'a>, n: usize, d: usize| {
            check_len(what, len * n * d, data.len())?;
            Ok(Rows::Plain { data: data.block(n * d), d })
        };
        Self::of_one_type(len, rows("k", k.into(), heads.n_k(), d_qk)?, rows("v", v.into(), heads.n_v(), d_v)?)
    }

    /// Keys in the pages `[pages, page, n_k, d_qk]` that one table names, values in the pages `[pages, page, n_v, d_v]` that another names; pages of any
    /// size.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when the pages are no whole ones or a table is too short, [`AttnError::Page`] and [`AttnError::PageMissing`] for tables that
    /// name what is not there; `seq` is what the errors call the sequence.
    pub fn from_pages(
        heads: HeadMap,
        (d_qk, d_v): (usize, usize),
        (seq, len): (usize, usize),
        k: PageTable<'a>,
        v: PageTable<'a>,
    ) -> Result<Self, AttnError> {
        let k = TableRows::try_new((seq, len), k, heads.n_k(), d_qk)?;
        let v = TableRows::try_new((seq, len), v, heads.n_v(), d_v)?;
        Self::of_one_type(len, Rows::Table(k), Rows::Table(v))
    }

    fn of_one_type(len: usize, k: Rows<'a>, v: Rows<'a>) -> Result<Self, AttnError> {
        let bytes = |rows: &Rows<'_>| rows.dtype().row_bytes(1);
        if k.dtype() != v.dtype() {
            let what = "bytes of a value, keys and values having one type";
            return Err(AttnError::Shape { what, expected: bytes(&k), actual: bytes(&v) });
        }
        Ok(KvView { len, k, v })
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How the numbers are kept.
    pub fn dtype(&self) -> KvDtype {
        self.k.dtype()
    }

    /// Widths of a key and of a value.
    pub fn dims(&self) -> (usize, usize) {
        (self.k.d(), self.v.d())
    }

    /// Key `t` of key head `head` into `out [d_qk]`.
    ///
    /// # Panics
    ///
    /// When `t` or `head` is out of range, or `out` has another length.
    pub fn k_into(&self, head: usize, t: usize, out: &mut [f32]) {
        assert!(t < self.len && out.len() == self.k.d(), "a key of the view");
        self.k.run(head, t).0.row_into(0, out);
    }

    /// Value `t` of value head `head` into `out [d_v]`.
    ///
    /// # Panics
    ///
    /// As [`KvView::k_into`].
    pub fn v_into(&self, head: usize, t: usize, out: &mut [f32]) {
        assert!(t < self.len && out.len() == self.v.d(), "a value of the view");
        self.v.run(head, t).0.row_into(0, out);
    }

    /// Keys of a head from position `t` on that lie together, and how many they are at most.
    pub(crate) fn k_run(&self, head: usize, t: usize) -> (Block<'a>, usize) {
        self.k.run(head, t)
    }

    /// As [`KvView::k_run`], of values.
    pub(crate) fn v_run(&self, head: usize, t: usize) -> (Block<'a>, usize) {
        self.v.run(head, t)
    }
}

pub(crate) fn check_len(what: &'static str, expected: usize, actual: usize) -> Result<(), AttnError> {
    if expected == actual { Ok(()) } else { Err(AttnError::Shape { what, expected, actual }) }
}

#[cfg(test)]
mod tests;
