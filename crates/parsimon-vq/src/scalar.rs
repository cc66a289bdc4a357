//! Scalar baselines: rounding to nearest and GPTQ, uniform codes with a scale and a zero point for groups of columns.
//!
//! A group of a row has `lo = min(w, 0)`, `hi = max(w, 0)`, `s = (hi - lo) / (2^b - 1)` rounded to `f16`, `z = clamp(rne(-lo / s))`, and
//! `q = clamp(rne(w / s) + z)`, `w' = (q - z) s`. [`Rtn`] does just that. [`Gptq`] (arXiv 2210.17323) quantizes a column after the other and
//! spreads its error over those that follow, by the inverse factor of the damped Hessian; a group takes its parameters from the corrected weights
//! when its first column is reached. With `act_order` columns go by descending `diag(H)`, and groups keep their place and the parameters of
//! the original weights.

use parsimon_core::Control;
use parsimon_core::quant::{GroupQuantized, Zeros};
use rayon::prelude::*;

use crate::factor::InverseFactor;
use crate::float::f16_from_f64;
use crate::kernel::gemm::{Mat, gemm_into};
use crate::quantizer::{Bits, Layer, LayerReport, QuantizeError, Quantizer};

/// Columns whose errors are spread together.
const BLOCK: usize = 128;

/// Rows that one task quantizes.
const ROWS: usize = 64;

/// Rounding to nearest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rtn {
    /// Bits of a code, 1 to 8.
    pub bits: u8,
    /// Columns that share a scale.
    pub group: usize,
}

/// Rounding one column after the other, with the errors spread.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gptq {
    /// Bits of a code, 1 to 8.
    pub bits: u8,
    /// Columns that share a scale.
    pub group: usize,
    /// Whether columns of large inputs go first.
    pub act_order: bool,
    /// Damping in parts of the mean of the Hessian's diagonal.
    pub percdamp: f64,
}

impl Gptq {
    /// Damping 0.01, columns in their order.
    pub fn new(bits: u8, group: usize) -> Self {
        Gptq { bits, group, act_order: false, percdamp: 0.01 }
    }
}

/// Scale and zero point of a group of a row.
#[derive(Clone, Copy, Default)]
struct Grid {
    scale: f64,
    zero: f64,
    levels: f64,
}

impl Grid {
    fn of(weights: impl Iterator<Item = f64>, bits: u8) -> Self {
        let (lo, hi) = weights.fold((0.0f64, 0.0f64), |(lo, hi), w| (lo.min(w), hi.max(w)));
        let levels = f64::from((1u32 << bits) - 1);
        let exact = if hi == lo { 1.0 } else { (hi - lo) / levels };
        let rounded = f64::from(f16_from_f64(exact).to_f32());
        let scale = if rounded == 0.0 { 1.0 } else { rounded };
        Grid { scale, zero: (-lo / scale).round_ties_even().clamp(0.0, levels), levels }
    }

    /// The code of a weight and what it stands for.
    fn quantize(self, w: f64) -> (u8, f64) {
        let code = ((w / self.scale).round_ties_even() + self.zero).clamp(0.0, self.levels);
        (code as u8, (code - self.zero) * self.scale)
    }
}

fn check(layer: &Layer<'_>, bits: u8, group: usize) -> Result<(), QuantizeError> {
    layer.check()?;
    if !(1..=8).contains(&bits) {
        return Err(QuantizeError::Option { key: "bits", value: bits.to_string(), expected: "1 to 8" });
    }
    if group == 0 {
        return Err(QuantizeError::Option { key: "group", value: "0".into(), expected: "at least one column" });
    }
    Ok(())
}

/// The rows of a task, quantized.
struct Rows {
    codes: Vec<u8>,
    grids: Vec<Grid>,
}

impl Rows {
    fn new(rows: usize, k: usize, groups: usize) -> Self {
        Rows { codes: vec![0; rows * k], grids: vec![Grid::default(); rows * groups] }
    }
}

/// One matrix of all rows, and its report.
fn assemble(layer: &Layer<'_>, bits: u8, group: usize, parts: Vec<Rows>) -> (GroupQuantized, LayerReport) {
    let grids = || parts.iter().flat_map(|part| &part.grids);
    let matrix = GroupQuantized {
        bits,
        m: layer.m,
        k: layer.k,
        group,
        scales: grids().map(|grid| grid.scale as f32).collect(),
        zeros: Zeros::Points(grids().map(|grid| grid.zero as u16).collect()),
        codes: parts.iter().flat_map(|part| &part.codes).copied().collect(),
        g_idx: None,
    };
    let (m, k) = (layer.m, layer.k);
    let decoded = (0..m * k).map(|i| matrix.weight(i / k, i % k));
    let index = f64::from(bits);
    let report = LayerReport {
        name: layer.name.to_owned(),
        m,
        k,
        rel: layer.proxy_error(decoded),
        bits: Bits { index, codebook: matrix.bits_per_weight() - index, ..Bits::default() },
        ..LayerReport::default()
    };
    (matrix, report)
}

impl Quantizer for Rtn {
    type Out = GroupQuantized;

