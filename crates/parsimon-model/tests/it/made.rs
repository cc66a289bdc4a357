//! A random Sigma model, quantized and damaged.

use std::collections::BTreeMap;
use std::path::Path;

use parsimon_attn::HeadMap;
use parsimon_core::io::{Checkpoint, TensorData, write_json, write_safetensors};
use parsimon_core::quant::gptq;
use parsimon_core::quant::rtn::Levels;
use parsimon_core::{CancelFlag, Control, Diagnose, NoProgress, SplitMix64};
use parsimon_lut::Backend;
use parsimon_model::{
    LoadOptions, Model, ModelConfig, ModelError, PackCacheReport, Quantization, QuantizeOptions, quantize_folder,
};
use parsimon_simd::Level;
use parsimon_testkit::rel_l2;

pub(crate) fn config() -> ModelConfig {
    ModelConfig {
        hidden_size: 64,
        intermediate_size: 96,
        num_layers: 2,
        heads: HeadMap::try_new(4, 2, 4).unwrap(),
        head_dim: 16,
        aug_q_size: 96,
        max_position_embeddings: 64,
        ..ModelConfig::sigma_tiny(80)
    }
}

fn random(shape: &[usize], scale: f64, rng: &mut SplitMix64) -> TensorData {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (rng.next_normal() * scale) as f32).collect();
    TensorData::from_f32(shape, &values)
}

pub(crate) fn tensors(config: &ModelConfig) -> BTreeMap<String, TensorData> {
    let mut rng = SplitMix64::new(5);
    let hidden = config.hidden_size;
    let mut tensors = BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), random(&[config.vocab_size, hidden], 1.0, &mut rng)),
        ("model.norm.weight".to_owned(), TensorData::from_f32(&[hidden], &vec![1.0; hidden])),
    ]);
    if !config.tie_word_embeddings {
        let deviation = (hidden as f64).powf(-0.5);
        tensors.insert("lm_head.weight".into(), random(&[config.vocab_size, hidden], deviation, &mut rng));
    }
    for layer in 0..config.num_layers {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            let ones = TensorData::from_f32(&[hidden], &vec![1.0; hidden]);
            tensors.insert(format!("model.layers.{layer}.{norm}.weight"), ones);
        }
        for (name, m, k) in config.block_projections(layer) {
            tensors.insert(format!("{name}.weight"), random(&[m, k], (k as f64).powf(-0.5), &mut rng));
        }
    }
    tensors
}

pub(crate) fn write(folder: &Path, config: &ModelConfig, tensors: &BTreeMap<String, TensorData>) {
    write_json(&folder.join("config.json"), &config.to_json()).unwrap();
    write_safetensors(&folder.join("model.safetensors"), tensors, None).unwrap();
}

fn logits(model: &Model) -> Vec<f32> {
    model.logits(&[3, 1, 4, 1, 5, 9, 2, 6], &mut model.new_state()).unwrap()
}

/// The quantized model through the kernels of every level equals a dense model that holds the dequantized weights, up to the
/// kernels' 8-bit tables.
#[test]
fn a_quantized_model_runs_like_its_dequantized_weights() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    write(&source, &config(), &tensors(&config()));
    std::fs::write(source.join("tokenizer.json"), "{}").unwrap();
    let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
    let mut previous = f64::INFINITY;
    for levels in [Levels::Bits(2), Levels::Bits(3), Levels::Bits(4), Levels::Ternary] {
        let out = dir.path().join(format!("{levels:?}"));
        let report = quantize_folder(&source, &out, &QuantizeOptions::new(levels, 32), &control).unwrap();
        assert_eq!(report.layers.len(), 2 * 10);
        assert!(out.join("tokenizer.json").exists());
        let worst = report.layers.iter().fold(0.0f64, |max, layer| max.max(layer.rel));
        if levels != Levels::Ternary {
            assert!(worst < previous && worst > 0.0, "{levels:?}: {worst} after {previous}");
            previous = worst;
        }

        let quantized = ModelConfig::open(&out).unwrap();
        let Some(Quantization::Gptq(quantization)) = &quantized.quantization else { panic!("{levels:?}") };
        assert_eq!((quantization.bits, quantization.ternary), (levels.code_bits(), levels == Levels::Ternary));
        let checkpoint = Checkpoint::open(&out).unwrap();
        let mut dense = tensors(&config());
        for (name, m, k) in (0..2).flat_map(|layer| config().block_projections(layer)) {
            let weights = gptq::unpack(&checkpoint, &name, quantization).unwrap().dequantize();
            dense.insert(format!("{name}.weight"), TensorData::from_f32(&[m, k], &weights));
        }
        let dequantized = dir.path().join("dequantized");
        write(&dequantized, &config(), &dense);
        let expected = logits(&Model::open(&dequantized, &LoadOptions::default()).unwrap());
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        for level in Level::available() {
            let options = LoadOptions { backend: Backend::Exact(level), ..LoadOptions::default() };
            let error = rel_l2(&logits(&Model::open(&out, &options).unwrap()), &expected);
            // Twenty layers, each with a table error of about 0.6 % of its output.
            assert!(error < 0.04, "{levels:?} on {level}: {error}");
        }
        let again = quantize_folder(&out, &dir.path().join("again"), &QuantizeOptions::new(levels, 32), &control);
        assert!(matches!(again, Err(ModelError::AlreadyQuantized)));
    }
}

