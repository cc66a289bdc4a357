use super::*;

#[test]
fn greedy_takes_the_lowest_id_among_equals_and_ignores_nan() {
    assert_eq!(Sampler::greedy().sample(&[1.0, 3.0, 3.0]), 1);
    assert_eq!(Sampler::greedy().sample(&[f32::NAN, -3.0, f32::NAN]), 1);
    assert_eq!(Sampler::greedy().sample(&[f32::NEG_INFINITY; 2]), 0);
}

#[test]
fn frequencies_follow_the_softmax() {
    let logits = [0.0f32, 1.0, 2.0, -1.0];
    let mut sampler = Sampler::try_new(1.0, 1.0, 42).unwrap();
    let n = 20_000;
    let mut counts = [0u32; 4];
    (0..n).for_each(|_| counts[sampler.sample(&logits) as usize] += 1);
    let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
    for (count, &logit) in counts.iter().zip(&logits) {
        let p = f64::from(logit).exp() / total;
        let sigma = (p * (1.0 - p) / f64::from(n)).sqrt();
        assert!((f64::from(*count) / f64::from(n) - p).abs() < 5.0 * sigma);
    }
}

#[test]
fn top_p_cuts_the_tail() {
    // Probabilities .64, .24, .09, .03: three quarters need the first two.
    let logits = [2.0, 1.0, 0.0, -1.0];
    let mut sampler = Sampler::try_new(1.0, 0.75, 1).unwrap();
    assert!((0..1000).all(|_| sampler.sample(&logits) < 2));
    let mut narrow = Sampler::try_new(1.0, 1e-6, 1).unwrap();
    assert!((0..100).all(|_| narrow.sample(&logits) == 0));
}

/// However many candidates it takes, the nucleus is the shortest prefix of the sorted vocabulary.
#[test]
fn the_nucleus_is_the_shortest_sorted_prefix() {
    let mut rng = SplitMix64::new(4);
    for (len, spread) in [(1, 1.0), (5, 1.0), (64, 0.1), (65, 0.0), (1000, 3.0), (1000, 0.01), (300, 0.0)] {
        let weights: Vec<f32> = (0..len).map(|_| (rng.next_normal() * spread).exp() as f32).collect();
        let mut sorted: Vec<u32> = (0..len as u32).collect();
        sorted.sort_by(|&a, &b| weights[b as usize].total_cmp(&weights[a as usize]).then(a.cmp(&b)));
        let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        for top_p in [1e-9, 0.3, 0.9, 1.0] {
            let nucleus = nucleus(&weights, top_p * total);
            assert_eq!(nucleus, sorted[..nucleus.len()]);
            let mass = |n: usize| sorted[..n].iter().map(|&t| f64::from(weights[t as usize])).sum::<f64>();
            assert!(nucleus.len() == len || mass(nucleus.len()) >= top_p * total);
            assert!(mass(nucleus.len() - 1) < top_p * total);
        }
    }
}

#[test]
fn a_vocabulary_of_nan_and_infinities_does_not_panic() {
    let mut sampler = Sampler::try_new(1.0, 0.9, 1).unwrap();
    assert_eq!(sampler.sample(&[f32::NAN, 2.0, f32::NAN]), 1);
    assert_eq!(sampler.sample(&[1.0, f32::INFINITY]), 1);
    assert_eq!(sampler.sample(&[f32::NAN; 3]), 0);
}

#[test]
fn seeds_repeat_and_options_are_checked() {
    let logits: Vec<f32> = (0..50).map(|i| (i as f32).sin()).collect();
    let draw = |seed| {
        let mut sampler = Sampler::try_new(0.8, 0.9, seed).unwrap();
        (0..30).map(|_| sampler.sample(&logits)).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    for (temperature, top_p) in [(-1.0, 1.0), (f32::NAN, 1.0), (1.0, 0.0), (1.0, 1.1), (1.0, f32::NAN)] {
        assert!(Sampler::try_new(temperature, top_p, 0).is_err());
    }
}
