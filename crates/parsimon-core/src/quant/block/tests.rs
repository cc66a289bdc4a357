use super::*;
use crate::SplitMix64;

/// Random blocks whose f16 fields are ordinary numbers.
fn random_blocks(block_type: BlockType, blocks: usize, seed: u64) -> Vec<u8> {
    let mut rng = SplitMix64::new(seed);
    let mut bytes: Vec<u8> = (0..blocks * block_type.block_bytes()).map(|_| rng.next_u64() as u8).collect();
    let halves: &[usize] = match block_type {
        Q4_1 | Q5_1 | Q4_K | Q5_K => &[0, 2],
        Q2_K => &[80, 82],
        Q3_K => &[108],
        Q6_K => &[208],
        TQ1_0 => &[52],
        TQ2_0 => &[64],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(block_type.block_bytes()) {
        for &at in halves {
            block[at..at + 2].copy_from_slice(&f16::from_f64(rng.next_f64() * 0.2 - 0.1).to_le_bytes());
        }
    }
    bytes
}

#[test]
fn the_table_has_the_order_of_the_enum_and_no_id_twice() {
    for (i, row) in TABLE.iter().enumerate() {
        assert_eq!(row.0 as usize, i, "{}", row.2);
        assert_eq!(format!("{:?}", row.0), row.2);
        assert_eq!(BlockType::from_id(row.1), Ok(row.0));
        assert_eq!(BlockType::from_name(row.2), Some(row.0));
    }
    assert_eq!(BlockType::all().filter(|t| t.is_uniform()).count(), 14);
}

#[test]
fn ids_that_are_no_types_say_why() {
    assert_eq!(BlockType::from_id(31), Err(BlockError::RemovedType { id: 31, name: "Q4_0_4_4" }));
    assert_eq!(BlockType::from_id(9), Err(BlockError::InMemoryType { id: 9, name: "Q8_1" }));
    assert_eq!(BlockType::from_id(43), Err(BlockError::UnknownType { id: 43 }));
}

#[test]
fn the_constructor_checks_shape_and_bytes() {
    let bytes = [0; 36];
    let check = |block_type, m, k, error| assert_eq!(BlockMatrix::try_new(block_type, m, k, &bytes), Err(error));
    check(Q4_0, 1, 48, BlockError::NotWholeBlocks { block_type: Q4_0, k: 48, block_len: 32 });
    check(Q4_0, 3, 32, BlockError::ByteLength { block_type: Q4_0, m: 3, k: 32, expected: 54, actual: 36 });
    check(Q4_0, 0, 32, BlockError::EmptyShape { m: 0, k: 32 });
    check(I32, 3, 3, BlockError::NotDecodable { block_type: I32 });
    check(Q4_0, usize::MAX, 64, BlockError::TooLarge { m: usize::MAX, k: 64 });
    assert!(BlockMatrix::try_new(Q4_0, 2, 32, &bytes).is_ok());
}

#[test]
fn rows_are_the_rows_of_the_whole() {
    for block_type in BlockType::all().filter(|t| t.is_uniform()) {
        let k = 2 * block_type.block_len();
        let bytes = random_blocks(block_type, 6, 3);
        let matrix = BlockMatrix::try_new(block_type, 3, k, &bytes).unwrap();
        let whole = matrix.dequantize();
        let mut row = vec![0.0; k];
        for r in 0..3 {
            matrix.dequantize_row_into(r, &mut row);
            assert_eq!(row, whole[r * k..][..k], "{block_type}");
        }
    }
}

/// Zero points leave one rounding on both ways; a real zero is rounded itself, relative to the largest weight of its group.
#[test]
fn codes_scales_and_zeros_are_the_decoded_weights() {
    const REAL_ZERO_REL: f32 = 4.0 * f32::EPSILON;
    for block_type in BlockType::all().filter(|t| t.is_uniform()) {
        let (m, k) = (4, 3 * block_type.block_len());
        let bytes = random_blocks(block_type, 12, 4);
        let matrix = BlockMatrix::try_new(block_type, m, k, &bytes).unwrap();
        let converted = matrix.to_group_quantized().unwrap();
        assert_eq!(converted.validate(), Ok(()), "{block_type}");
        let (expected, actual) = (matrix.dequantize(), converted.dequantize());
        if matches!(converted.zeros, crate::quant::Zeros::Points(_)) {
            assert_eq!(expected, actual, "{block_type}");
            continue;
        }
        for (expected, actual) in expected.chunks(converted.group).zip(actual.chunks(converted.group)) {
            let largest = expected.iter().fold(0f32, |largest, w| largest.max(w.abs()));
            for (e, a) in expected.iter().zip(actual) {
                assert!((e - a).abs() <= REAL_ZERO_REL * largest.max(0.1), "{block_type}: {e} and {a}");
            }
        }
    }
}

#[test]
fn a_scale_that_is_not_finite_is_named_with_its_block() {
    let mut bytes = random_blocks(Q4_1, 6, 5);
    bytes[5 * 20 + 2..][..2].copy_from_slice(&f16::INFINITY.to_le_bytes());
    let matrix = BlockMatrix::try_new(Q4_1, 2, 96, &bytes).unwrap();
    let error = BlockError::NonFiniteScale { row: 1, block: 2 };
    assert_eq!(matrix.validate(), Err(error.clone()));
    assert_eq!(matrix.to_group_quantized(), Err(error));
    assert!(matrix.dequantize()[191].is_infinite());
}

#[test]
fn dense_and_codebook_types_have_no_codes() {
    for (block_type, bytes) in [(F32, vec![0; 128]), (IQ4_NL, vec![0; 18]), (MXFP4, vec![0; 17])] {
        let matrix = BlockMatrix::try_new(block_type, 1, 32, &bytes).unwrap();
        assert_eq!(matrix.to_group_quantized(), Err(BlockError::NotUniform { block_type }));
    }
}

#[test]
fn bits_are_spread_least_significant_first() {
    for bits in 0..=255u8 {
        let expected: [u8; 8] = std::array::from_fn(|i| bits >> i & 1);
        assert_eq!(legacy::spread_bits(bits).to_le_bytes(), expected);
    }
}
