//! Model folders: what is written is read back, and what is wrong is named.

use std::collections::BTreeMap;

use parsimon_core::Diagnose;
use parsimon_core::io::{Checkpoint, TensorData, write_safetensors};
use parsimon_model::ModelConfig;
use parsimon_train::LmModel;

use crate::tiny;

#[test]
fn a_saved_model_is_read_back() {
    for tie_word_embeddings in [true, false] {
        let config = ModelConfig { tie_word_embeddings, ..tiny::model() };
        let model = LmModel::random(&config, 2).unwrap();
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        model.save(first.path()).unwrap();
        let read = LmModel::open(first.path()).unwrap();
        assert_eq!(read.config(), &config);
        assert_eq!(read.logits(&[1, 2, 3]), model.logits(&[1, 2, 3]));
        read.save(second.path()).unwrap();
        for file in ["config.json", "model.safetensors"] {
            let bytes = |folder: &tempfile::TempDir| std::fs::read(folder.path().join(file)).unwrap();
            assert_eq!(bytes(&first), bytes(&second), "{file}");
        }
    }
}

#[test]
fn tensors_have_the_names_and_shapes_of_the_configuration() {
    let config = ModelConfig { tie_word_embeddings: false, ..tiny::model() };
    let folder = tempfile::tempdir().unwrap();
    LmModel::random(&config, 2).unwrap().save(folder.path()).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let mut expected: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for layer in 0..config.num_layers {
        expected.extend(config.block_projections(layer).into_iter().map(|(name, m, k)| (name, vec![m, k])));
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            expected.insert(format!("model.layers.{layer}.{norm}"), vec![config.hidden_size]);
        }
    }
    expected.insert("model.norm".into(), vec![config.hidden_size]);
    expected.insert("model.embed_tokens".into(), vec![config.vocab_size, config.hidden_size]);
    expected.insert("lm_head".into(), vec![config.vocab_size, config.hidden_size]);
    let actual: BTreeMap<String, Vec<usize>> = checkpoint
        .names()
        .map(|name| (name.trim_end_matches(".weight").to_owned(), checkpoint.tensor(name).unwrap().shape().to_vec()))
        .collect();
    assert_eq!(actual, expected);
    let parameters: usize = actual.values().map(|shape| shape.iter().product::<usize>()).sum();
    assert_eq!(parameters as u64, config.parameter_count());
}

/// Changes one tensor of a good folder and expects an error that names it.
#[track_caller]
fn check(change: impl FnOnce(&mut BTreeMap<String, TensorData>), variant: &str, text: &str) {
    let folder = tempfile::tempdir().unwrap();
    LmModel::random(&tiny::model(), 2).unwrap().save(folder.path()).unwrap();
    let path = folder.path().join("model.safetensors");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let copy = |name: &str| {
        let view = checkpoint.tensor(name).unwrap();
        (
            name.to_owned(),
            TensorData { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.bytes().to_vec() },
        )
    };
    let mut tensors = checkpoint.names().map(copy).collect();
    change(&mut tensors);
    write_safetensors(&path, &tensors, None).unwrap();
    let error = LmModel::open(folder.path()).unwrap_err();
    assert_eq!(error.variant(), variant, "{error}");
    assert!(error.to_string().contains(text), "{error}");
    assert!(error.is_bad_input() && error.place().is_some());
}

#[test]
fn wrong_folders_are_named() {
    const Q: &str = "model.layers.1.self_attn.q_proj.weight";
    check(|tensors| drop(tensors.remove(Q)), "MissingTensors", Q);
    let wide = TensorData::from_f32(&[32, 33], &[0.0; 32 * 33]);
    check(|tensors| drop(tensors.insert(Q.into(), wide)), "Shape", "[32, 33], expected [32, 32]");
    let ids = TensorData::from_i32(&[32, 32], &[0; 32 * 32]);
    check(|tensors| drop(tensors.insert(Q.into(), ids)), "WrongDType", "dtype I32");
}
