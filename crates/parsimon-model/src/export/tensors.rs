//! The tensors of a GGUF file: where each comes from and what becomes of it.

use std::borrow::Cow;
use std::ops::Range;

use parsimon_core::io::Checkpoint;
use parsimon_core::io::gguf::{Gguf, GgufTensor};
use parsimon_core::quant::encode::{self, EncodeError};
use parsimon_core::quant::packed::bitnet::{self, ScaleRule};
use parsimon_core::quant::{BlockMatrix, BlockType};
use parsimon_core::{DType, TensorView};
use rayon::prelude::*;

use super::{GgufOptions, unwritable};
use crate::config::{BitNetConfig, Quantization};
use crate::float_source::put_floats;
use crate::naming::gguf_stem;
use crate::{Architecture, LayerReport, ModelConfig, ModelError, RopeFrequencies, RopeScaling};

/// bitnet.cpp's number of I2_S.
const I2S: u32 = 36;

/// Weights that are decoded at a time, of each thread.
const CHUNK_WEIGHTS: usize = 1 << 16;

pub(super) struct Tensor<'a> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    data: Data<'a>,
    /// The projection's name, where this is one.
    projection: Option<String>,
}

enum Data<'a> {
    Ready(u32, Cow<'a, [u8]>),
    Encoded(Encoding<'a>),
    Ternary { checkpoint: &'a Checkpoint, prefix: String, rule: ScaleRule },
}

struct Encoding<'a> {
    source: Floats<'a>,
    /// The width of heads whose halves are interleaved.
    interleaved: Option<usize>,
    target: BlockType,
}

#[derive(Clone, Copy)]
enum Floats<'a> {
    Dense(TensorView<'a>),
    Blocks(BlockMatrix<'a>),
}

impl<'a> Floats<'a> {
    fn rows(&self, rows: Range<usize>) -> Result<Vec<f32>, ModelError> {
        match self {
            Floats::Dense(view) => Ok(view.rows_to_f32(rows)?),
            Floats::Blocks(matrix) => {
                let row_bytes = matrix.bytes().len() / matrix.m();
                let bytes = &matrix.bytes()[rows.start * row_bytes..rows.end * row_bytes];
                let part = BlockMatrix::try_new(matrix.block_type(), rows.len(), matrix.k(), bytes);
                Ok(part.expect("rows of a matrix are a matrix").dequantize())
            }
        }
    }

    fn block_type(&self) -> Option<BlockType> {
        match self {
            Floats::Blocks(matrix) => Some(matrix.block_type()),
            Floats::Dense(view) => match view.dtype() {
                DType::F32 => Some(BlockType::F32),
                DType::F16 => Some(BlockType::F16),
                DType::BF16 => Some(BlockType::BF16),
                _ => None,
            },
        }
    }

    fn bytes(&self) -> &'a [u8] {
        match self {
            Floats::Dense(view) => view.bytes(),
            Floats::Blocks(matrix) => matrix.bytes(),
        }
    }
}

impl Tensor<'_> {
    pub(super) fn type_id(&self) -> u32 {
        match &self.data {
            Data::Ready(id, _) => *id,
            Data::Encoded(encoding) => encoding.target.id(),
            Data::Ternary { .. } => I2S,
        }
    }

    /// The type of a projection, if it is upstream's.
    pub(super) fn projection_type(&self) -> Option<u32> {
        self.projection.as_ref().map(|_| self.type_id())
    }

    fn row_bytes(&self, target: BlockType) -> usize {
        self.shape[1] / target.block_len() * target.block_bytes()
    }

    pub(super) fn bytes(&self) -> u64 {
        match &self.data {
            Data::Ready(_, bytes) => bytes.len() as u64,
            Data::Encoded(encoding) => (self.shape[0] * self.row_bytes(encoding.target)) as u64,
            Data::Ternary { .. } => (self.shape[0] * self.shape[1] / 4 + 32) as u64,
        }
    }

    pub(super) fn data(&self) -> Result<(Cow<'_, [u8]>, Option<LayerReport>), ModelError> {
        let (bytes, rel) = match &self.data {
            Data::Ready(_, bytes) => (Cow::Borrowed(&**bytes), 0.0),
            Data::Ternary { checkpoint, prefix, rule } => {
                let packed = |source| ModelError::Packed { layer: prefix.clone(), source };
                let matrix = bitnet::unpack(checkpoint, prefix, *rule).map_err(packed)?;
                (Cow::Owned(i2s(&matrix.codes, matrix.scales[0])), 0.0)
            }
            Data::Encoded(encoding) => {
                let (bytes, rel) = self.encoded(encoding)?;
                (Cow::Owned(bytes), rel)
            }
        };
        let layer = self.projection.as_ref().map(|name| LayerReport {
            name: name.clone(),
            m: self.shape[0],
            k: self.shape[1],
            rel,
            bits_per_weight: 8.0 * bytes.len() as f64 / (self.shape[0] * self.shape[1]) as f64,
        });
        Ok((bytes, layer))
    }

    /// The bytes and the relative error.
    fn encoded(&self, encoding: &Encoding<'_>) -> Result<(Vec<u8>, f64), ModelError> {
        let (m, k) = (self.shape[0], self.shape[1]);
        let whole = encoding.interleaved.unwrap_or(1);
        let rows = (CHUNK_WEIGHTS / k).max(1).next_multiple_of(whole).min(m);
        let row_bytes = self.row_bytes(encoding.target);
        let mut bytes = vec![0; m * row_bytes];
        let sums: Result<Vec<(f64, f64)>, ModelError> = bytes
            .par_chunks_mut(rows * row_bytes)
            .enumerate()
            .map(|(at, out)| self.encode_rows(encoding, at * rows..at * rows + out.len() / row_bytes, out))
            .collect();
        let (error, energy) = sums?.into_iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        Ok((bytes, if error == 0.0 { 0.0 } else { error / energy }))
    }

    /// Encodes some rows; the sums of squared errors and of squared weights.
    fn encode_rows(
        &self,
        encoding: &Encoding<'_>,
        rows: Range<usize>,
        out: &mut [u8],
    ) -> Result<(f64, f64), ModelError> {
        let (first, k) = (rows.start, self.shape[1]);
        let not_finite = |index: usize| {
            let (row, col) = (first + index / k, index % k);
            ModelError::NonFinite { layer: self.name.clone(), row, col }
        };
        let m = rows.len();
        let mut values = encoding.source.rows(rows)?;
        if let Some(d) = encoding.interleaved {
            values = interleaved(&values, d, k);
        }
        if let Some(dtype) = float(encoding.target) {
            put_floats(dtype, &values, out).map_err(not_finite)?;
        } else {
            encode::quantize_into(encoding.target, &values, out).map_err(|source| match source {
                EncodeError::NonFiniteWeight { index } => not_finite(index),
                source => ModelError::Encode { layer: self.name.clone(), source },
            })?;
        }
        let block = |source| ModelError::Block { layer: self.name.clone(), source };
        let decoded = BlockMatrix::try_new(encoding.target, m, k, out).map_err(block)?.dequantize();
        let error = values.iter().zip(decoded).map(|(&w, q)| f64::from(w - q).powi(2)).sum();
        Ok((error, values.iter().map(|&w| f64::from(w).powi(2)).sum()))
    }
}

