use parsimon_core::quant::{GroupQuantized, Zeros};
use parsimon_core::variant_name;

use super::*;
use crate::{Backend, LowBitMatrix, Method, Plan};

/// Whether the packed matrix has the bytes that its shape promised.
#[track_caller]
fn check(kernel: Kernel, traits: Traits, (m, k): (usize, usize), stored: StoredZeros) {
    let Traits { bits, group, .. } = traits;
    let n = m * k.div_ceil(group.min(k));
    // Two zero points in the middle differ by so little that their offsets fit bytes.
    let zeros = match stored {
        StoredZeros::Uniform => Zeros::Points(vec![1; n]),
        StoredZeros::Points => Zeros::Points((0..n).map(|i| (1 << (bits - 1)) + (i % 2) as u16).collect()),
        StoredZeros::Reals => Zeros::Real(vec![0.25; n]),
    };
    let matrix = GroupQuantized {
        bits,
        m,
        k,
        group: group.min(k),
        codes: vec![1; m * k],
        scales: vec![1.0; n],
        zeros,
        g_idx: None,
    };
    let packed = LowBitMatrix::from_quantized(&matrix, Backend::Kernel(kernel)).unwrap();
    let footprint = Footprint::try_new(kernel, traits, (m, k), stored).unwrap();
    assert_eq!(footprint.bytes(), packed.bytes(), "{} {traits:?} [{m}, {k}] {stored:?}", kernel.name());
    assert_eq!(footprint.constants == 0, stored == StoredZeros::Uniform);
}

#[test]
fn bytes_are_those_of_the_packed_matrix() {
    let mut checked = 0;
    for kernel in Kernel::available() {
        for bits in 1..=8 {
            for group in [16, 32, 64, 128, 1000] {
                for shape in [(2, 5), (31, 100), (64, 128), (257, 320)] {
                    let ternary = kernel.method() == Method::Elut;
                    let traits = Traits { bits, ternary, group };
                    if kernel.stored_bits(bits, group.min(shape.1)).is_none() || !is_supported_group(group, shape.1) {
                        continue;
                    }
                    check(kernel, traits, shape, StoredZeros::Uniform);
                    if !ternary {
                        check(kernel, traits, shape, StoredZeros::Points);
                        check(kernel, traits, shape, StoredZeros::Reals);
                    }
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn shapes_that_cannot_be_packed_are_named() {
    let check = |bits: u8, shape: (usize, usize), group: usize, variant: &str| {
        let traits = Traits { bits, ternary: false, group };
        let kernel = Plan::new(traits, parsimon_simd::Level::Scalar).unwrap().kernel;
        let error = Footprint::try_new(kernel, traits, shape, StoredZeros::Uniform).unwrap_err();
        let found = match &error {
            PackError::Quant(e) => variant_name(e),
            other => variant_name(other),
        };
        assert_eq!(found, variant, "{error}");
    };
    check(2, (0, 64), 32, "EmptyShape");
    check(2, (64, 0), 32, "EmptyShape");
    check(2, (64, 64), 0, "EmptyShape");
    check(2, (64, 128), 40, "UnsupportedGroup");
    check(2, (usize::MAX, 1), 32, "TooLarge");
    check(2, (1 << 40, 1 << 40), 32, "TooLarge");
    let wide = Traits { bits: 5, ternary: false, group: 32 };
    let kernel = Kernel::new(Method::Lut, parsimon_simd::Level::Scalar);
    assert!(matches!(
        Footprint::try_new(kernel, wide, (64, 64), StoredZeros::Uniform),
        Err(PackError::UnsupportedBits { bits: 5, .. })
    ));
}
