//! Damaged folders and GGUF files: every error names what is wrong, and none panics.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use parsimon_core::io::gguf::{Gguf, GgufTensor, GgufWriter, OpenOptions, Value};
use parsimon_core::io::{Checkpoint, TensorData, copy_file, write_safetensors};
use parsimon_core::quant::BlockType;
use parsimon_core::{CancelFlag, Control, Diagnose, NoProgress, Progress, Unit};
use parsimon_model::{LoadOptions, Model, ModelError};
use parsimon_testkit::committed;

use crate::convert::convert;

type Tensors = BTreeMap<String, TensorData>;

fn families(run: impl FnOnce(&Path) -> usize) {
    committed("parsimon-model", env!("CARGO_MANIFEST_DIR"), |dir| run(&dir.join("families")));
}

/// A copy of a folder with other tensors.
fn changed(source: &Path, change: impl FnOnce(&mut Tensors)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(source).unwrap();
    let mut tensors = Tensors::new();
    for name in checkpoint.names() {
        let view = checkpoint.tensor(name).unwrap();
        tensors.insert(name.to_owned(), TensorData::from_f32(view.shape(), &view.to_f32().unwrap()));
    }
    change(&mut tensors);
    copy_file(&source.join("config.json"), &dir.path().join("config.json")).unwrap();
    write_safetensors(&dir.path().join("model.safetensors"), &tensors, None).unwrap();
    dir
}

#[track_caller]
fn check(path: &Path, options: &LoadOptions, variant: &str, parts: &[&str]) {
    let error = Model::open(path, options).expect_err("the model is damaged");
    let text = error.to_string();
    assert_eq!(error.variant(), variant, "{text}");
    for part in parts {
        assert!(text.contains(part), "`{text}` should name `{part}`");
    }
    assert!(error.is_bad_input(), "{text}");
}

#[test]
fn every_missing_tensor_of_a_family_is_listed() {
    families(|dir| {
        let cases: [(&str, &[&str]); 4] = [
            (
                "gemma2",
                &[
                    "model.layers.0.pre_feedforward_layernorm.weight",
                    "model.layers.1.post_feedforward_layernorm.weight",
                ],
            ),
            ("qwen2_sliding", &["model.layers.0.self_attn.q_proj.bias", "model.layers.2.self_attn.v_proj.bias"]),
            ("qwen3_yarn_mscale", &["model.layers.1.self_attn.k_norm.weight", "model.layers.1.self_attn.o_proj.bias"]),
            ("phi3_partial_longrope", &["model.layers.0.self_attn.qkv_proj.weight", "lm_head.weight"]),
        ];
        for (name, missing) in cases {
            let folder = changed(&dir.join(name), |tensors| {
                missing.iter().for_each(|name| assert!(tensors.remove(*name).is_some(), "{name}"));
            });
            let parts: Vec<&str> = ["2 tensors"].into_iter().chain(missing.iter().copied()).collect();
            check(folder.path(), &LoadOptions::default(), "MissingTensors", &parts);
        }
        cases.len()
    });
}

#[test]
fn wrong_shapes_and_numbers_are_named() {
    families(|dir| {
        let source = dir.join("phi3_partial_longrope");
        let qkv = "model.layers.0.self_attn.qkv_proj.weight";
        let narrow = TensorData::from_f32(&[95, 32], &[0.0; 95 * 32]);
        let folder = changed(&source, |tensors| drop(tensors.insert(qkv.into(), narrow)));
        check(folder.path(), &LoadOptions::default(), "Shape", &[qkv, "[95, 32]", "[96, 32]"]);

        let mut values = vec![0.0; 96 * 32];
        values[40 * 32 + 5] = f32::NAN;
        let poisoned = TensorData::from_f32(&[96, 32], &values);
        let folder = changed(&source, |tensors| drop(tensors.insert(qkv.into(), poisoned)));
        assert!(Model::open(folder.path(), &LoadOptions::default()).is_ok(), "finding it costs time: it is asked for");
        let careful = LoadOptions { check_finite: true, ..LoadOptions::default() };
        // Row 40 of the fused matrix is row 8 of the keys.
        check(folder.path(), &careful, "NonFinite", &["model.layers.0.self_attn.k_proj", "row 8, column 5"]);
        assert!(Model::open(&source, &careful).is_ok());
        1
    });
}

