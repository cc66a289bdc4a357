//! The first centroids, as indices of points.

use parsimon_core::{Control, SplitMix64};
use rayon::prelude::*;

use super::{Init, KMeansConfig, KMeansError, Points, distance, weight};
use crate::Metric;
use crate::chunks::{CHUNK, chunk_sums, draw, sum};

pub(super) fn seeds(
    x: Points<'_>,
    w: Option<&[f64]>,
    config: &KMeansConfig,
    rng: &mut SplitMix64,
    control: &Control<'_>,
) -> Result<Vec<usize>, KMeansError> {
    let (n, k) = (x.n(), config.k);
    let init = match config.init {
        _ if config.metric != Metric::L2 => Init::PlusPlus,
        Init::Auto if k <= 1024 => Init::PlusPlus,
        Init::Auto if k <= 4096 => Init::PlusPlusSample,
        Init::Auto => Init::Sample,
        init => init,
    };
    let sample_len = (64 * k).max(1 << 16);
    match init {
        Init::Sample => Ok(sample(n, n.min(k), rng)),
        Init::PlusPlusSample if n > sample_len => {
            let sample = sample(n, sample_len, rng);
            let data: Vec<f64> = sample.iter().flat_map(|&i| x.point(i)).copied().collect();
            let w: Option<Vec<f64>> = w.map(|w| sample.iter().map(|&i| w[i]).collect());
            let seeds = plus_plus(Points::new(&data, x.v()), w.as_deref(), config, rng, control)?;
            Ok(seeds.into_iter().map(|i| sample[i]).collect())
        }
        _ => plus_plus(x, w, config, rng, control),
    }
}

/// `count` of `0..n`, ascending: the beginning of a Fisher-Yates shuffle.
fn sample(n: usize, count: usize, rng: &mut SplitMix64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in 0..count {
        order.swap(i, i + rng.below((n - i) as u64) as usize);
    }
    order.truncate(count);
    order.sort_unstable();
    order
}

/// k-means++; fewer than `K` where no point of positive weight is left at a distance.
fn plus_plus(
    x: Points<'_>,
    w: Option<&[f64]>,
    config: &KMeansConfig,
    rng: &mut SplitMix64,
    control: &Control<'_>,
) -> Result<Vec<usize>, KMeansError> {
    let n = x.n();
    let mut seeds = Vec::with_capacity(config.k.min(n));
    let Some(first) = draw(&chunk_sums(n, |i| weight(w, i)), n, |i| weight(w, i), rng) else { return Ok(seeds) };
    seeds.push(first);
    // `d` is the squared distance, of which `w d` is the chance.
    let squared = |i: usize, centroid: &[f64]| {
        let distance = distance(config.metric, x.point(i), centroid);
        if config.metric == Metric::L2 { distance } else { distance * distance }
    };
    let mut d = vec![f64::INFINITY; n];
    while seeds.len() < config.k {
        control.cancel.check()?;
        let centroid = x.point(*seeds.last().expect("the first is in"));
        let chunks = d.par_chunks_mut(CHUNK).enumerate();
        let sums = chunks.map(|(chunk, d)| {
            let each = d.iter_mut().enumerate().map(|(i, d)| {
                let i = chunk * CHUNK + i;
                *d = d.min(squared(i, centroid));
                weight(w, i) * *d
            });
            sum(each)
        });
        let sums: Vec<f64> = sums.collect();
        match draw(&sums, n, |i| weight(w, i) * d[i], rng) {
            Some(next) => seeds.push(next),
            None => break,
        }
    }
    Ok(seeds)
}
