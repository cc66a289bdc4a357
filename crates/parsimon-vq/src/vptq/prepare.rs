//! From a layer to normalised columns in their order and the factor that spreads errors.

use parsimon_core::SplitMix64;
use rayon::prelude::*;

use super::{ColumnOrder, ColumnWeights, Norm, VptqConfig};
use crate::factor::InverseFactor;
use crate::quantizer::{Layer, QuantizeError};
use crate::stream::layer_seed;

/// Columns are in the order of quantization from here on: column `c` is original column `perm[c]`.
pub(super) struct Prepared {
    pub(super) m: usize,
    pub(super) k: usize,
    /// Normalised weights, `[k][m]`: a column is contiguous.
    pub(super) columns: Vec<f64>,
    pub(super) perm: Vec<usize>,
    /// Scale and bias of the original columns, as rounded.
    pub(super) norm: Option<(Vec<f64>, Vec<f64>)>,
    pub(super) factor: InverseFactor,
    /// What a squared error in a column costs once later columns have made up for it: `1 / U_jj^2`.
    pub(super) costs: Vec<f64>,
    /// The k-means weights of the columns.
    pub(super) weights: Vec<f64>,
    /// Outlier columns.
    pub(super) outliers: usize,
    /// Columns of a group.
    pub(super) group_size: usize,
}

/// Scale and bias of every column, and the scales that divide weights and multiply the Hessian.
fn norms(layer: &Layer<'_>, config: &VptqConfig, dead: &[bool]) -> Option<(Vec<f64>, Vec<f64>)> {
    if config.norm == Norm::None {
        return None;
    }
    let (m, k) = (layer.m, layer.k);
    let column = |j: usize| {
        let values = || (0..m).map(|i| f64::from(layer.weights[i * k + j]));
        let (bias, scale) = match config.norm {
            Norm::MinMax => {
                let (lo, hi) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), w| (lo.min(w), hi.max(w)));
                (lo, hi - lo)
            }
            _ => {
                let mean = values().sum::<f64>() / m as f64;
                (mean, (values().map(|w| (w - mean).powi(2)).sum::<f64>() / m as f64).sqrt())
            }
        };
        let scale = config.float.round(scale);
        let scale = if dead[j] || scale < 1e-8 { 1.0 } else { scale };
        (scale, config.float.round(bias))
    };
    Some((0..k).into_par_iter().map(column).unzip())
}

/// `H' = S H S`, its mean diagonal made 1, dead columns given 1 and all `reg`.
fn metric(h: &[f64], scale: Option<&[f64]>, dead: &[bool], reg: f64) -> Vec<f64> {
    let k = dead.len();
    let scale = |j: usize| scale.map_or(1.0, |scale| scale[j]);
    let mut metric = h.to_vec();
    metric.par_chunks_mut(k).enumerate().for_each(|(i, row)| {
        for (j, h) in row.iter_mut().enumerate() {
            *h = if dead[i] || dead[j] { 0.0 } else { *h * scale(i) * scale(j) };
        }
    });
    let mean = (0..k).map(|j| metric[j * k + j]).sum::<f64>() / k as f64;
    if mean > 0.0 {
        metric.par_iter_mut().for_each(|h| *h /= mean);
    }
    for j in 0..k {
        metric[j * k + j] = reg + if dead[j] { 1.0 } else { metric[j * k + j] };
    }
    metric
}

fn order(diagonal: &[f64], order: ColumnOrder, seed: u64) -> Vec<usize> {
    let mut perm: Vec<usize> = (0..diagonal.len()).collect();
    match order {
        ColumnOrder::Natural => {}
        ColumnOrder::Descending => perm.sort_by(|&a, &b| diagonal[b].total_cmp(&diagonal[a])),
        ColumnOrder::Ascending => perm.sort_by(|&a, &b| diagonal[a].total_cmp(&diagonal[b])),
        ColumnOrder::Shuffled => SplitMix64::new(seed).shuffle(&mut perm),
    }
    perm
}

