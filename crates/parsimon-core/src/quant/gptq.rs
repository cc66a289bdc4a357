//! The GPTQ ecosystem's packing: `qweight`, `qzeros`, `scales`, `g_idx`.
//!
//! | tensor | dtype, shape | layout |
//! |---|---|---|
//! | `qweight` | I32 `[k * b / 32, m]` | for each output, a bit stream along `k`, least significant bit first, across words |
//! | `qzeros` | I32 `[n_groups, m * b / 32]` | for each group, the same stream along `m` |
//! | `scales` | F16 `[n_groups, m]` | |
//! | `g_idx` | I32 `[k]` | the group of every input |
//!
//! `checkpoint_format` "gptq" (version 1) stores zero points minus one, "gptq_v2" as they are. A stored `2^b - 1` in version 1 is
//! read as 0, the value that wraps when a writer subtracts one; other readers take it for `2^b`, so [`ambiguous_zero_points`] counts it.

use std::collections::BTreeMap;

use half::f16;
use serde::{Deserialize, Serialize};

use super::words::{Packing, put_bits, stream_words};
use super::{GroupQuantized, QuantError, Zeros};
use crate::DType;
use crate::io::{Checkpoint, FormatError, TensorData, TensorSpec};

/// The suffixes of the four tensors of a matrix.
pub const SUFFIXES: [&str; 4] = ["qweight", "qzeros", "scales", "g_idx"];

/// How zero points are stored.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum CheckpointFormat {
    /// Zero points minus one; what a file without `checkpoint_format` means.
    #[default]
    #[serde(rename = "gptq")]
    V1,
    /// Zero points as they are.
    #[serde(rename = "gptq_v2")]
    V2,
}

/// The `quantization_config` of a `config.json` with `quant_method` "gptq".
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GptqConfig {
    /// Always "gptq".
    pub quant_method: String,
    /// How zero points are stored.
    #[serde(default)]
    pub checkpoint_format: CheckpointFormat,
    /// Bits of a code: 2, 3, 4 or 8.
    pub bits: u8,
    /// Inputs that share a scale; -1 for a whole row.
    pub group_size: i64,
    /// Whether columns were quantized in another order.
    #[serde(default)]
    pub desc_act: bool,
    /// Whether every zero point is `2^(bits - 1)`.
    #[serde(default)]
    pub sym: bool,
    /// Our own key: codes are `t + 1` for `t` in -1, 0, 1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ternary: bool,
    /// Whether the output layer is packed too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lm_head: bool,
    /// What differs in layers whose name begins with a match of the regular expression behind `+:` (or nothing); layers behind `-:` are not
    /// packed. The key and its rules are GPTQModel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic: Option<BTreeMap<String, GptqOverride>>,
}

/// What [`GptqConfig::dynamic`] says of some layers; what is missing is as everywhere.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct GptqOverride {
    /// Bits of a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u8>,
    /// Inputs that share a scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_size: Option<i64>,
    /// Whether columns were quantized in another order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desc_act: Option<bool>,
    /// Whether every zero point is `2^(bits - 1)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sym: Option<bool>,
}

impl GptqConfig {
    /// Version 2, columns in order, any zero points; -1 for groups of a whole row.
    pub fn new(bits: u8, group_size: i64) -> GptqConfig {
        GptqConfig {
            quant_method: "gptq".into(),
            checkpoint_format: CheckpointFormat::V2,
            bits,
            group_size,
            desc_act: false,
            sym: false,
            ternary: false,
            lm_head: false,
            dynamic: None,
        }
    }

    /// The configuration of layers with an override; codes of other bits are not ternary.
    pub fn with(&self, other: &GptqOverride) -> GptqConfig {
        let bits = other.bits.unwrap_or(self.bits);
        GptqConfig {
            bits,
            group_size: other.group_size.unwrap_or(self.group_size),
            desc_act: other.desc_act.unwrap_or(self.desc_act),
            sym: other.sym.unwrap_or(self.sym),
            ternary: self.ternary && bits == self.bits,
            ..self.clone()
        }
    }
}

