use super::*;

vectorized! {
    fn exp_all<'a>(x: &'a mut [f32]) {
        for x in x {
            *x = exp::<FMA>(*x);
        }
    }
}

vectorized! {
    fn softmax_parts<'a>(row: &'a mut [f32]) -> (f32, f32) {
        let max = row_max(row);
        (max, exp_shifted::<FMA>(row, max))
    }
}

vectorized! {
    fn dot_all<'a>(a: &'a [f32], b: &'a [f32]) -> f32 {
        dot::<FMA>(a, b)
    }
}

#[test]
fn exp_is_close_to_the_library() {
    let arguments: Vec<f32> = (-8700..8800).map(|i| i as f32 * 0.01).collect();
    let mut values = arguments.clone();
    exp_all(&mut values);
    for (&x, &y) in arguments.iter().zip(&values) {
        let expected = f64::from(x).exp();
        // The product x log2 e is rounded once: the error grows with |x|.
        let tolerance = 2e-7 + 1e-7 * f64::from(x.abs());
        assert!((f64::from(y) - expected).abs() <= tolerance * expected, "exp({x}) = {y}, expected {expected}");
    }
    let mut ends = [f32::NAN, f32::NEG_INFINITY, -1e30, 1e30];
    exp_all(&mut ends);
    assert!(ends[0].is_nan());
    assert_eq!(ends[1..], [0.0, 0.0, f32::INFINITY]);
}

#[test]
fn reductions_of_every_length() {
    for n in 0..70usize {
        let a: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
        let b: Vec<f32> = (0..n).map(|i| (i as f32 * 1.3).cos()).collect();
        let expected: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        assert!((f64::from(dot_all(&a, &b)) - expected).abs() < 1e-5, "dot of {n}");
        let mut row = a.clone();
        let (max, sum) = softmax_parts(&mut row);
        assert_eq!(max, a.iter().copied().fold(f32::NEG_INFINITY, f32::max), "max of {n}");
        let expected: f64 = a.iter().map(|&a| f64::from(a - max).exp()).sum();
        assert!((f64::from(sum) - expected).abs() < 1e-5 * (1.0 + expected), "sum of {n}");
    }
}
