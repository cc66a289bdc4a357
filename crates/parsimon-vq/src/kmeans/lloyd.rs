//! Lloyd's rounds for squared distances.

use parsimon_core::Control;
use parsimon_simd::Level;
use rayon::prelude::*;

use super::{KMeans, KMeansConfig, KMeansError, KMeansReport, Numerics, Points, distance, reseed, weight};
use crate::Metric;
use crate::chunks::{CHUNK, chunks, sum};
use crate::kernel::assign::{Lookup, Real};

/// Chunks whose sums are held at once: a fixed number, so that memory does not grow with the points.
const WAVE: usize = 16;

/// The points in the type of the scores.
enum Scored<'a> {
    Exact(&'a [f64]),
    Fast(Vec<f32>),
}

impl<'a> Scored<'a> {
    fn new(x: Points<'a>, numerics: Numerics) -> Self {
        match numerics {
            Numerics::Exact => Scored::Exact(x.data()),
            Numerics::Fast => Scored::Fast(x.data().par_iter().map(|&x| x as f32).collect()),
        }
    }

    fn assign(&self, centroids: &[f64], v: usize, assign: &mut [u32]) {
        match self {
            Scored::Exact(x) => nearest(x, centroids, v, assign),
            Scored::Fast(x) => nearest(x, centroids, v, assign),
        }
    }
}

/// The nearest of `centroids` for every vector of `x`.
pub(crate) fn nearest<T: Real>(x: &[T], centroids: &[f64], v: usize, assign: &mut [u32]) {
    let lookup = Lookup::<T>::new(centroids, v);
    let level = Level::best();
    let chunks = x.par_chunks(CHUNK * v).zip(assign.par_chunks_mut(CHUNK));
    chunks.for_each(|(x, assign)| lookup.nearest_into(level, x, assign));
}

/// Starts from `centroids [used, v]`.
pub(super) fn rounds(
    x: Points<'_>,
    w: Option<&[f64]>,
    config: &KMeansConfig,
    centroids: &mut Vec<f64>,
    control: &Control<'_>,
) -> Result<KMeans, KMeansError> {
    let (n, v) = (x.n(), x.v());
    let used = centroids.len() / v;
    let scored = Scored::new(x, config.numerics);
    let mut assign = vec![0u32; n];
    let mut report = KMeansReport { iters: 0, best_iter: 0, inertia: 0.0, used, reseeded: 0 };
    let mut d = vec![0.0; n];
    loop {
        control.cancel.check()?;
        if used > 0 {
            scored.assign(centroids, v, &mut assign);
        } else {
            // Every weight is zero: all centroids are zero vectors.
            centroids.resize(v, 0.0);
        }
        let inertia = inertia(x, w, centroids, &assign, &mut d);
        let previous = report.inertia;
        let settled = report.iters > 0 && previous - inertia <= config.tol * previous;
        report.inertia = inertia;
        if report.iters == config.iters || settled || used == 0 {
            report.best_iter = report.iters;
            return Ok(KMeans { centroids: std::mem::take(centroids), assign, report });
        }
        let weights = means(x, w, &assign, centroids);
        report.reseeded += reseed(x, w, &d, |c| weights[c] <= 0.0, centroids);
        report.iters += 1;
    }
}

/// Fills `d` with the squared distances and returns their weighted sum.
fn inertia(x: Points<'_>, w: Option<&[f64]>, centroids: &[f64], assign: &[u32], d: &mut [f64]) -> f64 {
    let v = x.v();
    let each = d.par_chunks_mut(CHUNK).enumerate().map(|(chunk, d)| {
        let terms = d.iter_mut().enumerate().map(|(i, d)| {
            let i = chunk * CHUNK + i;
            *d = distance(Metric::L2, x.point(i), &centroids[assign[i] as usize * v..][..v]);
            weight(w, i) * *d
        });
        sum(terms)
    });
    let sums: Vec<f64> = each.collect();
    sum(sums.into_iter())
}

/// Replaces every centroid that has weight by the weighted mean of its points; returns the weights.
fn means(x: Points<'_>, w: Option<&[f64]>, assign: &[u32], centroids: &mut [f64]) -> Vec<f64> {
    let v = x.v();
    let used = centroids.len() / v;
    let mut total = vec![0.0; used * (v + 1)];
    let ranges: Vec<_> = chunks(x.n()).collect();
    for wave in ranges.chunks(WAVE) {
        let sums = wave.par_iter().map(|range| {
            let mut sums = vec![0.0; used * (v + 1)];
            for i in range.clone() {
                let (weight, sums) = (weight(w, i), &mut sums[assign[i] as usize * (v + 1)..][..v + 1]);
                sums[v] += weight;
                for (sum, x) in sums.iter_mut().zip(x.point(i)) {
                    *sum += weight * x;
                }
            }
            sums
        });
        for sums in sums.collect::<Vec<_>>() {
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
    }
    let mut weights = Vec::with_capacity(used);
    for (centroid, sums) in centroids.chunks_exact_mut(v).zip(total.chunks_exact(v + 1)) {
        weights.push(sums[v]);
        if sums[v] > 0.0 {
            centroid.iter_mut().zip(sums).for_each(|(c, sum)| *c = sum / sums[v]);
        }
    }
    weights
}
