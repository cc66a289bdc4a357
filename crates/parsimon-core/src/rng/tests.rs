use super::*;

#[test]
fn splitmix_gives_the_published_sequence() {
    // The reference sequence of SplitMix64 for seed 1234567, as printed with its public-domain C code.
    let mut rng = SplitMix64::new(1_234_567);
    let expected: [u64; 3] = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
    assert_eq!(std::array::from_fn(|_| rng.next_u64()), expected);
}

#[test]
fn fnv_gives_the_published_values() {
    assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn uniforms_and_normals_have_their_moments() {
    let mut rng = SplitMix64::new(1);
    let n = 100_000;
    let uniform: f64 = (0..n).map(|_| rng.next_f64()).sum::<f64>() / f64::from(n);
    let square: f64 = (0..n).map(|_| rng.next_normal().powi(2)).sum::<f64>() / f64::from(n);
    // Five standard deviations of each mean: 0.0046 and 0.022.
    assert!((uniform - 0.5).abs() < 0.0046, "{uniform}");
    assert!((square - 1.0).abs() < 0.0225, "{square}");
    assert!((0..1000).all(|_| rng.below(7) < 7));
    assert_eq!(rng.below(0), 0);
}

#[test]
fn shuffle_permutes() {
    let mut items: Vec<u32> = (0..100).collect();
    SplitMix64::new(3).shuffle(&mut items);
    assert_ne!(items, (0..100).collect::<Vec<_>>());
    items.sort_unstable();
    assert_eq!(items, (0..100).collect::<Vec<_>>());
}
