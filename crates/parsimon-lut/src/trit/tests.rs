use super::*;

#[test]
fn every_five_survives_its_byte() {
    for i in 0..243u32 {
        let codes: [u8; FIVE] = std::array::from_fn(|d| (i / 3u32.pow(4 - d as u32) % 3) as u8);
        assert_eq!(decode(encode(&codes)), codes);
    }
    assert_eq!(encode(&[]), 0);
    assert_eq!(encode(&[2]), 81, "missing trits are 0");
    assert_eq!(encode(&[0, 1, 1, 1, 1]), 0x80 | 81);
}

#[test]
fn entries_are_the_sums_of_their_digits() {
    let a = [7, -20, 3, 1, 25];
    let table = table_of(a);
    for (v, &entry) in table.iter().enumerate().take(SUMS) {
        let sum: i16 = decode(v as u8).iter().zip(a).map(|(&code, a)| (i16::from(code) - 1) * i16::from(a)).sum();
        assert_eq!(i16::from(entry) - 128, sum, "entry {v}");
    }
    assert_eq!(table[SUMS..], [128; ENTRIES - SUMS]);
}

#[test]
fn zeros_have_scale_zero_and_neutral_entries() {
    let mut table = [0; ENTRIES];
    assert_eq!(quantize_group(&[0.0; FIVE], &mut table), 0.0);
    assert_eq!(table, [128; ENTRIES]);
}

#[test]
fn entries_are_within_half_a_step_of_the_sums() {
    let mut rng = parsimon_core::SplitMix64::new(5);
    let x: Vec<f32> = (0..160).map(|_| rng.next_normal() as f32).collect();
    let mut tables = vec![0; 160 / FIVE * ENTRIES];
    let scale = quantize_group(&x, &mut tables);
    for (a, table) in x.chunks(FIVE).zip(tables.chunks(ENTRIES)) {
        for (v, &entry) in table.iter().enumerate().take(SUMS) {
            let sum: f32 = decode(v as u8).iter().zip(a).map(|(&code, a)| (f32::from(code) - 1.0) * a).sum();
            let error = (f32::from(entry) - 128.0) * scale - sum;
            // Half a step of the entry and half a 256th of each of its five digits.
            assert!(error.abs() <= scale * (0.5 + 2.5 / 256.0 + 1e-3), "entry {v}: {error} at {scale}");
        }
    }
}

/// Whatever body runs here gives the bytes of the portable one.
#[test]
fn all_bodies_give_the_same_bytes() {
    let mut rng = parsimon_core::SplitMix64::new(6);
    let digits: Vec<[i16; FIVE]> = (0..50).map(|_| std::array::from_fn(|_| rng.below(13_000) as i16 - 6_500)).collect();
    let (mut tables, mut expected) = ([[0; ENTRIES]; 50], [[0; ENTRIES]; 50]);
    fill_tables(&digits, &mut tables);
    digits.iter().zip(&mut expected).for_each(|(b, table)| fill_table(*b, table));
    assert_eq!(tables, expected);
}