/// `dynamic` gives the output layer bits of its own; a table that is both stays.
#[test]
fn the_output_layer_takes_bits_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
    let options = QuantizeOptions::new(Levels::Bits(4), 32).with_output_layer(Levels::Bits(8));
    let untied = ModelConfig { tie_word_embeddings: false, vocab_size: 64, ..config() };
    write(&source, &untied, &tensors(&untied));
    let report = quantize_folder(&source, &out, &options, &control).unwrap();
    let last = report.layers.last().unwrap();
    assert!(last.name == "lm_head" && last.rel < 1e-4, "{last:?}");
    let plain = dir.path().join("plain");
    quantize_folder(&source, &plain, &QuantizeOptions::new(Levels::Bits(4), 32), &control).unwrap();
    let [with, without] = [&out, &plain].map(|folder| Model::open(folder, &LoadOptions::default()).unwrap());
    let expected: Vec<f64> = logits(&without).into_iter().map(f64::from).collect();
    // The output layer alone differs: its 8-bit codes, and activations of 8 bits.
    assert!(rel_l2(&logits(&with), &expected) < 0.02);
    assert!(with.bytes_per_token() < without.bytes_per_token());

    let tied = ModelConfig { tie_word_embeddings: true, ..config() };
    write(&source, &tied, &tensors(&tied));
    let error = quantize_folder(&source, &dir.path().join("tied"), &options, &control);
    assert!(matches!(error, Err(ModelError::TiedOutputLayer)));
}

#[test]
fn damaged_folders_are_named_with_file_tensor_and_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let sound = tensors(&config());
    let check = |tensors: &BTreeMap<String, TensorData>, variant: &str, parts: &[&str]| {
        write(dir.path(), &config(), tensors);
        let error = Model::open(dir.path(), &LoadOptions::default()).expect_err("the folder is damaged");
        let text = error.to_string();
        assert_eq!(error.variant(), variant, "{text}");
        assert!(parts.iter().all(|part| text.contains(part)) && error.is_bad_input(), "{text}");
    };
    let mut missing = sound.clone();
    missing.remove("model.norm.weight");
    missing.remove("model.layers.1.mlp.up_proj.weight");
    let both = ["2 tensors", "model.norm.weight", "model.layers.1.mlp.up_proj.weight"];
    check(&missing, "MissingTensors", &both);

    let mut shape = sound.clone();
    let q_proj = "model.layers.0.self_attn.q_proj.weight";
    shape.insert(q_proj.into(), TensorData::from_f32(&[64, 32], &[0.0; 64 * 32]));
    check(&shape, "Shape", &["model.safetensors", q_proj, "[64, 32]", "[64, 64]"]);

    let mut dtype = sound.clone();
    dtype.insert(q_proj.into(), TensorData::from_i32(&[64, 64], &[0; 64 * 64]));
    check(&dtype, "WrongDType", &[q_proj, "I32"]);

    write(dir.path(), &config(), &sound);
    let file = dir.path().join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let error = Model::open(dir.path(), &LoadOptions::default()).unwrap_err();
    assert_eq!(error.variant(), "OutOfBounds", "{error}");
}

#[test]
fn packed_layers_are_found_again_and_repaired() {
    const LAYERS: usize = 2 * 10;
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    write(&source, &config(), &tensors(&config()));
    std::fs::write(source.join("tokenizer.json"), "{}").unwrap();
    let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
    for levels in [Levels::Bits(2), Levels::Bits(4), Levels::Ternary] {
        let folder = dir.path().join(format!("{levels:?}"));
        quantize_folder(&source, &folder, &QuantizeOptions::new(levels, 32), &control).unwrap();
        let uncached = Model::open(&folder, &LoadOptions::default()).unwrap();
        assert_eq!(uncached.pack_cache(), None);
        let expected = logits(&uncached);

        let cache = folder.join("packed");
        let open = |level: Level| {
            let options = LoadOptions {
                backend: Backend::Exact(level),
                pack_cache: Some(cache.clone()),
                ..LoadOptions::default()
            };
            let model = Model::open(&folder, &options).unwrap();
            (model.pack_cache().unwrap(), logits(&model))
        };
        let check = |report: PackCacheReport| assert_eq!(open(Level::best()), (report, expected.clone()), "{levels:?}");
        let nothing = PackCacheReport::default();
        check(PackCacheReport { packed: LAYERS, ..nothing });
        let first = files(&cache);
        assert_eq!(first.len(), LAYERS);
        check(PackCacheReport { hits: LAYERS, ..nothing });

        // A flipped byte in one file, another cut short.
        let (damaged, cut) = (&first[7], &first[8]);
        let sound: Vec<Vec<u8>> = [damaged, cut].map(|path| std::fs::read(path).unwrap()).into();
        let mut bytes = sound[0].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(damaged, bytes).unwrap();
        std::fs::write(cut, &sound[1][..100]).unwrap();
        check(PackCacheReport { hits: LAYERS - 2, repaired: 2, ..nothing });
        assert_eq!([damaged, cut].map(|path| std::fs::read(path).unwrap()).to_vec(), sound);
        check(PackCacheReport { hits: LAYERS, ..nothing });

        // Another instruction set has files of its own, and leaves these alone.
        if Level::best() != Level::Scalar {
            assert_eq!(open(Level::Scalar).0, PackCacheReport { packed: LAYERS, ..nothing });
            assert_eq!(open(Level::Scalar).0, PackCacheReport { hits: LAYERS, ..nothing });
            assert_eq!(files(&cache).len(), 2 * LAYERS);
            check(PackCacheReport { hits: LAYERS, ..nothing });
        }
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
