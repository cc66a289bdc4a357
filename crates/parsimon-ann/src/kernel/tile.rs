//! Many vectors against a few centers: one lane a vector, so that no sum crosses lanes.
//!
//! Clustering compares the same sample with ever new centers. The sample is turned over once, [`LANES`] vectors to a block with one
//! register of every element, and a center is a broadcast: two instructions an element and register, without a horizontal sum.

use parsimon_simd::{Level, Vectorize, vectorize};

/// Vectors of a block.
pub(crate) const LANES: usize = 32;
/// Centers at a time: with more their sums would not fit the registers.
const WIDTH: usize = 4;

/// Writes `out[k][lane]`, for every center of `dim` elements its squared distance from each vector of a block, or their products.
///
/// `block` has `dim` times [`LANES`] elements, `centers` rows of `dim`, `out` a row a center.
pub(crate) fn tile(block: &[f32], centers: &[f32], dim: usize, is_product: bool, out: &mut [[f32; LANES]]) {
    debug_assert_eq!(block.len(), dim * LANES);
    vectorize(Level::best(), Tile { block, centers, dim, is_product, out });
}

struct Tile<'a> {
    block: &'a [f32],
    centers: &'a [f32],
    dim: usize,
    is_product: bool,
    out: &'a mut [[f32; LANES]],
}

impl Vectorize for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (block, _) = self.block.as_chunks::<LANES>();
        for (out, centers) in self.out.chunks_mut(WIDTH).zip(self.centers.chunks(WIDTH * self.dim)) {
            match (out.len(), self.is_product) {
                (WIDTH, false) => some::<FMA, WIDTH, false>(block, centers, self.dim, out),
                (2, false) => some::<FMA, 2, false>(block, centers, self.dim, out),
                (WIDTH, true) => some::<FMA, WIDTH, true>(block, centers, self.dim, out),
                (_, is_product) => {
                    for (out, center) in out.chunks_mut(1).zip(centers.chunks_exact(self.dim)) {
                        if is_product {
                            some::<FMA, 1, true>(block, center, self.dim, out);
                        } else {
                            some::<FMA, 1, false>(block, center, self.dim, out);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn some<const FMA: bool, const N: usize, const PRODUCT: bool>(
    block: &[[f32; LANES]],
    centers: &[f32],
    dim: usize,
    out: &mut [[f32; LANES]],
) {
    let add = |acc: f32, a: f32, b: f32| if FMA { a.mul_add(b, acc) } else { a * b + acc };
    let centers: [&[f32]; N] = std::array::from_fn(|k| &centers[k * dim..][..dim]);
    let mut acc = [[0.0f32; LANES]; N];
    for (i, x) in block.iter().enumerate() {
        for k in 0..N {
            let c = centers[k][i];
            for lane in 0..LANES {
                let (a, b) = if PRODUCT { (x[lane], c) } else { (x[lane] - c, x[lane] - c) };
                acc[k][lane] = add(acc[k][lane], a, b);
            }
        }
    }
    out[..N].copy_from_slice(&acc);
}
