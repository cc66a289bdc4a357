use super::*;
use crate::SplitMix64;
use crate::quant::BlockMatrix;

const TYPES: [BlockType; 10] = [
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q5_0,
    BlockType::Q5_1,
    BlockType::Q8_0,
    BlockType::TQ1_0,
    BlockType::TQ2_0,
    BlockType::MXFP4,
    BlockType::Q1_0,
    BlockType::Q2_0,
];

#[test]
fn exactly_the_listed_types_have_a_quantizer() {
    for block_type in BlockType::all() {
        assert_eq!(is_supported(block_type), TYPES.contains(&block_type), "{block_type}");
    }
    let error = EncodeError::Unsupported { block_type: BlockType::Q4_K };
    assert_eq!(quantize(BlockType::Q4_K, &[0.0; 256]), Err(error));
}

#[test]
fn lengths_and_weights_are_checked() {
    let check = |x: &[f32], bytes: usize, error| {
        assert_eq!(quantize_into(BlockType::Q8_0, x, &mut vec![0; bytes]), Err(error));
    };
    check(&[0.0; 33], 34, EncodeError::NotWholeBlocks { block_type: BlockType::Q8_0, len: 33, block_len: 32 });
    check(&[0.0; 32], 33, EncodeError::ByteLength { block_type: BlockType::Q8_0, expected: 34, actual: 33 });
    let mut x = [0.0; 32];
    x[7] = f32::NAN;
    check(&x, 34, EncodeError::NonFiniteWeight { index: 7 });
}

/// What a block of the code range decodes to is quantized to the same block, up to the sign of a zero.
#[test]
fn quantizing_what_was_decoded_changes_nothing() {
    let mut rng = SplitMix64::new(11);
    for block_type in TYPES {
        let (m, k) = (64, block_type.block_len());
        let ternary = matches!(block_type, BlockType::TQ1_0 | BlockType::TQ2_0 | BlockType::Q2_0);
        let x: Vec<f32> =
            (0..m * k).map(|_| if ternary { rng.below(3) as f32 - 1.0 } else { rng.next_normal() as f32 }).collect();
        let bytes = quantize(block_type, &x).unwrap();
        let decoded = BlockMatrix::try_new(block_type, m, k, &bytes).unwrap().dequantize();
        let again = quantize(block_type, &decoded).unwrap();
        let redecoded = BlockMatrix::try_new(block_type, m, k, &again).unwrap().dequantize();
        assert_eq!(decoded, redecoded, "{block_type}");
    }
}

#[test]
fn tiny_and_huge_weights_do_not_panic() {
    for block_type in TYPES {
        for value in [f32::MIN_POSITIVE / 8.0, -f32::MIN_POSITIVE, 1e38, -3.4e38, 0.0, -0.0] {
            let x = vec![value; block_type.block_len()];
            quantize(block_type, &x).unwrap();
        }
    }
}
