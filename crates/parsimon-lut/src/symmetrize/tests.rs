use parsimon_core::SplitMix64;
use parsimon_core::quant::{GroupQuantized, Zeros};
use parsimon_simd::Level;

use super::*;
use crate::groups::{Groups, PackedConstants};
use crate::{Kernel, Method, quantize_table};

/// `T[i] = sum_t (bit t of i ? +a_t : -a_t)`.
fn full_table(a: [f32; 4]) -> [f32; ENTRIES] {
    std::array::from_fn(|i| a.iter().enumerate().map(|(t, &a)| if i >> t & 1 == 1 { a } else { -a }).sum())
}

#[track_caller]
fn check_all_patterns(table: &[f32; ENTRIES]) {
    let half = half_table(table);
    for w in 0..16u8 {
        // Entries are sums of the same magnitudes in the same order, so even their roundings mirror.
        assert_eq!(lookup(&half, fold(w)), table[usize::from(w)], "pattern {w:04b} of {table:?}");
    }
}

#[test]
fn half_a_table_gives_every_entry() {
    let mut rng = SplitMix64::new(31);
    for _ in 0..1000 {
        check_all_patterns(&full_table(std::array::from_fn(|_| rng.next_normal() as f32)));
    }
    check_all_patterns(&full_table([0.0; 4]));
    check_all_patterns(&full_table([1e-30, 1e30, -1.0, 3.0]));
}

#[test]
fn half_a_quantized_table_gives_every_entry() {
    let mut rng = SplitMix64::new(32);
    let x: Vec<f32> = (0..256).map(|_| rng.next_normal() as f32).collect();
    let (mut tables, mut scales) = (vec![0; 4 * x.len()], [0.0; 4]);
    quantize_table(&x, 64, &mut tables, &mut scales);
    for table in tables.as_chunks::<ENTRIES>().0 {
        check_all_patterns(&table.map(f32::from));
    }
}

#[test]
fn a_table_without_the_mirror_is_not_its_half() {
    let mut table = full_table([1.0, 2.0, 4.0, 8.0]);
    table[9] += 1.0;
    assert_ne!(lookup(&half_table(&table), fold(9)), table[9]);
}

#[test]
fn folding_follows_its_formula_and_is_undone() {
    for w in 0..16u8 {
        let sign = w >> 3;
        let expected = (0..3).fold(sign << 3, |folded, t| folded | (w >> t & 1 ^ sign) << t);
        assert_eq!(fold(w), expected, "{w:04b}");
        assert_eq!(unfold(fold(w)), w);
    }
}

#[test]
fn a_stream_folds_nibble_by_nibble() {
    let plain: Vec<u8> = (0..=255).collect();
    let mut stream = plain.clone();
    fold_stream(&mut stream);
    for (&folded, &byte) in stream.iter().zip(&plain) {
        assert_eq!(folded, fold(byte & 15) | fold(byte >> 4) << 4);
    }
    unfold_stream(&mut stream);
    assert_eq!(stream, plain);
}

#[test]
fn offsets_keep_every_difference_of_code_and_zero_point() {
    for bits in 1..=8u8 {
        for code in 0..=u8::MAX >> (8 - bits) {
            for zero_point in 0..=1u16 << bits {
                let expected = 2 * (i32::from(code) - i32::from(zero_point));
                assert_eq!(odd_code(code, bits) - offset(zero_point, bits), expected, "{bits} {code} {zero_point}");
            }
        }
    }
}

/// `q'` is what `sum_i 2^i v'_i` of the planes gives.
#[test]
fn odd_codes_are_sums_of_signs() {
    for code in 0..=255u8 {
        let signs: i32 = (0..8).map(|i| if code >> i & 1 == 1 { 1 << i } else { -(1 << i) }).sum();
        assert_eq!(odd_code(code, 8), signs);
    }
}

#[test]
fn packed_matrices_store_the_offsets() {
    let points: Vec<u16> = (0..=16).collect();
    let m = points.len();
    let matrix = GroupQuantized {
        bits: 4,
        m,
        k: 32,
        group: 32,
        codes: vec![0; m * 32],
        scales: vec![1.0; m],
        zeros: Zeros::Points(points.clone()),
        g_idx: None,
    };
    let groups = Groups::pack(&matrix, Kernel::new(Method::Lut, Level::Scalar), 1);
    let PackedConstants::Offsets(stored) = groups.constants else { panic!("zero points that differ are stored") };
    for (&stored, &point) in stored.iter().zip(&points) {
        assert_eq!(i32::from(stored), offset(point, 4));
    }
}

#[test]
#[should_panic(expected = "not 9")]
fn nine_bits_are_refused() {
    offset(0, 9);
}