    fn quantize(
        &self,
        layer: &Layer<'_>,
        control: &Control<'_>,
    ) -> Result<(GroupQuantized, LayerReport), QuantizeError> {
        let Rtn { bits, group } = *self;
        check(layer, bits, group)?;
        control.cancel.check()?;
        let k = layer.k;
        let groups = k.div_ceil(group);
        let rows = layer.weights.par_chunks(ROWS * k).map(|weights| {
            let mut rows = Rows::new(weights.len() / k, k, groups);
            let each =
                weights.chunks_exact(k).zip(rows.codes.chunks_exact_mut(k)).zip(rows.grids.chunks_exact_mut(groups));
            for ((weights, codes), grids) in each {
                for ((weights, codes), grid) in weights.chunks(group).zip(codes.chunks_mut(group)).zip(grids) {
                    *grid = Grid::of(weights.iter().map(|&w| f64::from(w)), bits);
                    for (&w, code) in weights.iter().zip(codes) {
                        *code = grid.quantize(f64::from(w)).0;
                    }
                }
            }
            rows
        });
        Ok(assemble(layer, bits, group, rows.collect()))
    }
}

impl Quantizer for Gptq {
    type Out = GroupQuantized;

    fn quantize(
        &self,
        layer: &Layer<'_>,
        control: &Control<'_>,
    ) -> Result<(GroupQuantized, LayerReport), QuantizeError> {
        check(layer, self.bits, self.group)?;
        control.cancel.check()?;
        let k = layer.k;
        let h = layer.hessian.data();
        let dead: Vec<bool> = (0..k).map(|j| h[j * k + j] <= 0.0).collect();
        let diagonal = |j: usize| if dead[j] { 1.0 } else { h[j * k + j] };
        let mut order: Vec<usize> = (0..k).collect();
        if self.act_order {
            order.sort_by(|&a, &b| diagonal(b).total_cmp(&diagonal(a)));
        }
        let mut ordered = vec![0.0; k * k];
        for (row, &i) in ordered.chunks_exact_mut(k).zip(&order) {
            for (to, &j) in row.iter_mut().zip(&order) {
                *to = if i == j { diagonal(i) } else { h[i * k + j] };
            }
        }
        let factor = InverseFactor::of_damped(&ordered, k, self.percdamp)
            .map_err(|percdamp| QuantizeError::NotPositiveDefinite { layer: layer.name.to_owned(), percdamp })?;
        let rows = layer.weights.par_chunks(ROWS * k).map(|weights| self.rows(weights, &order, &dead, &factor));
        let (matrix, mut report) = assemble(layer, self.bits, self.group, rows.collect());
        report.percdamp = Some(factor.percdamp);
        Ok((matrix, report))
    }
}

impl Gptq {
    fn rows(&self, weights: &[f32], order: &[usize], dead: &[bool], factor: &InverseFactor) -> Rows {
        let k = order.len();
        let (rows, groups) = (weights.len() / k, k.div_ceil(self.group));
        let mut out = Rows::new(rows, k, groups);
        // Columns first, in their order: a column is contiguous.
        let mut w = vec![0.0; k * rows];
        for (column, &j) in w.chunks_exact_mut(rows).zip(order) {
            for (r, w) in column.iter_mut().enumerate() {
                *w = if dead[j] { 0.0 } else { f64::from(weights[r * k + j]) };
            }
        }
        if self.act_order {
            // Static groups: the parameters of the weights before any correction.
            let mut place = vec![0; k];
            order.iter().enumerate().for_each(|(c, &j)| place[j] = c);
            for r in 0..rows {
                for g in 0..groups {
                    let columns = g * self.group..((g + 1) * self.group).min(k);
                    out.grids[r * groups + g] = Grid::of(columns.map(|j| w[place[j] * rows + r]), self.bits);
                }
            }
        }
        for start in (0..k).step_by(BLOCK) {
            let end = (start + BLOCK).min(k);
            let mut errors = vec![0.0; (end - start) * rows];
            for c in start..end {
                if !self.act_order && c.is_multiple_of(self.group) {
                    for r in 0..rows {
                        let columns = c..(c + self.group).min(k);
                        out.grids[r * groups + c / self.group] = Grid::of(columns.map(|c| w[c * rows + r]), self.bits);
                    }
                }
                let error = &mut errors[(c - start) * rows..][..rows];
                for (r, error) in error.iter_mut().enumerate() {
                    let w = w[c * rows + r];
                    let (code, decoded) = out.grids[r * groups + order[c] / self.group].quantize(w);
                    out.codes[r * k + order[c]] = code;
                    *error = (w - decoded) / factor.diagonal(c);
                }
                spread(&mut w[(c + 1) * rows..end * rows], rows, error, factor.row_after(c));
            }
            spread_block(&mut w[end * rows..], rows, &errors, factor, start..end);
        }
        out
    }
}

/// Takes `u[i] error` from column `i` of `later`.
pub(crate) fn spread(later: &mut [f64], rows: usize, error: &[f64], u: &[f64]) {
    for (column, &u) in later.chunks_exact_mut(rows).zip(u) {
        column.iter_mut().zip(error).for_each(|(w, error)| *w -= u * error);
    }
}

/// Takes what the errors of the columns `block` cost from all columns after it.
pub(crate) fn spread_block(
    later: &mut [f64],
    rows: usize,
    errors: &[f64],
    factor: &InverseFactor,
    block: std::ops::Range<usize>,
) {
    if later.is_empty() {
        return;
    }
    let (k, width) = (factor.k, block.len());
    let u = Mat::rows(&factor.u[block.start * k + block.end..], width, k - block.end, k);
    gemm_into(later, rows, Some(1.0), -1.0, u.t(), Mat::rows(errors, width, rows, rows));
}
