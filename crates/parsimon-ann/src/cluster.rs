//! Balanced k-means: clusters of about the same size, because a posting's size is what a search pays for.
//!
//! Members are assigned to the least `D(x, c_k) + lambda count_k`, where `count_k` is the size of cluster `k` in the round before and
//! `lambda` comes from the data, so that scaling all vectors changes nothing. PAPER(spfresh SPANN §3): multi-constraint balanced
//! clustering. Everything is computed in f32 from the seed alone; ties go to the smaller index.

use parsimon_core::SplitMix64;
use rayon::prelude::*;

use crate::Metric;
use crate::kernel::{LANES, tile};
use crate::space::Space;

/// Members that a round looks at.
const SAMPLE: usize = 1000;
/// How weak the balance is.
const LAMBDA_FACTOR: f64 = 100.0;
const TRIES: usize = 3;
const ROUNDS: usize = 100;
/// Rounds at most where every one draws its members anew: such a round is noise about the same centers.
const ROUNDS_DRAWN: usize = 25;
/// Rounds without progress after which it stops.
const PATIENCE: usize = 5;
/// Rows below which one thread is enough.
const PARALLEL: usize = 4096;

/// Floats of a stored row, with direction alone where only that counts.
fn decode_into(space: &Space, row: &[u8], values: &mut [f32]) {
    space.element().decode_into(&row[..space.row_bytes()], values);
    if space.metric() == Metric::Cosine {
        normalise(values);
    }
}

fn normalise(values: &mut [f32]) {
    let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
    }
}

/// Rows as floats, and turned over for the kernel.
#[derive(Default)]
struct Sample {
    n: usize,
    /// `[n, dim]`.
    rows: Vec<f32>,
    /// `[n / LANES, dim, LANES]`, zeros behind the last row.
    blocks: Vec<f32>,
}

impl Sample {
    fn of<'r>(space: &Space, rows: impl ExactSizeIterator<Item = &'r [u8]>) -> Sample {
        let (n, dim) = (rows.len(), space.row_dim());
        let mut sample = Sample { n, rows: vec![0.0; n * dim], blocks: vec![0.0; n.next_multiple_of(LANES) * dim] };
        for (i, row) in rows.enumerate() {
            let values = &mut sample.rows[i * dim..][..dim];
            decode_into(space, row, values);
            let (block, _) = sample.blocks[i / LANES * LANES * dim..].as_chunks_mut::<LANES>();
            block.iter_mut().zip(values).for_each(|(lanes, v)| lanes[i % LANES] = *v);
        }
        sample
    }

    fn row(&self, i: usize) -> &[f32] {
        let dim = self.rows.len() / self.n;
        &self.rows[i * dim..][..dim]
    }
}

/// Centers as rows of floats.
struct Centers {
    is_cosine: bool,
    dim: usize,
    rows: Vec<f32>,
}

/// One assignment of a sample.
struct Round {
    labels: Vec<u32>,
    distances: Vec<f32>,
    cost: f64,
    counts: Vec<usize>,
}

impl Centers {
    /// For every row of the sample the center of least `D + penalty_k`, and its `D`.
    fn assign(&self, sample: &Sample, penalty: &[f32]) -> Round {
        let k = penalty.len();
        let mut round = Round {
            labels: Vec::with_capacity(sample.n),
            distances: Vec::with_capacity(sample.n),
            cost: 0.0,
            counts: vec![0; k],
        };
        let mut sums = vec![[0.0f32; LANES]; k];
        for (number, block) in sample.blocks.chunks_exact(LANES * self.dim).enumerate() {
            tile(block, &self.rows, self.dim, self.is_cosine, &mut sums);
            let (mut best, mut labels) = ([f32::INFINITY; LANES], [0u32; LANES]);
            for (k, (sums, &penalty)) in sums.iter_mut().zip(penalty).enumerate() {
                for lane in 0..LANES {
                    sums[lane] = if self.is_cosine { 1.0 - sums[lane] } else { sums[lane] };
                    let cost = sums[lane] + penalty;
                    labels[lane] = if cost < best[lane] { k as u32 } else { labels[lane] };
                    best[lane] = best[lane].min(cost);
                }
            }
            for lane in 0..LANES.min(sample.n - number * LANES) {
                let label = labels[lane];
                round.labels.push(label);
                round.distances.push(sums[label as usize][lane]);
                round.cost += f64::from(best[lane]);
                round.counts[label as usize] += 1;
            }
        }
        round
    }

