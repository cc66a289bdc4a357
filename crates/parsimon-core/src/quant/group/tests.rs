use super::*;

fn sample() -> GroupQuantized {
    GroupQuantized {
        bits: 2,
        m: 2,
        k: 3,
        group: 2,
        codes: vec![0, 1, 2, 3, 0, 1],
        scales: vec![0.5, 1.0, 2.0, -1.0],
        zeros: Zeros::Points(vec![1, 0, 4, 2]),
        g_idx: None,
    }
}

#[test]
fn dequantizes_by_the_formula_with_a_short_last_group() {
    assert_eq!(sample().dequantize(), [-0.5, 0.0, 2.0, -2.0, -8.0, 1.0]);
    let reordered = GroupQuantized { g_idx: Some(vec![1, 0, 1]), ..sample() };
    assert_eq!(reordered.dequantize(), [0.0, 0.0, 2.0, -1.0, -8.0, 1.0]);
}

#[test]
fn real_zeros_are_subtracted_after_the_middle() {
    let real = GroupQuantized { zeros: Zeros::Real(vec![0.25, 0.0, 1.0, 0.0]), ..sample() };
    assert_eq!(real.dequantize(), [-1.25, -0.75, 0.0, 1.0, -5.0, 1.0]);
}

#[test]
fn counts_every_bit() {
    // 2 bits a code; two groups of 16 + 2 bits for three weights of a row.
    assert_eq!(sample().bits_per_weight(), 2.0 + 2.0 * 18.0 / 3.0);
}

#[test]
fn each_violation_is_named() {
    let broken: [(GroupQuantized, QuantError); 8] = [
        (GroupQuantized { bits: 9, ..sample() }, QuantError::UnsupportedBits { bits: 9 }),
        (GroupQuantized { k: 0, ..sample() }, QuantError::EmptyShape { m: 2, k: 0, group: 2 }),
        (
            GroupQuantized { scales: vec![1.0; 3], ..sample() },
            QuantError::LengthMismatch { what: "scales", expected: 4, actual: 3 },
        ),
        (
            GroupQuantized { codes: vec![0, 1, 2, 3, 4, 1], ..sample() },
            QuantError::CodeOutOfRange { row: 1, col: 1, code: 4 },
        ),
        (
            GroupQuantized { scales: vec![1.0, 1.0, f32::NAN, 1.0], ..sample() },
            QuantError::NonFiniteScale { row: 1, group: 0 },
        ),
        (
            GroupQuantized { zeros: Zeros::Points(vec![0, 5, 0, 0]), ..sample() },
            QuantError::ZeroPointOutOfRange { row: 0, group: 1, zero_point: 5 },
        ),
        (
            GroupQuantized { zeros: Zeros::Real(vec![0.0, f32::NAN, 0.0, 0.0]), ..sample() },
            QuantError::NonFiniteZero { row: 0, group: 1 },
        ),
        (
            GroupQuantized { g_idx: Some(vec![0, 2, 0]), ..sample() },
            QuantError::GroupIndexOutOfRange { col: 1, index: 2, n_groups: 2 },
        ),
    ];
    assert_eq!(sample().validate(), Ok(()));
    for (value, error) in broken {
        assert_eq!(value.validate(), Err(error));
    }
}
