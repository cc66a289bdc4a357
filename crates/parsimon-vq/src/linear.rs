//! A quantized layer: codebooks, codes and what turns them into weights.

use rayon::prelude::*;

use crate::quantizer::Bits;
use crate::{FloatType, pack};

/// Row blocks that one task decodes.
const BLOCKS: usize = 8;

/// Everything a quantized layer is made of. Floats are values that `float` holds exactly.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Parts {
    pub(crate) m: usize,
    pub(crate) k: usize,
    /// Outputs in a vector.
    pub(crate) v: usize,
    pub(crate) groups: usize,
    /// Columns of a group.
    pub(crate) group_size: usize,
    pub(crate) float: FloatType,
    /// `[groups][K][v]`
    pub(crate) centroids: Vec<f32>,
    /// `[groups][Kr][v]`, or empty.
    pub(crate) residual_centroids: Vec<f32>,
    /// `[groups][R][group_size]`
    pub(crate) codes: Vec<u16>,
    /// As `codes`, or empty.
    pub(crate) residual_codes: Vec<u16>,
    pub(crate) outlier: Option<OutlierPart>,
    /// Quantized column `c` is original column `perm[c]`.
    pub(crate) perm: Option<Vec<u32>>,
    /// Scale and bias of the original columns.
    pub(crate) norm: Option<(Vec<f32>, Vec<f32>)>,
    /// What is added to the outputs.
    pub(crate) bias: Option<Vec<f32>>,
    /// Whether the file packs codes into words.
    pub(crate) packed: bool,
    /// Whether unpacked codes stand under the type F16.
    pub(crate) indices_as_float: bool,
    /// Whether the permutation is stored in 64 bits.
    pub(crate) perm_wide: bool,
}

/// The first columns, with a codebook of their own.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct OutlierPart {
    pub(crate) v: usize,
    pub(crate) columns: usize,
    /// `[K0][v]`
    pub(crate) centroids: Vec<f32>,
    /// `[R0][columns]`
    pub(crate) codes: Vec<u16>,
}

/// A layer quantized by VPTQ: `y = W x` with
///
/// ```text
/// Wq[r v + t, ol + g gs + c] = C[g][code][t] (+ Cr[g][residual code][t])      Wq[r v0 + t, c] = C0[outlier code][t] for c < ol
/// W[:, perm[c]] = Wq[:, c]      W = W scale + bias, by original column
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct VptqLinear {
    parts: Parts,
}

