use parsimon_core::SplitMix64;

use super::*;

fn normals(n: usize, rng: &mut SplitMix64) -> Vec<f64> {
    (0..n).map(|_| rng.next_normal()).collect()
}

/// Centroids of `x` by a full sort of the scores.
fn sorted(x: &[f64], centroids: &[f64], v: usize) -> Vec<u32> {
    let score = |c: usize| {
        let c = &centroids[c * v..][..v];
        c.iter().map(|c| 0.5 * c * c).sum::<f64>() - c.iter().zip(x).map(|(c, x)| c * x).sum::<f64>()
    };
    let mut order: Vec<u32> = (0..(centroids.len() / v) as u32).collect();
    order.sort_by(|&a, &b| score(a as usize).total_cmp(&score(b as usize)));
    order
}

#[test]
fn every_level_finds_what_sorting_finds() {
    let mut rng = SplitMix64::new(3);
    for level in Level::available() {
        for (v, k, n) in
            [(1, 2, 1), (2, 16, 33), (3, 5, 70), (4, 256, 64), (6, 40, 31), (8, 256, 100), (12, 7, 9), (16, 33, 40)]
        {
            let (x, centroids) = (normals(n * v, &mut rng), normals(k * v, &mut rng));
            let exact = Lookup::<f64>::new(&centroids, v);
            let fast = Lookup::<f32>::new(&centroids, v);
            let x_fast: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            let b = k.min(3);
            let (mut first, mut first_fast) = (vec![0; n], vec![0; n]);
            let (mut several, mut several_fast) = (vec![0; n * b], vec![0; n * b]);
            exact.nearest_into(level, &x, &mut first);
            fast.nearest_into(level, &x_fast, &mut first_fast);
            exact.several_nearest_into(level, &x, b, &mut several);
            fast.several_nearest_into(level, &x_fast, b, &mut several_fast);
            for (i, x) in x.chunks_exact(v).enumerate() {
                let expected = sorted(x, &centroids, v);
                assert_eq!(first[i], expected[0], "{level} v {v} K {k} vector {i}");
                assert_eq!(several[i * b..][..b], expected[..b], "{level} v {v} K {k} vector {i}");
            }
            // Random scores are farther apart than f32 rounds, save for a vector in a thousand.
            let agree = several.iter().zip(&several_fast).filter(|(a, b)| a == b).count();
            assert!(agree * 100 >= several.len() * 99, "{level} v {v} K {k}: {agree} of {}", several.len());
            assert!(first.iter().zip(&first_fast).filter(|(a, b)| a != b).count() <= 1);
        }
    }
}

#[test]
fn ties_go_to_the_lowest_index_and_nan_never_wins() {
    let lookup = Lookup::<f64>::new(&[2.0, 1.0, 1.0, 1.0, f64::NAN, 3.0], 1);
    let mut out = [9; 4];
    lookup.several_nearest_into(Level::best(), &[1.0], 4, &mut out);
    // Distance 0 three times, then the first of the two at distance 1 and 2.
    assert_eq!(out, [1, 2, 3, 0]);
    let mut out = [9; 2];
    lookup.nearest_into(Level::best(), &[1.0, f64::NAN], &mut out);
    assert_eq!(out, [1, 0]);
}
