//! Any codes, scales and shapes as a matrix: refused, or the same product on every kernel as its weights give.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parsimon_core::quant::{GroupQuantized, Zeros};
use parsimon_lut::{ActConfig, Backend, Kernel, LowBitMatrix, PreparedActivations, reference};

fuzz_target!(|input: (u8, u8, u8, u16, Vec<u8>, Vec<i8>)| {
    let (bits, m, k, group, codes, scales) = input;
    let matrix = GroupQuantized {
        bits,
        m: usize::from(m),
        k: usize::from(k),
        group: usize::from(group),
        codes,
        scales: scales.iter().map(|&s| f32::from(s) / 64.0).collect(),
        zeros: Zeros::Points(vec![1; scales.len()]),
        g_idx: None,
    };
    for kernel in Kernel::available() {
        let Ok(packed) = LowBitMatrix::from_quantized(&matrix, Backend::Kernel(kernel)) else { continue };
        let (_, k) = packed.shape();
        let x: Vec<f32> = (0..k).map(|i| ((i * 37 % 17) as f32 - 8.0) / 8.0).collect();
        let x = PreparedActivations::try_new(&x, 1, k, &ActConfig::for_matrix(&packed)).expect("finite activations");
        let mut out = vec![f32::NAN; packed.shape().0];
        packed.matmul_into(&x, &mut out);
        let expected = reference::matmul_prepared(&matrix, &x);
        for (out, expected) in out.iter().zip(expected) {
            assert!((f64::from(*out) - expected).abs() <= 1e-3 * (1.0 + expected.abs()), "{out} for {expected}");
        }
    }
});
