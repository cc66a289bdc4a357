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
    // Uniform codes over the whole range waste levels on a Gaussian: at 2 bits least-squares ternary is even better.
    assert!(errors[1] > errors[2] && errors[2] > errors[3] && errors[3] > errors[4], "{errors:?}");
    assert!(errors[0] < 0.25, "least-squares ternary of a Gaussian loses 19 % of the energy: {errors:?}");
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
    /// Nothing is further from its weight than half a step, plus the step's own rounding to f16 (2^-11) over the range.
    #[test]
    fn every_weight_is_within_half_a_step(
        w in prop::collection::vec(-4.0f32..4.0, 1..200),
        bits in 1u8..=8,
        group in 1usize..70,
    ) {
        let q = quantize(&w, 1, w.len(), Levels::Bits(bits), group).unwrap();
        q.validate().unwrap();
        for (c, (a, b)) in q.dequantize().iter().zip(&w).enumerate() {
            let step = q.scales[c / group];
            let range = step * ((1 << bits) - 1) as f32;
            // A zero point that is rounded shifts the whole grid by up to half a step, so an end may be a full step off.
            prop_assert!((a - b).abs() <= step + range / 1024.0 + 1e-6, "{a} for {b}, step {step}");
        }
    }
}
