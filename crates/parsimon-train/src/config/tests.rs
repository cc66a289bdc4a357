use super::*;

fn config() -> TrainConfig {
    preset(SIGMA_TINY, 300).unwrap().1
}

#[test]
fn the_learning_rate_rises_then_falls_to_a_tenth() {
    let config = TrainConfig { steps: 100, warmup_steps: 10, learning_rate: 1.0, ..config() };
    assert_eq!(config.learning_rate_at(0), 0.1);
    assert_eq!(config.learning_rate_at(9), 1.0);
    assert_eq!(config.learning_rate_at(10), 1.0);
    assert!((config.learning_rate_at(55) - 0.55).abs() < 1e-12);
    assert!((config.learning_rate_at(100) - 0.1).abs() < 1e-12);
    let short = TrainConfig { steps: 3, warmup_steps: 0, ..config };
    assert_eq!(short.learning_rate_at(0), 1.0);
}

#[test]
fn settings_out_of_range_are_named() {
    let good = config();
    good.check().unwrap();
    for (bad, field) in [
        (TrainConfig { steps: 0, ..good }, "steps"),
        (TrainConfig { batch: 0, ..good }, "batch"),
        (TrainConfig { context: 0, ..good }, "context"),
        (TrainConfig { save_every: 0, ..good }, "save_every"),
        (TrainConfig { learning_rate: f64::NAN, ..good }, "learning_rate"),
        (TrainConfig { learning_rate: 1.5, ..good }, "learning_rate"),
        (TrainConfig { weight_decay: -0.1, ..good }, "weight_decay"),
        (TrainConfig { clip_norm: 0.0, ..good }, "clip_norm"),
    ] {
        match bad.check() {
            Err(TrainError::Setting { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn presets_by_name() {
    let (model, train) = preset(SIGMA_TINY, 8192).unwrap();
    assert_eq!(model, ModelConfig::sigma_tiny(8192));
    assert!(train.context <= model.max_position_embeddings);
    assert!(matches!(preset("sigma-huge", 8192), Err(TrainError::UnknownPreset { .. })));
}
