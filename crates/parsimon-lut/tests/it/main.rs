//! Golden files made by an independent program from the same formulas (see tests/data/README.md).
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it fails")]

mod blocks;

use std::path::Path;

use parsimon_core::io::{Checkpoint, read_json};
use parsimon_core::quant::{GroupQuantized, Zeros};
use parsimon_lut::{ActConfig, ActQuant, Backend, Kernel, LowBitMatrix, Method, PreparedActivations, reference};
use parsimon_testkit::{committed, max_rel, nmse};
use serde::Deserialize;

/// Beyond exact integer sums the kernels round a handful of `f32` additions a group.
const TABLE_TOLERANCE: f64 = 2e-6;

#[derive(Deserialize)]
struct Case {
    file: String,
    bits: u8,
    m: usize,
    k: usize,
    n: usize,
    group: usize,
    act_group: usize,
    nmse_table_vs_exact: f64,
}

/// The lookup kernels that this process can run.
fn lut_kernels() -> impl Iterator<Item = Kernel> {
    Kernel::available().filter(|kernel| kernel.method() == Method::Lut)
}

#[test]
fn gemv_goldens() {
    committed("parsimon-lut", env!("CARGO_MANIFEST_DIR"), |dir| {
        let manifest: Vec<serde_json::Value> = read_json(&dir.join("manifest.json")).unwrap();
        let cases: Vec<Case> = manifest.into_iter().filter_map(|case| serde_json::from_value(case).ok()).collect();
        cases.iter().for_each(|case| check_gemv(dir, case));
        cases.len()
    });
}

#[track_caller]
fn check_gemv(dir: &Path, case: &Case) {
    let Case { bits, m, k, n, group, act_group, .. } = *case;
    let file = &case.file;
    let golden = Checkpoint::open(&dir.join(file)).unwrap();
    let tensor = |name: &str| golden.tensor(name).unwrap();
    let scales = tensor("scales").to_f32().unwrap();
    let zeros = if golden.contains("zeros") {
        Zeros::Real(tensor("zeros").to_f32().unwrap())
    } else {
        Zeros::Points(vec![1 << (bits - 1); scales.len()])
    };
    let codes = tensor("codes").bytes().to_vec();
    let matrix = GroupQuantized { bits, m, k, group, codes, scales, zeros, g_idx: None };

    let x = tensor("x").to_f32().unwrap();
    let prepared = PreparedActivations::try_new(
        &x,
        n,
        k,
        &ActConfig { quant: ActQuant::Table { ags: act_group }, group, order: None },
    )
    .unwrap();
    let tables: Vec<i64> =
        (0..n).flat_map(|token| prepared.codes(token)).map(|&entry| i64::from(entry as i8)).collect();
    assert_eq!(tables, tensor("table_q").to_i64().unwrap(), "{file}: table bytes");
    let table_scales: Vec<f32> = (0..n).flat_map(|token| prepared.scales(token)).copied().collect();
    assert_eq!(table_scales, tensor("table_scale").to_f32().unwrap(), "{file}: table scales");

    let y_table = tensor("y_table").to_f64().unwrap();
    let by_reference = reference::matmul_prepared(&matrix, &prepared);
    let exact = tensor("y").to_f64().unwrap();
    let by_exact_reference = reference::matmul(&matrix, &x);
    let as_f32 = |y: &[f64]| y.iter().map(|&y| y as f32).collect::<Vec<_>>();
    assert!(max_rel(&as_f32(&by_reference), &y_table) <= 1e-6, "{file}: table reference");
    assert!(max_rel(&as_f32(&by_exact_reference), &exact) <= 1e-6, "{file}: exact reference");
    for kernel in lut_kernels() {
        let packed = LowBitMatrix::from_quantized(&matrix, Backend::Kernel(kernel)).unwrap();
        let level = kernel.name();
        let mut y = vec![f32::NAN; n * m];
        packed.matmul_into(&prepared, &mut y);
        let error = max_rel(&y, &y_table);
        assert!(error <= TABLE_TOLERANCE, "{file} on {level}: {error} from the table formula");
        let error = nmse(&y, &exact);
        assert!(error <= case.nmse_table_vs_exact * 1.05, "{file} on {level}: NMSE {error}");
    }
}

