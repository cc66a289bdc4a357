use parsimon_core::SplitMix64;
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_simd::Level;
use parsimon_testkit::{max_rel, nmse};

use super::*;
use crate::{ActConfig, reference};

/// The kernels' only roundings: f16 scales are exact here, table sums are integers, so what is left is a handful of `f32`
/// additions per group, relative to the largest output.
const TABLE_TOLERANCE: f64 = 2e-6;

fn random_matrix(bits: u8, m: usize, k: usize, group: usize, rng: &mut SplitMix64) -> GroupQuantized {
    let n_groups = k.div_ceil(group);
    let levels = 1u64 << bits;
    GroupQuantized {
        bits,
        m,
        k,
        group,
        codes: (0..m * k).map(|_| rng.below(levels) as u8).collect(),
        scales: (0..m * n_groups).map(|_| f16::from_f64(rng.next_normal()).to_f32()).collect(),
        zeros: if rng.below(2) == 0 {
            Zeros::Points((0..m * n_groups).map(|_| rng.below(levels + 1) as u16).collect())
        } else {
            Zeros::Real((0..m * n_groups).map(|_| rng.next_normal() as f32).collect())
        },
        g_idx: None,
    }
}

fn random_x(len: usize, rng: &mut SplitMix64) -> Vec<f32> {
    (0..len).map(|_| rng.next_normal() as f32).collect()
}

/// Every kernel that this process can run.
fn backends() -> Vec<Backend> {
    Level::available().map(Backend::Exact).collect()
}

#[track_caller]
fn check(bits: u8, m: usize, k: usize, n: usize, group: usize, ags: usize) {
    let mut rng = SplitMix64::new((m * 1000 + k) as u64 ^ u64::from(bits) << 40);
    let matrix = random_matrix(bits, m, k, group, &mut rng);
    let x = PreparedActivations::try_new(&random_x(n * k, &mut rng), n, k, ActConfig { ags, group }).unwrap();
    let expected = reference::matmul_table(&matrix, &x);
    for backend in backends() {
        let packed = LowBitMatrix::from_quantized(&matrix, backend).unwrap();
        let mut out = vec![f32::NAN; n * m];
        packed.matmul_into(&x, &mut out);
        let error = max_rel(&out, &expected);
        // One group's terms may cancel against another's: each addition rounds relative to its own size.
        let bound = TABLE_TOLERANCE * (1.0 + (k / group.min(k)) as f64 / 8.0);
        assert!(error <= bound, "{bits} bits [{m}, {k}] n = {n}, G = {group}, ags = {ags}, {backend:?}: {error}");
    }
}

#[test]
fn every_row_tail_on_every_kernel() {
    for m in 1..=130 {
        check(1 + (m % 4) as u8, m, 96, 1, 32, 64);
    }
}

#[test]
fn every_column_tail_on_every_kernel() {
    for k in 1..=260 {
        for group in [16, 32, 64, 128, k] {
            check(1 + (k % 4) as u8, 37, k, 1, group, 64);
        }
    }
}

#[test]
fn every_width_group_and_token_count_on_every_kernel() {
    for bits in 1..=4 {
        for group in [16, 32, 64, 96, 128, 256] {
            for ags in [32, 64, 96, 256] {
                for n in [0, 1, 2, 5, 9] {
                    check(bits, 70, 256, n, group, ags);
                }
            }
        }
    }
}

#[test]
fn integer_activations_give_the_exact_integer_on_every_kernel() {
    let mut rng = SplitMix64::new(11);
    for bits in 1..=4 {
        for (m, k) in [(1, 4), (64, 128), (67, 260), (130, 96)] {
            let mut matrix = random_matrix(bits, m, k, k, &mut rng);
            // With s = 2 and zp = 2^(b-1) the offset is 1: y = sum (2 q - (2^b - 1)) a - sum a.
            matrix.scales.fill(2.0);
            matrix.zeros = Zeros::Points(vec![1 << (bits - 1); m]);
            let a: Vec<i8> = (0..3 * k).map(|_| rng.below(63) as i8 - 31).collect();
            let expected: Vec<i64> = reference::matmul_integer(&matrix, &a)
                .chunks_exact(m)
                .zip(a.chunks_exact(k))
                .flat_map(|(acc, a)| acc.iter().map(|acc| acc - a.iter().map(|&a| i64::from(a)).sum::<i64>()))
                .collect();
            let x = PreparedActivations::from_integers(&a, 3, k, k).unwrap();
            for backend in backends() {
                let mut out = vec![0.0; 3 * m];
                LowBitMatrix::from_quantized(&matrix, backend).unwrap().matmul_into(&x, &mut out);
                assert!(out.iter().zip(&expected).all(|(&y, &e)| f64::from(y) == e as f64), "{bits} bits, {backend:?}");
            }
        }
    }
}

