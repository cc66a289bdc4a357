//! Rounds for the other distances: medians for [`Metric::L1`], mid-ranges for [`Metric::Chebyshev`], whose inertia may rise, so that the state
//! of the smallest one is the result.

use parsimon_core::Control;
use rayon::prelude::*;

use super::{KMeans, KMeansConfig, KMeansError, KMeansReport, Points, distance, reseed, weight};
use crate::Metric;
use crate::chunks::{chunk_sums, sum};

pub(super) fn rounds(
    x: Points<'_>,
    w: Option<&[f64]>,
    metric: Metric,
    config: &KMeansConfig,
    centroids: &mut Vec<f64>,
    control: &Control<'_>,
) -> Result<KMeans, KMeansError> {
    let (n, v) = (x.n(), x.v());
    let used = centroids.len() / v;
    if used == 0 {
        centroids.resize(v, 0.0);
    }
    let mut report = KMeansReport { iters: 0, best_iter: 0, inertia: f64::INFINITY, used, reseeded: 0 };
    let mut best = (Vec::new(), Vec::new());
    let mut previous = f64::INFINITY;
    loop {
        control.cancel.check()?;
        let nearest = |i: usize| nearest(metric, x.point(i), centroids);
        let (assign, d): (Vec<u32>, Vec<f64>) = (0..n).into_par_iter().map(nearest).unzip();
        let inertia = sum(chunk_sums(n, |i| weight(w, i) * d[i]).into_iter());
        if inertia < report.inertia {
            (report.inertia, report.best_iter) = (inertia, report.iters);
            best = (centroids.clone(), assign.clone());
        }
        let settled = metric == Metric::L1 && report.iters > 0 && previous - inertia <= config.tol * previous;
        if report.iters == config.iters || settled || used == 0 {
            let (centroids, assign) = best;
            return Ok(KMeans { centroids, assign, report });
        }
        previous = inertia;
        report.reseeded += centres(x, w, metric, &assign, &d, centroids);
        report.iters += 1;
    }
}

fn nearest(metric: Metric, x: &[f64], centroids: &[f64]) -> (u32, f64) {
    let mut best = (0, f64::INFINITY);
    for (c, centroid) in centroids.chunks_exact(x.len()).enumerate() {
        let d = distance(metric, x, centroid);
        if d < best.1 {
            best = (c as u32, d);
        }
    }
    best
}

/// Moves every centroid to the centre of its points; those without any take the costliest points. Returns how many did.
fn centres(
    x: Points<'_>,
    w: Option<&[f64]>,
    metric: Metric,
    assign: &[u32],
    d: &[f64],
    centroids: &mut [f64],
) -> usize {
    let v = x.v();
    let mut members = vec![Vec::new(); centroids.len() / v];
    for (i, &c) in assign.iter().enumerate() {
        if weight(w, i) > 0.0 {
            members[c as usize].push(i);
        }
    }
    centroids.par_chunks_exact_mut(v).zip(&members).filter(|(_, members)| !members.is_empty()).for_each(
        |(centroid, members)| {
            for (t, c) in centroid.iter_mut().enumerate() {
                let mut values: Vec<(f64, f64)> = members.iter().map(|&i| (x.point(i)[t], weight(w, i))).collect();
                values.sort_by(|a, b| a.0.total_cmp(&b.0));
                *c = match metric {
                    Metric::L1 => lower_median(&values),
                    _ => 0.5 * (values[0].0 + values[values.len() - 1].0),
                };
            }
        },
    );
    reseed(x, w, d, |c| members[c].is_empty(), centroids)
}

/// The first value at which the cumulative weight is at least half of the total.
fn lower_median(values: &[(f64, f64)]) -> f64 {
    let half = 0.5 * sum(values.iter().map(|&(_, w)| w));
    let mut reached = 0.0;
    for &(value, w) in values {
        reached += w;
        if reached >= half {
            return value;
        }
    }
    values[values.len() - 1].0
}
