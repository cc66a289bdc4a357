//! Training of centroids, scales and biases with the codes as they are.
//!
//! Minimises `f = tr(D H D^T) / tr(W H W^T)` for `D = W' - W`, the layer's squared output error on the calibration inputs, by Adam in `f64`. The
//! gradient by the weights, `2 D H / tr(W H W^T)`, is summed by column for scales and biases, and by code for centroids; nothing needs automatic
//! differentiation. The steps of smallest `f` are rounded to the file's type and accepted only if the decoded layer is better than before.

use parsimon_core::Control;
use rayon::prelude::*;

use crate::VptqLinear;
use crate::kernel::gemm::{Mat, gemm_into};
use crate::linear::Parts;
use crate::quantizer::{Layer, QuantizeError};

/// Rows of a strip of the gradient.
const STRIP: usize = 64;

/// How a layer is fine-tuned.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FinetuneConfig {
    /// Steps of Adam.
    pub steps: usize,
    /// The size of a step in parts of a tensor's root mean square.
    pub lr: f64,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        FinetuneConfig { steps: 100, lr: 1e-3 }
    }
}

/// What fine-tuning found.
#[derive(Clone, PartialEq, Debug)]
pub struct Finetuned {
    /// The best step, rounded.
    pub linear: VptqLinear,
    /// `f` before every step and after the last.
    pub trace: Vec<f64>,
    /// Relative proxy error of the decoded layer before.
    pub rel_before: f64,
    /// And after: use [`Self::linear`] where it is smaller.
    pub rel_after: f64,
}

/// The tensors that are trained, one vector each.
#[derive(Clone)]
struct Weights {
    main: Vec<f64>,
    residual: Vec<f64>,
    outlier: Vec<f64>,
    scale: Vec<f64>,
    bias: Vec<f64>,
}

impl Weights {
    fn of(parts: &Parts) -> Self {
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        let norm = parts.norm.as_ref();
        Weights {
            main: wide(&parts.centroids),
            residual: wide(&parts.residual_centroids),
            outlier: parts.outlier.as_ref().map_or_else(Vec::new, |outlier| wide(&outlier.centroids)),
            scale: norm.map_or_else(Vec::new, |(scale, _)| wide(scale)),
            bias: norm.map_or_else(Vec::new, |(_, bias)| wide(bias)),
        }
    }

    fn zeros(&self) -> Self {
        let zeros = |values: &Vec<f64>| vec![0.0; values.len()];
        Weights {
            main: zeros(&self.main),
            residual: zeros(&self.residual),
            outlier: zeros(&self.outlier),
            scale: zeros(&self.scale),
            bias: zeros(&self.bias),
        }
    }

    fn tensors(&self) -> [&Vec<f64>; 5] {
        [&self.main, &self.residual, &self.outlier, &self.scale, &self.bias]
    }

    fn tensors_mut(&mut self) -> [&mut Vec<f64>; 5] {
        [&mut self.main, &mut self.residual, &mut self.outlier, &mut self.scale, &mut self.bias]
    }
}

/// Fine-tunes a quantized layer.
///
/// # Errors
///
/// [`QuantizeError`] for a layer of another shape, and [`QuantizeError::Cancelled`].
///
/// # Panics
///
/// When `linear` has another shape than the layer.
pub fn finetune(
    linear: &VptqLinear,
    layer: &Layer<'_>,
    config: &FinetuneConfig,
    control: &Control<'_>,
) -> Result<Finetuned, QuantizeError> {
    layer.check()?;
    assert_eq!(linear.shape(), (layer.m, layer.k), "the layer that was quantized");
    let parts = linear.parts();
    let task = Task::new(linear, layer);
    let mut weights = Weights::of(parts);
    let mut best = (f64::INFINITY, weights.clone());
    let mut adam = Adam::new(&weights, parts.groups, config.lr);
    let mut trace = Vec::with_capacity(config.steps + 1);
    for step in 0..=config.steps {
        control.cancel.check()?;
        let (f, gradient) = task.gradient(&weights);
        trace.push(f);
        if f < best.0 {
            best = (f, weights.clone());
        }
        if step < config.steps {
            adam.step(&mut weights, &gradient);
        }
    }
    let tuned = rounded(linear, &best.1);
    let rel = |linear: &VptqLinear| layer.proxy_error(linear.dequantize().into_iter().map(f64::from));
    Ok(Finetuned { rel_before: rel(linear), rel_after: rel(&tuned), linear: tuned, trace })
}

