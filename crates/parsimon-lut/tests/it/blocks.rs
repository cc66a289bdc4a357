//! The uniform block types of GGUF on every kernel, against the reference decoders.

use std::path::Path;

use parsimon_core::SplitMix64;
use parsimon_core::io::read_json;
use parsimon_core::quant::{BlockMatrix, BlockType, GroupQuantized};
use parsimon_lut::{ActConfig, Backend, Kernel, LowBitMatrix, PackError, PreparedActivations, reference};
use parsimon_testkit::{committed, golden, nmse};
use serde_json::Value;

/// Tokens of a product.
const N: usize = 8;

/// How far a scale moves when it is packed, relative to itself: `f16` has 11 digits.
const SCALE_ROUNDING: f64 = 0.5 / (1 << 10) as f64;

/// And relative to the largest of the matrix, whose exponent becomes 14: half a step of the smallest `f16` numbers, 2^-25.
const SCALE_STEP: f64 = SCALE_ROUNDING / (1u64 << 28) as f64;

/// What `f32` arithmetic adds, relative to the largest terms: real zeros are rounded when they are decoded and again when packed.
const ARITHMETIC: f64 = 1e-6;

/// Quantized activations with rounded scales against neither. The blocks have scales of all magnitudes, so that a few groups decide the
/// outputs, and the error scatters around the 6e-5 of many equal ones.
const NMSE_MAX: f64 = 2e-4;

#[test]
fn uniform_blocks_on_every_kernel() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parsimon-core");
    let core = core.to_str().expect("the folder of the workspace is a string");
    committed("parsimon-lut", core, |dir| each(&dir.join("formats/ggml")));
    golden("parsimon-lut", "formats/ggml", each);
}

/// Checks every uniform type; returns the number of packed matrices.
fn each(dir: &Path) -> usize {
    let manifest: Value = read_json(&dir.join("manifest.json")).unwrap();
    let names = manifest["dequantize"].as_array().unwrap().iter().map(|case| case["type"].as_str().unwrap());
    let types = names.map(|name| BlockType::from_name(name).unwrap()).filter(|block_type| block_type.is_uniform());
    let packed: Vec<usize> = types.map(|block_type| check_type(dir, block_type)).collect();
    assert_eq!(packed.len(), BlockType::all().filter(|block_type| block_type.is_uniform()).count());
    packed.into_iter().sum()
}

/// The blocks with finite scales as rows of two, and their weights.
fn finite_blocks(dir: &Path, block_type: BlockType) -> (Vec<u8>, Vec<f32>) {
    let read = |suffix: &str| {
        let file = format!("{}.{suffix}.bin", block_type.name().to_lowercase());
        std::fs::read(dir.join(file)).unwrap()
    };
    let weights: Vec<f32> = read("f32").as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let blocks = read("blocks");
    let (blocks, weights) = (blocks.chunks(block_type.block_bytes()), weights.chunks(block_type.block_len()));
    let finite: Vec<_> = blocks.zip(weights).filter(|(_, weights)| weights.iter().all(|w| w.is_finite())).collect();
    let (blocks, weights): (Vec<_>, Vec<_>) = finite[..finite.len() / 2 * 2].iter().copied().unzip();
    (blocks.concat(), weights.concat())
}

#[track_caller]
fn check_type(dir: &Path, block_type: BlockType) -> usize {
    let (blocks, weights) = finite_blocks(dir, block_type);
    let k = 2 * block_type.block_len();
    let blocks = BlockMatrix::try_new(block_type, weights.len() / k, k, &blocks).unwrap();
    let matrix = blocks.to_group_quantized().unwrap();
    check(block_type, &matrix, &weights, Backend::Auto).expect("every matrix has a plan");
    let kernels =
        Kernel::available().filter(|&kernel| match check(block_type, &matrix, &weights, Backend::Kernel(kernel)) {
            Ok(()) => true,
            Err(PackError::UnsupportedBits { .. } | PackError::NotTernary { .. }) => false,
            Err(other) => panic!("{block_type} on {}: {other}", kernel.name()),
        });
    1 + kernels.count()
}

/// How far a weight of each group may move, `[m, n_groups]`.
fn weight_tolerances(matrix: &GroupQuantized) -> Vec<f64> {
    let largest = matrix.scales.iter().fold(0.0, |max, &s| f64::max(max, f64::from(s).abs()));
    let codes = f64::from(1u32 << matrix.bits);
    let of_group = |(i, &scale): (usize, &f32)| {
        let (row, group) = (i / matrix.n_groups(), i % matrix.n_groups());
        let columns = group * matrix.group..matrix.k.min((group + 1) * matrix.group);
        let range = columns.map(|c| matrix.weight(row, c).abs()).fold(codes * f64::from(scale).abs(), f64::max);
        codes * (SCALE_ROUNDING * f64::from(scale).abs() + SCALE_STEP * largest) + ARITHMETIC * range
    };
    matrix.scales.iter().enumerate().map(of_group).collect()
}

#[track_caller]
fn check(block_type: BlockType, matrix: &GroupQuantized, weights: &[f32], backend: Backend) -> Result<(), PackError> {
    let GroupQuantized { m, k, group, .. } = *matrix;
    let packed = LowBitMatrix::from_quantized(matrix, backend)?;
    let what = format!("{block_type} on {}", packed.kernel().name());
    let tolerances = weight_tolerances(matrix);
    let mut dequantized = vec![f32::NAN; m * k];
    packed.dequantize_into(&mut dequantized);
    for (i, (&actual, &expected)) in dequantized.iter().zip(weights).enumerate() {
        let tolerance = tolerances[i / k * matrix.n_groups() + i % k / group];
        let error = (f64::from(actual) - f64::from(expected)).abs();
        assert!(error <= tolerance, "{what}: weight {i} is {actual}, expected {expected} within {tolerance}");
    }

    let mut rng = SplitMix64::new(17);
    let x: Vec<f32> = (0..N * k).map(|_| (2.0 * rng.next_f64() - 1.0) as f32).collect();
    let prepared = PreparedActivations::try_new(&x, N, k, &ActConfig::for_matrix(&packed)).unwrap();
    let mut y = vec![f32::NAN; N * m];
    packed.matmul_into(&prepared, &mut y);
    let expected = reference::matmul_prepared(matrix, &prepared);
    for (i, (&actual, expected)) in y.iter().zip(expected).enumerate() {
        // No activation is above 1, and quantized it is at most a hundredth larger.
        let of_row = &tolerances[i % m * matrix.n_groups()..][..matrix.n_groups()];
        let tolerance = 1.01 * group.min(k) as f64 * of_row.iter().sum::<f64>();
        let error = (f64::from(actual) - expected).abs();
        assert!(error <= tolerance, "{what}: output {i} is {actual}, expected {expected} within {tolerance}");
    }
    let error = nmse(&y, &reference::matmul(matrix, &x));
    assert!(error <= NMSE_MAX, "{what}: NMSE {error}");
    Ok(())
}
