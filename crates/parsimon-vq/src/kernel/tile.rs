//! Products of many tokens: some row blocks are decoded to `f32`, then multiplied by the gemm crate. Decoding costs as much as a few tokens.

use super::Rows;
use super::gather::{Book, Code, Plane};
use super::gemm::{Mat, gemm_into};

/// Adds the products of some row blocks, as [`super::gather::add`] does; all of them are decoded at once.
pub(crate) fn add(v: usize, group_size: usize, books: &[Book<'_>], rows: &mut Rows<'_>) {
    let (columns, n, m) = (rows.columns, rows.n, rows.blocks.len() * v);
    // [columns][rows]: a centroid lands as it is.
    let mut tile = vec![0.0; columns * m];
    for book in books {
        match book.plane {
            Plane::Bytes(codes) => decode(v, group_size, book.centroids, codes, rows, &mut tile),
            Plane::Words(codes) => decode(v, group_size, book.centroids, codes, rows, &mut tile),
        }
    }
    let tile = Mat::rows(&tile, columns, m, m).t();
    gemm_into(rows.out, n, Some(1.0), 1.0, tile, Mat::rows(rows.xs, n, columns, columns).t());
}

fn decode<C: Code>(v: usize, gs: usize, centroids: &[f32], codes: &[C], rows: &Rows<'_>, tile: &mut [f32]) {
    match v {
        4 => decode_len::<C, 4>(gs, centroids, codes, rows, tile),
        6 => decode_len::<C, 6>(gs, centroids, codes, rows, tile),
        8 => decode_len::<C, 8>(gs, centroids, codes, rows, tile),
        12 => decode_len::<C, 12>(gs, centroids, codes, rows, tile),
        16 => decode_len::<C, 16>(gs, centroids, codes, rows, tile),
        _ => {
            let (columns, m) = (rows.columns, rows.blocks.len() * v);
            let k = centroids.len() / v / (columns / gs);
            for (r, block) in rows.blocks.clone().enumerate() {
                for (c, code) in codes[block * columns..][..columns].iter().enumerate() {
                    let centroid = &centroids[(c / gs * k + code.idx()) * v..][..v];
                    let to = &mut tile[c * m + r * v..][..v];
                    to.iter_mut().zip(centroid).for_each(|(to, c)| *to += c);
                }
            }
        }
    }
}

fn decode_len<C: Code, const V: usize>(gs: usize, centroids: &[f32], codes: &[C], rows: &Rows<'_>, tile: &mut [f32]) {
    let (books, _) = centroids.as_chunks::<V>();
    let (columns, blocks) = (rows.columns, rows.blocks.len());
    let k = books.len() / (columns / gs);
    let (tile, _) = tile.as_chunks_mut::<V>();
    for (r, block) in rows.blocks.clone().enumerate() {
        for (g, codes) in codes[block * columns..][..columns].chunks_exact(gs).enumerate() {
            let book = &books[g * k..][..k];
            for (c, code) in codes.iter().enumerate() {
                let (to, centroid) = (&mut tile[(g * gs + c) * blocks + r], &book[code.idx()]);
                for t in 0..V {
                    to[t] += centroid[t];
                }
            }
        }
    }
}
