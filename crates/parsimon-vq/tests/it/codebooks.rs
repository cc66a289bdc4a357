//! k-means, product and residual quantizers against the golden cases.

use parsimon_core::io::{Checkpoint, read_json};
use parsimon_core::{CancelFlag, Control, NoProgress, SplitMix64};
use parsimon_testkit::golden;
use parsimon_vq::{
    Init, KMeansConfig, Metric, Numerics, Points, ProductQuantizer, ResidualQuantizer, kmeans, layer_seed, stream,
};
use serde_json::Value;

/// Runs `body` with a control that reports nothing.
pub(crate) fn quietly<T>(body: impl FnOnce(&Control<'_>) -> T) -> T {
    body(&Control { progress: &NoProgress, cancel: &CancelFlag::new() })
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap(), 16).unwrap()
}

pub(crate) fn close(actual: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |max, e| max.max(e.abs()));
    let worst = actual.iter().zip(expected).fold(0.0f64, |worst, (a, e)| worst.max((a - e).abs()));
    assert!(worst <= tolerance * scale, "{what}: {worst} > {tolerance} of {scale}");
}

#[test]
fn generator_and_streams() {
    golden("parsimon-vq", "vq", |dir| {
        let manifest: Value = read_json(&dir.join("manifest.json")).unwrap();
        let mut rng = SplitMix64::new(manifest["splitmix64"]["seed"].as_u64().unwrap());
        for next in manifest["splitmix64"]["next"].as_array().unwrap() {
            assert_eq!(rng.next_u64(), hex(next));
        }
        let s = &manifest["stream"];
        let seed = layer_seed(s["seed"].as_u64().unwrap(), s["layer"].as_str().unwrap());
        let (stage, book) = (s["stage"].as_u64().unwrap() as usize, s["book"].as_u64().unwrap() as usize);
        assert_eq!(stream(seed, stage, book).next_u64(), hex(&s["next"]));
        2
    });
}

#[test]
fn kmeans_goldens() {
    golden("parsimon-vq", "vq", |dir| {
        let manifest: Value = read_json(&dir.join("manifest.json")).unwrap();
        let file = Checkpoint::open(&dir.join("kmeans.safetensors")).unwrap();
        let metric = |case: &Value| match case["metric"].as_str() {
            Some("l1") => Some(Metric::L1),
            Some("linf") => Some(Metric::Chebyshev),
            _ if case["init"].is_string() => Some(Metric::L2),
            _ => None,
        };
        let cases = manifest["kmeans"].as_array().unwrap().iter().chain(manifest["other"].as_array().unwrap());
        let mut n = 0;
        for case in cases {
            let Some(metric) = metric(case) else { continue };
            for numerics in [Numerics::Exact, Numerics::Fast] {
                check(&file, case, metric, numerics);
            }
            n += 1;
        }
        n
    });
}

fn check(file: &Checkpoint, case: &Value, metric: Metric, numerics: Numerics) {
    let id = case["id"].as_str().unwrap();
    let tensor = |name: &str| file.tensor(&format!("{id}.{name}"));
    let x = tensor("x").unwrap();
    let (v, x) = (x.shape()[1], x.to_f64().unwrap());
    let w = tensor("w").ok().map(|w| w.to_f64().unwrap());
    let config = KMeansConfig {
        iters: case["iters_max"].as_u64().unwrap() as usize,
        tol: case["tol"].as_f64().unwrap(),
        init: match case["init"].as_str() {
            Some("sample") => Init::Sample,
            Some("pp_sample") => Init::PlusPlusSample,
            _ => Init::Auto,
        },
        metric,
        numerics,
        ..KMeansConfig::new(case["k"].as_u64().unwrap() as usize)
    };
    let seed = case["seed"].as_u64().unwrap();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut rng = SplitMix64::new(seed);
        pool.install(|| quietly(|control| kmeans(Points::new(&x, v), w.as_deref(), &config, &mut rng, control)))
            .unwrap()
    };
    let result = run(1);
    assert_eq!(result, run(3), "{id}: threads");
    let report = &result.report;
    let inertia = case["inertia"].as_f64().unwrap();
    if numerics == Numerics::Fast {
        assert!((report.inertia / inertia.max(1e-300) - 1.0).abs() < 0.01 || inertia == 0.0, "{id}: {report:?}");
        return;
    }
    for (key, value) in
        [("iters", report.iters), ("used", report.used), ("reseeded", report.reseeded), ("best_iter", report.best_iter)]
    {
        if let Some(expected) = case[key].as_u64() {
            assert_eq!(value as u64, expected, "{id}: {key}");
        }
    }
    close(&[report.inertia], &[inertia], 1e-9, id);
    close(&result.centroids, &tensor("centroids").unwrap().to_f64().unwrap(), 1e-9, id);
    if let Ok(assign) = tensor("assign") {
        let expected: Vec<u32> = assign.to_i64().unwrap().iter().map(|&a| a as u32).collect();
        assert_eq!(result.assign, expected, "{id}");
    }
}

