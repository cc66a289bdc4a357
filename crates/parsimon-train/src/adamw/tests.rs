use parsimon_core::SplitMix64;

use super::*;

#[test]
fn steps_follow_the_formula() {
    // More than one task, and no multiple of a vector.
    let n = TASK + 37;
    let mut rng = SplitMix64::new(4);
    let mut random = || (0..n).map(|_| rng.next_normal()).collect::<Vec<f64>>();
    let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let mut weights = random();
    let mut actual = narrow(&weights);
    let (mut first, mut second) = (vec![0.0; n], vec![0.0; n]);
    let mut moments = Moments::zeros(n);
    let (rate, decay, scale) = (0.01, 0.1, 0.5);
    for step in 0..4 {
        let gradient = random();
        Update::new(step, rate, decay, scale).apply(&mut actual, &narrow(&gradient), &mut moments);
        let t = step as i32 + 1;
        for i in 0..n {
            let g = scale * gradient[i];
            first[i] = 0.9 * first[i] + 0.1 * g;
            second[i] = 0.95 * second[i] + 0.05 * g * g;
            let (m, v) = (first[i] / (1.0 - 0.9f64.powi(t)), second[i] / (1.0 - 0.95f64.powi(t)));
            weights[i] = weights[i] * (1.0 - rate * decay) - rate * m / (v.sqrt() + 1e-8);
        }
    }
    for (i, (&actual, expected)) in actual.iter().zip(&weights).enumerate() {
        let error = (f64::from(actual) - expected).abs();
        assert!(error < 2e-6 * expected.abs().max(1.0), "weight {i} is {actual}, expected {expected}");
    }
}

#[test]
fn the_norm_adds_all_gradients() {
    let ones = vec![1.0; 3 * TASK];
    assert_eq!(squared_norm([&ones[..], &[3.0, 4.0]].into_iter()), 3.0 * TASK as f64 + 25.0);
    assert_eq!(squared_norm(std::iter::empty()), 0.0);
}
