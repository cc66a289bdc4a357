//! Keys and values: where they lie, and the pool that keeps them.

mod elements;
mod pool;

pub use elements::KvDtype;
pub(crate) use elements::{Block, Element, TypedRows};
use pool::PagedRows;
pub use pool::{KvPool, KvSequence, KvShape, PageId};

use crate::{AttnError, HeadMap};

/// Keys and values of one sequence and layer, borrowed: plain rows, or the pages of a pool.
#[derive(Clone, Copy, Debug)]
pub struct KvView<'a> {
    len: usize,
    k: Rows<'a>,
    v: Rows<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Rows<'a> {
    Plain { data: &'a [f32], d: usize, row_stride: usize },
    Paged(PagedRows<'a>),
}

impl<'a> Rows<'a> {
    fn d(&self) -> usize {
        match self {
            Rows::Plain { d, .. } => *d,
            Rows::Paged(rows) => rows.d,
        }
    }

    /// The rows of a head from position `t` on, to the end of the page or of all rows.
    fn block(&self, head: usize, t: usize) -> Block<'a> {
        match *self {
            Rows::Plain { data, d, row_stride } => {
                Block::F32 { rows: &data[t * row_stride + head * d..], stride: row_stride }
            }
            Rows::Paged(rows) => rows.block(head, t),
        }
    }
}

impl<'a> KvView<'a> {
    /// Keys `[len, n_k, d_qk]` and values `[len, n_v, d_v]`, as projections leave them.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when a slice has another length.
    pub fn from_rows(
        heads: HeadMap,
        (d_qk, d_v): (usize, usize),
        len: usize,
        k: &'a [f32],
        v: &'a [f32],
    ) -> Result<Self, AttnError> {
        let rows = |what, data: &'a [f32], n: usize, d: usize| {
            check_len(what, len * n * d, data.len())?;
            Ok(Rows::Plain { data, d, row_stride: n * d })
        };
        Ok(KvView { len, k: rows("k", k, heads.n_k(), d_qk)?, v: rows("v", v, heads.n_v(), d_v)? })
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
        match self.k {
            Rows::Plain { .. } => KvDtype::F32,
            Rows::Paged(rows) => rows.dtype(),
        }
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
        self.k.block(head, t).row_into(0, out);
    }

    /// Value `t` of value head `head` into `out [d_v]`.
    ///
    /// # Panics
    ///
    /// As [`KvView::k_into`].
    pub fn v_into(&self, head: usize, t: usize, out: &mut [f32]) {
        assert!(t < self.len && out.len() == self.v.d(), "a value of the view");
        self.v.block(head, t).row_into(0, out);
    }

    /// Keys of a head from position `t` on: at least up to the next multiple of [`KvPool::PAGE`] or the last key.
    pub(crate) fn k_block(&self, head: usize, t: usize) -> Block<'a> {
        self.k.block(head, t)
    }

    /// As [`KvView::k_block`], of values.
    pub(crate) fn v_block(&self, head: usize, t: usize) -> Block<'a> {
        self.v.block(head, t)
    }
}

pub(crate) fn check_len(what: &'static str, expected: usize, actual: usize) -> Result<(), AttnError> {
    if expected == actual { Ok(()) } else { Err(AttnError::Shape { what, expected, actual }) }
}

#[cfg(test)]
mod tests;
