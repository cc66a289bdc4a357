use half::f16;
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

/// Every kernel that this process can run and that takes the matrix.
fn kernels(matrix: &GroupQuantized) -> Vec<Kernel> {
    let takes = |kernel: &Kernel| {
        kernel.stored_bits(matrix.bits, matrix.group.min(matrix.k)).is_some()
            && (kernel.method() != Method::Elut || is_ternary(matrix))
    };
    Kernel::available().filter(takes).collect()
}

/// The preparation for a kernel with about `ags` activations a scale.
fn config(kernel: Kernel, ags: usize, group: usize) -> ActConfig {
    let quant = match kernel.method() {
        Method::Lut => ActQuant::Table { ags },
        Method::Dot => ActQuant::Int8 { block: ags },
        Method::Elut => ActQuant::TernaryTable { ags: ags.next_multiple_of(5) },
    };
    ActConfig { quant, group, order: None }
}

/// Makes a 2-bit matrix ternary.
fn to_ternary(mut matrix: GroupQuantized) -> GroupQuantized {
    matrix.codes.iter_mut().for_each(|code| *code = (*code).min(2));
    matrix.zeros = Zeros::Points(vec![1; matrix.scales.len()]);
    matrix
}

#[track_caller]
fn check(bits: u8, m: usize, k: usize, n: usize, group: usize, ags: usize) {
    let mut rng = SplitMix64::new((m * 1000 + k) as u64 ^ u64::from(bits) << 40);
    let matrix = random_matrix(bits, m, k, group, &mut rng);
    check_matrix(&matrix, n, ags, &mut rng);
    if bits == 2 {
        check_matrix(&to_ternary(matrix), n, ags, &mut rng);
    }
}

