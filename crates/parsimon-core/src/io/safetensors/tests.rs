use std::io::Write;

use super::*;
use crate::Diagnose;

fn sample() -> BTreeMap<String, TensorData> {
    let f32s: Vec<f32> = (0..6).map(|i| i as f32 * 0.5).collect();
    BTreeMap::from([
        ("a.weight".to_owned(), TensorData::from_f32(&[2, 3], &f32s)),
        ("b.codes".to_owned(), TensorData::from_i32(&[4], &[-1, 0, 1, i32::MAX])),
    ])
}

/// A file with this header and so many bytes of zero data.
fn file_with(header: &str, data: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.write_all(&vec![0; data]).unwrap();
    (dir, path)
}

#[track_caller]
fn check_error(header: &str, data: usize, variant: &str, parts: &[&str]) {
    let (_dir, path) = file_with(header, data);
    let error = Checkpoint::open(&path).expect_err("the file is wrong");
    assert_eq!(error.variant(), variant, "{error}");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "`{text}` should name `{part}`");
    }
}

#[test]
fn what_is_written_is_read_here_and_by_the_safetensors_crate() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_safetensors(&path, &sample(), Some(HashMap::from([("format".into(), "pt".into())]))).unwrap();

    let ours = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(ours.names().collect::<Vec<_>>(), ["a.weight", "b.codes"]);
    assert_eq!(ours.tensor("a.weight").unwrap().to_f32().unwrap(), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
    assert_eq!(ours.tensor("b.codes").unwrap().to_i32().unwrap(), [-1, 0, 1, i32::MAX]);
    assert_eq!(ours.metadata().unwrap()["format"], "pt");

    #[cfg(feature = "ndarray")]
    {
        let array = ours.tensor("a.weight").unwrap().to_array().unwrap();
        assert_eq!((array.shape(), array[[1, 0]]), ([2, 3].as_slice(), 1.5));
    }

    let bytes = std::fs::read(&path).unwrap();
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for name in ours.names() {
        assert_eq!(theirs.tensor(name).unwrap().data(), ours.tensor(name).unwrap().bytes());
    }
    write_safetensors(&path, &sample(), Some(HashMap::from([("format".into(), "pt".into())]))).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "the same tensors give the same bytes");
}

#[test]
fn lies_in_the_header_are_named_with_tensor_and_numbers() {
    let entry = |dtype: &str, shape: &str, span: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{span}}}}}"#)
    };
    check_error(&entry("F32", "[2,2]", "[0,12]"), 16, "OutOfBounds", &["`w`", "0..12", "16 bytes"]);
    check_error(&entry("F32", "[2,2]", "[0,16]"), 15, "OutOfBounds", &["`w`", "0..16", "15 bytes"]);
    check_error(&entry("F32", "[1]", "[8,4]"), 16, "OutOfBounds", &["8..4"]);
    check_error(&entry("F32", "[4294967296,4294967296]", "[0,16]"), 16, "OutOfBounds", &["4294967296"]);
    check_error(&entry("F32", "[-1]", "[0,4]"), 4, "Malformed", &["`w`"]);
    check_error("{\"w\":3}", 0, "Malformed", &["`w`"]);
    check_error("not json", 0, "Malformed", &["safetensors header"]);
    let twice =
        r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    check_error(twice, 1, "DuplicateTensor", &["`w`"]);
    let overlap =
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}}"#;
    check_error(overlap, 8, "Overlap", &["`a`", "`b`", "byte 3"]);
}

#[test]
fn an_unknown_dtype_is_an_error_only_when_that_tensor_is_read() {
    let header = r#"{"odd":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]},"w":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}"#;
    let (_dir, path) = file_with(header, 4);
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.tensor("w").unwrap().bytes(), [0]);
    let error = checkpoint.tensor("odd").unwrap_err();
    assert_eq!((error.variant().as_str(), error.place().as_deref()), ("UnsupportedDType", Some("odd")));
    assert!(error.to_string().contains("F6_E2M3"));
}

#[test]
fn a_huge_header_length_is_refused_before_allocation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    std::fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap_err().variant(), "LimitExceeded");
}

#[test]
fn every_truncation_is_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_safetensors(&path, &sample(), None).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = Checkpoint::open(&path).expect_err("a cut file cannot be whole");
        assert!(error.is_bad_input() && error.file() == Some(&path), "{error}");
    }
}

#[test]
fn no_flipped_bit_makes_the_reader_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_safetensors(&path, &sample(), None).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(checkpoint) = Checkpoint::open(&path) {
            for name in checkpoint.names() {
                // Either a readable tensor or a typed error; what counts is that nothing panics.
                let _ = checkpoint.tensor(name).and_then(|tensor| tensor.to_f32());
            }
        }
    }
}

#[test]
fn shards_are_found_through_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = sample();
    let b = BTreeMap::from([all.remove_entry("b.codes").unwrap()]);
    write_safetensors(&dir.path().join("model-00001-of-00002.safetensors"), &all, None).unwrap();
    write_safetensors(&dir.path().join("model-00002-of-00002.safetensors"), &b, None).unwrap();
    let index = dir.path().join(INDEX_FILE);
    let write_index = |b: &str| {
        let map = serde_json::json!({"weight_map": {"a.weight": "model-00001-of-00002.safetensors", "b.codes": b}});
        std::fs::write(&index, map.to_string()).unwrap();
    };
    write_index("model-00002-of-00002.safetensors");
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.names().count(), 2);
    let missing = checkpoint.require(["a.weight", "c", "d"]).unwrap_err();
    assert!(missing.to_string().contains("2 tensors are missing: c, d"), "{missing}");

    write_index("model-00001-of-00002.safetensors");
    assert_eq!(Checkpoint::open(dir.path()).unwrap_err().variant(), "IndexMismatch");
    write_index("../model-00002-of-00002.safetensors");
    assert_eq!(Checkpoint::open(dir.path()).unwrap_err().variant(), "Malformed");
}
