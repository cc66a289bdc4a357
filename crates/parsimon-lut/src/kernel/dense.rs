//! The call into the gemm crate, whose interface is pointers.

/// `out[n, m] = x[n, k] w[m, k]^T` in `f32`.
pub(crate) fn gemm_into(x: &[f32], w: &[f32], n: usize, m: usize, k: usize, out: &mut [f32]) {
    assert!(x.len() == n * k && w.len() == m * k && out.len() == n * m);
    let stride = |len: usize| isize::try_from(len).expect("a slice's length fits isize");
    // Rows of the output are tokens. `w` is read as its transpose: [k, m] with row stride 1 and column stride k.
    // SAFETY: the assertion above gives each pointer the extent that its shape and strides reach; `out` is borrowed mutably, so
    // it does not overlap the inputs; with `read_dst` false its old content is not read.
    unsafe {
        gemm::gemm(
            n,
            m,
            k,
            out.as_mut_ptr(),
            1,
            stride(m),
            false,
            x.as_ptr(),
            1,
            stride(k),
            w.as_ptr(),
            stride(k),
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}
