//! Folders written as GGUF files by the library, and split as llama.cpp splits them.

use std::path::{Path, PathBuf};

use parsimon_core::io::gguf::{Dialect, Gguf, GgufWriter, OpenOptions, Value};
use parsimon_core::quant::BlockType;
use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_model::{FolderOptions, GgufOptions, LoadOptions, Model, write_folder, write_gguf};
use parsimon_testkit::committed;

use crate::{check_logits, open};

/// Writes `folder` as `out`, matrices whose rows are whole blocks in `blocks`.
pub(crate) fn convert(folder: &Path, out: &Path, blocks: Option<BlockType>) {
    let options = GgufOptions { projections: blocks, tables: blocks, keep_odd_rows: true };
    let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
    write_gguf(folder, out, &options, &control).unwrap();
}

/// The file as `name-00001-of-0000N.gguf` and so on beside it; the path of the first.
pub(crate) fn split(path: &Path, files: u16) -> PathBuf {
    if files == 1 {
        return path.to_owned();
    }
    let file = Gguf::open(path, &OpenOptions { dialect: Dialect::BitnetCpp }).unwrap();
    let infos: Vec<_> = file.tensors().collect();
    let name = |no: u16| format!("{}-{:05}-of-{files:05}.gguf", path.file_stem().unwrap().display(), no + 1);
    for no in 0..files {
        let mut writer = GgufWriter::new();
        if no == 0 {
            file.metadata().for_each(|(key, value)| writer.set(key, &value).unwrap());
        }
        writer.set("split.no", &Value::U16(no)).unwrap();
        writer.set("split.count", &Value::U16(files)).unwrap();
        writer.set("split.tensors.count", &Value::I32(infos.len() as i32)).unwrap();
        let own: Vec<_> = infos.iter().skip(no.into()).step_by(files.into()).collect();
        for info in &own {
            let bytes = file.raw(&info.name).unwrap().len() as u64;
            writer.tensor_of_id(&info.name, info.type_id, &info.shape, bytes).unwrap();
        }
        let mut data = writer.create(&path.with_file_name(name(no))).unwrap();
        own.iter().for_each(|info| data.write(&info.name, file.raw(&info.name).unwrap()).unwrap());
        data.commit().unwrap();
    }
    path.with_file_name(name(0))
}

/// Folder, file, folder: the same logits.
#[test]
fn models_come_back_as_they_were() {
    committed("parsimon-model", env!("CARGO_MANIFEST_DIR"), |dir| {
        let names = ["gemma2", "llama_linear", "llama_yarn", "phi3_partial_longrope"];
        for name in names {
            let folder = dir.join("families").join(name);
            let temporary = tempfile::tempdir().unwrap();
            let (file, back) = (temporary.path().join("m.gguf"), temporary.path().join("back"));
            convert(&folder, &file, None);
            let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
            write_folder(&file, &back, &FolderOptions::default(), &control).unwrap();
            let logits = |model: &Model| model.logits(&[3, 1, 4, 1, 5, 9], &mut model.new_state()).unwrap();
            let expected: Vec<f64> = logits(&open(&folder)).into_iter().map(f64::from).collect();
            check_logits(name, &logits(&open(&back)), &expected);
        }
        names.len()
    });
}

/// A file of floats quantized to a file of blocks, and refused where rows are not whole blocks.
#[test]
fn files_are_quantized_to_files() {
    committed("parsimon-model", env!("CARGO_MANIFEST_DIR"), |dir| {
        let folder = dir.join("families/llama_linear");
        let temporary = tempfile::tempdir().unwrap();
        let (floats, blocks) = (temporary.path().join("f.gguf"), temporary.path().join("q.gguf"));
        convert(&folder, &floats, None);
        let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
        let options = |block_type| GgufOptions { projections: Some(block_type), ..GgufOptions::default() };
        // The rows of `down_proj` are one and a half blocks.
        let kept = GgufOptions { keep_odd_rows: true, ..options(BlockType::Q8_0) };
        let report = write_gguf(&floats, &blocks, &kept, &control).unwrap();
        assert!(
            report.layers.iter().all(|layer| (layer.rel > 0.0) == (layer.bits_per_weight == 8.5) && layer.rel < 1e-3),
            "{report:?}"
        );
        assert!(report.layers.iter().filter(|layer| layer.rel > 0.0).count() >= 6, "{report:?}");
        let model =
            |path: &Path| Model::open(path, &LoadOptions { dequantize: true, ..LoadOptions::default() }).unwrap();
        let logits = |model: &Model| model.logits(&[3, 1, 4, 1, 5, 9], &mut model.new_state()).unwrap();
        let exact: Vec<f64> = logits(&model(&floats)).into_iter().map(f64::from).collect();
        assert!(parsimon_testkit::rel_l2(&logits(&model(&blocks)), &exact) < 0.05);
        let error = write_gguf(&floats, &blocks, &options(BlockType::TQ2_0), &control).unwrap_err().to_string();
        assert!(error.contains("blocks of 256 weights"), "{error}");
        1
    });
}

/// The same ids before and after.
#[cfg(feature = "tokenizer")]
#[test]
fn vocabularies_come_back_as_they_were() {
    committed("parsimon-model", env!("CARGO_MANIFEST_DIR"), |dir| {
        let temporary = tempfile::tempdir().unwrap();
        let [folder, back] = ["folder", "back"].map(|name| temporary.path().join(name));
        let mut config = parsimon_model::ModelConfig::sigma_tiny(400);
        config.architecture = parsimon_model::Architecture::Llama;
        config.aug_q_size = 0;
        config.heads = parsimon_attn::HeadMap::try_new(4, 2, 2).unwrap();
        let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
        parsimon_model::write_random_folder(&folder, &config, 1, &control).unwrap();
        let write =
            |name: &str| std::fs::copy(dir.join("tokenizers").join(name), folder.join("tokenizer.json")).unwrap();
        write("bpe.tokenizer.json");
        let file = temporary.path().join("m.gguf");
        convert(&folder, &file, None);
        write_folder(&file, &back, &FolderOptions::default(), &control).unwrap();
        let ids = |path: &Path| {
            let text = "Hello world, it's 12345 things\n\n  <|begin|> na\u{ef}ve \u{4f60}\u{597d}<|end|>";
            parsimon_model::Tokenizer::open(path).unwrap().encode(text, false).unwrap()
        };
        let expected = ids(&folder);
        assert!(ids(&file) == expected && ids(&back) == expected);
        write("spm.tokenizer.json");
        let options = GgufOptions::default();
        let error = write_gguf(&folder, &file, &options, &control).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
        1
    });
}
