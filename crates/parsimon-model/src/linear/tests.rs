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

fn apply(layer: &Linear, x: &mut Activations<'_>) -> Vec<f32> {
    let mut out = Vec::new();
    layer.apply_to(x, &mut out).unwrap();
    out
}

#[test]
fn rows_give_the_same_bits_as_stored_values() {
    let layers = layers();
    for n in [1, 2, 3, 150] {
        let x = random(n * K, 6);
        let row = |token: usize, out: &mut [f32]| out.copy_from_slice(&x[token * K..][..K]);
        let rows = || Activations::from_rows(n, K, &row);
        let expected: Vec<_> = layers.iter().map(|layer| apply(layer, &mut Activations::new(&x, n))).collect();
        // In both orders: low-bit layers before and after the dense one, which stores the rows.
        let (mut forward, mut backward) = (rows(), rows());
        for (layer, expected) in layers.iter().zip(&expected) {
            assert_eq!(&apply(layer, &mut forward), expected, "{n} tokens");
        }
        for (layer, expected) in layers.iter().zip(&expected).rev() {
            assert_eq!(&apply(layer, &mut backward), expected, "{n} tokens, the dense layer first");
        }
    }
}

/// Layers of one configuration share a preparation, in whatever order they come.
#[test]
fn a_configuration_is_prepared_once() {
    let calls = AtomicUsize::new(0);
    let row = |token: usize, out: &mut [f32]| {
        calls.fetch_add(1, Ordering::Relaxed);
        out.fill(token as f32);
    };
    let mut x = Activations::from_rows(3, K, &row);
    let [lut, dot, other_lut, elut, dense] = layers();
    assert_eq!(x.preparations(), 0);
    for (layer, preparations) in [(&lut, 1), (&lut, 1), (&dot, 2), (&other_lut, 2), (&elut, 3), (&dot, 3), (&lut, 3)] {
        apply(layer, &mut x);
        assert_eq!(x.preparations(), preparations);
        assert_eq!(calls.load(Ordering::Relaxed), 3 * preparations, "a row for every token and preparation");
    }
    for _ in 0..2 {
        apply(&dense, &mut x);
        assert_eq!((x.preparations(), calls.load(Ordering::Relaxed)), (3, 3 * 4), "values are stored once");
    }
}

#[test]
fn buffers_of_other_activations_hold_nothing_of_them() {
    let [lut, dot, ..] = layers();
    let mut buffers = ActivationBuffers::default();
    for seed in 10..14 {
        let x = random(2 * K, seed);
        let expected = apply(&lut, &mut Activations::new(&x, 2));
        let mut inputs = Activations::new(&x, 2).reusing(&mut buffers);
        assert_eq!((inputs.preparations(), inputs.n()), (0, 2));
        apply(&dot, &mut inputs);
        assert_eq!(apply(&lut, &mut inputs), expected);
        inputs.finish(&mut buffers);
        assert_eq!(buffers.prepared.len(), 2);
    }
}

#[test]
fn a_row_that_is_not_finite_is_named() {
    let row = |token: usize, out: &mut [f32]| {
        out.fill(1.0);
        if token == 1 {
            out[7] = f32::NAN;
        }
    };
    let mut x = Activations::from_rows(2, K, &row);
    let error = layers()[0].apply_to(&mut x, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ModelError::Activation(ActivationError::NonFinite { token: 1, index: 7 })), "{error}");
    assert_eq!(x.preparations(), 0);
}

#[test]
#[should_panic(expected = "the activations must be [n, k]")]
fn rows_need_a_token() {
    let _ = Activations::from_rows(0, 4, &|_, _| ());
}
