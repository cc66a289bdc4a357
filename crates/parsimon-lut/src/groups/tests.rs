use parsimon_simd::Level;

use super::*;
use crate::Method;

fn pack(bits: u8, scales: Vec<f32>, zeros: Zeros) -> Groups {
    let m = scales.len();
    let matrix = GroupQuantized { bits, m, k: 1, group: 1, codes: vec![0; m], scales, zeros, g_idx: None };
    Groups::pack(&matrix, Kernel::new(Method::Dot, Level::Scalar), 1)
}

#[test]
fn constants_take_the_least_room() {
    let ones = || vec![1.0; 3];
    assert_eq!(pack(4, ones(), Zeros::Points(vec![8; 3])).constants, PackedConstants::Uniform(1.0));
    let PackedConstants::Offsets(offsets) = pack(4, ones(), Zeros::Points(vec![0, 8, 16])).constants else {
        panic!("small offsets fit bytes")
    };
    assert_eq!(offsets[..4], [-15, 1, 17, 0]);
    let PackedConstants::Real(reals) = pack(8, ones(), Zeros::Points(vec![0, 128, 256])).constants else {
        panic!("an offset of 257 fits no byte")
    };
    assert_eq!(reals[..4], [-127.5, 0.5, 128.5, 0.0]);
    // +-d as one bit: s = 2 d, z = -d.
    assert_eq!(pack(1, vec![2.0; 2], Zeros::Real(vec![-1.0; 2])).constants, PackedConstants::Uniform(0.0));
}

#[test]
fn real_zeros_are_relative_to_the_upper_middle_code() {
    // w = (q - 16) s - z = (q - 15.5) s - c.
    let groups = pack(5, vec![0.5], Zeros::Real(vec![0.25]));
    let (scale, constant) = groups.scale_and_constant(0);
    assert_eq!((7.0 - 15.5) * scale - constant, (7.0 - 16.0) * 0.5 - 0.25);
}

#[test]
fn scales_beyond_f16_get_a_unit() {
    for scales in [vec![1e6, 3.0], vec![1e-9, 2e-9], vec![65_520.0], vec![1e30, 1e28]] {
        let groups = pack(2, scales.clone(), Zeros::Points(vec![2; scales.len()]));
        assert_ne!(groups.unit(), 1.0);
        for (i, &scale) in scales.iter().enumerate() {
            let (stored, _) = groups.scale_and_constant(i);
            assert!((stored - scale).abs() <= scale * 2f32.powi(-11), "{scale}: {stored}");
        }
    }
    assert_eq!(pack(2, vec![0.0, 1.0, 7e-5], Zeros::Points(vec![2; 3])).unit(), 1.0);
}
