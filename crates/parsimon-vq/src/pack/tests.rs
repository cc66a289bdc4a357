use parsimon_core::SplitMix64;

use super::*;

#[test]
fn every_width_comes_back() {
    let mut rng = SplitMix64::new(5);
    for main_bits in 1..=16 {
        for residual_bits in 0..=16 {
            for columns in [1, 2, 3, 31, 32, 33, 70] {
                let mut codes = |bits: usize| -> Vec<u16> {
                    (0..2 * columns).map(|_| (rng.next_u64() & ((1 << bits) - 1)) as u16).collect()
                };
                let (main, residual) = (codes(main_bits), codes(residual_bits));
                let residual = if residual_bits == 0 { Vec::new() } else { residual };
                let words = pack(&main, &residual, columns, (main_bits, residual_bits));
                assert_eq!(words.len(), 2 * (columns * (main_bits + residual_bits)).div_ceil(32));
                assert_eq!(unpack(&words, columns, (main_bits, residual_bits)), (main, residual));
            }
        }
    }
}

#[test]
fn a_bit_belongs_to_one_code() {
    let main: Vec<u16> = (0..19).map(|i| i * 37 % 1024).collect();
    let mut words = pack(&main, &[], 19, (10, 0));
    for bit in 0..190 {
        words[bit / 32] ^= 1 << (bit % 32);
        let (changed, _) = unpack(&words, 19, (10, 0));
        let differing: Vec<usize> = (0..19).filter(|&i| changed[i] != main[i]).collect();
        assert_eq!(differing, [bit / 10]);
        words[bit / 32] ^= 1 << (bit % 32);
    }
}

#[test]
fn widths() {
    assert_eq!([0, 2, 3, 4, 256, 257, 65536].map(bits_for), [0, 1, 2, 2, 8, 9, 16]);
}
