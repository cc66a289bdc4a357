//! The Sigma models of the shared golden data.

use parsimon_core::io::Checkpoint;
use parsimon_testkit::{golden, rel_l2};
use parsimon_train::LmModel;

/// The files hold bf16 weights and f64 logits; the model computes in f32 from the same weights.
const TOLERANCE: f64 = 1e-4;

#[test]
fn logits_of_the_golden_models() {
    golden("parsimon-train", "attention", |folder| {
        let mut checked = 0;
        for name in ["sigma_tiny", "sigma_tiny_plain"] {
            let folder = folder.join(name);
            let model = LmModel::open(&folder).unwrap();
            let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
            let tokens = expected.tensor("tokens").unwrap().to_i64().unwrap();
            let tokens: Vec<u32> = tokens.into_iter().map(|token| u32::try_from(token).unwrap()).collect();
            let logits = model.logits(&tokens);
            let error = rel_l2(&logits, &expected.tensor("logits").unwrap().to_f64().unwrap());
            assert!(error <= TOLERANCE, "{name}: relative distance {error}");
            checked += 1;
        }
        checked
    });
}
