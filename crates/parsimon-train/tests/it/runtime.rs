//! The runtime of parsimon-model computes what the model in training computed.

use parsimon_attn::HeadMap;
use parsimon_model::{Architecture, LoadOptions, Model, ModelConfig};
use parsimon_train::LmModel;

use crate::tiny;

/// Both compute in f32, in different orders.
const TOLERANCE: f32 = 1e-4;

#[test]
fn logits_equal_those_of_the_runtime() {
    let llama = ModelConfig {
        architecture: Architecture::Llama,
        heads: HeadMap::try_new(4, 4, 4).unwrap(),
        aug_q_size: 0,
        tie_word_embeddings: false,
        ..tiny::model()
    };
    for config in [tiny::model(), llama] {
        let folder = tempfile::tempdir().unwrap();
        let trained = LmModel::random(&config, 11).unwrap();
        trained.save(folder.path()).unwrap();
        let runtime = Model::open(folder.path(), &LoadOptions::default()).unwrap();
        let tokens: Vec<u32> = (0..40).map(|i| i * 7 % tiny::VOCAB as u32).collect();
        let logits = runtime.logits(&tokens, &mut runtime.new_state()).unwrap();
        let expected = trained.logits(&tokens);
        assert_eq!(logits.len(), expected.len());
        for (i, (a, b)) in logits.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() <= TOLERANCE, "logit {i}: {a} and {b}");
        }
        assert!(expected.iter().any(|z| z.abs() > 0.01), "the logits are not all zero");
    }
}
