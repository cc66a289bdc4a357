use super::*;
use crate::SplitMix64;

/// The transposition is `get` of every code, over strips that are cut and rows that end inside a word.
#[test]
fn unpacked_columns_are_the_codes_one_by_one() {
    let mut rng = SplitMix64::new(5);
    for (packing, bits, k, words) in [
        (Packing::Stream, 2, 48, 3),
        (Packing::Stream, 3, 64, 6),
        (Packing::Stream, 4, 40, 5),
        (Packing::Stream, 5, 32, 5),
        (Packing::Stream, 8, 12, 3),
        (Packing::Stream, 8, 32, 8),
        (Packing::TenAWord, 3, 96, 10),
        (Packing::TenAWord, 3, 20, 2),
    ] {
        for m in [1, 63, 64, 65, 200] {
            let column_words: Vec<i32> = (0..words * m).map(|_| rng.next_u64() as i32).collect();
            let mut codes = vec![0; m * k];
            packing.unpack_columns(&column_words, m, k, bits, &mut codes);
            for (i, &code) in codes.iter().enumerate() {
                let expected = packing.get(&column_words, i % k, bits, |word| word * m + i / k);
                assert_eq!(u32::from(code), expected, "{packing:?}, {bits} bits, m = {m}, code {i}");
            }
        }
    }
}

#[test]
fn a_code_that_straddles_two_words_is_whole() {
    let mut words = [0; 3];
    put_bits(&mut words, 30, 0b101, 3, |word| word);
    assert_eq!(words, [1 << 30, 1, 0]);
    assert_eq!(Packing::Stream.get(&words.map(|word| word as i32), 10, 3, |word| word), 0b101);
}

#[test]
fn streams_fill_whole_words() {
    assert_eq!(stream_words("a row", 64, 3), Ok(6));
    assert_eq!(stream_words("a row", 60, 3), Err(QuantError::NotWholeWords { what: "a row", len: 60, bits: 3 }));
    assert!(stream_words("a row", usize::MAX, 4).is_err());
}