#[test]
fn quantizer_goldens() {
    golden("parsimon-vq", "vq", |dir| {
        let manifest: Value = read_json(&dir.join("manifest.json")).unwrap();
        let file = Checkpoint::open(&dir.join("kmeans.safetensors")).unwrap();
        let case =
            |id: &str| manifest["other"].as_array().unwrap().iter().find(|case| case["id"] == id).unwrap().clone();
        let codes = |name: &str| -> Vec<u32> {
            file.tensor(name).unwrap().to_i64().unwrap().iter().map(|&code| code as u32).collect()
        };
        let x = file.tensor("rvq.x").unwrap().to_f64().unwrap();
        let points = Points::new(&x, 6);
        let exact = KMeansConfig { numerics: Numerics::Exact, ..KMeansConfig::new(0) };

        let rvq = case("rvq");
        let sizes: Vec<usize> = rvq["ks"].as_array().unwrap().iter().map(|k| k.as_u64().unwrap() as usize).collect();
        let seed = rvq["seed"].as_u64().unwrap();
        let quantizer = quietly(|control| ResidualQuantizer::train(points, &sizes, &exact, seed, control)).unwrap();
        for (s, stage) in quantizer.stages().iter().enumerate() {
            close(stage.data(), &file.tensor(&format!("rvq.book{s}")).unwrap().to_f64().unwrap(), 1e-9, "rvq");
        }
        let rows = Points::new(&x[..80 * 6], 6);
        for (beam, name) in [(1, "beam1"), (4, "beam4")] {
            let mut out = vec![0; 80 * 3];
            quantizer.encode_into(rows, beam, &mut out);
            assert_eq!(out, codes(&format!("rvq.codes_{name}")), "{name}");
            let mut decoded = vec![0.0; rows.data().len()];
            quantizer.decode_into(&out, &mut decoded);
            let distance: f64 = decoded.iter().zip(rows.data()).map(|(a, b)| (a - b).powi(2)).sum();
            close(&[distance], &[rvq[&format!("dist_{name}")].as_f64().unwrap()], 1e-9, name);
        }

        let pq = case("pq");
        let (k, len) = (pq["k"].as_u64().unwrap() as usize, pq["sub_len"].as_u64().unwrap() as usize);
        let config = KMeansConfig { k, ..exact };
        let seed = pq["seed"].as_u64().unwrap();
        let quantizer = quietly(|control| ProductQuantizer::train(points, len, &config, seed, control)).unwrap();
        let books: Vec<f64> = quantizer.books().iter().flat_map(|book| book.data()).copied().collect();
        close(&books, &file.tensor("pq.books").unwrap().to_f64().unwrap(), 1e-9, "pq");
        let mut out = vec![0; points.n() * 3];
        quantizer.encode_into(points, Numerics::Exact, &mut out);
        assert_eq!(out, codes("pq.codes"));
        2
    });
}
