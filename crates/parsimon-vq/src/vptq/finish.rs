//! What the file stores: codebooks on the byte grid where that is asked for, rounded to the model's type, and the codes of a last pass with them.

use super::pass;
use super::prepare::Prepared;
use super::{Books, ColumnOrder, VptqConfig};
use crate::VptqLinear;
use crate::kernel::assign::Real;
use crate::linear::{OutlierPart, Parts};
use crate::quantizer::LayerReport;

pub(super) fn finish<T: Real>(
    prepared: &Prepared,
    config: &VptqConfig,
    mut books: Books,
    report: &mut LayerReport,
) -> VptqLinear {
    let v = config.vector_len;
    if config.byte_grid {
        for g in 0..books.main.len() {
            to_byte_grid(&mut books.main[g], books.residual.get_mut(g), v);
        }
    }
    let all = books.main.iter_mut().chain(&mut books.residual).chain(&mut books.outlier);
    all.flatten().for_each(|c| *c = config.float.round(*c));
    let pass = pass::run::<T>(prepared, &books, config, Some(config.float));
    report.obj.push(pass.obj);

    let (m, k) = (prepared.m, prepared.k);
    let (blocks, ol, gs) = (m.div_ceil(v), prepared.outliers, prepared.group_size);
    // From [column][block] to the file's [group][block][column].
    let by_group = |codes: &[u16]| {
        let mut out = vec![0; if codes.is_empty() { 0 } else { (k - ol) * blocks }];
        for (i, out) in out.iter_mut().enumerate() {
            let (g, r, c) = (i / (blocks * gs), i / gs % blocks, i % gs);
            *out = codes[(ol + g * gs + c) * blocks + r];
        }
        out
    };
    let floats = |values: &[f64]| -> Vec<f32> { values.iter().map(|&value| value as f32).collect() };
    let outlier = books.outlier.as_ref().zip(config.outlier.as_ref()).map(|(book, outlier)| {
        let blocks = m.div_ceil(outlier.vector_len);
        let codes = (0..blocks * ol).map(|i| pass.codes.outlier[i % ol * blocks + i / ol]).collect();
        OutlierPart { v: outlier.vector_len, columns: ol, centroids: floats(book), codes }
    });
    VptqLinear::from_parts(Parts {
        m,
        k,
        v,
        groups: config.groups,
        group_size: gs,
        float: config.float,
        centroids: floats(&books.main.concat()),
        residual_centroids: floats(&books.residual.concat()),
        codes: by_group(&pass.codes.main),
        residual_codes: by_group(&pass.codes.residual),
        outlier,
        perm: (config.order != ColumnOrder::Natural).then(|| prepared.perm.iter().map(|&j| j as u32).collect()),
        norm: prepared.norm.as_ref().map(|(scale, bias)| (floats(scale), floats(bias))),
        bias: None,
        packed: config.packed,
        indices_as_float: false,
        perm_wide: !config.packed,
    })
}

/// Moves centroids to the nearest of `lo + i delta`, with one `delta` a dimension for both books, such that the sum of two indices stays below 256.
fn to_byte_grid(main: &mut [f64], residual: Option<&mut Vec<f64>>, v: usize) {
    let range = |book: &[f64], t: usize| {
        let values = book.iter().skip(t).step_by(v);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), &c| (lo.min(c), hi.max(c)))
    };
    let snap = |book: &mut [f64], t: usize, lo: f64, delta: f64| {
        let values = book.iter_mut().skip(t).step_by(v);
        values.for_each(|c| *c = lo + delta * ((*c - lo) / delta).round_ties_even());
    };
    let mut residual = residual;
    for t in 0..v {
        let (lo, hi) = range(main, t);
        let other = residual.as_deref().map(|book| range(book, t));
        let delta = match other {
            None => (hi - lo) / 255.0,
            Some((other_lo, other_hi)) => ((hi - lo) + (other_hi - other_lo)) / 254.0,
        };
        if delta > 0.0 {
            snap(main, t, lo, delta);
            if let (Some(book), Some((lo, _))) = (residual.as_deref_mut(), other) {
                snap(book, t, lo, delta);
            }
        }
    }
}
