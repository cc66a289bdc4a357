//! A quantized layer prepared for products: `y = W x` without ever holding `W`.
//!
//! ```text
//! y = sum_c xs_c Wq[:, c] + (sum_j bias_j x_j) 1 (+ bias)        xs_c = x[perm[c]] scale[perm[c]]
//! ```
//!
//! The norm of the columns costs one number a token, their order one gather of the activations.

mod plan;

pub use plan::{VptqBackend, VptqMethod, VptqPlan};
use rayon::prelude::*;

use crate::VptqLinear;
use crate::kernel::gather::{Book, Plane};
use crate::kernel::reg256::{self, Quantized, Segments, Tables};
use crate::kernel::{Rows, bucket, gather, tile};

/// Tokens from which on rows are decoded and multiplied densely.
const TILE_TOKENS: usize = 16;

/// Rows that one task computes, about.
const TASK_ROWS: usize = 64;

/// A layer quantized by VPTQ, in the layout of its kernel.
#[derive(Clone, Debug)]
pub struct VptqMatrix {
    m: usize,
    k: usize,
    plan: VptqPlan,
    main: Group,
    outlier: Option<Group>,
    /// The original column of every quantized one; absent where it is the same.
    perm: Option<Vec<u32>>,
    norm: Option<(Vec<f32>, Vec<f32>)>,
    bias: Option<Vec<f32>>,
    registers: Option<Registers>,
}

/// Columns of the same vector length, with their codebooks.
#[derive(Clone, Debug)]
struct Group {
    v: usize,
    columns: usize,
    /// Columns that share a codebook.
    group_size: usize,
    /// Codebooks and codes: main, and residual where there is one. Codes are empty where registers hold them.
    books: Vec<(Vec<f32>, Plane)>,
}

/// The layout of [`VptqMethod::Reg256`].
#[derive(Clone, Debug)]
struct Registers {
    tables: Vec<Tables>,
    segments: Segments,
    codes: reg256::Codes,
}

impl Group {
    fn books(&self) -> impl Iterator<Item = Book<'_>> {
        self.books.iter().map(|(centroids, plane)| Book { centroids, plane })
    }

    fn bytes(&self) -> usize {
        self.books.iter().map(|(centroids, plane)| 4 * centroids.len() + plane.bytes()).sum()
    }
}

/// Codes `[groups][blocks][group_size]` of the file as rows of all columns.
fn by_rows(codes: &[u16], groups: usize, blocks: usize, gs: usize) -> impl Iterator<Item = u16> {
    (0..codes.len()).map(move |i| {
        let (block, column) = (i / (groups * gs), i % (groups * gs));
        codes[(column / gs * blocks + block) * gs + column % gs]
    })
}

impl VptqMatrix {
    /// Prepares a layer for the kernel that `backend` picks.
    pub fn new(linear: &VptqLinear, backend: &VptqBackend) -> Self {
        let p = linear.parts();
        let (blocks, columns) = (p.m.div_ceil(p.v), p.groups * p.group_size);
        let (plan, registers) = plan::choose(linear, backend);
        let rows = |codes: &[u16]| by_rows(codes, p.groups, blocks, p.group_size).collect::<Vec<u16>>();
        let plane = |codes: &[u16], k: usize| Plane::new(rows(codes).into_iter(), k);
        let mut books = vec![(p.centroids.clone(), plane(&p.codes, linear.centroids()))];
        if !p.residual_codes.is_empty() {
            books.push((p.residual_centroids.clone(), plane(&p.residual_codes, linear.residual_centroids())));
        }
        let registers = registers.map(|tables| {
            let segments = Segments::new(p.groups, p.group_size);
            let codes = register_codes(&books, columns, p.group_size, blocks, &segments);
            Registers { tables, segments, codes }
        });
        let outlier = p.outlier.as_ref().map(|outlier| {
            let k = outlier.centroids.len() / outlier.v;
            let plane = Plane::new(outlier.codes.iter().copied(), k);
            let (v, columns) = (outlier.v, outlier.columns);
            Group { v, columns, group_size: columns, books: vec![(outlier.centroids.clone(), plane)] }
        });
        VptqMatrix {
            m: p.m,
            k: p.k,
            plan,
            main: Group { v: p.v, columns, group_size: p.group_size, books },
            outlier,
            perm: p.perm.clone(),
            norm: p.norm.clone(),
            bias: p.bias.clone(),
            registers,
        }
    }

    /// Output and input features.
    pub fn shape(&self) -> (usize, usize) {
        (self.m, self.k)
    }

    /// What was picked, and why.
    pub fn plan(&self) -> &VptqPlan {
        &self.plan
    }

    /// Bytes that a product of one token reads: codes, codebooks, norm and order.
    pub fn bytes(&self) -> usize {
        let main = match &self.registers {
            Some(registers) => registers.codes.bytes.len() + registers.tables.len() * self.main.v * 512,
            None => self.main.bytes(),
        };
        let columns = 4 * self.k * (usize::from(self.perm.is_some()) + 2 * usize::from(self.norm.is_some()));
        main + self.outlier.as_ref().map_or(0, Group::bytes) + columns
    }

