use super::*;

#[track_caller]
fn check(metric: Metric, a: &[f32], b: &[f32], expected: Result<f64, MetricError>) {
    assert_eq!(metric.distance(a, b), expected, "{metric}");
    assert_eq!(metric.distance(b, a).is_ok(), expected.is_ok(), "{metric}");
    assert_eq!(metric.name().parse(), Ok(metric));
}

#[test]
fn distances() {
    check(Metric::L2, &[1.0, 2.0], &[4.0, -2.0], Ok(25.0));
    check(Metric::InnerProduct, &[1.0, 2.0], &[4.0, -2.0], Ok(0.0));
    check(Metric::InnerProduct, &[1.0, 2.0], &[3.0, 4.0], Ok(-11.0));
    check(Metric::Cosine, &[1.0, 0.0], &[7.0, 0.0], Ok(0.0));
    check(Metric::Cosine, &[1.0, 0.0], &[-2.0, 0.0], Ok(2.0));
    check(Metric::L2, &[], &[], Ok(0.0));
    check(Metric::L2, &[f32::MAX], &[-f32::MAX], Ok(4.0 * f64::from(f32::MAX) * f64::from(f32::MAX)));
}

#[test]
fn bad_vectors() {
    check(Metric::Cosine, &[0.0, 0.0], &[1.0, 0.0], Err(MetricError::ZeroVector));
    let mismatch = Metric::L2.distance(&[1.0], &[1.0, 2.0]);
    assert_eq!(mismatch, Err(MetricError::DimMismatch { expected: 1, actual: 2 }));
    let infinite = Metric::L2.distance(&[1.0, f32::INFINITY], &[1.0, 2.0]);
    assert_eq!(infinite, Err(MetricError::NonFinite { index: 1, value: f32::INFINITY }));
    assert_eq!("L2".parse::<Metric>(), Err(MetricError::UnknownMetric { given: "L2".into() }));
}
