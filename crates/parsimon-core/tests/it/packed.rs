//! Packed safetensors of every layout: codes, zero points and weights exactly.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use parsimon_core::io::{Checkpoint, read_json};
use parsimon_core::quant::gptq::{self, GptqConfig};
use parsimon_core::quant::packed::awq::{self, AwqConfig};
use parsimon_core::quant::packed::bitnet::{self, ScaleRule};
use parsimon_core::quant::packed::efficient_qat;
use parsimon_core::quant::packed::i2s::{I2sBlock, I2sMatrix};
use parsimon_core::quant::packed::tmac::{self, TmacTile};
use parsimon_core::quant::{GroupQuantized, Zeros};
use serde_json::Value;

#[test]
fn packed_goldens() {
    crate::shared_and_committed("formats/packed", |dir| {
        let cases: Vec<Value> = read_json(&dir.join("manifest.json")).unwrap();
        cases.iter().for_each(|case| check(dir, case));
        cases.len()
    });
}

/// A header that lies about a name, a dtype, a shape or a place gives a matrix or a typed error.
#[test]
fn no_flipped_bit_of_a_header_makes_a_reader_panic() {
    crate::shared_and_committed("formats/packed", |dir| {
        let cases: Vec<Value> = read_json(&dir.join("manifest.json")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.safetensors");
        for case in &cases {
            let bytes = std::fs::read(dir.join(case["file"].as_str().unwrap())).unwrap();
            let header_bytes = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            std::fs::write(&path, &bytes).unwrap();
            let mut file = OpenOptions::new().write(true).open(&path).unwrap();
            let mut put = |at: usize, byte: u8| {
                file.seek(SeekFrom::Start(at as u64)).unwrap();
                file.write_all(&[byte]).unwrap();
            };
            for (at, &byte) in bytes[..header_bytes].iter().enumerate() {
                for bit in [0, 1, 2, 4] {
                    put(at, byte ^ 1 << bit);
                    if let Ok(checkpoint) = Checkpoint::open(&path) {
                        read_and_forget(&checkpoint, case);
                    }
                }
                put(at, byte);
            }
        }
        cases.len()
    });
}

/// Runs the reader of the case's kind; what it gives is not looked at.
fn read_and_forget(checkpoint: &Checkpoint, case: &Value) {
    let bytes = || checkpoint.tensor("bytes").map(|tensor| tensor.bytes());
    match case["kind"].as_str().unwrap() {
        "gptq" => drop(gptq::unpack(checkpoint, "", &gptq_config(case))),
        "efficientqat" => drop(efficient_qat::unpack(checkpoint, "", case["bits"].as_u64().unwrap() as u8)),
        "awq" => drop(awq::unpack(checkpoint, "", &serde_json::from_value(case.clone()).unwrap())),
        "bitnet" => drop(bitnet::unpack(checkpoint, "", ScaleRule::Divide)),
        "i2_s" => {
            let Ok(bytes) = bytes() else { return };
            let _ = I2sMatrix::try_new("bytes", 16, 128, bytes).map(|m| m.to_group_quantized(I2sBlock::X86));
        }
        "tmac" => {
            let Ok(bytes) = bytes() else { return };
            let tile = TmacTile { bits: 2, m: 128, k: 128, bm: 256, kfactor: 16 };
            let _ = tmac::unpack_codes("bytes", bytes, &tile);
        }
        other => panic!("no reader for {other}"),
    }
}

fn gptq_config(case: &Value) -> GptqConfig {
    let mut config = case.clone();
    config["quant_method"] = "gptq".into();
    serde_json::from_value(config).unwrap()
}

fn check(dir: &Path, case: &Value) {
    let file = case["file"].as_str().unwrap();
    let checkpoint = Checkpoint::open(&dir.join(file)).unwrap();
    match case["kind"].as_str().unwrap() {
        "gptq" => check_gptq(file, &checkpoint, case),
        "efficientqat" => {
            let matrix = efficient_qat::unpack(&checkpoint, "", case["bits"].as_u64().unwrap() as u8).unwrap();
            check_matrix(file, &checkpoint, &matrix);
        }
        "awq" => {
            let config: AwqConfig = serde_json::from_value(case.clone()).unwrap();
            check_matrix(file, &checkpoint, &awq::unpack(&checkpoint, "", &config).unwrap());
        }
        "bitnet" => check_bitnet(&checkpoint),
        "i2_s" => check_i2s(&checkpoint),
        "tmac" => check_tmac(&checkpoint),
        other => panic!("{file}: no reader for {other}"),
    }
}

fn integers(checkpoint: &Checkpoint, name: &str) -> Vec<i64> {
    checkpoint.tensor(name).unwrap().to_i64().unwrap()
}

fn check_matrix(file: &str, checkpoint: &Checkpoint, matrix: &GroupQuantized) {
    let codes: Vec<i64> = matrix.codes.iter().map(|&code| code.into()).collect();
    assert_eq!(codes, integers(checkpoint, "expected.codes"), "{file}");
    let Zeros::Points(points) = &matrix.zeros else { panic!("{file} has integer zero points") };
    let points: Vec<i64> = points.iter().map(|&zp| zp.into()).collect();
    assert_eq!(points, integers(checkpoint, "expected.zero_points"), "{file}");
    assert_eq!(matrix.dequantize(), checkpoint.tensor("expected.w").unwrap().to_f32().unwrap(), "{file}");
}

fn check_gptq(file: &str, checkpoint: &Checkpoint, case: &Value) {
    let config = gptq_config(case);
    let matrix = gptq::unpack(checkpoint, "", &config).unwrap();
    check_matrix(file, checkpoint, &matrix);
    assert_eq!(matrix.g_idx.is_some(), config.desc_act, "{file}");
    let ambiguous = gptq::ambiguous_zero_points(checkpoint, "", &config).unwrap();
    let is_v1 = config.checkpoint_format == gptq::CheckpointFormat::V1;
    let zeros = integers(checkpoint, "expected.zero_points").iter().filter(|&&zp| zp == 0).count();
    assert_eq!(ambiguous, if is_v1 { zeros } else { 0 }, "{file}");
}

/// Outputs are sums of at most 96 products of f32 scales: a few roundings from the f64 of the golden.
const BITNET_REL: f64 = 1e-6;

fn check_bitnet(checkpoint: &Checkpoint) {
    let ternary = integers(checkpoint, "expected.ternary");
    let (x_q, acc) = (integers(checkpoint, "expected.x_q"), integers(checkpoint, "expected.acc"));
    let x_scale = checkpoint.tensor("expected.x_scale").unwrap().to_f64().unwrap();
    for (rule, name) in [(ScaleRule::Multiply, "expected.y_multiply"), (ScaleRule::Divide, "expected.y_divide")] {
        let matrix = bitnet::unpack(checkpoint, "", rule).unwrap();
        let t: Vec<i64> = matrix.codes.iter().map(|&code| i64::from(code) - 1).collect();
        assert_eq!(t, ternary);
        let y = checkpoint.tensor(name).unwrap().to_f64().unwrap();
        for (n, x) in x_q.chunks(matrix.k).enumerate() {
            for (r, row) in t.chunks(matrix.k).enumerate() {
                let sum: i64 = row.iter().zip(x).map(|(t, x)| t * x).sum();
                let i = n * matrix.m + r;
                assert_eq!(sum, acc[i]);
                let product = sum as f64 * f64::from(matrix.scales[r]) / x_scale[n];
                assert!((product - y[i]).abs() <= BITNET_REL * y[i].abs(), "{name}: {product} and {}", y[i]);
            }
        }
    }
}

fn check_i2s(checkpoint: &Checkpoint) {
    let shape = integers(checkpoint, "expected.shape");
    let bytes = checkpoint.tensor("bytes").unwrap().bytes();
    let matrix = I2sMatrix::try_new("bytes", shape[0] as usize, shape[1] as usize, bytes).unwrap();
    let expected = checkpoint.tensor("expected.w").unwrap().to_f32().unwrap();
    assert_eq!(matrix.to_group_quantized(I2sBlock::X86).unwrap().dequantize(), expected);
    // The other dialect reads the same bytes without a complaint: that is why it must be asked for.
    assert_ne!(matrix.to_group_quantized(I2sBlock::Arm64).unwrap().dequantize(), expected);
}

fn check_tmac(checkpoint: &Checkpoint) {
    let [bits, m, k, bm, kfactor] = integers(checkpoint, "params")[..] else { panic!("five parameters") };
    let tile = TmacTile { bits: bits as u8, m: m as usize, k: k as usize, bm: bm as usize, kfactor: kfactor as usize };
    let codes = tmac::unpack_codes("bytes", checkpoint.tensor("bytes").unwrap().bytes(), &tile).unwrap();
    let codes: Vec<i64> = codes.into_iter().map(i64::from).collect();
    assert_eq!(codes, integers(checkpoint, "expected.codes"));
}
