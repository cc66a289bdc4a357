//! Balanced k-means: clusters of about the same size, because a posting's size is what a search pays for.
//!
//! Members are assigned to the least `D(x, c_k) + lambda count_k`, where `count_k` is the size of cluster `k` in the round before and
//! `lambda` comes from the data, so that scaling all vectors changes nothing. PAPER(spfresh SPANN §3): multi-constraint balanced
//! clustering. Everything is computed in f32 from the seed alone; ties go to the smaller index.

use parsimon_core::SplitMix64;
use parsimon_simd::Level;
use rayon::prelude::*;

use crate::kernel::{Rows, Sums, Wide, scan};
use crate::space::Space;
use crate::{Element, Metric};

/// Members that a round looks at.
const SAMPLE: usize = 1000;
/// How weak the balance is.
const LAMBDA_FACTOR: f64 = 100.0;
const TRIES: usize = 3;
const ROUNDS: usize = 100;
/// Rounds without progress after which it stops.
const PATIENCE: usize = 5;
/// Rows below which one thread is enough.
const PARALLEL: usize = 4096;

/// Floats of a stored row, with direction alone where only that counts.
pub(crate) fn decode(space: &Space, row: &[u8]) -> Vec<f32> {
    let mut values = space.element().decode(&row[..space.row_bytes()]);
    if space.metric() == Metric::Cosine {
        normalise(&mut values);
    }
    values
}

/// A row as the kernels take it.
fn widened(space: &Space, row: &[u8]) -> Wide {
    Wide::Float(decode(space, row))
}

fn floats(x: &Wide) -> &[f32] {
    match x {
        Wide::Float(values) => values,
        Wide::Int(_) => unreachable!("clusters are made of floats"),
    }
}

fn normalise(values: &mut [f32]) {
    let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
    }
}

/// Centers as rows of floats.
struct Centers {
    is_cosine: bool,
    dim: usize,
    rows: Vec<f32>,
}

impl Centers {
    /// `each(k, D(x, c_k))` for every center.
    fn distances(&self, x: &Wide, mut each: impl FnMut(usize, f64)) {
        let rows = Rows { bytes: bytemuck::cast_slice(&self.rows), stride: 4 * self.dim, element: Element::F32 };
        if self.is_cosine {
            scan(Level::best(), Sums::Products, x, rows, |k, sum, _| each(k, 1.0 - sum));
        } else {
            scan(Level::best(), Sums::Squares, x, rows, |k, sum, _| each(k, sum));
        }
    }

    /// The center of least `D + penalty_k`, and its `D`.
    fn nearest(&self, x: &Wide, penalty: &[f64]) -> (usize, f64) {
        let mut best = (f64::INFINITY, 0, 0.0);
        self.distances(x, |k, distance| {
            let cost = distance + penalty[k];
            if cost < best.0 {
                best = (cost, k, distance);
            }
        });
        (best.1, best.2)
    }
}

/// One assignment of a sample.
struct Round {
    labels: Vec<usize>,
    distances: Vec<f64>,
    cost: f64,
    counts: Vec<usize>,
}

fn assign(centers: &Centers, sample: &[Wide], penalty: &[f64]) -> Round {
    let nearest: Vec<(usize, f64)> = sample.iter().map(|x| centers.nearest(x, penalty)).collect();
    let mut counts = vec![0; penalty.len()];
    nearest.iter().for_each(|&(k, _)| counts[k] += 1);
    let cost = nearest.iter().map(|&(k, d)| d + penalty[k]).sum();
    Round {
        labels: nearest.iter().map(|n| n.0).collect(),
        distances: nearest.iter().map(|n| n.1).collect(),
        cost,
        counts,
    }
}

/// Clusters of rows: the members' labels, and of every cluster the member nearest to its mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Clusters {
    pub(crate) labels: Vec<u32>,
    /// Indices of rows; clusters without a member have none and no label.
    pub(crate) medoids: Vec<u32>,
}