    /// The nearest centers of all rows.
    fn label<'r>(&self, space: &Space, n: usize, row: &(impl Fn(usize) -> &'r [u8] + Sync)) -> (Vec<u32>, Vec<f32>) {
        let zero = vec![0.0; self.rows.len() / self.dim];
        let part = |number: usize| {
            let begin = number * SAMPLE;
            let round = self.assign(&Sample::of(space, (begin..n.min(begin + SAMPLE)).map(row)), &zero);
            (round.labels, round.distances)
        };
        let parts = n.div_ceil(SAMPLE);
        let done: Vec<(Vec<u32>, Vec<f32>)> =
            if n >= PARALLEL { (0..parts).into_par_iter().map(part).collect() } else { (0..parts).map(part).collect() };
        let (labels, distances): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        (labels.concat(), distances.concat())
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
    // A small set is decoded once for everything.
    let all = (n <= SAMPLE).then(|| Sample::of(space, (0..n).map(row)));
    let centers = if k == 1 {
        Centers { rows: mean(space, n, row), ..Centers::none(space) }
    } else {
        means(space, n, row, all.as_ref(), k.min(n), &mut rng)
    };
    let label = |centers: &Centers| match &all {
        Some(all) => {
            let round = centers.assign(all, &vec![0.0; centers.rows.len() / centers.dim]);
            (round.labels, round.distances)
        }
        None => centers.label(space, n, row),
    };
    let (labels, distances) = label(&centers);
    let mut medoids = vec![(f32::INFINITY, 0u32); centers.rows.len() / centers.dim];
    for (i, (&k, &distance)) in labels.iter().zip(&distances).enumerate() {
        if distance < medoids[k as usize].0 {
            medoids[k as usize] = (distance, i as u32);
        }
    }
    let medoids: Vec<u32> = medoids.into_iter().filter(|m| m.0.is_finite()).map(|m| m.1).collect();
    if medoids.len() == 1 {
        return Clusters { labels: vec![0; n], medoids };
    }
    // The labels refer to what is returned, not to the means that led there.
    let mut rows = vec![0.0; medoids.len() * centers.dim];
    for (&i, values) in medoids.iter().zip(rows.chunks_exact_mut(centers.dim)) {
        decode_into(space, row(i as usize), values);
    }
    let (labels, _) = label(&Centers { rows, ..centers });
    Clusters { labels, medoids }
}

/// The means of `k` balanced clusters, found on `all` rows or on samples.
fn means<'r>(
    space: &Space,
    n: usize,
    row: &impl Fn(usize) -> &'r [u8],
    all: Option<&Sample>,
    k: usize,
    rng: &mut SplitMix64,
) -> Centers {
    let draw = |rng: &mut SplitMix64| Sample::of(space, distinct(rng, n, SAMPLE).into_iter().map(row));
    let mut drawn = if all.is_some() { Sample::default() } else { draw(rng) };
    let mut best: Option<(Centers, Round)> = None;
    for _ in 0..TRIES {
        let sample = all.unwrap_or(&drawn);
        let picked = distinct(rng, sample.n, k);
        let rows = picked.iter().flat_map(|&i| sample.row(i)).copied().collect();
        let centers = Centers { rows, ..Centers::none(space) };
        let round = centers.assign(sample, &vec![0.0; k]);
        if best.as_ref().is_none_or(|(_, kept)| round.cost < kept.cost) {
            best = Some((centers, round));
        }
    }
    let (mut centers, mut last) = best.expect("at least one try");
    let lambda = lambda(&last, last.labels.len());
    let mean_distance = last.distances.iter().map(|&d| f64::from(d)).sum::<f64>() / last.distances.len() as f64;
    let (mut least, mut stale) = (f64::INFINITY, 0);
    for _ in 0..if all.is_some() { ROUNDS } else { ROUNDS_DRAWN } {
        if all.is_none() {
            drawn = draw(rng);
        }
        let sample = all.unwrap_or(&drawn);
        let penalty: Vec<f32> = last.counts.iter().map(|&count| (lambda * count as f64) as f32).collect();
        let round = centers.assign(sample, &penalty);
        let moved = update(&mut centers, sample, &round);
        stale = if round.cost < least { 0 } else { stale + 1 };
        least = least.min(round.cost);
        last = round;
        if stale >= PATIENCE || moved < 1e-3 * mean_distance {
            break;
        }
    }
    centers
}