/// What llama.cpp's converter does to query and key rows: `reshape(heads, 2, d / 2).swap(1, 2)`.
fn interleaved(values: &[f32], d: usize, row_len: usize) -> Vec<f32> {
    let row = |row: usize| {
        let (head, at) = (row / d, row % d);
        let from = head * d + at % 2 * (d / 2) + at / 2;
        &values[from * row_len..][..row_len]
    };
    (0..values.len() / row_len).flat_map(row).copied().collect()
}

/// Blocks of 128 codes, then the scale and its padding.
fn i2s(codes: &[u8], scale: f32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(codes.len() / 4 + 32);
    for v in codes.chunks_exact(128) {
        bytes.extend((0..32).map(|j| v[j] << 6 | v[32 + j] << 4 | v[64 + j] << 2 | v[96 + j]));
    }
    bytes.extend(scale.to_le_bytes());
    bytes.extend([0; 28]);
    bytes
}

fn float(block_type: BlockType) -> Option<DType> {
    match block_type {
        BlockType::F32 => Some(DType::F32),
        BlockType::F16 => Some(DType::F16),
        BlockType::BF16 => Some(DType::BF16),
        _ => None,
    }
}

fn f32s(name: String, values: &[f32]) -> Tensor<'static> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let data = Data::Ready(BlockType::F32.id(), bytes.into());
    Tensor { name, shape: vec![values.len()], data, projection: None }
}

