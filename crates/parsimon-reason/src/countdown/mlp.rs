//! The perceptron 79 -> 128 -> 128 -> 1 with ReLU: forward, backward, Adam, and its file.
//!
//! Weights lie `[inputs][outputs]`, so that the inner loops run over 128 contiguous outputs; the portable bodies are compiled for every
//! instruction-set level by `parsimon_simd::vectorize`. Rows are few (the legal steps of one state), so four of them share each load of a
//! weight.

use parsimon_core::SplitMix64;
use parsimon_simd::{Level, Vectorize, vectorize};

use super::features::FEATURES;

const HIDDEN: usize = 128;
const LAYER_1: usize = FEATURES * HIDDEN;
const LAYER_2: usize = HIDDEN * HIDDEN;
/// First weight of each part: layer 1, its bias, layer 2, its bias, the output and its bias.
const AT: [usize; 7] = [
    0,
    LAYER_1,
    LAYER_1 + HIDDEN,
    LAYER_1 + HIDDEN + LAYER_2,
    LAYER_1 + 2 * HIDDEN + LAYER_2,
    LAYER_1 + 3 * HIDDEN + LAYER_2,
    LAYER_1 + 3 * HIDDEN + LAYER_2 + 1,
];
/// Number of weights.
pub(super) const WEIGHTS: usize = AT[6];
const MAGIC: &[u8; 8] = b"PSMLP001";

/// A file is not a perceptron.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum MlpError {
    #[error("expected {expected} bytes, got {actual}")]
    Length { expected: usize, actual: usize },
    #[error("the bytes at {offset} are not those of a PSMLP001 file of 79, 128, 128 and 1 units")]
    Header { offset: usize },
    #[error("the checksum is {expected:08x}, the bytes give {actual:08x}")]
    Checksum { expected: u32, actual: u32 },
}

impl parsimon_core::Diagnose for MlpError {}

/// The network.
#[derive(Clone, PartialEq, Debug)]
pub struct Mlp {
    pub(super) weights: Vec<f32>,
}

/// What one forward pass leaves for the backward pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    pub(super) x: Vec<f32>,
    hidden1: Vec<f32>,
    hidden2: Vec<f32>,
    pub(super) y: Vec<f32>,
}

impl Mlp {
    /// Random weights: normal, scaled by half of `sqrt(2 / 30)` in the first layer (about thirty inputs are not zero), by
    /// `sqrt(2 / 128)` in the second and by 0.05 at the output.
    pub fn random(seed: u64) -> Mlp {
        let mut rng = SplitMix64::new(seed);
        let mut weights = vec![0.0; WEIGHTS];
        let scales = [
            (AT[0]..AT[1], 0.5 * (2.0f64 / 30.0).sqrt()),
            (AT[2]..AT[3], (2.0f64 / 128.0).sqrt()),
            (AT[4]..AT[5], 0.05),
        ];
        for (range, scale) in scales {
            for weight in &mut weights[range] {
                *weight = (rng.next_normal() * scale) as f32;
            }
        }
        Mlp { weights }
    }

    /// The outputs of rows of [`FEATURES`] numbers.
    pub fn forward(&self, rows: &[[f32; FEATURES]]) -> Vec<f32> {
        let mut pass = Pass { x: rows.as_flattened().to_vec(), ..Pass::default() };
        self.run(&mut pass);
        pass.y
    }

    /// Fills the pass for the inputs in it.
    pub(super) fn run(&self, pass: &mut Pass) {
        let n = pass.x.len() / FEATURES;
        pass.hidden1.resize(n * HIDDEN, 0.0);
        pass.hidden2.resize(n * HIDDEN, 0.0);
        pass.y.resize(n, 0.0);
        let w = &self.weights;
        let level = Level::best();
        vectorize(
            level,
            Dense { x: &pass.x, inputs: FEATURES, w: &w[..AT[1]], bias: &w[AT[1]..AT[2]], out: &mut pass.hidden1 },
        );
        vectorize(
            level,
            Dense {
                x: &pass.hidden1,
                inputs: HIDDEN,
                w: &w[AT[2]..AT[3]],
                bias: &w[AT[3]..AT[4]],
                out: &mut pass.hidden2,
            },
        );
        let (out, bias) = (&w[AT[4]..AT[5]], w[AT[5]]);
        for (y, hidden) in pass.y.iter_mut().zip(pass.hidden2.chunks_exact(HIDDEN)) {
            *y = bias + dot(hidden, out);
        }
    }