    /// Writes the outputs `[n, m]` of the activations `x [n, k]`. The same bits for any number of threads.
    ///
    /// # Panics
    ///
    /// When `x` or `out` has another length.
    pub fn matmul_into(&self, x: &[f32], n: usize, out: &mut [f32]) {
        assert_eq!((x.len(), out.len()), (n * self.k, n * self.m), "x must be [n, k] and out [n, m]");
        if n == 0 {
            return;
        }
        let (xs, outlier_xs, offsets) = self.prepare(x, n);
        let quantized: Option<Vec<Quantized>> = self.registers.as_ref().filter(|_| n < TILE_TOKENS).map(|registers| {
            let tokens = xs.par_chunks_exact(self.main.columns);
            tokens.map(|xs| Quantized::new(xs, self.main.group_size, &registers.segments)).collect()
        });
        // Tasks hold whole blocks of both vector lengths' rows; outliers are added afterwards where lengths differ.
        let v = self.main.v;
        let task = v * (TASK_ROWS / v).max(1);
        let padded = self.m.next_multiple_of(v);
        let mut rows = vec![0.0f32; padded * n];
        rows.par_chunks_mut(task * n).enumerate().for_each(|(i, out)| {
            let first = i * task / v;
            let blocks = first..first + out.len() / n / v;
            match (&self.registers, &quantized) {
                (Some(registers), Some(tokens)) => {
                    let Registers { tables, segments, codes } = registers;
                    let matrix = reg256::Matrix { v, tables, segments, codes };
                    reg256::add(self.plan.level, &matrix, tokens, blocks, out);
                }
                _ => self.add(&self.main, &xs, n, blocks, out),
            }
        });
        if let Some(outlier) = &self.outlier {
            let padded = self.m.next_multiple_of(outlier.v);
            rows.resize(padded * n, 0.0);
            let task = outlier.v * (TASK_ROWS / outlier.v).max(1);
            rows[..padded * n].par_chunks_mut(task * n).enumerate().for_each(|(i, out)| {
                let first = i * task / outlier.v;
                let blocks = first..first + out.len() / n / outlier.v;
                self.add(outlier, &outlier_xs, n, blocks, out);
            });
        }
        for (i, out) in out.chunks_exact_mut(self.m).enumerate() {
            for (r, y) in out.iter_mut().enumerate() {
                *y = rows[r * n + i] + offsets[i] + self.bias.as_ref().map_or(0.0, |bias| bias[r]);
            }
        }
    }

    /// The products of some row blocks in `f32`.
    fn add(&self, group: &Group, xs: &[f32], n: usize, blocks: std::ops::Range<usize>, out: &mut [f32]) {
        let mut rows = Rows { blocks, xs, columns: group.columns, n, out };
        if n >= TILE_TOKENS {
            let books: Vec<Book<'_>> = group.books().collect();
            return tile::add(group.v, group.group_size, &books, &mut rows);
        }
        for book in group.books() {
            match self.plan.method {
                VptqMethod::Bucket => bucket::add(group.v, group.group_size, book, &mut rows),
                _ => gather::add(self.plan.level, group.v, group.group_size, book, &mut rows),
            }
        }
    }

    /// Activations in the order of codes and scaled, those of outlier columns apart, and `sum_j bias_j x_j` of every token.
    fn prepare(&self, x: &[f32], n: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let outliers = self.k - self.main.columns;
        let (mut xs, mut outlier_xs) = (vec![0.0; n * self.main.columns], vec![0.0; n * outliers]);
        let value = |x: &[f32], c: usize| {
            let j = self.perm.as_ref().map_or(c, |perm| perm[c] as usize);
            self.norm.as_ref().map_or(x[j], |(scale, _)| x[j] * scale[j])
        };
        xs.par_chunks_exact_mut(self.main.columns).zip(x.par_chunks_exact(self.k)).for_each(|(xs, x)| {
            xs.iter_mut().enumerate().for_each(|(c, xs)| *xs = value(x, outliers + c));
        });
        if outliers > 0 {
            for (xs, x) in outlier_xs.chunks_exact_mut(outliers).zip(x.chunks_exact(self.k)) {
                xs.iter_mut().enumerate().for_each(|(c, xs)| *xs = value(x, c));
            }
        }
        let offset = |x: &[f32]| {
            let terms = self.norm.iter().flat_map(|(_, bias)| bias.iter().zip(x));
            terms.map(|(bias, x)| f64::from(*bias) * f64::from(*x)).sum::<f64>() as f32
        };
        (xs, outlier_xs, x.chunks_exact(self.k).map(offset).collect())
    }
}

/// Main and residual codes in turns of 64 columns, groups padded.
fn register_codes(
    books: &[(Vec<f32>, Plane)],
    columns: usize,
    group_size: usize,
    blocks: usize,
    segments: &Segments,
) -> reg256::Codes {
    let planes = books.len();
    let mut bytes = vec![0; blocks * segments.padded() * planes];
    for (plane, (_, codes)) in books.iter().enumerate() {
        let Plane::Bytes(codes) = codes else { unreachable!("registers hold 256 centroids at most") };
        for (i, &code) in codes.iter().enumerate() {
            let (block, c) = (i / columns, i % columns);
            let padded = c / group_size * segments.group_padded + c % group_size;
            let (register, lane) = (padded / reg256::COLUMNS, padded % reg256::COLUMNS);
            bytes[block * segments.padded() * planes + (register * planes + plane) * reg256::COLUMNS + lane] = code;
        }
    }
    reg256::Codes { bytes, has_residual: planes == 2 }
}

#[cfg(test)]
mod tests;
