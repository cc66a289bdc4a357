//! Weighted k-means that gives the same centroids for any number of threads.
//!
//! Seeds are drawn by k-means++ (from all points or from a random sample) or are a sample themselves; then Lloyd's rounds: assign, stop when the
//! inertia no longer falls, replace every centroid by the weighted mean of its points, give empty ones the farthest points. All sums are cut
//! into fixed chunks, see `chunks.rs`. For [`Metric::L1`] the centre is the weighted lower median, for [`Metric::Chebyshev`] the mid-range.

mod centres;
mod lloyd;
mod seeds;

pub(crate) use lloyd::nearest;
use parsimon_core::{Cancelled, Control, Diagnose, SplitMix64};

use crate::Metric;

/// Vectors `[n, v]`.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    data: &'a [f64],
    v: usize,
}

impl<'a> Points<'a> {
    /// Vectors of `v` elements, one after the other.
    ///
    /// # Panics
    ///
    /// When `v` is 0 or does not divide the length.
    pub fn new(data: &'a [f64], v: usize) -> Self {
        assert!(v > 0 && data.len().is_multiple_of(v), "points must be [n, v]");
        Points { data, v }
    }

    /// How many.
    pub fn n(&self) -> usize {
        self.data.len() / self.v
    }

    /// Elements of a vector.
    pub fn v(&self) -> usize {
        self.v
    }

    /// All elements.
    pub fn data(&self) -> &'a [f64] {
        self.data
    }

    /// One vector.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    pub fn point(&self, i: usize) -> &'a [f64] {
        &self.data[i * self.v..][..self.v]
    }
}

/// In which type scores are computed. Both give the same result for any number of threads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Numerics {
    /// Everything in `f64`: what an independent program finds.
    Exact,
    /// Scores in `f32`, everything else in `f64`.
    #[default]
    Fast,
}

/// Where the first centroids come from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Init {
    /// [`Init::PlusPlus`] for `K <= 1024`, [`Init::PlusPlusSample`] for `K <= 4096`, else [`Init::Sample`].
    #[default]
    Auto,
    /// k-means++: one after the other, in proportion to weight times squared distance from those before.
    PlusPlus,
    /// k-means++ on `max(64 K, 65536)` points of a random sample.
    PlusPlusSample,
    /// `K` random points.
    Sample,
}

/// What k-means does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct KMeansConfig {
    /// Centroids.
    pub k: usize,
    /// Rounds at most.
    pub iters: usize,
    /// Stops when a round lowers the inertia by no more than this part of it.
    pub tol: f64,
    /// The first centroids.
    pub init: Init,
    /// The distance.
    pub metric: Metric,
    /// The type of the scores.
    pub numerics: Numerics,
}

impl KMeansConfig {
    /// `k` centroids, 100 rounds, tolerance 1e-5, squared distances, fast.
    pub fn new(k: usize) -> Self {
        KMeansConfig { k, iters: 100, tol: 1e-5, init: Init::Auto, metric: Metric::L2, numerics: Numerics::default() }
    }
}

/// Centroids and what belongs to them.
#[derive(Clone, PartialEq, Debug)]
pub struct KMeans {
    /// `[K, v]`; those that no point could seed are zero vectors.
    pub centroids: Vec<f64>,
    /// The centroid of every point.
    pub assign: Vec<u32>,
    /// How it went.
    pub report: KMeansReport,
}

/// How a k-means went.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct KMeansReport {
    /// Rounds.
    pub iters: usize,
    /// The round of the result: the last for squared distances.
    pub best_iter: usize,
    /// `sum w_i D(x_i, C)` of the result.
    pub inertia: f64,
    /// Centroids that were seeded: fewer than `K` where there are fewer distinct points of positive weight.
    pub used: usize,
    /// How many times an empty centroid was given a point.
    pub reseeded: usize,
}

/// k-means cannot run.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum KMeansError {
    #[error("there are no points")]
    NoPoints,
    #[error("K = {k}: expected 1 to 65536 centroids")]
    Centroids { k: usize },
    #[error("there are {actual} weights for {expected} points")]
    WeightCount { expected: usize, actual: usize },
    #[error("element {element} of point {point} is not finite")]
    NonFinitePoint { point: usize, element: usize },
    #[error("the weight of point {index} is not finite")]
    NonFiniteWeight { index: usize },
    #[error("the weight of point {index} is {weight}: expected no negative weight")]
    NegativeWeight { index: usize, weight: f64 },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Diagnose for KMeansError {
    fn is_bad_input(&self) -> bool {
        !matches!(self, KMeansError::Cancelled(_))
    }
}

