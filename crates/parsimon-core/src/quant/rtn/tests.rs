use proptest::prelude::*;

use super::*;

fn error_of(q: &GroupQuantized, w: &[f32]) -> f64 {
    let num: f64 = q.dequantize().iter().zip(w).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    num / w.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>()
}

#[test]
fn the_error_falls_with_bits_and_ternary_is_worst() {
    let mut rng = crate::SplitMix64::new(5);
    let w: Vec<f32> = (0..32 * 128).map(|_| rng.next_normal() as f32).collect();
    let levels = [Levels::Ternary, Levels::Bits(2), Levels::Bits(3), Levels::Bits(4), Levels::Bits(8)];
    let errors = levels.map(|levels| error_of(&quantize(&w, 32, 128, levels, 64).unwrap(), &w));
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
    // The least squared errors of a Gaussian source: .190 for the best three levels, .119 for four uniform ones, .0115 for sixteen. Groups of
    // 64 fit their own extremes a little better, zero points on the grid a little worse.
    assert!(errors[0] < 0.21 && errors[1] < 0.14 && errors[3] < 0.0115, "{errors:?}");
}

#[test]
fn zero_groups_and_tiny_groups_are_exact() {
    for levels in [Levels::Ternary, Levels::Bits(1), Levels::Bits(4)] {
        let q = quantize(&[0.0; 10], 2, 5, levels, 4).unwrap();
        q.validate().unwrap();
        assert_eq!(q.dequantize(), [0.0; 10]);
    }
}

#[test]
fn bad_weights_are_refused() {
    assert_eq!(
        quantize(&[0.0, f32::NAN], 1, 2, Levels::Bits(2), 2),
        Err(QuantError::NonFiniteWeight { row: 0, col: 1 })
    );
    assert_eq!(quantize(&[0.0], 1, 1, Levels::Bits(9), 1), Err(QuantError::UnsupportedBits { bits: 9 }));
    assert!(quantize(&[0.0; 3], 1, 2, Levels::Bits(2), 2).is_err());
}

proptest! {
    /// The chosen codes are no worse than those of the whole range, whose error is at most half a step a weight.
    #[test]
    fn the_error_is_at_most_that_of_the_whole_range(
        w in prop::collection::vec(-4.0f32..4.0, 1..200),
        bits in 1u8..=8,
        group in 1usize..70,
    ) {
        let q = quantize(&w, 1, w.len(), Levels::Bits(bits), group).unwrap();
        q.validate().unwrap();
        for (w, quantized) in w.chunks(group).zip(q.dequantize().chunks(group)) {
            let lo = w.iter().copied().fold(0.0, f32::min);
            let hi = w.iter().copied().fold(0.0, f32::max);
            // The zero point is a whole code, so an end of the range may be a full step off; f16 scales are off by 2^-11.
            let step = (hi - lo) / ((1u32 << bits) - 1) as f32;
            let bound = w.len() as f32 * (step * 1.001 + (hi - lo) / 1000.0 + 1e-6).powi(2);
            let error: f32 = w.iter().zip(quantized).map(|(a, b)| (a - b).powi(2)).sum();
            prop_assert!(error <= bound, "{error} > {bound}");
        }
    }
}
