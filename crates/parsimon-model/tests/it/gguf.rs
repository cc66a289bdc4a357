//! GGUF files against `f64` evaluations with their decoded weights, and against the folders that they were made from.

use std::path::Path;

use parsimon_core::io::Checkpoint;
use parsimon_core::io::gguf::Dialect;
use parsimon_core::quant::BlockType;
use parsimon_model::{Linear, LoadOptions, Model};
use parsimon_testkit::{committed, golden, nmse, rel_l2};

use crate::convert::{convert, split};
use crate::{check_logits, open, tokens};

/// Decoded weights in `f32` against `f64`.
const EXACT_MAX: f64 = 1e-9;

/// Tables and integers of 8 bits, as llama.cpp's own distance from exact products is 1e-4 to 3e-4.
const PACKED_MAX: f64 = 1e-3;

/// Near ties decide the rest: the models are random.
const SAME_TOP_MIN: f64 = 0.85;

fn top(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
}

#[test]
fn tiny_models_have_the_reference_logits() {
    golden("parsimon-model", "formats/gguf_tiny", |dir| {
        let expected = Checkpoint::open(&dir.join("expected.safetensors")).unwrap();
        let ids = tokens(&expected, "ids");
        let types = ["Q8_0", "Q4_K", "Q2_K", "TQ2_0"];
        for name in types {
            let path = dir.join(format!("tiny-{}.gguf", name.to_lowercase()));
            let view = expected.tensor(&format!("{name}.logits")).unwrap();
            let exact = view.to_f64().unwrap();
            let logits = |dequantize: bool| {
                let model = Model::open(&path, &LoadOptions { dequantize, ..LoadOptions::default() }).unwrap();
                (model.bytes_per_token(), model.logits(&ids, &mut model.new_state()).unwrap())
            };
            let (dense_bytes, dense) = logits(true);
            let error = nmse(&dense, &exact);
            assert!(error <= EXACT_MAX, "{name}, decoded: {error}");
            let (packed_bytes, packed) = logits(false);
            let error = nmse(&packed, &exact);
            assert!(error <= PACKED_MAX, "{name}, packed: {error}");
            assert!(3 * packed_bytes < dense_bytes, "{name}: {packed_bytes} of {dense_bytes} bytes");
            let vocab = view.shape()[1];
            let same = packed.chunks_exact(vocab).zip(dense.chunks_exact(vocab)).filter(|(a, b)| top(a) == top(b));
            let same = same.count() as f64 / ids.len() as f64;
            assert!(same >= SAME_TOP_MIN, "{name}: {same}");
        }
        types.len()
    });
}

fn long_prompt(folder: &Path) -> (Vec<u32>, Vec<f64>) {
    let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
    (tokens(&expected, "long.ids"), expected.tensor("long.logits").unwrap().to_f64().unwrap())
}

/// A folder as GGUF with the same weights has the reference logits, whole and in several files.
#[track_caller]
fn check_converted(folder: &Path, arch: &str, files: u16) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model.gguf");
    let ternary = arch.starts_with("bitnet");
    convert(folder, &out, Some(BlockType::BF16).filter(|_| !ternary));
    let path = split(&out, files);
    let (prompt, expected) = long_prompt(folder);
    let options = LoadOptions { dialect: Dialect::BitnetCpp, check_finite: true, ..LoadOptions::default() };
    let options =
        if arch.starts_with("bitnet") { options } else { LoadOptions { dialect: Dialect::Upstream, ..options } };
    let model = Model::open(&path, &options).unwrap();
    let logits = model.logits(&prompt, &mut model.new_state()).unwrap();
    check_logits(&format!("{} as {arch}", folder.display()), &logits, &expected);
    let source = open(folder);
    assert_eq!(model.config().eos_token_ids, source.config().eos_token_ids[..1]);
    assert_eq!(model.config().block.windows, source.config().block.windows);
    if arch.starts_with("bitnet") {
        assert!(model.linears().all(|linear| matches!(linear, Linear::BitNet(_))));
        let text = Model::open(&path, &LoadOptions::default()).unwrap_err().to_string();
        assert!(text.contains("Dialect::BitnetCpp"), "{text}");
    }
}

#[test]
fn converted_folders_have_the_reference_logits() {
    golden("parsimon-model", "formats/hf", |dir| {
        let cases = [
            ("llama2", "llama"),
            ("llama3", "llama"),
            ("qwen2", "qwen2"),
            ("qwen3", "qwen3"),
            ("phi3", "phi3"),
            ("gemma", "gemma"),
            ("bitnet", "bitnet-b1.58"),
        ];
        cases.iter().for_each(|(name, arch)| check_converted(&dir.join(name), arch, 1));
        cases.len()
    });
    committed("parsimon-model", env!("CARGO_MANIFEST_DIR"), |dir| {
        let cases = [
            ("gemma2", "gemma2", 1),
            ("llama_biases_sharded", "llama", 3),
            ("llama_linear", "llama", 2),
            ("llama_yarn", "llama", 1),
            ("phi3_partial_longrope", "phi3", 1),
        ];
        cases.iter().for_each(|(name, arch, files)| check_converted(&dir.join("families").join(name), arch, *files));
        cases.len()
    });
}

/// Packed blocks against their decoded weights, tied and untied, fused and permuted.
#[test]
fn packed_blocks_are_close_to_decoded_ones() {
    committed("parsimon-model", env!("CARGO_MANIFEST_DIR"), |dir| {
        let cases = ["gemma2", "llama_linear", "phi3_partial_longrope", "llama_yarn"];
        for name in cases {
            let folder = dir.join("families").join(name);
            for blocks in [BlockType::Q8_0, BlockType::Q5_1, BlockType::Q4_0, BlockType::MXFP4] {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("model.gguf");
                convert(&folder, &path, Some(blocks));
                let logits = |dequantize: bool| {
                    let model = Model::open(&path, &LoadOptions { dequantize, ..LoadOptions::default() }).unwrap();
                    let packed = model.linears().filter(|linear| matches!(linear, Linear::LowBit(_))).count();
                    assert_eq!(packed > 0, !dequantize && blocks.is_uniform(), "{name} in {blocks}");
                    model.logits(&[3, 1, 4, 1, 5, 9, 2, 6], &mut model.new_state()).unwrap()
                };
                let decoded: Vec<f64> = logits(true).into_iter().map(f64::from).collect();
                let error = rel_l2(&logits(false), &decoded);
                // Eight-bit activations in every layer of models whose weights are random.
                assert!(error < 0.05, "{name} in {blocks}: {error}");
            }
        }
        cases.len()
    });
}
