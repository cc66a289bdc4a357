//! Output `[n, m]` split into ranges of columns that different threads fill.

use std::marker::PhantomData;

/// The columns `first..first + len` of an output `[n, m]`, exclusively.
pub(crate) struct Columns<'a> {
    base: *mut f32,
    n: usize,
    m: usize,
    len: usize,
    output: PhantomData<&'a mut [f32]>,
}

// SAFETY: a value is the only way to its columns while the borrow of the output lasts, like a `&mut [f32]`.
unsafe impl Send for Columns<'_> {}

/// Splits `out [n, m]` into ranges of `width` columns; the last one may be shorter.
pub(crate) fn split_columns(out: &mut [f32], m: usize, width: usize) -> Vec<Columns<'_>> {
    assert!(m > 0 && width > 0 && out.len().is_multiple_of(m), "out must be [n, m]");
    let (base, n) = (out.as_mut_ptr(), out.len() / m);
    let range = |first: usize| {
        // SAFETY: `first < m`, and the output has at least one row or `n` is 0 and the pointer is never read.
        let base = unsafe { base.add(if n == 0 { 0 } else { first }) };
        Columns { base, n, m, len: width.min(m - first), output: PhantomData }
    };
    (0..m).step_by(width).map(range).collect()
}

impl Columns<'_> {
    /// The columns of row `t`.
    ///
    /// # Panics
    ///
    /// When there is no row `t`.
    pub(crate) fn row(&mut self, t: usize) -> &mut [f32] {
        assert!(t < self.n, "row {t} of {}", self.n);
        // SAFETY: row `t` of the output holds `m` floats from `t * m`; `base` points `first` floats into row 0 and `first + len <= m`, so
        // the range lies inside the borrowed output. No other value has these columns, and `&mut self` excludes a second row of this one.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(t * self.m), self.len) }
    }
}

#[cfg(test)]
mod tests;
