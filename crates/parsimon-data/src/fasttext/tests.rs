use super::*;

fn lines() -> Vec<String> {
    let words = [("a", ["red", "rose", "leaf"]), ("b", ["blue", "lake", "boat"])];
    (0..40)
        .map(|n| {
            let (label, words) = &words[n % 2];
            format!("__label__{label} {} {} x{n}", words[n % 3], words[(n / 2) % 3])
        })
        .collect()
}

fn options() -> TrainOptions {
    TrainOptions { dim: 8, epochs: 20, minn: 2, maxn: 3, bucket: 500, word_ngrams: 2, ..TrainOptions::default() }
}

#[test]
fn training_repeats_and_files_round_trip() {
    let model = FastText::train(&lines(), &options()).unwrap();
    let bytes = model.to_bytes();
    assert_eq!(FastText::train(&lines(), &options()).unwrap().to_bytes(), bytes);
    let read = FastText::from_bytes(&bytes).unwrap();
    assert_eq!(read.to_bytes(), bytes);
    for text in ["a rose", "the blue boat", "lake", ""] {
        assert_eq!(read.predict(text, 2), model.predict(text, 2), "{text}");
    }
    assert_eq!(model.predict("red rose", 1)[0].label, "__label__a");
    let sum: f32 = model.predict("boat", 9).iter().map(|found| found.probability).sum();
    assert!((sum - 1.0).abs() < 1e-3);
    let small = model.quantize(&QuantizeOptions::default());
    let reread = FastText::from_bytes(&small.to_bytes()).unwrap();
    assert_eq!(reread.to_bytes(), small.to_bytes());
    for text in ["red rose", "blue boat on a lake"] {
        assert_eq!(reread.predict(text, 1)[0].label, model.predict(text, 1)[0].label);
    }
}

#[test]
fn damaged_models_are_refused() {
    let bytes = FastText::train(&lines(), &options()).unwrap().quantize(&QuantizeOptions::default()).to_bytes();
    for length in (0..bytes.len()).step_by(97) {
        assert!(FastText::from_bytes(&bytes[..length]).is_err(), "{length}");
    }
    let mut flipped = bytes.clone();
    for at in 0..200 {
        flipped[at] ^= 0xff;
        // Whatever is read predicts without a panic.
        if let Ok(model) = FastText::from_bytes(&flipped) {
            model.predict("red rose", 1);
        }
        flipped[at] ^= 0xff;
    }
    let error = FastText::from_bytes(b"not a model").unwrap_err();
    assert!(error.to_string().contains("magic"), "{error}");
    assert!(matches!(FastText::train(&["no label"], &options()), Err(ModelError::Empty { .. })));
}