    /// Adds the gradient of `sum_i dy[i] y[i]` to `gradient`.
    pub(super) fn backward(&self, pass: &Pass, dy: &[f32], gradient: &mut [f32], scratch: &mut Scratch) {
        let w = &self.weights;
        let n = dy.len();
        scratch.d2.resize(n * HIDDEN, 0.0);
        scratch.d1.resize(n * HIDDEN, 0.0);
        let out = &w[AT[4]..AT[5]];
        let (g12, g_out) = gradient.split_at_mut(AT[4]);
        for ((dy, hidden), d2) in
            dy.iter().zip(pass.hidden2.chunks_exact(HIDDEN)).zip(scratch.d2.chunks_exact_mut(HIDDEN))
        {
            for k in 0..HIDDEN {
                g_out[k] += dy * hidden[k];
                d2[k] = if hidden[k] > 0.0 { dy * out[k] } else { 0.0 };
            }
            g_out[HIDDEN] += dy;
        }
        let (g1, g2) = g12.split_at_mut(AT[2]);
        let level = Level::best();
        vectorize(level, Outer { x: &pass.hidden1, inputs: HIDDEN, d: &scratch.d2, gradient: g2 });
        vectorize(level, Back { d: &scratch.d2, w: &w[AT[2]..AT[3]], hidden: &pass.hidden1, out: &mut scratch.d1 });
        vectorize(level, Outer { x: &pass.x, inputs: FEATURES, d: &scratch.d1, gradient: g1 });
    }