/// A GGUF file again, with other keys and tensors.
fn rewritten(
    source: &Path,
    out: &Path,
    key: impl Fn(&str, Value<'static>) -> Option<Value<'static>>,
    keep: impl Fn(&str) -> bool,
) -> PathBuf {
    let file = Gguf::open(source, &OpenOptions::default()).unwrap();
    let mut writer = GgufWriter::new();
    for (name, value) in file.metadata() {
        let value = match value {
            Value::String(text) => Value::String(text.to_vec().leak()),
            Value::U32(n) => Value::U32(n),
            Value::F32(x) => Value::F32(x),
            other => panic!("{name}: {other:?}"),
        };
        if let Some(value) = key(name, value) {
            writer.set(name, &value).unwrap();
        }
    }
    let kept: Vec<_> = file.tensors().filter(|info| keep(&info.name)).collect();
    for info in &kept {
        let bytes = file.raw(&info.name).unwrap().len() as u64;
        writer.tensor_of_id(&info.name, info.type_id, &info.shape, bytes).unwrap();
    }
    let mut data = writer.create(out).unwrap();
    kept.iter().for_each(|info| data.write(&info.name, file.raw(&info.name).unwrap()).unwrap());
    data.commit().unwrap();
    out.to_owned()
}

#[test]
fn damaged_gguf_files_are_named_in_their_own_words() {
    families(|dir| {
        let out = tempfile::tempdir().unwrap();
        let sound = out.path().join("sound.gguf");
        convert(&dir.join("gemma2"), &sound, Some(BlockType::Q8_0));
        let options = LoadOptions::default();
        let with = |name: &'static str, value: Option<Value<'static>>| {
            let change = move |key: &str, old| if key == name { value.clone() } else { Some(old) };
            rewritten(&sound, &out.path().join("changed.gguf"), change, |_| true)
        };
        let unknown = with("general.architecture", Some(Value::String(b"mamba")));
        check(&unknown, &options, "ConfigError", &["general.architecture", "mamba", "llama", "gemma2"]);
        let nothing = with("gemma2.block_count", None);
        check(&nothing, &options, "ConfigError", &["changed.gguf", "gemma2.block_count", "missing"]);
        let text = with("gemma2.embedding_length", Some(Value::String(b"many")));
        check(&text, &options, "ConfigError", &["gemma2.embedding_length", "String"]);
        let zero = with("gemma2.attention.head_count", Some(Value::U32(0)));
        check(&zero, &options, "ConfigError", &["gemma2.attention.head_count", "is 0"]);
        let wider = with("gemma2.feed_forward_length", Some(Value::U32(64)));
        check(&wider, &options, "Shape", &["blk.", "ffn_", "64"]);
        let values = with("gemma2.attention.value_length", Some(Value::U32(8)));
        check(&values, &options, "ConfigError", &["gemma2.attention.value_length", "is 8", "16"]);

        let same = |_: &str, value| Some(value);
        let gone = ["blk.1.post_ffw_norm.weight", "blk.0.attn_q.weight", "output_norm.weight"];
        let fewer = rewritten(&sound, &out.path().join("fewer.gguf"), same, |name| !gone.contains(&name));
        let parts: Vec<&str> = ["3 tensors"].into_iter().chain(gone).collect();
        check(&fewer, &options, "MissingTensors", &parts);
        assert!(Model::open(&sound, &options).is_ok());
        1
    });
}

/// Bits of the directory and of the blocks' scales: an error or a model, never a panic.
#[test]
fn no_flipped_bit_makes_opening_panic() {
    families(|dir| {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("model.gguf");
        convert(&dir.join("llama_yarn"), &path, Some(BlockType::Q4_0));
        let bytes = std::fs::read(&path).unwrap();
        let (mut file, mut opened) = (File::options().write(true).open(&path).unwrap(), 0);
        let mut put = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for at in (0..bytes.len().min(4096)).chain((4096..bytes.len()).step_by(97)) {
            put(at, bytes[at] ^ 1 << (at % 8));
            if let Ok(model) = Model::open(&path, &LoadOptions::default()) {
                opened += 1;
                let _ = model.logits(&[1, 2, 3], &mut model.new_state());
            }
            put(at, bytes[at]);
        }
        assert!(opened > 100, "{opened}");
        let len = bytes.len();
        for cut in [0, 3, 100, 1000, len / 2, len - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(Model::open(&path, &LoadOptions::default()).is_err(), "{cut} of {len} bytes");
        }
        1
    });
}

/// An embedding table in blocks is decoded where it is looked up.
#[test]
fn embeddings_stay_in_their_blocks() {
    families(|dir| {
        let out = tempfile::tempdir().unwrap();
        // Files of qwen2 have no windows.
        let path = out.path().join("model.gguf");
        let mut json: serde_json::Value = parsimon_core::io::read_json(&dir.join("qwen2_sliding/config.json")).unwrap();
        json["use_sliding_window"] = false.into();
        parsimon_core::io::write_json(&out.path().join("config.json"), &json).unwrap();
        let weights = "model.safetensors";
        std::fs::copy(dir.join("qwen2_sliding").join(weights), out.path().join(weights)).unwrap();
        convert(out.path(), &path, Some(BlockType::Q8_0));
        let file = Gguf::open(&path, &OpenOptions::default()).unwrap();
        assert!(matches!(file.tensor("token_embd.weight").unwrap(), GgufTensor::Blocks(_)));
        let bytes = |dequantize| {
            let model = Model::open(&path, &LoadOptions { dequantize, ..LoadOptions::default() }).unwrap();
            model.bytes_per_token() - model.linears().map(parsimon_model::Linear::bytes).sum::<usize>()
        };
        // Tied: the output layer is packed beside the table, or the blocks themselves.
        assert!(bytes(false) < 2 * 64 * 32 && bytes(true) == 64 * 34, "{} {}", bytes(false), bytes(true));
        1
    });
}

#[test]
fn loading_tells_its_progress_and_stops() {
    struct Count(std::sync::atomic::AtomicU64);
    impl Progress for Count {
        fn start(&self, task: &str, total: Option<u64>, unit: Unit) {
            assert_eq!((task, total, unit), ("load", Some(3), Unit::Items("blocks")));
        }
        fn advance(&self, n: u64) {
            self.0.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        }
    }
    families(|dir| {
        let folder = dir.join("qwen2_sliding");
        let (count, cancel) = (Count(0.into()), CancelFlag::new());
        Model::open_with(&folder, &LoadOptions::default(), &Control { progress: &count, cancel: &cancel }).unwrap();
        assert_eq!(count.0.into_inner(), 3);
        cancel.cancel();
        let control = Control { progress: &NoProgress, cancel: &cancel };
        let stopped = Model::open_with(&folder, &LoadOptions::default(), &control);
        assert!(matches!(stopped, Err(ModelError::Cancelled(_))));
        1
    });
}
