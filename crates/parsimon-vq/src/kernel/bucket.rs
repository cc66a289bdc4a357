//! Products by sorting activations into buckets: of every centroid the sum of the activations of its columns, `B[i] += x_c`, then `y = sum_i B_i C_i`.
//!
//! One addition a code whatever the vector length, and one pass over the codebook a row block: for long rows and codebooks that no cache near the
//! processor holds. Two private sets of buckets let neighbouring columns that share a centroid run side by side.

use super::Rows;
use super::gather::{Book, Code, Plane};

/// Sets of buckets.
const SETS: usize = 2;

/// Adds the products of some row blocks, as [`super::gather::add`] does.
pub(crate) fn add(v: usize, group_size: usize, book: Book<'_>, rows: &mut Rows<'_>) {
    match book.plane {
        Plane::Bytes(codes) => add_codes(v, group_size, book.centroids, codes, rows),
        Plane::Words(codes) => add_codes(v, group_size, book.centroids, codes, rows),
    }
}

fn add_codes<C: Code>(v: usize, gs: usize, centroids: &[f32], codes: &[C], rows: &mut Rows<'_>) {
    let (columns, n) = (rows.columns, rows.n);
    let k = centroids.len() / v / (columns / gs);
    let mut buckets = vec![[0.0f32; SETS]; k];
    let mut sums = vec![0.0f32; v];
    for (r, block) in rows.blocks.clone().enumerate() {
        for token in 0..n {
            sums.fill(0.0);
            let groups = codes[block * columns..][..columns].chunks_exact(gs);
            for (g, (codes, xs)) in groups.zip(rows.xs[token * columns..].chunks_exact(gs)).enumerate() {
                buckets.fill([0.0; SETS]);
                for (c, (code, x)) in codes.iter().zip(xs).enumerate() {
                    buckets[code.idx()][c % SETS] += x;
                }
                let book = centroids[g * k * v..][..k * v].chunks_exact(v);
                for (bucket, centroid) in buckets.iter().zip(book) {
                    let x = bucket[0] + bucket[1];
                    sums.iter_mut().zip(centroid).for_each(|(sum, c)| *sum += x * c);
                }
            }
            for (t, sum) in sums.iter().enumerate() {
                rows.out[(r * v + t) * n + token] += sum;
            }
        }
    }
}