impl Centers {
    fn none(space: &Space) -> Centers {
        Centers { is_cosine: space.metric() == Metric::Cosine, dim: space.row_dim(), rows: Vec::new() }
    }
}

/// The mean of all rows.
fn mean<'r>(space: &Space, n: usize, row: &impl Fn(usize) -> &'r [u8]) -> Vec<f32> {
    let mut sums = vec![0.0f64; space.row_dim()];
    let mut values = vec![0.0; space.row_dim()];
    for i in 0..n {
        decode_into(space, row(i), &mut values);
        sums.iter_mut().zip(&values).for_each(|(sum, &v)| *sum += f64::from(v));
    }
    let mut mean: Vec<f32> = sums.iter().map(|sum| (sum / n as f64) as f32).collect();
    if space.metric() == Metric::Cosine {
        normalise(&mut mean);
    }
    mean
}

/// How much one member more costs: bounded by how far the largest cluster reaches beyond its mean, and by the mean distance.
fn lambda(round: &Round, n: usize) -> f64 {
    let largest = largest(&round.counts);
    let members = round.labels.iter().zip(&round.distances).filter(|(label, _)| **label as usize == largest);
    let (sum, max) = members.fold((0.0, 0.0f64), |(sum, max), (_, &d)| (sum + f64::from(d), max.max(f64::from(d))));
    let reach = (max - sum / round.counts[largest].max(1) as f64).max(0.0) / n as f64;
    let mean = round.distances.iter().map(|&d| f64::from(d)).sum::<f64>() / n as f64;
    reach.min(mean / (LAMBDA_FACTOR * n as f64))
}

fn largest(counts: &[usize]) -> usize {
    (0..counts.len()).max_by_key(|&k| (counts[k], usize::MAX - k)).unwrap_or(0)
}

/// Moves centers to the means of their members; an empty cluster takes the farthest member of the largest. Returns how far they went.
fn update(centers: &mut Centers, sample: &Sample, round: &Round) -> f64 {
    let dim = centers.dim;
    // At most SAMPLE terms: f32 is enough.
    let mut sums = vec![0.0f32; centers.rows.len()];
    for (x, &label) in sample.rows.chunks_exact(dim).zip(&round.labels) {
        sums[label as usize * dim..][..dim].iter_mut().zip(x).for_each(|(sum, &v)| *sum += v);
    }
    let largest = largest(&round.counts);
    let farthest = (0..sample.n)
        .filter(|&i| round.labels[i] as usize == largest)
        .max_by(|&a, &b| round.distances[a].total_cmp(&round.distances[b]).then(b.cmp(&a)));
    let mut moved = 0.0;
    for (cluster, center) in sums.chunks_exact_mut(dim).enumerate() {
        match (round.counts[cluster], farthest) {
            (0, Some(i)) => center.copy_from_slice(sample.row(i)),
            (0, None) => continue,
            (count, _) => center.iter_mut().for_each(|v| *v /= count as f32),
        }
        if centers.is_cosine {
            normalise(center);
        }
        let old = &mut centers.rows[cluster * dim..][..dim];
        moved += old.iter().zip(&*center).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        old.copy_from_slice(center);
    }
    f64::from(moved)
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