/// The four tensors of `prefix`, version 2.
///
/// # Errors
///
/// [`QuantError`] when the matrix is not valid, or its codes or zero points do not fill whole words.
pub fn pack(prefix: &str, matrix: &GroupQuantized) -> Result<BTreeMap<String, TensorData>, QuantError> {
    matrix.validate()?;
    check_bits(matrix.bits)?;
    let GroupQuantized { bits, m, k, .. } = *matrix;
    let Zeros::Points(zero_points) = &matrix.zeros else { return Err(QuantError::RealZeros) };
    let n_groups = matrix.n_groups();
    let qweight_rows = stream_words("a row", k, bits)?;
    let qzeros_cols = stream_words("a column", m, bits)?;

    let mut qweight = vec![0u32; qweight_rows * m];
    for (r, row) in matrix.codes.chunks_exact(k).enumerate() {
        for (c, &code) in row.iter().enumerate() {
            put_bits(&mut qweight, c * bits as usize, u32::from(code), bits, |word| word * m + r);
        }
    }
    let mut qzeros = vec![0u32; n_groups * qzeros_cols];
    let mut scales = vec![f16::ZERO; n_groups * m];
    for r in 0..m {
        for g in 0..n_groups {
            let zero_point = u32::from(zero_points[r * n_groups + g]);
            if zero_point >> bits != 0 {
                let zero_point = zero_point as u16;
                return Err(QuantError::ZeroPointOutOfRange { row: r, group: g, zero_point });
            }
            put_bits(&mut qzeros, r * bits as usize, zero_point, bits, |word| g * qzeros_cols + word);
            scales[g * m + r] = f16::from_f32(matrix.scales[r * n_groups + g]);
        }
    }
    let g_idx: Vec<i32> = (0..k).map(|c| matrix.group_of(c) as i32).collect();
    let signed = |words: &[u32]| words.iter().map(|&word| word as i32).collect::<Vec<_>>();
    Ok(BTreeMap::from([
        (tensor_name(prefix, "qweight"), TensorData::from_i32(&[qweight_rows, m], &signed(&qweight))),
        (tensor_name(prefix, "qzeros"), TensorData::from_i32(&[n_groups, qzeros_cols], &signed(&qzeros))),
        (tensor_name(prefix, "scales"), TensorData::from_f16(&[n_groups, m], &scales)),
        (tensor_name(prefix, "g_idx"), TensorData::from_i32(&[k], &g_idx)),
    ]))
}

/// The tensors that [`pack`] makes of a matrix `[m, k]`, before it is quantized.
///
/// # Errors
///
/// As [`pack`] for the bits and the words.
pub fn specs(prefix: &str, (m, k): (usize, usize), bits: u8, group: usize) -> Result<Vec<TensorSpec>, QuantError> {
    check_bits(bits)?;
    let n_groups = k.div_ceil(group.max(1));
    let spec =
        |suffix, dtype, shape: &[usize]| TensorSpec { name: tensor_name(prefix, suffix), dtype, shape: shape.to_vec() };
    Ok(vec![
        spec("g_idx", DType::I32, &[k]),
        spec("qweight", DType::I32, &[stream_words("a row", k, bits)?, m]),
        spec("qzeros", DType::I32, &[n_groups, stream_words("a column", m, bits)?]),
        spec("scales", DType::F16, &[n_groups, m]),
    ])
}