/// A matrix of the type that the options say, or as it is.
fn matrix<'a>(
    (name, shape): (String, Vec<usize>),
    source: Floats<'a>,
    interleaved: Option<usize>,
    wanted: Option<BlockType>,
    options: &GgufOptions,
) -> Result<Tensor<'a>, ModelError> {
    let k = shape[1];
    let own = source.block_type();
    let mut target = wanted.or(own).unwrap_or(BlockType::F32);
    let block_len = target.block_len();
    if !k.is_multiple_of(block_len) {
        if !options.keep_odd_rows {
            let source = EncodeError::NotWholeBlocks { block_type: target, len: k, block_len };
            return Err(ModelError::Encode { layer: name, source });
        }
        target = own.unwrap_or(BlockType::F32);
    }
    if float(target).is_none() && !encode::is_supported(target) && own != Some(target) {
        return Err(ModelError::Encode { layer: name, source: EncodeError::Unsupported { block_type: target } });
    }
    let data = if own == Some(target) && interleaved.is_none() {
        Data::Ready(target.id(), source.bytes().into())
    } else {
        Data::Encoded(Encoding { source, interleaved, target })
    };
    Ok(Tensor { name, shape, data, projection: None })
}

/// The tensors of a GGUF file, in its order.
pub(super) fn of_file<'a>(
    file: &'a Gguf,
    config: &ModelConfig,
    options: &GgufOptions,
) -> Result<Vec<Tensor<'a>>, ModelError> {
    let projections: Vec<String> = (0..config.num_layers)
        .flat_map(|layer| config.stored_projections(layer))
        .map(|(name, ..)| format!("{}.weight", gguf_stem(config, &name)))
        .collect();
    let mut tensors = Vec::new();
    for info in file.tensors() {
        let (name, shape) = (info.name.to_string(), info.shape.to_vec());
        let is_projection = projections.contains(&name);
        let is_table = ["token_embd.weight", "output.weight"].contains(&&*name);
        let source = match file.tensor(&name)? {
            GgufTensor::Dense(view) => Floats::Dense(view),
            GgufTensor::Blocks(matrix) => Floats::Blocks(matrix),
            GgufTensor::I2s(_) => return Err(unwritable(file.path(), &name, "I2_S is not read here")),
        };
        let wanted = if is_projection { options.projections } else { options.tables.filter(|_| is_table) };
        let projection = is_projection.then(|| name.clone());
        let tensor = match wanted {
            Some(_) if shape.len() == 2 => matrix((name, shape), source, None, wanted, options)?,
            _ => Tensor { data: Data::Ready(info.type_id, file.raw(&name)?.into()), name, shape, projection: None },
        };
        tensors.push(Tensor { projection: projection.filter(|_| tensor.shape.len() == 2), ..tensor });
    }
    Ok(tensors)
}

