//! GGUF files against `f64` evaluations with their decoded weights, and against the folders that they were made from.

use parsimon_core::io::Checkpoint;
use parsimon_model::{LoadOptions, Model};
use parsimon_testkit::{golden, nmse};

use crate::tokens;

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
            eprintln!("{name}: decoded {}, packed {error}, same top {same}", nmse(&dense, &exact));
        }
        types.len()
    });
}