/// `k` clusters of the rows that `row` gives by index, labelled by the nearest of the medoids.
pub(crate) fn cluster<'r>(
    space: &Space,
    n: usize,
    row: &(impl Fn(usize) -> &'r [u8] + Sync),
    k: usize,
    seed: u64,
) -> Clusters {
    if n == 0 {
        return Clusters { labels: Vec::new(), medoids: Vec::new() };
    }
    let mut rng = SplitMix64::new(seed);
    let dim = space.row_dim();
    let is_cosine = space.metric() == Metric::Cosine;
    let centers = Centers { is_cosine, dim, rows: means(space, n, row, k.min(n), &mut rng) };
    let k = centers.rows.len() / dim;
    let zero = vec![0.0; k];
    let label = |i: usize| centers.nearest(&widened(space, row(i)), &zero);
    let nearest: Vec<(usize, f64)> =
        if n >= PARALLEL { (0..n).into_par_iter().map(label).collect() } else { (0..n).map(label).collect() };
    let mut medoids = vec![(f64::INFINITY, 0u32); k];
    for (i, &(k, distance)) in nearest.iter().enumerate() {
        if distance < medoids[k].0 {
            medoids[k] = (distance, i as u32);
        }
    }
    let medoids: Vec<u32> = medoids.into_iter().filter(|m| m.0.is_finite()).map(|m| m.1).collect();
    // The labels refer to what is returned, not to the means that led there.
    let rows = medoids.iter().flat_map(|&i| decode(space, row(i as usize))).collect();
    let centers = Centers { is_cosine, dim, rows };
    let label = |i: usize| centers.nearest(&widened(space, row(i)), &zero).0 as u32;
    let labels = if n >= PARALLEL { (0..n).into_par_iter().map(label).collect() } else { (0..n).map(label).collect() };
    Clusters { labels, medoids }
}

/// The means of `k` balanced clusters, found on samples.
fn means<'r>(space: &Space, n: usize, row: &impl Fn(usize) -> &'r [u8], k: usize, rng: &mut SplitMix64) -> Vec<f32> {
    let dim = space.row_dim();
    let is_cosine = space.metric() == Metric::Cosine;
    let draw = |rng: &mut SplitMix64, count: usize| -> Vec<Wide> {
        if count >= n {
            return (0..n).map(|i| widened(space, row(i))).collect();
        }
        distinct(rng, n, count).into_iter().map(|i| widened(space, row(i))).collect()
    };
    if k == 1 {
        return mean(space, n, row);
    }
    let mut sample = draw(rng, SAMPLE);
    let zero = vec![0.0; k];
    let mut best: Option<(Centers, Round)> = None;
    for _ in 0..TRIES {
        let picked = distinct(rng, sample.len(), k);
        let centers =
            Centers { is_cosine, dim, rows: picked.iter().flat_map(|&i| floats(&sample[i])).copied().collect() };
        let round = assign(&centers, &sample, &zero);
        if best.as_ref().is_none_or(|(_, kept)| round.cost < kept.cost) {
            best = Some((centers, round));
        }
    }
    let (mut centers, first) = best.expect("at least one try");
    let lambda = lambda(&first, sample.len());
    let mean_distance = first.distances.iter().sum::<f64>() / sample.len() as f64;
    let mut counts = first.counts;
    let (mut least, mut stale) = (f64::INFINITY, 0);
    for _ in 0..ROUNDS {
        if n > SAMPLE {
            sample = draw(rng, SAMPLE);
        }
        let penalty: Vec<f64> = counts.iter().map(|&count| lambda * count as f64).collect();
        let round = assign(&centers, &sample, &penalty);
        let moved = update(&mut centers, &sample, &round);
        counts = round.counts;
        stale = if round.cost < least { 0 } else { stale + 1 };
        least = least.min(round.cost);
        if stale >= PATIENCE || moved < 1e-3 * mean_distance {
            break;
        }
    }
    centers.rows
}

/// The mean of all rows.
fn mean<'r>(space: &Space, n: usize, row: &impl Fn(usize) -> &'r [u8]) -> Vec<f32> {
    let mut sums = vec![0.0f64; space.row_dim()];
    for i in 0..n {
        sums.iter_mut().zip(decode(space, row(i))).for_each(|(sum, v)| *sum += f64::from(v));
    }
    let mut mean: Vec<f32> = sums.iter().map(|sum| (sum / n as f64) as f32).collect();
    if space.metric() == Metric::Cosine {
        normalise(&mut mean);
    }
    mean
}