    /// The file: magic, the number of layers and their sizes, the weights, and a checksum of all that.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for value in [3u32, FEATURES as u32, HIDDEN as u32, HIDDEN as u32, 1] {
            bytes.extend(value.to_le_bytes());
        }
        for weight in &self.weights {
            bytes.extend(weight.to_le_bytes());
        }
        bytes.extend(crc32(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`MlpError`] when the bytes are not those of [`Mlp::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Mlp, MlpError> {
        let head = MAGIC.len() + 20;
        let expected = head + 4 * WEIGHTS + 4;
        if bytes.len() != expected {
            return Err(MlpError::Length { expected, actual: bytes.len() });
        }
        let like = Mlp { weights: vec![0.0; WEIGHTS] }.to_bytes();
        if let Some(offset) = (0..head).find(|at| bytes[*at] != like[*at]) {
            return Err(MlpError::Header { offset });
        }
        let (body, checksum) = bytes.split_at(expected - 4);
        let (expected, actual) = (u32::from_le_bytes(checksum.try_into().expect("four bytes")), crc32(body));
        if expected != actual {
            return Err(MlpError::Checksum { expected, actual });
        }
        let weights =
            body[head..].chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes"))).collect();
        Ok(Mlp { weights })
    }
}

/// CRC-32 (IEEE), bit by bit: the files are small.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        for k in 0..16 {
            lanes[k] += a[k] * b[k];
        }
    }
    lanes.iter().sum()
}

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `out = relu(x w + bias)`.
struct Dense<'a> {
    x: &'a [f32],
    inputs: usize,
    w: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
}

impl Dense<'_> {
    #[inline(always)]
    fn rows<const FMA: bool, const R: usize>(&mut self, row: usize) {
        for half in [0, HIDDEN / 2] {
            let mut sums = [[0.0f32; HIDDEN / 2]; R];
            for sum in &mut sums {
                sum.copy_from_slice(&self.bias[half..half + HIDDEN / 2]);
            }
            for i in 0..self.inputs {
                let w: &[f32; HIDDEN / 2] = self.w[i * HIDDEN + half..][..HIDDEN / 2].try_into().expect("half a row");
                for (r, sum) in sums.iter_mut().enumerate() {
                    let x = self.x[(row + r) * self.inputs + i];
                    for k in 0..HIDDEN / 2 {
                        sum[k] = fma::<FMA>(x, w[k], sum[k]);
                    }
                }
            }
            for (r, sum) in sums.iter().enumerate() {
                let out = &mut self.out[(row + r) * HIDDEN + half..][..HIDDEN / 2];
                for (out, sum) in out.iter_mut().zip(sum) {
                    *out = sum.max(0.0);
                }
            }
        }
    }
}

impl Vectorize for Dense<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let n = self.out.len() / HIDDEN;
        let mut row = 0;
        while row + 4 <= n {
            self.rows::<FMA, 4>(row);
            row += 4;
        }
        while row < n {
            self.rows::<FMA, 1>(row);
            row += 1;
        }
    }
}

/// `gradient += x^T d`, and the sum of `d` into the bias behind it.
struct Outer<'a> {
    x: &'a [f32],
    inputs: usize,
    d: &'a [f32],
    gradient: &'a mut [f32],
}

impl Vectorize for Outer<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let n = self.d.len() / HIDDEN;
        let (weights, bias) = self.gradient.split_at_mut(self.inputs * HIDDEN);
        for i in 0..self.inputs {
            let g: &mut [f32; HIDDEN] = (&mut weights[i * HIDDEN..][..HIDDEN]).try_into().expect("a row");
            for row in 0..n {
                let x = self.x[row * self.inputs + i];
                // Half of the inputs are zero: bits, one-hot codes, and what ReLU cut.
                if x != 0.0 {
                    let d: &[f32; HIDDEN] = self.d[row * HIDDEN..][..HIDDEN].try_into().expect("a row");
                    for k in 0..HIDDEN {
                        g[k] = fma::<FMA>(x, d[k], g[k]);
                    }
                }
            }
        }
        for d in self.d.chunks_exact(HIDDEN) {
            for (bias, d) in bias.iter_mut().zip(d) {
                *bias += d;
            }
        }
    }
}

/// `out = (d w^T)` where the hidden unit was on.
struct Back<'a> {
    d: &'a [f32],
    w: &'a [f32],
    hidden: &'a [f32],
    out: &'a mut [f32],
}

impl Vectorize for Back<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let n = self.d.len() / HIDDEN;
        for row in 0..n {
            let d: &[f32; HIDDEN] = self.d[row * HIDDEN..][..HIDDEN].try_into().expect("a row");
            for i in 0..HIDDEN {
                let at = row * HIDDEN + i;
                if self.hidden[at] <= 0.0 {
                    self.out[at] = 0.0;
                    continue;
                }
                let w: &[f32; HIDDEN] = self.w[i * HIDDEN..][..HIDDEN].try_into().expect("a row");
                let mut lanes = [0.0f32; 16];
                for block in 0..HIDDEN / 16 {
                    for k in 0..16 {
                        lanes[k] = fma::<FMA>(d[block * 16 + k], w[block * 16 + k], lanes[k]);
                    }
                }
                self.out[at] = lanes.iter().sum();
            }
        }
    }
}

/// Buffers of the backward pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    d1: Vec<f32>,
    d2: Vec<f32>,
}

/// Adam with beta .9 and .999.
#[derive(Clone, Debug)]
pub(super) struct Adam {
    m: Vec<f32>,
    v: Vec<f32>,
    steps: i32,
}

impl Adam {
    pub(super) fn new() -> Self {
        Adam { m: vec![0.0; WEIGHTS], v: vec![0.0; WEIGHTS], steps: 0 }
    }

    pub(super) fn step(&mut self, weights: &mut [f32], gradient: &[f32], rate: f32) {
        self.steps += 1;
        let (m_scale, v_scale) = (1.0 / (1.0 - 0.9f32.powi(self.steps)), 1.0 / (1.0 - 0.999f32.powi(self.steps)));
        for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(&mut self.m).zip(&mut self.v) {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            *w -= rate * (*m * m_scale) / ((*v * v_scale).sqrt() + 1e-8);
        }
    }
}

#[cfg(test)]
mod tests;
