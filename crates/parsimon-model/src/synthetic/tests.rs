use parsimon_core::io::Checkpoint;
use parsimon_core::{CancelFlag, NoProgress};

use super::*;
use crate::{LoadOptions, Model};

fn write(folder: &Path, config: &ModelConfig, seed: u64) {
    let cancel = CancelFlag::new();
    write_random_folder(folder, config, seed, &Control { progress: &NoProgress, cancel: &cancel }).unwrap();
}

#[test]
fn a_random_folder_opens_and_runs() {
    for config in [ModelConfig::synthetic("llama-15m").unwrap(), ModelConfig::sigma_tiny(300)] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &config, 1);
        let model = Model::open(dir.path(), &LoadOptions::default()).unwrap();
        assert_eq!(*model.config(), config);
        let logits = model.last_logits(&[1, 2, 3], &mut model.new_state()).unwrap();
        assert!(logits.iter().all(|logit| logit.is_finite() && logit.abs() < 1e3));
        assert!(logits.iter().any(|logit| logit.abs() > 0.1));
    }
}

#[test]
fn the_seed_decides_the_bytes_and_the_shape_their_spread() {
    let dir = tempfile::tempdir().unwrap();
    let config = ModelConfig::sigma_tiny(300);
    let read = |name: &str, seed| {
        let folder = dir.path().join(name);
        write(&folder, &config, seed);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        checkpoint.tensor("model.layers.0.mlp.down_proj.weight").unwrap().to_f32().unwrap()
    };
    let weights = read("a", 1);
    assert_eq!(weights, read("b", 1));
    assert_ne!(weights, read("c", 2));
    let variance = weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / weights.len() as f64;
    let expected = 1.0 / config.intermediate_size as f64;
    assert!((variance / expected - 1.0).abs() < 0.05, "{variance} for {expected}");
}

#[test]
fn presets_have_the_parameters_of_their_names() {
    for (name, millions) in ModelConfig::SYNTHETIC.iter().zip([15.2, 109.5, 1100.0]) {
        let count = ModelConfig::synthetic(name).unwrap().parameter_count() as f64 / 1e6;
        assert!((count / millions - 1.0).abs() < 0.01, "{name}: {count} million");
    }
    assert_eq!(ModelConfig::synthetic("llama-9b"), None);
}
