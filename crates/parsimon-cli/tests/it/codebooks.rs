//! Codebooks from outside: golden files, decoded folders, clusters.

use parsimon::tensor::DType;
use parsimon::tensor::io::{Checkpoint, write_npy};
use parsimon_testkit::golden;

use super::{json, parsimon};

#[test]
fn golden_files_hold_and_a_changed_one_does_not() {
    golden("parsimon-cli", "vq/manifest.json", |manifest| {
        let dir = manifest.parent().unwrap();
        let report = json(&parsimon(&["vq", "golden", dir.to_str().unwrap(), "--json"]));
        let cases = report["cases"].as_array().unwrap().len();
        assert!(cases > 20, "{report}");

        let changed = tempfile::tempdir().unwrap();
        for name in ["pack.safetensors", "kmeans.safetensors"] {
            std::fs::copy(dir.join(name), changed.path().join(name)).unwrap();
        }
        let text = std::fs::read_to_string(manifest).unwrap().replacen("\"used\": 16", "\"used\": 15", 1);
        std::fs::write(changed.path().join("manifest.json"), text).unwrap();
        let failed = parsimon(&["vq", "golden", changed.path().to_str().unwrap()]);
        assert_eq!(failed.status.code(), Some(1));
        cases
    });
}

#[test]
fn a_folder_is_decoded() {
    golden("parsimon-cli", "vq/tiny_f16", |dir| {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("dense.safetensors");
        let report = json(&parsimon(&["vq", "dequantize", dir.to_str().unwrap(), path.to_str().unwrap(), "--json"]));
        let [expected, actual, source] =
            [&dir.join("expected.safetensors"), &path, &dir.to_path_buf()].map(|path| Checkpoint::open(path).unwrap());
        let mut layers = 0;
        for name in expected.names().filter_map(|name| name.strip_prefix("dense.")) {
            let Ok(tensor) = actual.tensor(name) else { continue };
            assert_eq!(tensor.bytes(), expected.tensor(&format!("dense.{name}")).unwrap().bytes(), "{name}");
            layers += usize::from(name.ends_with(".weight"));
        }
        assert_eq!(report["layers"], layers);
        let norm = "model.norm.weight";
        assert_eq!(actual.tensor(norm).unwrap().bytes(), source.tensor(norm).unwrap().bytes());
        layers
    });
    let missing = parsimon(&["vq", "dequantize", "nowhere", "out.safetensors"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn points_are_clustered_the_same_way_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let [points, one, two] =
        ["x.npy", "1.safetensors", "2.safetensors"].map(|name| dir.path().join(name).to_str().unwrap().to_owned());
    let x: Vec<f32> = (0..600).map(|i| (i * i % 83) as f32 + 1000.0 * (i / 2 % 3) as f32).collect();
    write_npy(points.as_ref(), &[300, 2], &x).unwrap();
    let run = |out: &str, threads: &str| {
        parsimon(&["vq", "kmeans", &points, "--k", "3", "--seed", "4", "--out", out, "--threads", threads, "--json"])
    };
    let report = json(&run(&one, "1"));
    assert_eq!((report["points"].as_u64(), report["used"].as_u64()), (Some(300), Some(3)));
    run(&two, "3");
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    let file = Checkpoint::open(one.as_ref()).unwrap();
    let assign = file.tensor("assign").unwrap();
    assert_eq!((assign.dtype(), assign.shape()), (DType::U32, &[300][..]));
    // The three heaps lie far apart.
    let codes: Vec<&[u8]> = assign.bytes().chunks(4).collect();
    assert!((0..300).all(|i| codes[i] == codes[i % 3]));

    write_npy(points.as_ref(), &[600], &x).unwrap();
    let refused = run(&one, "1");
    assert!(refused.status.code() == Some(2) && json(&refused)["error"]["message"].as_str().unwrap().contains("[600]"));
}
