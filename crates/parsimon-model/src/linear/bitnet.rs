//! BitNet's product: ternary weights times activations of 8 bits, an exact integer, then two scales.
//!
//! ```text
//! a = 127 / max(max |x|, 1e-5)    x' = clamp(rne(a x), -128, 127)    y = (T x') / a * s
//! ```

use parsimon_core::quant::GroupQuantized;
use parsimon_lut::{ActConfig, ActivationError, Backend, Kernel, LowBitMatrix, Method, PackError, PreparedActivations};
use rayon::prelude::*;

/// The smallest maximum that a token is scaled with.
const MAX_MIN: f32 = 1e-5;

/// Ternary weights with one scale, for activations of 8 bits.
#[derive(Clone, Debug)]
pub struct BitNetMatrix {
    /// Packed with scale 1, so that products are integers.
    codes: LowBitMatrix,
    scale: f32,
}

impl BitNetMatrix {
    /// Packs ternary weights that have one scale for all.
    ///
    /// # Errors
    ///
    /// [`PackError`] as [`LowBitMatrix::from_quantized`]; [`PackError::NotTernary`] where the scales differ.
    pub fn try_new(matrix: GroupQuantized, backend: Backend) -> Result<Self, PackError> {
        let kernel = match backend {
            Backend::Exact(level) => Backend::Kernel(Kernel::new(Method::Dot, level)),
            Backend::Kernel(kernel) => Backend::Kernel(Kernel::new(Method::Dot, kernel.level())),
            Backend::Auto | Backend::Method(_) => Backend::Method(Method::Dot),
        };
        let scale = uniform_scale(&matrix).ok_or(PackError::NotTernary { kernel: "an exact product".into() })?;
        let ones = GroupQuantized { group: matrix.k, scales: vec![1.0; matrix.m], ..one_group(matrix) };
        Ok(BitNetMatrix { codes: LowBitMatrix::from_quantized(&ones, kernel)?, scale })
    }

    /// Output and input features.
    pub fn shape(&self) -> (usize, usize) {
        self.codes.shape()
    }

    /// Bytes that one product reads.
    pub fn bytes(&self) -> usize {
        self.codes.bytes()
    }

    /// The packed codes; their scale is 1.
    pub fn codes(&self) -> &LowBitMatrix {
        &self.codes
    }

    /// What all weights are multiplied with.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// How `n` activations are prepared for it; all ways give the exact integer.
    pub(super) fn act_config(&self, n: usize) -> ActConfig {
        ActConfig::for_tokens(&self.codes, n)
    }

    /// `[n, m]` outputs of activations that [`quantize`] prepared.
    pub(super) fn matmul_into(&self, x: &PreparedActivations, out: &mut [f32]) {
        self.codes.matmul_into(x, out);
        out.iter_mut().for_each(|y| *y *= self.scale);
    }
}

/// The scale of all weights, if there is one and the weights are ternary.
pub(crate) fn uniform_scale(matrix: &GroupQuantized) -> Option<f32> {
    use parsimon_core::quant::Zeros;
    let &first = matrix.scales.first()?;
    let points = matches!(&matrix.zeros, Zeros::Points(points) if points.iter().all(|&point| point == 1));
    let ternary = matrix.bits == 2 && points && matrix.codes.iter().all(|&code| code < 3);
    (ternary && matrix.scales.iter().all(|&scale| scale == first)).then_some(first)
}

/// The same codes with one group a row.
fn one_group(matrix: GroupQuantized) -> GroupQuantized {
    let zeros = parsimon_core::quant::Zeros::Points(vec![1; matrix.m]);
    GroupQuantized { zeros, g_idx: None, ..matrix }
}

/// Quantizes `x [n, k]` to 8 bits, a scale a token.
pub(super) fn quantize(
    x: &[f32],
    n: usize,
    k: usize,
    config: &ActConfig,
) -> Result<PreparedActivations, ActivationError> {
    let (mut codes, mut scales) = (vec![0i8; n * k], vec![0.0f32; n]);
    let rows = codes.par_chunks_exact_mut(k).zip(&mut scales).zip(x.par_chunks_exact(k)).enumerate();
    rows.map(|(token, ((codes, scale), x))| {
        if let Some(index) = x.iter().position(|x| !x.is_finite()) {
            return Err(ActivationError::NonFinite { token, index });
        }
        let factor = 127.0 / x.iter().fold(MAX_MIN, |max, x| max.max(x.abs()));
        for (code, x) in codes.iter_mut().zip(x) {
            *code = (x * factor).round_ties_even().clamp(-128.0, 127.0) as i8;
        }
        *scale = 1.0 / factor;
        Ok(())
    })
    .collect::<Result<(), _>>()?;
    PreparedActivations::from_integers(&codes, Some(&scales), n, k, config)
}
