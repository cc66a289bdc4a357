use super::*;

#[test]
fn pieces_do_not_matter() {
    let x: Vec<f32> = (0..700 * 5).map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0).collect();
    for numerics in [Numerics::Exact, Numerics::Fast] {
        let mut whole = HessianAccumulator::new(5, numerics);
        whole.push(&x).unwrap();
        let mut pieces = HessianAccumulator::new(5, numerics);
        x.chunks(5 * 7).for_each(|x| pieces.push(x).unwrap());
        let (whole, pieces) = (whole.finish(), pieces.finish());
        assert_eq!(whole, pieces);
        assert_eq!(whole.tokens(), 700);
        assert!(!whole.is_thin());
    }
}

#[test]
fn bad_matrices() {
    let variant = |h: Vec<f64>, k| parsimon_core::variant_name(&Hessian::try_new(h, k).unwrap_err());
    assert_eq!(variant(vec![1.0; 3], 2), "ShapeMismatch");
    assert_eq!(variant(vec![1.0, 0.5, 0.6, 1.0], 2), "NotSymmetric");
    assert_eq!(variant(vec![1.0, f64::NAN, 0.6, 1.0], 2), "NonFinite");
    assert_eq!(variant(vec![], 0), "EmptyShape");
    let mut accumulator = HessianAccumulator::new(2, Numerics::Fast);
    assert_eq!(
        accumulator.push(&[0.0, 1.0, 2.0, f32::INFINITY]),
        Err(QuantizeError::NonFinite { what: "input", row: 1, column: 1 })
    );
    assert!(accumulator.push(&[0.0]).is_err());
}