/// The tensors of a folder, in the order of their names, and the divisors of rotations that GGUF has as tensors.
pub(super) fn of_folder<'a>(
    checkpoint: &'a Checkpoint,
    config: &ModelConfig,
    options: &GgufOptions,
) -> Result<Vec<Tensor<'a>>, ModelError> {
    let packed = match config.quantization {
        Some(Quantization::BitNet(BitNetConfig { rule, online: false })) => Some(rule),
        Some(Quantization::BitNet(_)) | None => None,
        Some(_) => return Err(ModelError::AlreadyQuantized),
    };
    let projections: Vec<(String, usize, usize)> =
        (0..config.num_layers).flat_map(|layer| config.stored_projections(layer)).collect();
    let mut tensors = Vec::new();
    for name in checkpoint.names() {
        let (stem, suffix) = name.rsplit_once('.').unwrap_or((name, ""));
        let known = projections.iter().find(|(known, ..)| known == stem && suffix == "weight");
        let own = format!("{}.{suffix}", gguf_stem(config, stem));
        let view = checkpoint.tensor(name)?;
        let tensor = match (suffix, known, packed) {
            ("weight_scale", _, Some(_)) => continue,
            ("weight", Some((_, m, k)), Some(rule)) if view.dtype() == DType::U8 => {
                if options.projections.is_some() {
                    return Err(unwritable(view.file(), stem, "packed ternary layers become I2_S and no other type"));
                }
                let data = Data::Ternary { checkpoint, prefix: stem.to_owned(), rule };
                Tensor { name: own, shape: vec![*m, *k], data, projection: None }
            }
            _ => of_view(own, name, view, known.is_some(), config, options)?,
        };
        tensors.push(Tensor { projection: known.map(|(known, ..)| known.clone()), ..tensor });
    }
    tensors.extend(divisors(config));
    Ok(tensors)
}

fn of_view<'a>(
    own: String,
    name: &str,
    view: TensorView<'a>,
    is_projection: bool,
    config: &ModelConfig,
    options: &GgufOptions,
) -> Result<Tensor<'a>, ModelError> {
    let d = config.head_dim;
    let is_rotated = ["q_proj.", "k_proj."].iter().any(|part| name.contains(part));
    let shape = view.shape().to_vec();
    let heads =
        Some(d).filter(|_| is_rotated && matches!(config.architecture, Architecture::Llama | Architecture::Mistral));
    if heads.is_some() && !shape.first().is_some_and(|rows| rows.is_multiple_of(d)) {
        return Err(unwritable(view.file(), name, "its rows are not whole heads"));
    }
    if let [_] = shape[..] {
        let mut values = view.to_f32()?;
        if let Some(d) = heads {
            values = interleaved(&values, d, 1);
        }
        if config.block.norm_plus_one && name.ends_with("norm.weight") {
            values.iter_mut().for_each(|w| *w += 1.0);
        }
        return Ok(f32s(own, &values));
    }
    if shape.len() != 2 {
        return Err(unwritable(view.file(), format!("tensor `{name}`"), "it is no vector and no matrix"));
    }
    let wanted = if is_projection { options.projections } else { options.tables };
    matrix((own, shape), Floats::Dense(view), heads, wanted, options)
}

/// The divisors of frequencies that keys cannot say.
fn divisors(config: &ModelConfig) -> Vec<Tensor<'static>> {
    match &config.rope_scaling {
        RopeScaling::Llama3 { .. } => {
            let plain = ModelConfig { rope_scaling: RopeScaling::Default, ..config.clone() };
            let (plain, scaled) = (RopeFrequencies::new(&plain), RopeFrequencies::new(config));
            let pairs = plain.inv_freq().iter().zip(scaled.inv_freq());
            let divisors: Vec<f32> = pairs.map(|(f, scaled)| (f / scaled) as f32).collect();
            vec![f32s("rope_freqs.weight".into(), &divisors)]
        }
        RopeScaling::LongRope { short_factor, long_factor, .. } => [("short", short_factor), ("long", long_factor)]
            .map(|(name, factors)| {
                let factors: Vec<f32> = factors.iter().map(|&f| f as f32).collect();
                f32s(format!("rope_factors_{name}.weight"), &factors)
            })
            .into(),
        _ => Vec::new(),
    }
}
