//! The quantizer, its baselines and the file format against the golden layers, which an independent program made.

use std::path::Path;

use parsimon_core::io::{Checkpoint, read_json};
use parsimon_core::variant_name;
use parsimon_testkit::golden;
use parsimon_vq::{
    ColumnOrder, ColumnWeights, FinetuneConfig, FloatType, Gptq, Hessian, HessianAccumulator, InverseFactor, Layer,
    LayerConfig, Norm, Numerics, OutlierConfig, Outliers, Quantizer, ResidualSource, Rtn, Vptq, VptqCompat, VptqConfig,
    VptqLinear, finetune, pack,
};
use serde_json::Value;

use crate::codebooks::{close, quietly};

#[test]
fn packing_goldens() {
    golden("parsimon-vq", "vq", |dir| {
        let manifest: Value = read_json(&dir.join("manifest.json")).unwrap();
        let file = Checkpoint::open(&dir.join("pack.safetensors")).unwrap();
        let cases = manifest["pack"].as_array().unwrap();
        for case in cases {
            let id = case["id"].as_str().unwrap();
            let codes = |part: &str| -> Vec<u16> {
                let tensor = file.tensor(&format!("{id}.{part}"));
                tensor.map_or_else(|_| Vec::new(), |t| t.to_i64().unwrap().iter().map(|&code| code as u16).collect())
            };
            let number = |key: &str| case[key].as_u64().unwrap() as usize;
            let (main, residual, bits) = (codes("main"), codes("res"), (number("main_bits"), number("res_bits")));
            let residual = if bits.1 == 0 { Vec::new() } else { residual };
            let words: Vec<u32> = file
                .tensor(&format!("{id}.words"))
                .unwrap()
                .to_i32()
                .unwrap()
                .iter()
                .map(|&word| word as u32)
                .collect();
            assert_eq!(pack::pack(&main, &residual, number("columns"), bits), words, "{id}");
            assert_eq!(pack::unpack(&words, number("columns"), bits), (main, residual), "{id}");
        }
        cases.len()
    });
}

#[test]
fn hessian_goldens() {
    golden("parsimon-vq", "vq", |dir| {
        let file = Checkpoint::open(&dir.join("hessian.safetensors")).unwrap();
        let get = |name: &str| file.tensor(name).unwrap().to_f64().unwrap();
        let x = file.tensor("x").unwrap().to_f32().unwrap();
        for (numerics, tolerance) in [(Numerics::Exact, 1e-12), (Numerics::Fast, 1e-6)] {
            let mut accumulator = HessianAccumulator::new(24, numerics);
            accumulator.push(&x).unwrap();
            close(accumulator.finish().data(), &get("h"), tolerance, "h");
        }
        // `hd` is damped already: as much is taken away as the factor adds.
        let hd = get("hd");
        let mean = (0..24).map(|j| hd[j * 25]).sum::<f64>() / 24.0;
        let undamped: Vec<f64> =
            hd.iter().enumerate().map(|(i, h)| if i % 25 == 0 { h - mean * (0.01 / 1.01) } else { *h }).collect();
        close(&InverseFactor::of_damped(&undamped, 24, 0.01).unwrap().u, &get("u"), 1e-9, "u");
        // These have a mean diagonal of 1 and lack the regularisation.
        let regularised = |name: &str, k: usize| {
            let mut h = get(name);
            (0..k).for_each(|j| h[j * k + j] += 0.01);
            h
        };
        let retry = InverseFactor::of_damped(&regularised("retry", 8), 8, 0.01).unwrap();
        assert_eq!(retry.percdamp, 0.1);
        close(&retry.u, &get("retry_u"), 1e-9, "retry_u");
        assert_eq!(InverseFactor::of_damped(&regularised("not_pd", 12), 12, 0.01), Err(10.0));
        5
    });
}

