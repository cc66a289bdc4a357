//! The call into the gemm crate, whose interface is pointers.

/// A matrix inside a slice: element `(r, c)` stands at `r * row_stride + c * col_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// Rows of `stride` elements, of which the first `cols` count.
    pub(crate) fn rows(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        Mat { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        let Mat { data, rows, cols, row_stride, col_stride } = self;
        Mat { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    fn assert_inside(&self) {
        let last = (self.rows - 1)
            .checked_mul(self.row_stride)
            .zip((self.cols - 1).checked_mul(self.col_stride))
            .and_then(|(rows, cols)| rows.checked_add(cols));
        assert!(last.is_some_and(|last| last < self.data.len()), "a matrix must lie inside its slice");
    }
}

/// `dst = keep * dst + factor * lhs rhs` on the calling thread, with the rows of `dst` `stride` elements apart. The order of every sum is fixed
/// by the shapes alone.
pub(crate) fn gemm_into<T: Copy + Default + 'static>(
    dst: &mut [T],
    stride: usize,
    keep: Option<T>,
    factor: T,
    lhs: Mat<'_, T>,
    rhs: Mat<'_, T>,
) {
    assert_eq!(lhs.cols, rhs.rows, "inner dimensions");
    let (m, n, k) = (lhs.rows, rhs.cols, lhs.cols);
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    lhs.assert_inside();
    rhs.assert_inside();
    Mat { data: &*dst, rows: m, cols: n, row_stride: stride, col_stride: 1 }.assert_inside();
    let signed = |stride: usize| isize::try_from(stride).expect("a stride inside a slice fits isize");
    // SAFETY: the assertions above give each pointer the extent that its shape and strides reach; `dst` is borrowed mutably, so it does not
    // overlap the inputs; its old content is read only where `keep` is given.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            signed(stride),
            keep.is_some(),
            lhs.data.as_ptr(),
            signed(lhs.col_stride),
            signed(lhs.row_stride),
            rhs.data.as_ptr(),
            signed(rhs.col_stride),
            signed(rhs.row_stride),
            keep.unwrap_or_default(),
            factor,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