#[track_caller]
fn check_matrix(matrix: &GroupQuantized, n: usize, ags: usize, rng: &mut SplitMix64) {
    let GroupQuantized { bits, m, k, group, .. } = *matrix;
    let activations = random_x(n * k, rng);
    for kernel in kernels(matrix) {
        let packed = LowBitMatrix::from_quantized(matrix, Backend::Kernel(kernel)).unwrap();
        let config = ActConfig { order: packed.order().cloned(), ..config(kernel, ags, group) };
        let x = PreparedActivations::try_new(&activations, n, k, &config).unwrap();
        let expected = reference::matmul_prepared(matrix, &x);
        let mut out = vec![f32::NAN; n * m];
        packed.matmul_into(&x, &mut out);
        let error = max_rel(&out, &expected);
        // One group's terms may cancel against another's: each addition rounds relative to its own size.
        let bound = TABLE_TOLERANCE * (1.0 + (k / group.min(k)) as f64 / 8.0);
        let name = kernel.name();
        assert!(error <= bound, "{bits} bits [{m}, {k}] n = {n}, G = {group}, ags = {ags}, {name}: {error}");
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
    for bits in 1..=8 {
        for group in [16, 32, 64, 96, 128, 256] {
            for ags in [32, 64, 96, 256] {
                for n in [0, 1, 2, 5, 9, 15] {
                    check(bits, 70, 256, n, group, ags);
                }
            }
        }
    }
}

#[test]
fn integer_activations_give_the_exact_integer_on_every_kernel() {
    let mut rng = SplitMix64::new(11);
    for bits in 1..=8 {
        for (m, k) in [(1, 4), (64, 128), (67, 260), (130, 96)] {
            for ternary in [false, true] {
                if ternary && bits != 2 {
                    continue;
                }
                let mut matrix = random_matrix(bits, m, k, k, &mut rng);
                matrix.scales.fill(1.0);
                matrix.zeros = Zeros::Points(vec![1 << (bits - 1); m]);
                let matrix = if ternary { to_ternary(matrix) } else { matrix };
                let a: Vec<i8> = (0..3 * k).map(|_| rng.below(51) as i8 - 25).collect();
                let floats: Vec<f32> = a.iter().map(|&a| f32::from(a)).collect();
                let expected = reference::matmul(&matrix, &floats);
                for kernel in kernels(&matrix) {
                    let config = config(kernel, 64, k);
                    let x = PreparedActivations::from_integers(&a, None, 3, k, &config).unwrap();
                    let mut out = vec![0.0; 3 * m];
                    LowBitMatrix::from_quantized(&matrix, Backend::Kernel(kernel)).unwrap().matmul_into(&x, &mut out);
                    assert!(
                        out.iter().zip(&expected).all(|(&y, &e)| f64::from(y) == e),
                        "{bits} bits, {}",
                        kernel.name()
                    );
                }
            }
        }
    }
}

/// 8-bit activations with one scale a token, as BitNet quantizes them: the integer is exact, and so is its product with the two scales.
#[test]
fn lossless_ternary_is_the_integer_times_the_scales() {
    let mut rng = SplitMix64::new(12);
    let (m, k) = (130, 1000);
    let mut matrix = to_ternary(random_matrix(2, m, k, k, &mut rng));
    matrix.scales.fill(0.25);
    let a: Vec<i8> = (0..2 * k).map(|_| (rng.below(256) as i16 - 128) as i8).collect();
    let scales = [0.03125, 7.3];
    for kernel in kernels(&matrix).into_iter().filter(|kernel| kernel.method() == Method::Dot) {
        let config = config(kernel, k, k);
        let x = PreparedActivations::from_integers(&a, Some(&scales), 2, k, &config).unwrap();
        let mut out = vec![0.0; 2 * m];
        LowBitMatrix::from_quantized(&matrix, Backend::Kernel(kernel)).unwrap().matmul_into(&x, &mut out);
        for (i, y) in out.into_iter().enumerate() {
            let (token, row) = (i / m, i % m);
            let sum: i32 =
                (0..k).map(|c| (i32::from(matrix.codes[row * k + c]) - 1) * i32::from(a[token * k + c])).sum();
            assert_eq!(y, sum as f32 * 0.25 * scales[token], "{}", kernel.name());
        }
    }
}

/// The largest codes times the largest activations, all of one sign and in pairs of both: where narrow sums would saturate.
#[test]
fn extreme_codes_and_activations_give_the_exact_integer_on_every_dot_kernel() {
    let (m, k) = (33, 256);
    for bits in 1..=8 {
        let largest = ((1u16 << bits) - 1) as u8;
        let mut matrix = random_matrix(bits, m, k, k, &mut SplitMix64::new(15));
        matrix.scales.fill(1.0);
        matrix.zeros = Zeros::Points(vec![1; m]);
        matrix.codes.fill(largest);
        let mut a = vec![-128i8; 4 * k];
        a[k..2 * k].fill(127);
        (2 * k..4 * k).for_each(|i| a[i] = if (i / 2) % 2 == i / (3 * k) { -128 } else { 127 });
        for kernel in kernels(&matrix).into_iter().filter(|kernel| kernel.method() == Method::Dot) {
            let x = PreparedActivations::from_integers(&a, None, 4, k, &config(kernel, k, k)).unwrap();
            let mut out = vec![0.0; 4 * m];
            LowBitMatrix::from_quantized(&matrix, Backend::Kernel(kernel)).unwrap().matmul_into(&x, &mut out);
            for (t, out) in out.chunks_exact(m).enumerate() {
                let sum: i32 = a[t * k..][..k].iter().map(|&a| i32::from(a)).sum();
                let expected = (sum * (i32::from(largest) - 1)) as f32;
                assert!(out.iter().all(|&y| y == expected), "{bits} bits, token {t}, {}: {out:?}", kernel.name());
            }
        }
    }
}

#[test]
fn act_order_on_every_kernel() {
    let mut rng = SplitMix64::new(13);
    for (bits, group, k) in [(1, 32, 128), (2, 64, 192), (3, 16, 96), (4, 32, 100), (8, 64, 130)] {
        let mut matrix = random_matrix(bits, 40, k, group, &mut rng);
        let mut g_idx: Vec<u32> = (0..k).map(|c| (c / group) as u32).collect();
        for i in (1..k).rev() {
            g_idx.swap(i, rng.below(i as u64 + 1) as usize);
        }
        matrix.g_idx = Some(g_idx);
        check_matrix(&matrix, 3, 32, &mut rng);
        if bits == 2 {
            check_matrix(&to_ternary(matrix), 1, 64, &mut rng);
        }
    }
}

#[test]
fn dequantizing_gives_the_weights_back() {
    let mut rng = SplitMix64::new(14);
    for bits in 1..=8 {
        let mut matrix = random_matrix(bits, 70, 100, 32, &mut rng);
        if bits == 2 {
            matrix = to_ternary(matrix);
        }
        let expected: Vec<f64> = matrix.dequantize().into_iter().map(f64::from).collect();
        for kernel in kernels(&matrix) {
            let packed = LowBitMatrix::from_quantized(&matrix, Backend::Kernel(kernel)).unwrap();
            let mut out = vec![0.0; 70 * 100];
            packed.dequantize_into(&mut out);
            let error = max_rel(&out, &expected);
            assert!(error <= 1e-6, "{bits} bits, {}: {error}", kernel.name());
        }
    }
}

/// The bounds of the documentation, with Gaussian activations and with eight 20 times as large.
#[test]
fn the_table_error_is_what_the_documentation_says() {
    let mut rng = SplitMix64::new(3);
    let (m, k) = (256, 4096);
    let gaussian = random_x(k, &mut rng);
    let mut outliers = gaussian.clone();
    (0..8).for_each(|i| outliers[i * k / 8 + 77] = if i % 2 == 0 { 20.0 } else { -20.0 });
    let weights = random_x(m * k, &mut rng);
    // The error of a lookup does not shrink with the number of zeros among its trits, so it is stated for even ones.
    let trits: Vec<f32> = (0..m * k).map(|_| rng.below(3) as f32 - 1.0).collect();
    let bounds = [
        (Method::Lut, Levels::Bits(2), 6e-5, 1e-4),
        (Method::Lut, Levels::Bits(4), 6e-5, 1e-4),
        (Method::Dot, Levels::Bits(4), 6e-5, 1e-4),
        (Method::Elut, Levels::Ternary, 1e-4, 1.6e-4),
    ];
    for (method, levels, bound, bound_with_outliers) in bounds {
        let weights = if levels == Levels::Ternary { &trits } else { &weights };
        let matrix = quantize(weights, m, k, levels, 128).unwrap();
        let packed = LowBitMatrix::from_quantized(&matrix, Backend::Method(method)).unwrap();
        for (x, bound) in [(&gaussian, bound), (&outliers, bound_with_outliers)] {
            let prepared = PreparedActivations::try_new(x, 1, k, &ActConfig::for_matrix(&packed)).unwrap();
            let mut out = vec![0.0; m];
            packed.matmul_into(&prepared, &mut out);
            let error = nmse(&out, &reference::matmul(&matrix, x));
            assert!(error <= bound && error > 1e-6, "{method:?} {levels:?}: {error}, at most {bound}");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let mut rng = SplitMix64::new(4);
    let (m, k) = (1030, 512);
    let matrix = LowBitMatrix::from_quantized(&random_matrix(2, m, k, 64, &mut rng), Backend::Auto).unwrap();
    for n in [1, 6] {
        let x =
            PreparedActivations::try_new(&random_x(n * k, &mut rng), n, k, &ActConfig::for_matrix(&matrix)).unwrap();
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
    let x = PreparedActivations::try_new(&vec![0.0; k], 1, k, &ActConfig::for_matrix(&packed)).unwrap();
    let mut out = vec![f32::NAN; m];
    packed.matmul_into(&x, &mut out);
    assert_eq!(out, [0.0; 5]);
}

#[test]
fn what_no_kernel_covers_is_named() {
    let sound = || random_matrix(2, 4, 200, 64, &mut SplitMix64::new(1));
    let pack = |matrix| LowBitMatrix::from_quantized(&matrix, Backend::Auto).map(|_| ());
    assert_eq!(pack(sound()), Ok(()));
    let group = random_matrix(2, 4, 200, 40, &mut SplitMix64::new(1));
    assert_eq!(pack(group), Err(PackError::UnsupportedGroup { group: 40, k: 200 }));
    let uneven = GroupQuantized { g_idx: Some(vec![0; 200]), ..sound() };
    assert_eq!(pack(uneven), Err(PackError::BadPermutation { index: 0, columns: 200, expected: 64 }));
    let lut = Kernel::new(Method::Lut, Level::Scalar);
    let wide = random_matrix(5, 4, 200, 64, &mut SplitMix64::new(1));
    let error = LowBitMatrix::from_quantized(&wide, Backend::Kernel(lut)).unwrap_err();
    assert_eq!(error, PackError::UnsupportedBits { kernel: "lut-scalar".into(), bits: 5, group: 64 });
    let elut = Kernel::new(Method::Elut, Level::Scalar);
    let error = LowBitMatrix::from_quantized(&sound(), Backend::Kernel(elut)).unwrap_err();
    assert_eq!(error, PackError::NotTernary { kernel: "elut-scalar".into() });
    let foreign = if cfg!(target_arch = "x86_64") { Level::Neon } else { Level::Avx2 };
    let error = LowBitMatrix::from_quantized(&sound(), Backend::Exact(foreign)).unwrap_err();
    assert_eq!(error, PackError::BackendUnavailable { wanted: foreign, best: Level::best() });
}

/// Weights that bfloat16 holds exactly: 8-bit codes less a zero point take 8 bits, scales are powers of two.
fn exact_in_bf16(mut matrix: GroupQuantized, rng: &mut SplitMix64) -> GroupQuantized {
    matrix.scales.iter_mut().for_each(|scale| *scale = f32::exp2(rng.below(5) as f32 - 2.0));
    let points = matrix.scales.iter().map(|_| rng.below(1 << matrix.bits) as u16).collect();
    matrix.zeros = match &matrix.zeros {
        Zeros::Points(_) => Zeros::Points(points),
        Zeros::Real(_) => Zeros::Real(
            points
                .iter()
                .zip(&matrix.scales)
                .map(|(&p, s)| (f32::from(p) - f32::exp2(f32::from(matrix.bits - 1))) * s)
                .collect(),
        ),
    };
    matrix
}

#[track_caller]
fn check_bf16(matrix: &GroupQuantized, n: usize, weight_error: f64, rng: &mut SplitMix64) {
    let GroupQuantized { bits, m, k, group, .. } = *matrix;
    let activations = random_x(n * k, rng);
    for kernel in kernels(matrix) {
        let packed = LowBitMatrix::from_quantized(matrix, Backend::Kernel(kernel)).unwrap();
        let config = ActConfig { quant: ActQuant::Bf16, group, order: packed.order().cloned() };
        let x = PreparedActivations::try_new(&activations, n, k, &config).unwrap();
        let expected = reference::matmul_prepared(matrix, &x);
        let mut out = vec![f32::NAN; n * m];
        packed.matmul_into(&x, &mut out);
        let magnitude = |i: usize| -> f64 {
            (0..k).map(|c| (matrix.weight(i % m, c) * f64::from(activations[i / m * k + c])).abs()).sum()
        };
        for (i, (&y, &e)) in out.iter().zip(&expected).enumerate() {
            let (error, bound) = ((f64::from(y) - e).abs(), weight_error * magnitude(i) + 1e-30);
            assert!(error <= bound, "{bits} bits [{m}, {k}] n = {n}, G = {group}, {}: [{i}] {y} {e}", kernel.name());
        }
    }
}

/// Sums of `f32` in the order of the tiles, relative to the sum of magnitudes.
const F32_SUM_ERROR: f64 = 4e-6;

/// Half a unit of the last of bfloat16's 8 bits, and the weight itself rounded once in `f32`, relative to 256 scales.
const BF16_ERROR: f64 = 1.1 / 512.0;

#[test]
fn bfloat16_products_are_exact_up_to_f32_sums_where_weights_fit() {
    let mut rng = SplitMix64::new(5);
    for bits in 1..=8 {
        for (m, k, group) in
            [(70, 256, 16), (70, 256, 32), (64, 608, 64), (33, 1100, 96), (257, 40, 128), (1, 7, 7), (31, 600, 600)]
        {
            for n in [1, 16, 17, 32, 45, 64] {
                let matrix = exact_in_bf16(random_matrix(bits, m, k, group, &mut rng), &mut rng);
                check_bf16(&matrix, n, F32_SUM_ERROR, &mut rng);
                if bits == 2 {
                    check_bf16(&to_ternary(matrix), n, F32_SUM_ERROR, &mut rng);
                }
            }
        }
    }
}

#[test]
fn bfloat16_products_round_each_weight_once() {
    let mut rng = SplitMix64::new(6);
    for bits in 1..=8 {
        for group in [16, 32, 160, 256] {
            // Zeros near the codes, so that no weight is far smaller than its terms.
            let mut matrix = random_matrix(bits, 70, 320, group, &mut rng);
            matrix.zeros = Zeros::Real(matrix.scales.iter().map(|scale| 300.0 * scale.abs()).collect());
            check_bf16(&matrix, 33, BF16_ERROR, &mut rng);
        }
    }
}

#[test]
fn bfloat16_takes_columns_in_order_and_more_tokens_than_a_pass() {
    let mut rng = SplitMix64::new(7);
    let (k, group) = (96, 32);
    let mut matrix = exact_in_bf16(random_matrix(3, 40, k, group, &mut rng), &mut rng);
    matrix.g_idx = Some((0..k).map(|c| (c % (k / group)) as u32).collect());
    check_bf16(&matrix, 600, F32_SUM_ERROR, &mut rng);
}
