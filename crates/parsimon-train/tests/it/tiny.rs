//! A corpus and a model that train in moments.

use std::path::Path;

use parsimon_attn::HeadMap;
use parsimon_core::SplitMix64;
use parsimon_core::io::{write_json, write_npy};
use parsimon_model::{Architecture, BlockTraits, ModelConfig, RopeScaling};
use parsimon_train::{Corpus, TrainConfig};
use serde_json::json;
use tempfile::TempDir;

pub(crate) const VOCAB: usize = 40;

pub(crate) fn model() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Sigma,
        vocab_size: VOCAB,
        hidden_size: 32,
        intermediate_size: 48,
        num_layers: 2,
        heads: HeadMap::try_new(4, 1, 2).unwrap(),
        head_dim: 8,
        aug_q_size: 24,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::Default,
        max_position_embeddings: 64,
        tie_word_embeddings: true,
        bos_token_id: None,
        eos_token_ids: vec![0],
        quantization: None,
        block: BlockTraits::default(),
    }
}

/// Batches of more than one part, so that the parts' sum is tested.
pub(crate) fn settings() -> TrainConfig {
    TrainConfig {
        steps: 30,
        batch: 5,
        context: 24,
        learning_rate: 0.01,
        warmup_steps: 3,
        weight_decay: 0.1,
        clip_norm: 1.0,
        seed: 7,
        save_every: 8,
    }
}

/// Text in which every token is followed by one of two others.
pub(crate) fn write_corpus(folder: &Path) {
    let mut rng = SplitMix64::new(3);
    let mut token = 1;
    let mut next = || {
        token = (token * 3 + 1 + rng.below(2)) % VOCAB as u64;
        token as u16
    };
    let shards: Vec<Vec<u16>> = (0..2).map(|_| (0..3000).map(|_| next()).collect()).collect();
    let mut entries = Vec::new();
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("{i:05}.npy");
        write_npy(&folder.join("tokens").join(&file), &[shard.len()], shard).unwrap();
        entries.push(json!({"file": file, "tokens": shard.len(), "documents": [{"id": "a", "end": shard.len()}]}));
    }
    let index = json!({
        "vocab_size": VOCAB, "eos_id": 0, "tokenizer_xxh3": "0000000000000000", "tokens": 6000, "shards": entries
    });
    write_json(&folder.join("tokens/index.json"), &index).unwrap();
    write_json(&folder.join("tokenizer.json"), &json!({"version": "1.0"})).unwrap();
}

pub(crate) fn corpus() -> (TempDir, Corpus) {
    let folder = tempfile::tempdir().unwrap();
    write_corpus(folder.path());
    let corpus = Corpus::open(folder.path()).unwrap();
    (folder, corpus)
}
