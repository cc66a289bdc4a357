//! The block types of GGUF against the reference decoders and quantizers.

use std::path::Path;

use parsimon_core::io::read_json;
use parsimon_core::quant::encode::quantize;
use parsimon_core::quant::{BlockMatrix, BlockType, Zeros};
use serde_json::Value;

/// Checks each case of one list of `ggml/manifest.json`; returns their number.
fn each(dir: &Path, list: &str, check: fn(&Path, &Value)) -> usize {
    let manifest: Value = read_json(&dir.join("manifest.json")).unwrap();
    let cases = manifest[list].as_array().unwrap();
    cases.iter().for_each(|case| check(dir, case));
    cases.len()
}

pub(crate) fn f32s(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

/// Every type, bit for bit: zero, all-ones, subnormal, random and quantizer-made blocks.
#[test]
fn decodes_as_the_reference_decoders_do() {
    crate::shared_and_committed("formats/ggml", |dir| each(dir, "dequantize", check_decode));
}

fn check_decode(dir: &Path, case: &Value) {
    let name = case["type"].as_str().unwrap();
    let field = |key: &str| case[key].as_u64().unwrap() as usize;
    let block_type = BlockType::from_name(name).unwrap();
    assert_eq!(BlockType::from_id(field("id") as u32), Ok(block_type));
    assert_eq!(
        (block_type.block_len(), block_type.block_bytes()),
        (field("block_len"), field("block_bytes")),
        "{name}"
    );

    let file = name.to_lowercase();
    let bytes = std::fs::read(dir.join(format!("{file}.blocks.bin"))).unwrap();
    let expected = f32s(&dir.join(format!("{file}.f32.bin")));
    let (m, k) = (field("n_blocks") / 2, 2 * block_type.block_len());
    let matrix = BlockMatrix::try_new(block_type, m, k, &bytes).unwrap();
    for (i, (actual, expected)) in matrix.dequantize().iter().zip(&expected).enumerate() {
        assert_eq!(actual.to_bits(), expected.to_bits(), "{name}: weight {i} is {actual}, expected {expected}");
    }
    assert_eq!(expected.len(), m * k);
    if block_type.is_uniform() && expected.iter().all(|w| w.is_finite()) {
        let converted = matrix.to_group_quantized().unwrap();
        assert_eq!(converted.validate(), Ok(()), "{name}");
        let exact = matches!(converted.zeros, Zeros::Points(_));
        for (group, codes) in converted.dequantize().chunks(converted.group).zip(expected.chunks(converted.group)) {
            // A real zero is rounded once: one unit in the last place of the group's range.
            let range = codes.iter().fold(0f32, |largest, w| largest.max(w.abs()));
            let tolerance = if exact { 0.0 } else { 2.0 * f32::EPSILON * range };
            assert!(group.iter().zip(codes).all(|(a, e)| (a - e).abs() <= tolerance), "{name}");
        }
    }
}

/// Six rows a type, one zero and one with ties, byte for byte.
#[test]
fn quantizes_as_the_reference_quantizers_do() {
    crate::shared_and_committed("formats/ggml", |dir| each(dir, "quantize", check_encode));
}

fn check_encode(dir: &Path, case: &Value) {
    let name = case["type"].as_str().unwrap();
    let block_type = BlockType::from_name(name).unwrap();
    let file = name.to_lowercase();
    let x = f32s(&dir.join(format!("quantize_{file}.in.f32.bin")));
    let expected = std::fs::read(dir.join(format!("quantize_{file}.out.bin"))).unwrap();
    let actual = quantize(block_type, &x).unwrap();
    for (row, blocks) in
        actual.chunks(block_type.block_bytes()).zip(expected.chunks(block_type.block_bytes())).enumerate()
    {
        assert_eq!(blocks.0, blocks.1, "{name}, row {row}");
    }
    assert_eq!(actual.len(), expected.len(), "{name}");
}
