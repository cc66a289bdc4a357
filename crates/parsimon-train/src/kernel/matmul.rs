//! Matrix products over slices, through the gemm crate.
//!
//! Its result does not depend on the number of threads: the sum over the inner dimension is cut by the shape and the caches
//! alone, and threads divide rows and columns.

/// A matrix inside a slice, with any strides.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// A contiguous row-major matrix.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows begin `row_stride` elements apart.
    pub(crate) fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, row_stride), "a {rows} x {cols} matrix, stride {row_stride}");
        Mat { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// Its rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Its columns.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// The transposed matrix.
    pub(crate) fn t(self) -> Self {
        Mat { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// A row-major matrix to write.
pub(crate) struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> MatMut<'a> {
    /// A contiguous row-major matrix.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major matrix whose rows begin `row_stride` elements apart.
    pub(crate) fn strided(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, row_stride), "a {rows} x {cols} matrix, stride {row_stride}");
        MatMut { data, rows, cols, row_stride }
    }
}

fn fits(len: usize, rows: usize, cols: usize, row_stride: usize) -> bool {
    rows == 0 || (cols <= row_stride && (rows - 1) * row_stride + cols <= len)
}

/// What happens to the old content of the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    /// It is overwritten.
    Replace,
    /// The product is added to it.
    Add,
}

/// Who computes a product.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threads {
    /// The calling thread, for products inside a parallel loop.
    Caller,
    /// The threads of the current rayon pool.
    Pool,
}

/// `dst = lhs rhs` or `dst += lhs rhs`.
///
/// # Panics
///
/// When the shapes do not fit together.
pub(crate) fn matmul(dst: MatMut<'_>, sum: Sum, lhs: Mat<'_>, rhs: Mat<'_>, threads: Threads) {
    let (m, n, k) = (dst.rows, dst.cols, lhs.cols);
    assert_eq!((lhs.rows, rhs.cols, rhs.rows), (m, n, k), "rows, columns and inner dimension of the product");
    let parallelism = match threads {
        Threads::Caller => gemm::Parallelism::None,
        Threads::Pool => gemm::Parallelism::Rayon(0),
    };
    let alpha = if sum == Sum::Add { 1.0 } else { 0.0 };
    // SAFETY: the constructors of `Mat` and `MatMut` checked that every element of the three matrices lies inside its slice
    // (`t` swaps both the dimensions and the strides), the borrow of `dst` is exclusive, and the strides fit `isize` because
    // slices do.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.data.as_mut_ptr(),
            1,
            dst.row_stride as isize,
            sum == Sum::Add,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            alpha,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests;