fn rounded(linear: &VptqLinear, weights: &Weights) -> VptqLinear {
    let mut tuned = linear.clone();
    let parts = tuned.parts_mut();
    let float = parts.float;
    let narrow = |values: &[f64]| -> Vec<f32> { values.iter().map(|&value| float.round(value) as f32).collect() };
    parts.centroids = narrow(&weights.main);
    parts.residual_centroids = narrow(&weights.residual);
    if let Some(outlier) = &mut parts.outlier {
        outlier.centroids = narrow(&weights.outlier);
    }
    if let Some(norm) = &mut parts.norm {
        *norm = (narrow(&weights.scale), narrow(&weights.bias));
    }
    tuned
}

/// Adam with steps in parts of each tensor's root mean square.
struct Adam {
    first: Weights,
    second: Weights,
    /// The size of a step of every part of a tensor: groups have their own.
    sizes: [Vec<f64>; 5],
    steps: i32,
}

impl Adam {
    fn new(weights: &Weights, groups: usize, lr: f64) -> Self {
        let size =
            |values: &[f64]| lr * (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt();
        let parts = [groups, groups, 1, 1, 1];
        let sizes = std::array::from_fn(|i| {
            let values = weights.tensors()[i];
            values.chunks((values.len() / parts[i]).max(1)).map(size).collect()
        });
        Adam { first: weights.zeros(), second: weights.zeros(), sizes, steps: 0 }
    }

    fn step(&mut self, weights: &mut Weights, gradient: &Weights) {
        const BETAS: (f64, f64) = (0.9, 0.999);
        self.steps += 1;
        let correction = (1.0 - BETAS.0.powi(self.steps), 1.0 - BETAS.1.powi(self.steps));
        let moments = self.first.tensors_mut().into_iter().zip(self.second.tensors_mut());
        let tensors = weights.tensors_mut().into_iter().zip(gradient.tensors()).zip(moments).zip(&self.sizes);
        for (((values, gradient), (first, second)), sizes) in tensors {
            let part = (values.len() / sizes.len().max(1)).max(1);
            for (i, (((value, &g), m), s)) in values.iter_mut().zip(gradient).zip(first).zip(second).enumerate() {
                let size = sizes[i / part];
                *m = BETAS.0 * *m + (1.0 - BETAS.0) * g;
                *s = BETAS.1 * *s + (1.0 - BETAS.1) * g * g;
                *value -= size * (*m / correction.0) / ((*s / correction.1).sqrt() + 1e-30);
            }
        }
    }
}

struct Task<'a> {
    linear: &'a VptqLinear,
    layer: &'a Layer<'a>,
    energy: f64,
}

impl<'a> Task<'a> {
    fn new(linear: &'a VptqLinear, layer: &'a Layer<'a>) -> Self {
        let weights: Vec<f64> = layer.weights.iter().map(|&w| f64::from(w)).collect();
        let energy = layer.hessian.quadratic(&weights);
        Task { linear, layer, energy: if energy > 0.0 { energy } else { 1.0 } }
    }