/// Integer activations: `acc2 = sum (2 q - (2^b - 1)) a` bit for bit, and the tables byte for byte.
#[test]
fn integer_goldens() {
    committed("parsimon-lut", env!("CARGO_MANIFEST_DIR"), |dir| {
        let golden = Checkpoint::open(&dir.join("integer_exact.safetensors")).unwrap();
        (1..=4).for_each(|bits| check_integers(&golden, bits));
        4
    });
}

#[track_caller]
fn check_integers(golden: &Checkpoint, bits: u8) {
    let tensor = |part: &str| golden.tensor(&format!("int.b{bits}.{part}")).unwrap();
    let &[m, k] = tensor("codes").shape() else { panic!("codes are a matrix") };
    let a: Vec<i8> = tensor("a").bytes().iter().map(|&a| a as i8).collect();
    let acc2 = tensor("acc2").to_i64().unwrap();
    // s = 2 and zp = 2^(b-1) make the kernel's constant term minus the sum of the activations.
    let matrix = GroupQuantized {
        bits,
        m,
        k,
        group: k,
        codes: tensor("codes").bytes().to_vec(),
        scales: vec![2.0; m],
        zeros: Zeros::Points(vec![1 << (bits - 1); m]),
        g_idx: None,
    };
    assert_eq!(reference::matmul_integer(&matrix, &a), acc2);
    let config = ActConfig { quant: ActQuant::Table { ags: 64 }, group: k, order: None };
    let prepared = PreparedActivations::from_integers(&a, None, 1, k, &config).unwrap();
    let tables: Vec<i64> = prepared.codes(0).iter().map(|&entry| i64::from(entry as i8)).collect();
    let expected = tensor("table").to_i64().unwrap();
    assert_eq!(tables[..expected.len()], expected, "{bits} bits: table bytes");
    let sum: i64 = a.iter().map(|&a| i64::from(a)).sum();
    for kernel in lut_kernels() {
        let level = kernel.name();
        let mut y = vec![f32::NAN; m];
        LowBitMatrix::from_quantized(&matrix, Backend::Kernel(kernel)).unwrap().matmul_into(&prepared, &mut y);
        let y: Vec<f64> = y.into_iter().map(f64::from).collect();
        let expected: Vec<f64> = acc2.iter().map(|acc| (acc - sum) as f64).collect();
        assert_eq!(y, expected, "{bits} bits on {level}");
    }
}

/// Ternary weights, five in a byte: the tables byte for byte and the sums bit for bit.
#[test]
fn ternary_goldens() {
    committed("parsimon-lut", env!("CARGO_MANIFEST_DIR"), |dir| {
        let golden = Checkpoint::open(&dir.join("integer_exact.safetensors")).unwrap();
        let trits = golden.tensor("tern.t").unwrap();
        let &[m, k] = trits.shape() else { panic!("trits are a matrix") };
        let matrix = GroupQuantized {
            bits: 2,
            m,
            k,
            group: k,
            codes: trits.bytes().iter().map(|&t| t.wrapping_add(1)).collect(),
            scales: vec![1.0; m],
            zeros: Zeros::Points(vec![1; m]),
            g_idx: None,
        };
        let a: Vec<i8> = golden.tensor("tern.a").unwrap().bytes().iter().map(|&a| a as i8).collect();
        let config = ActConfig { quant: ActQuant::TernaryTable { ags: 160 }, group: k, order: None };
        let prepared = PreparedActivations::from_integers(&a, None, 1, k, &config).unwrap();
        assert_eq!(prepared.codes(0), golden.tensor("tern.table").unwrap().bytes());
        let expected: Vec<f32> =
            golden.tensor("tern.acc").unwrap().to_i64().unwrap().iter().map(|&y| y as f32).collect();
        for kernel in Kernel::available().filter(|kernel| kernel.method() == Method::Elut) {
            let mut y = vec![f32::NAN; m];
            LowBitMatrix::from_quantized(&matrix, Backend::Kernel(kernel)).unwrap().matmul_into(&prepared, &mut y);
            assert_eq!(y, expected, "{}", kernel.name());
        }
        1
    });
}