impl VptqLinear {
    /// What callers checked: shapes fit, codes are inside their books, `perm` is a permutation.
    pub(crate) fn from_parts(parts: Parts) -> Self {
        let Parts { m, k, v, groups, group_size: gs, .. } = parts;
        let blocks = m.div_ceil(v);
        let outliers = parts.outlier.as_ref().map_or(0, |outlier| outlier.columns);
        assert_eq!(groups * gs + outliers, k, "groups and outliers make all columns");
        assert_eq!(parts.codes.len(), groups * blocks * gs, "one code a vector");
        assert!(parts.residual_codes.is_empty() || parts.residual_codes.len() == parts.codes.len());
        VptqLinear { parts }
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(crate) fn parts_mut(&mut self) -> &mut Parts {
        &mut self.parts
    }

    /// Output and input features.
    pub fn shape(&self) -> (usize, usize) {
        (self.parts.m, self.parts.k)
    }

    /// Outputs in a vector.
    pub fn vector_len(&self) -> usize {
        self.parts.v
    }

    /// Centroids of the main codebook.
    pub fn centroids(&self) -> usize {
        self.parts.centroids.len() / (self.parts.groups * self.parts.v)
    }

    /// Centroids of the residual codebook, 0 without one.
    pub fn residual_centroids(&self) -> usize {
        self.parts.residual_centroids.len() / (self.parts.groups * self.parts.v)
    }

    /// Column groups.
    pub fn groups(&self) -> usize {
        self.parts.groups
    }

    /// Outlier columns.
    pub fn outliers(&self) -> usize {
        self.parts.outlier.as_ref().map_or(0, |outlier| outlier.columns)
    }

    /// What is added to the outputs.
    pub fn bias(&self) -> Option<&[f32]> {
        self.parts.bias.as_deref()
    }

    /// Gives it another bias of the outputs.
    ///
    /// # Panics
    ///
    /// When there is not one a row.
    #[must_use]
    pub fn with_bias(mut self, bias: Option<Vec<f32>>) -> Self {
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == self.parts.m), "one bias an output");
        self.parts.bias = bias;
        self
    }

    /// The type of its floats in files.
    pub fn float(&self) -> FloatType {
        self.parts.float
    }

    /// Index bits of a vector in packed words.
    pub fn index_bits(&self) -> usize {
        pack::bits_for(self.centroids()) + pack::bits_for(self.residual_centroids())
    }

    /// Bits a weight, with the padding of words, codebooks, norm and permutation. Indices count as packed.
    pub fn bits(&self) -> Bits {
        let p = &self.parts;
        let (weights, float) = ((p.m * p.k) as f64, p.float.bits());
        let words = p.groups * p.m.div_ceil(p.v) * (p.group_size * self.index_bits()).div_ceil(32);
        let outlier = p.outlier.as_ref();
        let floats = p.centroids.len() + p.residual_centroids.len() + outlier.map_or(0, |o| o.centroids.len());
        let bits = |bits: usize| bits as f64 / weights;
        Bits {
            index: bits(32 * words + 16 * outlier.map_or(0, |outlier| outlier.codes.len())),
            codebook: bits(float * floats),
            norm: bits(if p.norm.is_some() { 2 * float * p.k } else { 0 }),
            perm: bits(if p.perm.is_some() { 16 * p.k } else { 0 }),
        }
    }

    /// The original column of quantized column `c`.
    pub(crate) fn original(&self, c: usize) -> usize {
        self.parts.perm.as_ref().map_or(c, |perm| perm[c] as usize)
    }

    /// Writes the weights `[m, k]` with the roundings of the file format: sums of two centroids, the scaled value and the value with its bias are
    /// each rounded to the float type once. Equal bit for bit to what the authors' package decodes on a CPU.
    ///
    /// # Panics
    ///
    /// When `out.len() != m * k`.
    pub fn dequantize_into(&self, out: &mut [f32]) {
        let Parts { m, k, v, float, norm, .. } = &self.parts;
        assert_eq!(out.len(), m * k, "out must hold [m, k]");
        let finish = |j: usize, w: f32| match norm {
            Some((scale, bias)) => float.round_f32(float.round_f32(w * scale[j]) + bias[j]),
            None => w,
        };
        let strip = BLOCKS * v;
        out.par_chunks_mut(strip * k).enumerate().for_each(|(strip_idx, rows)| {
            let mut vector = vec![0.0; *v];
            for (block, rows) in rows.chunks_mut(v * k).enumerate() {
                let r = strip_idx * BLOCKS + block;
                for c in self.outliers()..*k {
                    self.vector_into(r, c, &mut vector);
                    let j = self.original(c);
                    for (row, &w) in rows.chunks_exact_mut(*k).zip(&vector) {
                        row[j] = finish(j, w);
                    }
                }
            }
        });
        let Some(outlier) = &self.parts.outlier else { return };
        for (r, codes) in outlier.codes.chunks_exact(outlier.columns.max(1)).enumerate() {
            for (c, &code) in codes.iter().enumerate() {
                let (j, first) = (self.original(c), r * outlier.v);
                let centroid = &outlier.centroids[usize::from(code) * outlier.v..][..outlier.v];
                for (i, &w) in (first..*m).zip(centroid) {
                    out[i * k + j] = finish(j, w);
                }
            }
        }
    }

    /// The normalised vector of row block `r`, quantized column `c`, which is no outlier.
    pub(crate) fn vector_into(&self, r: usize, c: usize, out: &mut [f32]) {
        let Parts { m, v, group_size: gs, centroids, residual_centroids, codes, residual_codes, float, .. } =
            &self.parts;
        let (c, blocks) = (c - self.outliers(), m.div_ceil(*v));
        let (g, column) = (c / gs, c % gs);
        let at = (g * blocks + r) * gs + column;
        let centroid = |book: &[f32], k: usize, code: u16| (g * k + usize::from(code)) * v..book.len();
        let main = &centroids[centroid(centroids, self.centroids(), codes[at])][..*v];
        if residual_codes.is_empty() {
            out.copy_from_slice(main);
            return;
        }
        let book = residual_centroids;
        let residual = &book[centroid(book, self.residual_centroids(), residual_codes[at])][..*v];
        for ((out, main), residual) in out.iter_mut().zip(main).zip(residual) {
            *out = float.round_f32(main + residual);
        }
    }

    /// [`Self::dequantize_into`] a new vector.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.parts.m * self.parts.k];
        self.dequantize_into(&mut out);
        out
    }
}