#[test]
fn the_table_error_is_what_the_documentation_says() {
    let mut rng = SplitMix64::new(3);
    let (m, k) = (256, 1024);
    let matrix = quantize(&random_x(m * k, &mut rng), m, k, Levels::Bits(4), 64).unwrap();
    let x = random_x(k, &mut rng);
    let packed = LowBitMatrix::from_quantized(&matrix, Backend::Auto).unwrap();
    let prepared = PreparedActivations::try_new(&x, 1, k, ActConfig::for_matrix(&packed)).unwrap();
    let mut out = vec![0.0; m];
    packed.matmul_into(&prepared, &mut out);
    let error = nmse(&out, &reference::matmul(&matrix, &x));
    assert!(error <= 6e-5 && error > 1e-6, "{error}: about 4e-5 for Gaussian activations at ags 64");
}

#[test]
fn threads_do_not_change_a_bit() {
    let mut rng = SplitMix64::new(4);
    let (m, k) = (1030, 512);
    let matrix = LowBitMatrix::from_quantized(&random_matrix(2, m, k, 64, &mut rng), Backend::Auto).unwrap();
    for n in [1, 6] {
        let x = PreparedActivations::try_new(&random_x(n * k, &mut rng), n, k, ActConfig::for_matrix(&matrix)).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![0.0; n * m];
            pool.install(|| matrix.matmul_into(&x, &mut out));
            out
        };
        let one = run(1);
        assert!([2, 3, 8].into_iter().all(|threads| run(threads) == one), "n = {n}");
    }
}

#[test]
fn zeros_and_denormal_scales_are_valid() {
    let (m, k) = (5, 40);
    let mut matrix = random_matrix(2, m, k, k, &mut SplitMix64::new(9));
    matrix.scales = vec![0.0, 1e-7, -1e-7, 6e-8, 1.0];
    let packed = LowBitMatrix::from_quantized(&matrix, Backend::Auto).unwrap();
    let x = PreparedActivations::try_new(&vec![0.0; k], 1, k, ActConfig::for_matrix(&packed)).unwrap();
    let mut out = vec![f32::NAN; m];
    packed.matmul_into(&x, &mut out);
    assert_eq!(out, [0.0; 5]);
}

#[test]
fn what_no_kernel_covers_is_named() {
    let sound = || random_matrix(2, 4, 200, 64, &mut SplitMix64::new(1));
    let pack = |matrix| LowBitMatrix::from_quantized(&matrix, Backend::Auto).map(|_| ());
    assert_eq!(pack(sound()), Ok(()));
    let wide = GroupQuantized { bits: 5, zeros: Zeros::Points(vec![0; 16]), ..sound() };
    assert_eq!(pack(wide), Err(PackError::UnsupportedBits { bits: 5 }));
    let group = random_matrix(2, 4, 200, 40, &mut SplitMix64::new(1));
    assert_eq!(pack(group), Err(PackError::UnsupportedGroup { group: 40, k: 200 }));
    let act_order = GroupQuantized { g_idx: Some(vec![0; 200]), ..sound() };
    assert_eq!(pack(act_order), Err(PackError::ActOrder));
    let mut huge = sound();
    huge.scales[5] = 1e6;
    assert_eq!(pack(huge), Err(PackError::ScaleOverflow { row: 1, group: 1, scale: 1e6 }));
    let foreign = if cfg!(target_arch = "x86_64") { Level::Neon } else { Level::Avx2 };
    let error = LowBitMatrix::from_quantized(&sound(), Backend::Exact(foreign)).unwrap_err();
    assert_eq!(error, PackError::BackendUnavailable { wanted: foreign, best: Level::best() });
}
