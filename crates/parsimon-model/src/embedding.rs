//! The embedding table, in the form that its file has.

use parsimon_core::quant::{BlockMatrix, BlockType};
use parsimon_lut::{DenseMatrix, HalfMatrix};
use rayon::prelude::*;

/// Rows that are decoded together for a product.
const ROWS: usize = 64;

/// The embedding table `[vocab, hidden]`.
#[derive(Clone, Debug)]
pub(crate) enum Embedding {
    /// `f32` rows, where the table is the output layer too.
    Dense(DenseMatrix),
    /// Rows of 16-bit floats, which may be the output layer too.
    Half(HalfMatrix),
    /// Rows in blocks, decoded when they are looked up.
    Blocks(BlockRows),
}

/// A matrix in the blocks of its file.
#[derive(Clone, Debug)]
pub(crate) struct BlockRows {
    block_type: BlockType,
    m: usize,
    k: usize,
    bytes: Vec<u8>,
}

impl From<BlockMatrix<'_>> for BlockRows {
    fn from(matrix: BlockMatrix<'_>) -> Self {
        BlockRows { block_type: matrix.block_type(), m: matrix.m(), k: matrix.k(), bytes: matrix.bytes().to_vec() }
    }
}

impl BlockRows {
    /// Rows `first..first + n`.
    fn rows(&self, first: usize, n: usize) -> BlockMatrix<'_> {
        let row_bytes = self.bytes.len() / self.m;
        let bytes = &self.bytes[first * row_bytes..][..n * row_bytes];
        BlockMatrix::try_new(self.block_type, n, self.k, bytes).expect("rows of a matrix that was checked")
    }
}

impl Embedding {
    /// Appends a row.
    pub(crate) fn push_row(&self, row: usize, out: &mut Vec<f32>) {
        match self {
            Embedding::Dense(matrix) => out.extend(matrix.row(row)),
            Embedding::Half(matrix) => {
                let at = out.len();
                out.resize(at + matrix.shape().1, 0.0);
                matrix.row_into(row, &mut out[at..]);
            }
            Embedding::Blocks(blocks) => out.extend(blocks.rows(row, 1).dequantize()),
        }
    }

    /// Writes the `[n, vocab]` products of `x [n, hidden]` with all rows.
    pub(crate) fn project_into(&self, x: &[f32], n: usize, out: &mut [f32]) {
        match self {
            Embedding::Dense(matrix) => matrix.matmul_into(x, n, out),
            Embedding::Half(matrix) => matrix.matmul_into(x, n, out),
            Embedding::Blocks(blocks) => {
                let product = |first: usize| {
                    let rows = ROWS.min(blocks.m - first);
                    let matrix = DenseMatrix::new(blocks.rows(first, rows).dequantize(), rows, blocks.k);
                    let mut out = vec![0.0; n * rows];
                    matrix.matmul_into(x, n, &mut out);
                    (first, rows, out)
                };
                let starts: Vec<usize> = (0..blocks.m).step_by(ROWS).collect();
                let parts: Vec<_> = starts.into_par_iter().map(product).collect();
                for (first, rows, part) in parts {
                    for (out, part) in out.chunks_exact_mut(blocks.m).zip(part.chunks_exact(rows)) {
                        out[first..first + rows].copy_from_slice(part);
                    }
                }
            }
        }
    }

    /// Bytes of the whole table.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Embedding::Dense(matrix) => matrix.bytes(),
            Embedding::Half(matrix) => matrix.bytes(),
            Embedding::Blocks(blocks) => blocks.bytes.len(),
        }
    }
}
