use parsimon_core::SplitMix64;

use super::*;

/// `|Hd U^T U - I|` at its largest, for a random positive definite matrix.
#[track_caller]
fn check(k: usize) {
    let mut rng = SplitMix64::new(k as u64);
    let x: Vec<f64> = (0..2 * k * k).map(|_| rng.next_normal()).collect();
    let mut h = vec![0.0; k * k];
    gemm_into(&mut h, k, None, 1.0 / (2 * k) as f64, Mat::rows(&x, 2 * k, k, k).t(), Mat::rows(&x, 2 * k, k, k));
    let factor = InverseFactor::of_damped(&h, k, 0.01).unwrap();
    let mean = (0..k).map(|j| h[j * k + j]).sum::<f64>() / k as f64;
    (0..k).for_each(|j| h[j * k + j] += 0.01 * mean);
    let (mut inverse, mut identity) = (vec![0.0; k * k], vec![0.0; k * k]);
    let u = Mat::rows(&factor.u, k, k, k);
    gemm_into(&mut inverse, k, None, 1.0, u.t(), u);
    gemm_into(&mut identity, k, None, 1.0, Mat::rows(&h, k, k, k), Mat::rows(&inverse, k, k, k));
    for (i, value) in identity.iter().enumerate() {
        let expected = f64::from(i / k == i % k);
        assert!((value - expected).abs() < 1e-9, "k {k}, element {i}: {value}");
    }
    assert!(factor.u.iter().enumerate().all(|(i, &u)| i / k <= i % k || u == 0.0), "upper triangular");
}

#[test]
fn the_factor_inverts() {
    [1, 2, 63, 64, 65, 130, 300].into_iter().for_each(check);
}

#[test]
fn damping_is_retried_three_times() {
    // Eigenvalues 1 + 3 = 4 and 1 - 3 = -2: positive from a damping of more than 2 on.
    let h = [1.0, 3.0, 3.0, 1.0];
    assert_eq!(InverseFactor::of_damped(&h, 2, 0.01).unwrap().percdamp, 10.0);
    assert_eq!(InverseFactor::of_damped(&h, 2, 2.5).unwrap().percdamp, 2.5);
    assert_eq!(InverseFactor::of_damped(&[f64::NAN], 1, 0.01), Err(10.0));
}