/// The configuration of a golden layer.
fn config(case: &Value) -> VptqConfig {
    let c = &case["config"];
    let number = |key: &str| c[key].as_f64().unwrap();
    let count = |key: &str| c[key].as_i64().unwrap().max(0) as usize;
    let outlier = |columns| OutlierConfig { columns, vector_len: count("v0"), centroids: count("k0") };
    VptqConfig {
        vector_len: count("v"),
        centroids: count("k"),
        residual: count("kr"),
        outlier: match (c["outlier_size"].as_u64(), number("outlier_pct")) {
            (Some(size), _) if size > 0 => Some(outlier(Outliers::Count(size as usize))),
            (_, percent) if percent > 0.0 => Some(outlier(Outliers::Percent(percent))),
            _ => None,
        },
        groups: count("groups"),
        norm: match c["norm"].as_str().unwrap() {
            "std" => Norm::Std,
            "minmax" => Norm::MinMax,
            _ => Norm::None,
        },
        order: if c["perm"] == true { ColumnOrder::Descending } else { ColumnOrder::Natural },
        block: count("block"),
        percdamp: number("percdamp"),
        reg: number("reg"),
        weights: if c["weights"] == "h" { ColumnWeights::Hessian } else { ColumnWeights::Compensated },
        residual_from: if c["res_from"] == "qerror" { ResidualSource::Feedback } else { ResidualSource::KMeans },
        feedback: c["feedback"] == true,
        em_rounds: count("em"),
        beam: count("beam"),
        iters: count("iters"),
        tol: number("tol"),
        seed: count("seed") as u64,
        float: if c["dtype"] == "bf16" { FloatType::BF16 } else { FloatType::F16 },
        byte_grid: c["grid"] == true,
        numerics: Numerics::Exact,
        packed: case["layer_config"]["is_indice_packed"] == true,
        compat: VptqCompat { hessian_not_rescaled: c["rescale"] == false, ..VptqCompat::default() },
        ..VptqConfig::default()
    }
}

#[test]
fn layer_goldens() {
    golden("parsimon-vq", "vq", |dir| {
        let manifest: Value = read_json(&dir.join("manifest.json")).unwrap();
        let cases = manifest["layers"].as_array().unwrap();
        cases.iter().for_each(|case| check_layer(dir, case));
        cases.len()
    });
}

fn check_layer(dir: &Path, case: &Value) {
    let id = case["id"].as_str().unwrap();
    let file = Checkpoint::open(&dir.join(format!("layers/{id}.safetensors"))).unwrap();
    let get = |name: &str| file.tensor(name).unwrap().to_f64().unwrap();
    let weights = file.tensor("w").unwrap().to_f32().unwrap();
    let (m, k) = (case["m"].as_u64().unwrap() as usize, case["k"].as_u64().unwrap() as usize);
    let hessian = Hessian::try_new(get("h"), k).unwrap();
    let layer = Layer { name: case["layer_name"].as_str().unwrap(), weights: &weights, m, k, hessian: &hessian };

    let exact = Vptq { config: config(case) };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| quietly(|control| exact.quantize(&layer, control))).unwrap()
    };
    let (linear, report) = run(1);
    assert_eq!((&linear, &report), (&run(3).0, &run(2).1), "{id}: threads");

    let mut expected: Vec<f64> = case["obj"].as_array().unwrap().iter().map(|obj| obj.as_f64().unwrap()).collect();
    expected.push(case["obj_final"].as_f64().unwrap());
    close(&report.obj, &expected, 1e-9, id);
    close(&[report.rel], &[case["rel"].as_f64().unwrap()], 1e-9, id);
    for (report, expected) in report.kmeans.iter().zip(case["kmeans"].as_array().unwrap()) {
        assert_eq!(report.iters as u64, expected["iters"].as_u64().unwrap(), "{id}");
    }
    let bits = [report.bits.index, report.bits.codebook, report.bits.norm, report.bits.perm, report.bits.total()];
    for (bits, key) in bits.iter().zip(["index", "codebook", "norm", "perm", "total"]) {
        close(&[*bits], &[case["bits"][key].as_f64().unwrap()], 1e-12, &format!("{id}: {key}"));
    }
    check_file(&file, &linear, case, id);

    // In f32 ties may fall otherwise, the error stays.
    let fast = Vptq { config: VptqConfig { numerics: Numerics::Fast, ..exact.config.clone() } };
    let (_, fast) = quietly(|control| fast.quantize(&layer, control)).unwrap();
    assert!((fast.rel / report.rel - 1.0).abs() < 0.01, "{id}: fast {} exact {}", fast.rel, report.rel);

    check_finetune(&file, &linear, &layer, case, id);
    check_scalar(&file, &layer, case, id);
}

/// The written tensors and the decoded weights are the golden ones, byte for byte; read, they are the layer again.
fn check_file(file: &Checkpoint, linear: &VptqLinear, case: &Value, id: &str) {
    let bias = file.tensor("file.bias").ok().map(|bias| bias.to_f32().unwrap());
    let linear = linear.clone().with_bias(bias);
    let json = &case["layer_config"];
    assert_eq!(&LayerConfig::of(&linear).to_json(), json, "{id}");
    let tensors = linear.to_tensors("file");
    let names: Vec<&str> = file.names().filter(|name| name.starts_with("file.")).collect();
    assert_eq!(tensors.keys().map(String::as_str).collect::<Vec<_>>(), names, "{id}");
    for (name, tensor) in &tensors {
        let expected = file.tensor(name).unwrap();
        assert_eq!((tensor.dtype, &tensor.shape[..]), (expected.dtype(), expected.shape()), "{id}: {name}");
        assert!(tensor.bytes == expected.bytes(), "{id}: {name} differs");
    }
    let decoded = file.tensor("decoded").unwrap();
    assert!(linear.float().to_bytes(linear.dequantize()) == decoded.bytes(), "{id}: decoded weights differ");
    let config = LayerConfig::from_json("file", json).unwrap();
    assert_eq!(VptqLinear::read(file, "file", &config, linear.shape()).unwrap(), linear, "{id}");
}

