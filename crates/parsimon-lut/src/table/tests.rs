use proptest::prelude::*;

use super::*;

fn build(x: &[f32], ags: usize) -> (Vec<i8>, Vec<f32>) {
    let mut tables = vec![0; x.len() / LOOKUP * ENTRIES];
    let mut scales = vec![0.0; x.len().div_ceil(ags)];
    quantize_table(x, ags, &mut tables, &mut scales);
    (tables, scales)
}

#[test]
fn integer_activations_of_one_scale_are_exact_sums() {
    // The largest absolute sum is 127, so the scale is 1 and every entry is the signed sum itself.
    let x = [100.0, 20.0, 5.0, -2.0];
    let (table, scales) = build(&x, 4);
    assert_eq!(scales, [1.0]);
    for (i, &entry) in table.iter().enumerate() {
        let sum: f32 = (0..4).map(|t| if i >> t & 1 == 1 { x[t] } else { -x[t] }).sum();
        assert_eq!(f32::from(entry), sum, "entry {i}");
    }
}

#[test]
fn a_zero_group_has_scale_zero() {
    let mut x = vec![1.0; 8];
    x[4..].fill(0.0);
    let (table, scales) = build(&x, 4);
    assert!(scales[0] > 0.0 && scales[1] == 0.0);
    assert!(table[16..].iter().all(|&entry| entry == 0));
}

/// Whatever body runs here gives the bytes and scales of the portable one.
#[test]
fn all_bodies_give_the_same_bytes() {
    let mut rng = parsimon_core::SplitMix64::new(8);
    for (len, ags) in [(4, 64), (60, 64), (64, 64), (100, 64), (128, 32), (260, 128), (512, 256)] {
        let x: Vec<f32> = (0..len).map(|_| rng.next_normal() as f32).collect();
        let (tables, scales) = build(&x, ags);
        let mut expected = vec![0; tables.len()];
        for (i, (x, tables)) in x.chunks(ags).zip(expected.chunks_mut(ags / LOOKUP * ENTRIES)).enumerate() {
            assert_eq!(scales[i], build_group_portable(x, tables) / ENTRY_MAX);
        }
        assert!(tables == expected, "{len} activations in groups of {ags}");
    }
}

proptest! {
    #[test]
    fn entries_are_mirrored_and_near_the_sums(quads in prop::collection::vec(prop::array::uniform4(-8.0f32..8.0), 1..40)) {
        let x = quads.concat();
        let (tables, scales) = build(&x, 64);
        for (j, table) in tables.chunks_exact(ENTRIES).enumerate() {
            let scale = scales[j * LOOKUP / 64];
            for i in 0..ENTRIES {
                prop_assert_eq!(table[i], -table[15 - i]);
                let sum: f32 = (0..4).map(|t| if i >> t & 1 == 1 { x[4 * j + t] } else { -x[4 * j + t] }).sum();
                // Half a quantization step, and the rounding of three additions.
                prop_assert!((f32::from(table[i]) * scale - sum).abs() <= 0.5 * scale + 1e-5 * scale * 127.0);
            }
        }
    }
}
