use std::sync::atomic::{AtomicUsize, Ordering};

use parsimon_core::SplitMix64;
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_lut::{ActivationError, Backend, Method};

use super::*;

const K: usize = 192;

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = SplitMix64::new(seed);
    (0..len).map(|_| rng.next_normal() as f32).collect()
}

/// A layer in groups of 64 for the best kernel of a method.
fn low_bit(method: Method, levels: Levels, seed: u64) -> Linear {
    let quantized = quantize(&random(96 * K, seed), 96, K, levels, 64).unwrap();
    Linear::LowBit(LowBitMatrix::from_quantized(&quantized, Backend::Method(method)).unwrap())
}

fn layers() -> [Linear; 5] {
    [
        low_bit(Method::Lut, Levels::Bits(2), 1),
        low_bit(Method::Dot, Levels::Bits(4), 2),
        low_bit(Method::Lut, Levels::Bits(3), 3),
        low_bit(Method::Elut, Levels::Ternary, 4),
        Linear::Dense(DenseMatrix::new(random(96 * K, 5), 96, K)),
    ]
}

#[test]
fn rows_give_the_same_bits_as_stored_values() {
    let layers = layers();
    for n in [1, 2, 3, 150] {
        let x = random(n * K, 6);
        let rows = || Activations::from_rows(n, K, |token, out| out.copy_from_slice(&x[token * K..][..K]));
        let expected: Vec<_> = layers.iter().map(|layer| layer.apply(&mut Activations::new(&x, n)).unwrap()).collect();
        // In both orders: low-bit layers before and after the dense one, which stores the rows.
        let (mut forward, mut backward) = (rows(), rows());
        for (layer, expected) in layers.iter().zip(&expected) {
            assert_eq!(&layer.apply(&mut forward).unwrap(), expected, "{n} tokens");
        }
        for (layer, expected) in layers.iter().zip(&expected).rev() {
            assert_eq!(&layer.apply(&mut backward).unwrap(), expected, "{n} tokens, the dense layer first");
        }
    }
}

/// Layers of one configuration share a preparation, in whatever order they come.
#[test]
fn a_configuration_is_prepared_once() {
    let calls = AtomicUsize::new(0);
    let mut x = Activations::from_rows(3, K, |token, out| {
        calls.fetch_add(1, Ordering::Relaxed);
        out.fill(token as f32);
    });
    let [lut, dot, other_lut, elut, dense] = layers();
    assert_eq!(x.preparations(), 0);
    for (layer, preparations) in [(&lut, 1), (&lut, 1), (&dot, 2), (&other_lut, 2), (&elut, 3), (&dot, 3), (&lut, 3)] {
        layer.apply(&mut x).unwrap();
        assert_eq!(x.preparations(), preparations);
        assert_eq!(calls.load(Ordering::Relaxed), 3 * preparations, "a row for every token and preparation");
    }
    for _ in 0..2 {
        dense.apply(&mut x).unwrap();
        assert_eq!((x.preparations(), calls.load(Ordering::Relaxed)), (3, 3 * 4), "values are stored once");
    }
}

#[test]
fn buffers_of_other_activations_hold_nothing_of_them() {
    let [lut, dot, ..] = layers();
    let mut buffers = Vec::new();
    for seed in 10..14 {
        let x = random(2 * K, seed);
        let expected = lut.apply(&mut Activations::new(&x, 2)).unwrap();
        let mut inputs = Activations::new(&x, 2).reusing(&mut buffers);
        assert_eq!((inputs.preparations(), inputs.n()), (0, 2));
        dot.apply(&mut inputs).unwrap();
        assert_eq!(lut.apply(&mut inputs).unwrap(), expected);
        inputs.finish(&mut buffers);
        assert_eq!(buffers.len(), 2);
    }
}

#[test]
fn a_row_that_is_not_finite_is_named() {
    let mut x = Activations::from_rows(2, K, |token, out| {
        out.fill(1.0);
        if token == 1 {
            out[7] = f32::NAN;
        }
    });
    let error = layers()[0].apply(&mut x).unwrap_err();
    assert!(matches!(error, ModelError::Activation(ActivationError::NonFinite { token: 1, index: 7 })), "{error}");
    assert_eq!(x.preparations(), 0);
}

#[test]
#[should_panic(expected = "the activations must be [n, k]")]
fn rows_need_a_token() {
    let _ = Activations::from_rows(0, 4, |_, _| ());
}