fn check_finetune(file: &Checkpoint, linear: &VptqLinear, layer: &Layer<'_>, case: &Value, id: &str) {
    let steps = FinetuneConfig { steps: 20, ..FinetuneConfig::default() };
    let tuned = quietly(|control| finetune(linear, layer, &steps, control)).unwrap();
    let trace = case["ft_trace"].as_array().unwrap();
    let expected: Vec<f64> = trace.iter().map(|f| f.as_f64().unwrap()).collect();
    close(&[tuned.trace[0], tuned.trace[10], tuned.trace[20]], &expected, 1e-9, &format!("{id}: trace"));
    assert!(tuned.rel_after < tuned.rel_before, "{id}");
    let tensors = tuned.linear.to_tensors("");
    let centroids = &tensors[".centroids.weight"];
    let float = linear.float();
    for (name, tensor) in [
        ("ft.main", Some(centroids)),
        ("ft.scale", tensors.get(".weight_scale")),
        ("ft.bias", tensors.get(".weight_bias")),
    ] {
        let (Ok(expected), Some(tensor)) = (file.tensor(name), tensor) else { continue };
        let expected = float.to_bytes(expected.to_f64().unwrap().iter().map(|&value| value as f32));
        let differing = expected.chunks(2).zip(tensor.bytes.chunks(2)).filter(|(a, b)| a != b).count();
        assert!(differing * 100 * 2 <= expected.len(), "{id}: {name}, {differing} of {}", expected.len() / 2);
    }
}

fn check_scalar(file: &Checkpoint, layer: &Layer<'_>, case: &Value, id: &str) {
    let gptq = Gptq::new(3, 8);
    let act = Gptq { act_order: true, ..gptq };
    let results = quietly(|control| {
        [
            ("rtn2_g8", Rtn { bits: 2, group: 8 }.quantize(layer, control)),
            ("gptq3_g8", gptq.quantize(layer, control)),
            ("gptq3_g8_act", act.quantize(layer, control)),
        ]
    });
    for (name, result) in results {
        let (matrix, report) = result.unwrap();
        matrix.validate().unwrap();
        let decoded: Vec<f64> = (0..layer.m * layer.k).map(|i| matrix.weight(i / layer.k, i % layer.k)).collect();
        close(&decoded, &file.tensor(name).unwrap().to_f64().unwrap(), 1e-9, &format!("{id}: {name}"));
        close(&[report.rel], &[case[format!("rel_{name}")].as_f64().unwrap()], 1e-9, &format!("{id}: {name}"));
    }
}

#[test]
fn bad_layers() {
    let (weights, hessian) = (vec![1.0; 12], Hessian::identity(4));
    let layer = Layer { name: "l", weights: &weights, m: 3, k: 4, hessian: &hessian };
    let variant = |layer: &Layer<'_>, config: VptqConfig| {
        variant_name(&quietly(|control| Vptq { config }.quantize(layer, control)).unwrap_err())
    };
    let base = VptqConfig { centroids: 2, ..VptqConfig::default() };
    let mut infinite = weights.clone();
    infinite[7] = f32::INFINITY;
    assert_eq!(variant(&Layer { weights: &infinite, ..layer }, base.clone()), "NonFinite");
    assert_eq!(variant(&Layer { k: 3, m: 4, ..layer }, base.clone()), "ShapeMismatch");
    assert_eq!(variant(&Layer { m: 0, weights: &[], ..layer }, base.clone()), "EmptyShape");
    assert_eq!(variant(&layer, VptqConfig { groups: 3, ..base.clone() }), "GroupsDoNotDivide");
    for config in [
        VptqConfig { centroids: 3, ..base.clone() },
        VptqConfig { vector_len: 0, ..base.clone() },
        VptqConfig { beam: 3, ..base.clone() },
        VptqConfig { percdamp: f64::NAN, ..base.clone() },
        VptqConfig { residual: 1, ..base.clone() },
        VptqConfig { groups: 0, ..base },
    ] {
        assert_eq!(variant(&layer, config), "Option");
    }
}
