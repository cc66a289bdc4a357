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