/// Most centroids of a codebook: a code is 16 bits.
pub(crate) const K_MAX: usize = 1 << 16;

/// Weighted k-means of `x` with weights `w` (all 1 where absent), drawing from `rng`.
///
/// ```text
/// a_i = argmin_c D(x_i, C_c), lowest c on ties      inertia = sum w_i D(x_i, C_{a_i})      C_c = sum w_i x_i / sum w_i over a_i = c
/// ```
///
/// # Errors
///
/// [`KMeansError`] for points or weights that cannot be used, and [`KMeansError::Cancelled`].
pub fn kmeans(
    x: Points<'_>,
    w: Option<&[f64]>,
    config: &KMeansConfig,
    rng: &mut SplitMix64,
    control: &Control<'_>,
) -> Result<KMeans, KMeansError> {
    check(x, w, config)?;
    let seeds = seeds::seeds(x, w, config, rng, control)?;
    let mut centroids: Vec<f64> = seeds.iter().flat_map(|&i| x.point(i)).copied().collect();
    let mut result = match config.metric {
        Metric::L2 => lloyd::rounds(x, w, config, &mut centroids, control)?,
        metric => centres::rounds(x, w, metric, config, &mut centroids, control)?,
    };
    result.centroids.resize(config.k * x.v(), 0.0);
    Ok(result)
}

fn check(x: Points<'_>, w: Option<&[f64]>, config: &KMeansConfig) -> Result<(), KMeansError> {
    if !(1..=K_MAX).contains(&config.k) {
        return Err(KMeansError::Centroids { k: config.k });
    }
    if x.n() == 0 {
        return Err(KMeansError::NoPoints);
    }
    if let Some(at) = x.data.iter().position(|x| !x.is_finite()) {
        return Err(KMeansError::NonFinitePoint { point: at / x.v, element: at % x.v });
    }
    let Some(w) = w else { return Ok(()) };
    if w.len() != x.n() {
        return Err(KMeansError::WeightCount { expected: x.n(), actual: w.len() });
    }
    match w.iter().position(|w| !w.is_finite() || *w < 0.0) {
        None => Ok(()),
        Some(index) if w[index].is_finite() => Err(KMeansError::NegativeWeight { index, weight: w[index] }),
        Some(index) => Err(KMeansError::NonFiniteWeight { index }),
    }
}

/// The weight of a point.
fn weight(w: Option<&[f64]>, i: usize) -> f64 {
    w.map_or(1.0, |w| w[i])
}

/// The distance between two vectors in f64, first element first; squared for [`Metric::L2`].
pub(crate) fn distance(metric: Metric, x: &[f64], c: &[f64]) -> f64 {
    let differences = x.iter().zip(c).map(|(x, c)| x - c);
    match metric {
        Metric::L2 => crate::chunks::sum(differences.map(|d| d * d)),
        Metric::L1 => crate::chunks::sum(differences.map(f64::abs)),
        Metric::Chebyshev => differences.map(f64::abs).fold(0.0, f64::max),
    }
}

/// Gives every centroid that has no points the one that costs most; returns how many got one.
fn reseed(
    x: Points<'_>,
    w: Option<&[f64]>,
    d: &[f64],
    is_empty: impl Fn(usize) -> bool,
    centroids: &mut [f64],
) -> usize {
    let v = x.v();
    let mut taken: Vec<usize> = Vec::new();
    for c in (0..centroids.len() / v).filter(|&c| is_empty(c)) {
        let mut farthest = (0.0, None);
        for (i, d) in d.iter().enumerate() {
            let cost = weight(w, i) * d;
            if cost > farthest.0 && !taken.contains(&i) {
                farthest = (cost, Some(i));
            }
        }
        let Some(i) = farthest.1 else { break };
        centroids[c * v..][..v].copy_from_slice(x.point(i));
        taken.push(i);
    }
    taken.len()
}

#[cfg(test)]
mod tests;
