use std::path::Path;

use parsimon_testkit::golden;
use serde_json::Value;

use super::*;
use crate::Element;

const PACKAGE: &str = "parsimon-ann";

fn floats(row: &Value) -> Vec<f32> {
    row.as_array().expect("a row").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

fn check_vectors(path: &Path, case: &Value) {
    let file = VectorFile::open(path).unwrap_or_else(|e| panic!("{e}"));
    let rows = case["rows"].as_array().expect("rows");
    assert_eq!(file.len(), rows.len(), "{}", path.display());
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(file.element().decode(file.row(i)), floats(row), "{} row {i}", path.display());
    }
}

/// Every file of an independent writer: decoded values, and for malformed ones the kind of error.
#[test]
fn golden_formats() {
    golden(PACKAGE, "ann/golden", |dir| {
        let text = std::fs::read_to_string(dir.join("formats.json")).expect("formats.json");
        let cases: Vec<Value> = serde_json::from_str(&text).expect("valid JSON");
        for case in &cases {
            let path = dir.join("formats").join(case["file"].as_str().expect("a name"));
            let name = path.display();
            match (case["ok"].as_bool(), case["format"].as_str(), case["dtype"].as_str()) {
                (Some(true), Some("ground_truth"), _) => {
                    let truth = GroundTruth::read(&path).unwrap_or_else(|e| panic!("{e}"));
                    assert_eq!(truth.queries(), case["ids"].as_array().expect("ids").len());
                    let expected: Vec<f32> =
                        case["distances"].as_array().expect("rows").iter().flat_map(floats).collect();
                    assert_eq!(truth.distances, expected);
                }
                (Some(true), _, Some("uint64" | "int64")) => {
                    assert_eq!(read_ids(&path).unwrap_or_else(|e| panic!("{e}")).len(), 4, "{name}");
                }
                (Some(true), _, Some("i32")) => {
                    assert!(matches!(VectorFile::open(&path), Err(crate::VectorFileError::Format { .. })), "{name}");
                }
                (Some(true), ..) => check_vectors(&path, case),
                _ if case["error"] == "invalid_vector" => {
                    let file = VectorFile::open(&path).unwrap_or_else(|e| panic!("{e}"));
                    assert!(file.first_not_finite().is_some(), "{name}");
                }
                _ if path.extension().is_some_and(|e| e == "ibin") => {
                    assert!(matches!(read_ids(&path), Err(crate::VectorFileError::Format { .. })), "{name}");
                }
                _ => assert!(matches!(VectorFile::open(&path), Err(crate::VectorFileError::Format { .. })), "{name}"),
            }
        }
        cases.len()
    });
}

#[test]
fn round_trips() {
    let dir = tempfile::tempdir().expect("a folder");
    let rows: [&[f32]; 3] = [&[1.0, -2.0, 3.0], &[0.0, 5.0, 7.0], &[9.0, 8.0, -1.0]];
    for (name, element) in [
        ("a.fvecs", Element::F32),
        ("a.bvecs", Element::U8),
        ("a.fbin", Element::F32),
        ("a.u8bin", Element::U8),
        ("a.i8bin", Element::I8),
        ("a.npy", Element::F16),
    ] {
        let path = dir.path().join(name);
        let mut writer = VectorWriter::create(&path, element, 3).expect("a file");
        for row in rows {
            writer.push(&element.encode(row)).expect("a row");
        }
        assert_eq!(writer.finish().expect("a file"), 3);
        let file = VectorFile::open(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((file.len(), file.dim(), file.element()), (3, 3, element));
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(file.row(i), element.encode(row), "{name}");
        }
        // Every shorter file is refused; a longer one too.
        let bytes = std::fs::read(&path).expect("the file");
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).expect("a file");
            let opened = VectorFile::open(&path);
            // fvecs of whole rows is a shorter file that makes sense.
            assert!(
                opened.is_err() || opened.is_ok_and(|f| f.len() < 3 && name.ends_with("vecs")),
                "{name} cut to {cut}"
            );
        }
    }
}
