use super::*;

#[track_caller]
fn check(x: &[f32], centroid: &[f32], [l2, l1, chebyshev]: [f64; 3]) {
    assert_eq!(Metric::L2.distance(x, centroid), Ok(l2));
    assert_eq!(Metric::L1.distance(x, centroid), Ok(l1));
    assert_eq!(Metric::Chebyshev.distance(x, centroid), Ok(chebyshev));
}

#[test]
fn distances() {
    check(&[], &[], [0.0, 0.0, 0.0]);
    check(&[3.0], &[-1.0], [16.0, 4.0, 4.0]);
    check(&[1.0, 2.0, 3.0], &[2.0, 0.0, 3.0], [5.0, 3.0, 2.0]);
}

#[test]
fn bad_vectors() {
    for metric in [Metric::L2, Metric::L1, Metric::Chebyshev] {
        assert_eq!(metric.distance(&[1.0], &[]), Err(VqError::LengthMismatch { expected: 0, actual: 1 }));
        assert_eq!(metric.distance(&[1.0, f32::NAN], &[1.0, 1.0]), Err(VqError::NonFinite { index: 1 }));
        assert_eq!(metric.distance(&[1.0, 1.0], &[f32::INFINITY, 1.0]), Err(VqError::NonFinite { index: 0 }));
    }
}
