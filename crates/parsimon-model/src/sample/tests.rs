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
            let mut nucleus: Vec<u32> = (0..len as u32).collect();
            let mut likely = super::Descending { weights: &weights, tokens: &mut nucleus, sorted: 0 };
            let kept = likely.nucleus(top_p * total, 0.0);
            assert_eq!(nucleus, sorted[..nucleus.len()]);
            let mass = |n: usize| sorted[..n].iter().map(|&t| f64::from(weights[t as usize])).sum::<f64>();
            assert!(nucleus.len() == len || mass(nucleus.len()) >= top_p * total);
            assert!(mass(nucleus.len() - 1) < top_p * total);
            assert_eq!(kept, mass(nucleus.len()));
        }
    }
}

/// A draw that sorts only what it passes takes the token that the whole sorted vocabulary gives.
#[test]
fn a_draw_takes_the_token_where_the_sorted_weights_pass_the_target() {
    let mut rng = SplitMix64::new(5);
    let weights: Vec<f32> = (0..2000).map(|_| rng.next_f64() as f32).collect();
    let mut sorted: Vec<u32> = (0..2000).collect();
    sorted.sort_by(|&a, &b| weights[b as usize].total_cmp(&weights[a as usize]).then(a.cmp(&b)));
    let total: f64 = sorted.iter().map(|&t| f64::from(weights[t as usize])).sum();
    for share in [0.0, 1e-3, 0.03, 0.5, 0.97, 1.0, 1.1] {
        let mut passed = 0.0;
        let expected = sorted.iter().find(|&&t| {
            passed += f64::from(weights[t as usize]);
            passed > share * total
        });
        let mut tokens: Vec<u32> = (0..2000).collect();
        let drawn = super::Descending { weights: &weights, tokens: &mut tokens, sorted: 0 }.draw(share * total);
        assert_eq!(drawn, *expected.unwrap_or(&sorted[1999]), "at {share}");
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

#[track_caller]
fn check_allowed(options: SamplingOptions, logits: &[f32], allowed: &[u32]) {
    let mut sampler = Sampler::with_options(&SamplingOptions { seed: 3, ..options.clone() }).unwrap();
    let mut drawn: Vec<u32> = (0..3000).map(|_| sampler.sample(logits)).collect();
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn, allowed, "{options:?}");
}

#[test]
fn every_filter_leaves_the_tokens_that_it_says() {
    // Probabilities .64, .24, .09, .03, with a NaN among them.
    let logits = [1.0, f32::NAN, 2.0, -1.0, 0.0];
    let one = SamplingOptions { temperature: 1.0, ..SamplingOptions::default() };
    check_allowed(one.clone(), &logits, &[0, 2, 3, 4]);
    check_allowed(SamplingOptions { top_k: 3, ..one.clone() }, &logits, &[0, 2, 4]);
    check_allowed(SamplingOptions { top_k: 1, ..one.clone() }, &logits, &[2]);
    check_allowed(SamplingOptions { top_k: 99, ..one.clone() }, &logits, &[0, 2, 3, 4]);
    check_allowed(SamplingOptions { min_p: 0.2, ..one.clone() }, &logits, &[0, 2]);
    check_allowed(SamplingOptions { min_p: 1.0, ..one.clone() }, &logits, &[2]);
    // Of the two that top-k leaves, .73 and .27, the first alone has 0.7.
    check_allowed(SamplingOptions { top_k: 2, top_p: 0.7, ..one.clone() }, &logits, &[2]);
    check_allowed(SamplingOptions { top_k: 2, top_p: 0.8, ..one }, &logits, &[0, 2]);
}

#[test]
fn biases_and_penalties_change_the_logits_that_they_name() {
    let adjusted = |options: SamplingOptions| {
        let mut sampler = Sampler::with_options(&options).unwrap();
        sampler.observe_prompt(&[0, 1, 99]);
        [1, 2, 2].iter().for_each(|&token| sampler.accept(token));
        let mut logits = [4.0, -4.0, 8.0, 1.0];
        sampler.adjust(&mut logits);
        logits
    };
    let none = SamplingOptions::default();
    assert_eq!(adjusted(none.clone()), [4.0, -4.0, 8.0, 1.0]);
    assert_eq!(adjusted(SamplingOptions { repetition_penalty: 2.0, ..none.clone() }), [2.0, -8.0, 4.0, 1.0]);
    assert_eq!(adjusted(SamplingOptions { presence_penalty: 1.0, ..none.clone() }), [4.0, -5.0, 7.0, 1.0]);
    assert_eq!(adjusted(SamplingOptions { frequency_penalty: 1.0, ..none.clone() }), [4.0, -5.0, 6.0, 1.0]);
    let logit_bias = vec![(3, 5.0), (0, f32::NEG_INFINITY), (77, 1.0)];
    assert_eq!(adjusted(SamplingOptions { logit_bias, ..none }), [f32::NEG_INFINITY, -4.0, 8.0, 6.0]);
}

#[test]
fn log_probabilities_are_the_log_softmax() {
    let logits = [1.0, f32::NAN, 2.0, -1.0, 2.0];
    let sum: f64 = [1.0f64, 2.0, -1.0, 2.0].iter().map(|l| l.exp()).sum();
    let (logprob, top) = log_probabilities(&logits, 3, 2);
    assert!((f64::from(logprob) - (-1.0 - sum.ln())).abs() < 1e-6);
    assert_eq!(top.iter().map(|top| top.0).collect::<Vec<_>>(), [2, 4]);
    assert!((f64::from(top[0].1) - (2.0 - sum.ln())).abs() < 1e-6);
    assert_eq!(log_probabilities(&logits, 0, 99).1.len(), 4);
    assert!(log_probabilities(&logits, 0, 0).1.is_empty());
}

#[test]
fn options_out_of_range_are_named() {
    let none = SamplingOptions::default;
    let cases = [
        ("min_p", SamplingOptions { min_p: 1.5, ..none() }),
        ("repetition_penalty", SamplingOptions { repetition_penalty: 0.0, ..none() }),
        ("presence_penalty", SamplingOptions { presence_penalty: f32::NAN, ..none() }),
        ("frequency_penalty", SamplingOptions { frequency_penalty: f32::INFINITY, ..none() }),
        ("logit_bias", SamplingOptions { logit_bias: vec![(1, 2.0), (2, f32::NAN)], ..none() }),
    ];
    for (name, options) in cases {
        assert_eq!(Sampler::with_options(&options).unwrap_err().option, name);
    }
}