    /// Calls `each(row, column in the order of codes, centroid elements)` for all weights of some rows: where in `main`, `residual` or `outlier` it comes from.
    fn places(&self, rows: std::ops::Range<usize>, mut each: impl FnMut(usize, usize, Place)) {
        let p = self.linear.parts();
        let (ol, blocks, gs, v) = (self.linear.outliers(), p.m.div_ceil(p.v), p.group_size, p.v);
        let (k_main, k_residual) = (self.linear.centroids(), self.linear.residual_centroids());
        for i in rows {
            if let Some(outlier) = &p.outlier {
                for c in 0..ol {
                    let code = usize::from(outlier.codes[i / outlier.v * ol + c]);
                    each(i, c, Place::Outlier(code * outlier.v + i % outlier.v));
                }
            }
            for c in ol..p.k {
                let (g, column) = ((c - ol) / gs, (c - ol) % gs);
                let at = (g * blocks + i / v) * gs + column;
                let main = (g * k_main + usize::from(p.codes[at])) * v + i % v;
                let residual = p.residual_codes.get(at).map(|&code| (g * k_residual + usize::from(code)) * v + i % v);
                each(i, c, Place::Main(main, residual));
            }
        }
    }

    /// `f` and its gradient.
    fn gradient(&self, weights: &Weights) -> (f64, Weights) {
        let (m, _) = self.linear.shape();
        let starts: Vec<usize> = (0..m).step_by(STRIP).collect();
        let strips = starts.par_iter().map(|&start| self.strip(weights, start..(start + STRIP).min(m)));
        let mut f = 0.0;
        let mut gradient = weights.zeros();
        // Added in the order of rows.
        for (part, part_gradient) in strips.collect::<Vec<_>>() {
            f += part;
            for (sum, part) in gradient.tensors_mut().into_iter().zip(part_gradient.tensors()) {
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
        }
        (f / self.energy, gradient)
    }

    fn strip(&self, weights: &Weights, rows: std::ops::Range<usize>) -> (f64, Weights) {
        let (n, k) = (rows.len(), self.layer.k);
        let first = rows.start;
        // Normalised weights by original column, then the difference from what they stand for.
        let mut normal = vec![0.0; n * k];
        self.places(rows.clone(), |i, c, place| {
            normal[(i - first) * k + self.linear.original(c)] = match place {
                Place::Outlier(at) => weights.outlier[at],
                Place::Main(at, None) => weights.main[at],
                Place::Main(at, Some(residual)) => weights.main[at] + weights.residual[residual],
            };
        });
        let is_normed = !weights.scale.is_empty();
        let mut difference = normal.clone();
        for (i, row) in difference.chunks_exact_mut(k).enumerate() {
            let original = &self.layer.weights[(first + i) * k..][..k];
            for (j, d) in row.iter_mut().enumerate() {
                let decoded = if is_normed { *d * weights.scale[j] + weights.bias[j] } else { *d };
                *d = decoded - f64::from(original[j]);
            }
        }
        let mut by_weight = vec![0.0; n * k];
        let h = Mat::rows(self.layer.hessian.data(), k, k, k);
        gemm_into(&mut by_weight, k, None, 1.0, Mat::rows(&difference, n, k, k), h);
        let f: f64 = by_weight.iter().zip(&difference).map(|(g, d)| g * d).sum();
        by_weight.iter_mut().for_each(|g| *g *= 2.0 / self.energy);

        let mut gradient = weights.zeros();
        if is_normed {
            for (row, normal) in by_weight.chunks_exact(k).zip(normal.chunks_exact(k)) {
                for j in 0..k {
                    gradient.scale[j] += row[j] * normal[j];
                    gradient.bias[j] += row[j];
                }
            }
        }
        self.places(rows, |i, c, place| {
            let j = self.linear.original(c);
            let g = by_weight[(i - first) * k + j] * if is_normed { weights.scale[j] } else { 1.0 };
            match place {
                Place::Outlier(at) => gradient.outlier[at] += g,
                Place::Main(at, residual) => {
                    gradient.main[at] += g;
                    if let Some(at) = residual {
                        gradient.residual[at] += g;
                    }
                }
            }
        });
        (f, gradient)
    }
}

/// Where a weight comes from.
enum Place {
    Outlier(usize),
    Main(usize, Option<usize>),
}