fn permuted(h: &[f64], perm: &[usize]) -> Vec<f64> {
    let k = perm.len();
    let mut out = vec![0.0; k * k];
    out.par_chunks_mut(k).zip(perm).for_each(|(row, &i)| {
        row.iter_mut().zip(perm).for_each(|(to, &j)| *to = h[i * k + j]);
    });
    out
}

/// The factor in the order of `perm`, or with the authors' defect.
fn factor(metric: &[f64], perm: &[usize], diagonal: &[f64], config: &VptqConfig) -> Result<InverseFactor, f64> {
    let k = perm.len();
    if !config.compat.unpermuted_factor {
        return InverseFactor::of_damped(&permuted(metric, perm), k, config.percdamp);
    }
    let descending = order(diagonal, ColumnOrder::Descending, 0);
    let made = InverseFactor::of_damped(&permuted(metric, &descending), k, config.percdamp)?;
    let mut u = vec![0.0; k * k];
    for (a, &i) in descending.iter().enumerate() {
        for (b, &j) in descending.iter().enumerate() {
            u[i * k + j] = made.u[a * k + b];
        }
    }
    Ok(InverseFactor { u, ..made })
}

impl Prepared {
    pub(super) fn new(layer: &Layer<'_>, config: &VptqConfig) -> Result<Self, QuantizeError> {
        let (m, k, h) = (layer.m, layer.k, layer.hessian.data());
        let (outliers, group_size) = config.layout(k)?;
        let dead: Vec<bool> = (0..k).map(|j| h[j * k + j] <= 0.0).collect();
        let norm = norms(layer, config, &dead);
        let rescaling = norm.as_ref().filter(|_| !config.compat.hessian_not_rescaled);
        let metric = metric(h, rescaling.map(|(scale, _)| scale.as_slice()), &dead, config.reg);
        let diagonal: Vec<f64> = (0..k).map(|j| metric[j * k + j]).collect();
        let perm = order(&diagonal, config.order, layer_seed(config.seed, layer.name));
        let factor = factor(&metric, &perm, &diagonal, config)
            .map_err(|percdamp| QuantizeError::NotPositiveDefinite { layer: layer.name.to_owned(), percdamp })?;
        drop(metric);

        let mut columns = vec![0.0; k * m];
        columns.par_chunks_mut(m).zip(&perm).filter(|(_, j)| !dead[**j]).for_each(|(column, &j)| {
            let (scale, bias) = norm.as_ref().map_or((1.0, 0.0), |(scale, bias)| (scale[j], bias[j]));
            for (i, w) in column.iter_mut().enumerate() {
                *w = (f64::from(layer.weights[i * k + j]) - bias) / scale;
            }
        });
        let costs: Vec<f64> = (0..k).map(|c| factor.diagonal(c).powi(-2)).collect();
        let weights = match config.weights {
            ColumnWeights::Compensated => costs.clone(),
            ColumnWeights::Hessian => perm.iter().map(|&j| diagonal[j]).collect(),
            ColumnWeights::Equal => vec![1.0; k],
        };
        Ok(Prepared { m, k, columns, perm, norm, factor, costs, weights, outliers, group_size })
    }

    /// The columns of a group.
    pub(super) fn group(&self, g: usize) -> std::ops::Range<usize> {
        let first = self.outliers + g * self.group_size;
        first..first + self.group_size
    }
}

/// Vectors of `v` of columns `[..][m]`, column by column, each padded with zeros to whole vectors.
pub(super) fn vectors(columns: &[f64], m: usize, v: usize) -> Vec<f64> {
    let padded = m.next_multiple_of(v);
    let mut out = Vec::with_capacity(columns.len() / m * padded);
    for column in columns.chunks_exact(m) {
        out.extend_from_slice(column);
        out.resize(out.len() + padded - m, 0.0);
    }
    out
}
