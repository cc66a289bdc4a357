//! Decoding allocates nothing once its buffers have grown.

use parsimon_attn::HeadMap;
use parsimon_core::quant::rtn::Levels;
use parsimon_core::{CancelFlag, Control, NoProgress};
use parsimon_model::{
    Architecture, KvState, Model, ModelConfig, QuantizeOptions, Sampler, quantize_folder, write_random_folder,
};
use parsimon_testkit::{CountingAllocator, allocations};

use crate::made::{tensors, write};
use crate::open;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Grouped queries; a context of one page, so that no page is taken on the way.
fn config(tie_word_embeddings: bool) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        hidden_size: 64,
        intermediate_size: 96,
        num_layers: 2,
        heads: HeadMap::try_new(4, 2, 2).unwrap(),
        head_dim: 16,
        aug_q_size: 0,
        max_position_embeddings: 64,
        tie_word_embeddings,
        ..ModelConfig::sigma_tiny(80)
    }
}

/// Decodes `n` tokens greedily from `token` on.
fn decode(model: &Model, state: &mut KvState, logits: &mut [f32], mut token: u32, n: usize) -> u32 {
    let mut sampler = Sampler::greedy();
    for _ in 0..n {
        model.last_logits_into(&[token], state, logits).unwrap();
        token = sampler.sample(logits);
        sampler.accept(token);
    }
    token
}

#[track_caller]
fn check(model: &Model) {
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    thread.install(|| {
        let (mut state, mut logits) = (model.new_state(), vec![0.0; 80]);
        model.last_logits_into(&[3, 1, 4, 1, 5, 9, 2, 6], &mut state, &mut logits).unwrap();
        let token = decode(model, &mut state, &mut logits, 5, 2);
        let (n, _) = allocations(|| decode(model, &mut state, &mut logits, token, 50));
        assert_eq!((n, state.len()), (0, 60));
    });
}

#[test]
fn tokens_after_others_allocate_nothing() {
    assert_eq!(allocations(|| std::hint::black_box(vec![1u8])).0, 1, "the allocator counts");
    let dir = tempfile::tempdir().unwrap();
    let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
    for tied in [true, false] {
        let halves = dir.path().join(format!("{tied} bf16"));
        std::fs::create_dir(&halves).unwrap();
        write_random_folder(&halves, &config(tied), 1, &control).unwrap();
        check(&open(&halves));
        let folder = dir.path().join(format!("{tied}"));
        std::fs::create_dir(&folder).unwrap();
        write(&folder, &config(tied), &tensors(&config(tied)));
        check(&open(&folder));
        for levels in [Levels::Bits(2), Levels::Bits(4), Levels::Ternary] {
            let out = dir.path().join(format!("{tied} {levels:?}"));
            quantize_folder(&folder, &out, &QuantizeOptions::new(levels, 32), &control).unwrap();
            check(&open(&out));
        }
    }
}