/// Reads the matrix `prefix` of a checkpoint.
///
/// Shapes decide: `k` is the length of `g_idx`, `m` the columns of `scales`, the bits follow from `qzeros` and must agree with
/// the configuration. A `g_idx` that is `c / group` is dropped, any other is kept.
///
/// # Errors
///
/// [`GptqError`] for missing tensors, wrong dtypes, or shapes that do not agree.
pub fn unpack(checkpoint: &Checkpoint, prefix: &str, config: &GptqConfig) -> Result<GroupQuantized, GptqError> {
    check_bits(config.bits)?;
    let names = SUFFIXES.map(|suffix| tensor_name(prefix, suffix));
    checkpoint.require(names.iter().map(String::as_str))?;
    let [qweight, qzeros, scales, g_idx] = names.each_ref().map(|name| checkpoint.tensor(name));
    let (qweight, qzeros, scales, g_idx) = (qweight?, qzeros?, scales?, g_idx?);

    let bits = config.bits;
    let k = g_idx.len();
    let &[n_groups, m] = scales.shape() else {
        return Err(inconsistent(format!("`{prefix}.scales` must be a matrix, not {:?}", scales.shape())).into());
    };
    if n_groups == 0 || k == 0 || m == 0 {
        return Err(QuantError::EmptyShape { m, k, group: n_groups }.into());
    }
    let group =
        match config.group_size {
            -1 => k,
            size => usize::try_from(size).ok().filter(|&size| size > 0 && k.div_ceil(size) == n_groups).ok_or_else(
                || inconsistent(format!("`{prefix}`: group_size {size} of {k} inputs does not give {n_groups} groups")),
            )?,
        };
    let qweight_rows = stream_words("a row", k, bits)?;
    let qzeros_cols = stream_words("a column", m, bits)?;
    let qweight = qweight.expect_shape(&[qweight_rows, m])?.to_i32()?;
    let qzeros = qzeros.expect_shape(&[n_groups, qzeros_cols])?.to_i32()?;
    let scales = scales.to_f32()?;
    let g_idx = g_idx.to_i32()?;

    let mut matrix = GroupQuantized {
        bits,
        m,
        k,
        group,
        codes: vec![0; m * k],
        scales: vec![0.0; m * n_groups],
        zeros: Zeros::Points(Vec::new()),
        g_idx: None,
    };
    Packing::Stream.unpack_columns(&qweight, m, k, bits, &mut matrix.codes);
    let mut zero_points = vec![0; m * n_groups];
    for r in 0..m {
        for g in 0..n_groups {
            let stored = Packing::Stream.get(&qzeros, r, bits, |word| g * qzeros_cols + word);
            zero_points[r * n_groups + g] = match config.checkpoint_format {
                CheckpointFormat::V1 => ((stored + 1) & ((1 << bits) - 1)) as u16,
                CheckpointFormat::V2 => stored as u16,
            };
            matrix.scales[r * n_groups + g] = scales[g * m + r];
        }
    }
    matrix.zeros = Zeros::Points(zero_points);
    if g_idx.iter().enumerate().any(|(c, &g)| g != (c / group) as i32) {
        // A negative index becomes a huge one, which `validate` refuses.
        matrix.g_idx = Some(g_idx.iter().map(|&g| g as u32).collect());
    }
    matrix.validate()?;
    Ok(matrix)
}

/// How many zero points of the matrix `prefix` other programs may read otherwise: stored `2^b - 1` in version 1, here 0, elsewhere
/// `2^b`. Worth a warning with the tensor's name where it is not 0.
///
/// # Errors
///
/// [`GptqError`] when `qzeros` or `scales` is missing or has another dtype or shape than the bits need.
pub fn ambiguous_zero_points(checkpoint: &Checkpoint, prefix: &str, config: &GptqConfig) -> Result<usize, GptqError> {
    check_bits(config.bits)?;
    let (qzeros, scales) = (tensor_name(prefix, "qzeros"), tensor_name(prefix, "scales"));
    checkpoint.require([&*qzeros, &*scales])?;
    if config.checkpoint_format == CheckpointFormat::V2 {
        return Ok(0);
    }
    let (qzeros, scales) = (checkpoint.tensor(&qzeros)?, checkpoint.tensor(&scales)?);
    let &[n_groups, m] = scales.shape() else {
        return Err(inconsistent(format!("`{prefix}.scales` must be a matrix, not {:?}", scales.shape())).into());
    };
    let cols = stream_words("a column", m, config.bits)?;
    let qzeros = qzeros.expect_shape(&[n_groups, cols])?.to_i32()?;
    let bits = config.bits;
    let stored = (0..n_groups * m).map(|i| Packing::Stream.get(&qzeros, i % m, bits, |word| i / m * cols + word));
    Ok(stored.filter(|&stored| stored + 1 == 1 << bits).count())
}

/// A GPTQ matrix cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GptqError {
    /// The file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The codes.
    #[error(transparent)]
    Quant(#[from] QuantError),
}

impl crate::Diagnose for GptqError {
    fn variant(&self) -> String {
        match self {
            GptqError::Format(e) => e.variant(),
            GptqError::Quant(e) => e.variant(),
        }
    }

    fn file(&self) -> Option<&std::path::Path> {
        match self {
            GptqError::Format(e) => e.file(),
            GptqError::Quant(e) => e.file(),
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            GptqError::Format(e) => e.place(),
            GptqError::Quant(e) => e.place(),
        }
    }
}

/// `prefix.suffix`, or the bare suffix where a file holds one matrix.
pub(super) fn tensor_name(prefix: &str, suffix: &str) -> String {
    if prefix.is_empty() { suffix.to_owned() } else { format!("{prefix}.{suffix}") }
}

fn check_bits(bits: u8) -> Result<(), QuantError> {
    if matches!(bits, 2 | 3 | 4 | 8) { Ok(()) } else { Err(QuantError::UnsupportedBits { bits: u32::from(bits) }) }
}

fn inconsistent(text: String) -> QuantError {
    QuantError::Inconsistent(text)
}

#[cfg(test)]
mod tests;