/// How much one member more costs: bounded by how far the largest cluster reaches beyond its mean, and by the mean distance.
fn lambda(round: &Round, n: usize) -> f64 {
    let largest = (0..round.counts.len()).max_by_key(|&k| (round.counts[k], usize::MAX - k)).unwrap_or(0);
    let members = round.labels.iter().zip(&round.distances).filter(|(label, _)| **label == largest);
    let (sum, max) = members.fold((0.0, 0.0f64), |(sum, max), (_, &d)| (sum + d, max.max(d)));
    let reach = (max - sum / round.counts[largest].max(1) as f64).max(0.0) / n as f64;
    let mean = round.distances.iter().sum::<f64>() / n as f64;
    reach.min(mean / (LAMBDA_FACTOR * n as f64))
}

/// Moves centers to the means of their members; an empty cluster takes the farthest member of the largest. Returns how far they went.
fn update(centers: &mut Centers, sample: &[Wide], round: &Round) -> f64 {
    let (dim, k) = (centers.dim, round.counts.len());
    let mut sums = vec![0.0f64; k * dim];
    for (x, &label) in sample.iter().zip(&round.labels) {
        for (sum, &v) in sums[label * dim..][..dim].iter_mut().zip(floats(x)) {
            *sum += f64::from(v);
        }
    }
    let largest = (0..k).max_by_key(|&k| (round.counts[k], usize::MAX - k)).unwrap_or(0);
    let farthest = (0..sample.len())
        .filter(|&i| round.labels[i] == largest)
        .max_by(|&a, &b| round.distances[a].total_cmp(&round.distances[b]).then(b.cmp(&a)));
    let mut moved = 0.0;
    for cluster in 0..k {
        let mut center: Vec<f32> = match (round.counts[cluster], farthest) {
            (0, Some(i)) => floats(&sample[i]).to_vec(),
            (0, None) => continue,
            (count, _) => sums[cluster * dim..][..dim].iter().map(|&sum| (sum / count as f64) as f32).collect(),
        };
        if centers.is_cosine {
            normalise(&mut center);
        }
        let old = &mut centers.rows[cluster * dim..][..dim];
        moved += old.iter().zip(&center).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum::<f64>();
        old.copy_from_slice(&center);
    }
    moved
}

/// `count` different numbers below `n`, ascending where that is all of them.
fn distinct(rng: &mut SplitMix64, n: usize, count: usize) -> Vec<usize> {
    if count >= n {
        return (0..n).collect();
    }
    let mut seen = std::collections::HashSet::new();
    let mut picked = Vec::with_capacity(count);
    while picked.len() < count {
        let i = rng.below(n as u64) as usize;
        if seen.insert(i) {
            picked.push(i);
        }
    }
    picked
}

/// Two parts of a posting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Parts {
    /// Indices of the rows that are the parts' medoids.
    pub(crate) medoids: [usize; 2],
    /// Whether a row lies in the second part.
    pub(crate) second: Vec<bool>,
}

/// Cuts rows in two; `None` where they are too alike for it.
pub(crate) fn split_in_two(space: &Space, rows: &[&[u8]], seed: u64) -> Option<Parts> {
    let clusters = cluster(space, rows.len(), &|i| rows[i], 2, seed);
    let &[a, b] = clusters.medoids.as_slice() else { return None };
    let second: Vec<bool> = clusters.labels.iter().map(|&label| label == 1).collect();
    let query = space.row_query(rows[a as usize]);
    let apart = space.distance(&query, rows[b as usize]) > 0.0;
    (apart && second.contains(&true) && second.contains(&false))
        .then_some(Parts { medoids: [a as usize, b as usize], second })
}

/// The row nearest to the mean; `None` of no rows.
pub(crate) fn medoid(space: &Space, rows: &[&[u8]]) -> Option<usize> {
    let clusters = cluster(space, rows.len(), &|i| rows[i], 1, 1);
    clusters.medoids.first().map(|&i| i as usize)
}

#[cfg(test)]
mod tests;
