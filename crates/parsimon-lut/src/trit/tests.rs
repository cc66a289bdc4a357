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
    let a = [7.0, -20.0, 3.0, 1.0, 25.0];
    let table = table_of(a);
    for (v, &entry) in table.iter().enumerate().take(SUMS) {
        let sum: f32 = decode(v as u8).iter().zip(a).map(|(&code, a)| (f32::from(code) - 1.0) * a).sum();
        assert_eq!(f32::from(entry) - 128.0, sum, "entry {v}");
    }
    assert_eq!(table[SUMS..], [128; ENTRIES - SUMS]);
}

#[test]
fn zeros_have_scale_zero_and_neutral_entries() {
    let mut table = [0; ENTRIES];
    assert_eq!(quantize_group(&[0.0; FIVE], &mut table), 0.0);
    assert_eq!(table, [128; ENTRIES]);
}
