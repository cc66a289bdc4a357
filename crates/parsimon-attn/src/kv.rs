//! Keys and values: where they lie, and a cache that grows.

use crate::{AttnError, HeadMap};

/// How keys and values are kept.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum KvDtype {
    /// `f32`, as they come.
    #[default]
    F32,
    /// IEEE half precision: 11 significant bits, range 65504.
    F16,
    /// The upper half of an `f32`: 8 significant bits.
    Bf16,
    /// 8-bit integers with an `f32` scale for every head and position, `x = scale code` with `scale = max |x| / 127`.
    Int8,
}

/// Keys and values of one sequence, borrowed: rows of heads at fixed strides.
#[derive(Clone, Copy, Debug)]
pub struct KvView<'a> {
    len: usize,
    k: Rows<'a>,
    v: Rows<'a>,
}

#[derive(Clone, Copy, Debug)]
struct Rows<'a> {
    data: &'a [f32],
    d: usize,
    head_stride: usize,
    row_stride: usize,
}

impl<'a> Rows<'a> {
    fn row(&self, head: usize, t: usize) -> &'a [f32] {
        &self.data[head * self.head_stride + t * self.row_stride..][..self.d]
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
            Ok(Rows { data, d, head_stride: d, row_stride: n * d })
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

    /// Widths of a key and of a value.
    pub fn dims(&self) -> (usize, usize) {
        (self.k.d, self.v.d)
    }

    /// Key `t` of key head `head`.
    pub fn k(&self, head: usize, t: usize) -> &'a [f32] {
        self.k.row(head, t)
    }

    /// Value `t` of value head `head`.
    pub fn v(&self, head: usize, t: usize) -> &'a [f32] {
        self.v.row(head, t)
    }
}

/// Keys and values of one layer and sequence, by head; capacity doubles as it grows.
#[derive(Clone, Debug)]
pub struct KvCache {
    heads: HeadMap,
    d_qk: usize,
    d_v: usize,
    len: usize,
    capacity: usize,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl KvCache {
    /// An empty cache.
    pub fn new(heads: HeadMap, d_qk: usize, d_v: usize) -> Self {
        KvCache { heads, d_qk, d_v, len: 0, capacity: 0, k: Vec::new(), v: Vec::new() }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the keys and values held: `4 len (n_k d_qk + n_v d_v)`.
    pub fn bytes(&self) -> usize {
        4 * self.len * (self.heads.n_k() * self.d_qk + self.heads.n_v() * self.d_v)
    }

    /// Appends keys `[t, n_k, d_qk]` and values `[t, n_v, d_v]`.
    ///
    /// # Errors
    ///
    /// [`AttnError::Shape`] when the slices are no whole rows, or not equally many; the cache is then unchanged.
    pub fn append(&mut self, k: &[f32], v: &[f32]) -> Result<(), AttnError> {
        let (k_row, v_row) = (self.heads.n_k() * self.d_qk, self.heads.n_v() * self.d_v);
        let t = k.len() / k_row;
        check_len("k", t * k_row, k.len())?;
        check_len("v", t * v_row, v.len())?;
        self.reserve(self.len + t);
        let (at, capacity) = (self.len, self.capacity);
        scatter(&mut self.k, k, self.heads.n_k(), self.d_qk, at, capacity);
        scatter(&mut self.v, v, self.heads.n_v(), self.d_v, at, capacity);
        self.len += t;
        Ok(())
    }

    /// Forgets all keys from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The keys and values as [`Attention`](crate::Attention) reads them.
    pub fn view(&self) -> KvView<'_> {
        let rows = |data, d| Rows { data, d, head_stride: self.capacity * d, row_stride: d };
        KvView { len: self.len, k: rows(&self.k, self.d_qk), v: rows(&self.v, self.d_v) }
    }

    fn reserve(&mut self, len: usize) {
        if len <= self.capacity {
            return;
        }
        let capacity = len.next_power_of_two().max(64);
        self.k = moved(&self.k, self.heads.n_k(), self.d_qk, self.len, self.capacity, capacity);
        self.v = moved(&self.v, self.heads.n_v(), self.d_v, self.len, self.capacity, capacity);
        self.capacity = capacity;
    }
}

/// `rows [t, n, d]` into `store [n, capacity, d]` from row `at` on.
fn scatter(store: &mut [f32], rows: &[f32], n: usize, d: usize, at: usize, capacity: usize) {
    for (t, row) in rows.chunks_exact(n * d).enumerate() {
        for (head, row) in row.chunks_exact(d).enumerate() {
            store[(head * capacity + at + t) * d..][..d].copy_from_slice(row);
        }
    }
}

/// The first `len` rows of every head in a store of another capacity.
fn moved(store: &[f32], n: usize, d: usize, len: usize, from: usize, to: usize) -> Vec<f32> {
    let mut larger = vec![0.0; n * to * d];
    for head in 0..n {
        larger[head * to * d..][..len * d].copy_from_slice(&store[head * from * d..][..len * d]);
    }
    larger
}

pub(crate) fn check_len(what: &'static str, expected: usize, actual: usize) -> Result<(), AttnError> {
    if expected == actual { Ok(()) } else { Err(AttnError::Shape { what, expected, actual }) }
}

#[cfg(test)]
mod tests;
