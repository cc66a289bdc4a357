//! GGUF files: llama.cpp's names, its order of rotated heads, and blocks that stay packed.

use parsimon_core::io::FormatError;
use parsimon_core::io::gguf::{Gguf, GgufTensor};
use parsimon_core::quant::{BlockMatrix, GroupQuantized, PackedError};
use parsimon_lut::DenseMatrix;

use super::floats::Floats;
use super::pack::Packing;
use super::rows::Rows;
use super::{Source, dense_table};
use crate::embedding::Embedding;
use crate::naming::gguf_stem;
use crate::{Architecture, Linear, ModelConfig, ModelError};

pub(super) struct GgufSource<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) file: &'a Gguf,
    pub(super) packing: Packing,
}

/// Where a layer lies: the name of the stored matrix and its rows.
struct Place {
    stem: String,
    rows: Rows,
}

impl GgufSource<'_> {
    /// llama.cpp's name, without its suffix.
    fn stem(&self, name: &str) -> String {
        gguf_stem(self.config, name)
    }

    fn place(&self, name: &str, m: usize) -> Place {
        let alone = |rows| Place { stem: self.stem(name), rows };
        let Some((block, layer)) = name.rsplit_once('.') else { return alone(Rows::all(m)) };
        let (d, heads, inner) = (self.config.head_dim, self.config.heads, self.config.intermediate_size);
        let [q, k, v] = [heads.n_q() * d, heads.n_k() * d, heads.n_v() * d];
        let rotated = matches!(layer, "q_proj" | "k_proj");
        if rotated && self.config.architecture == Architecture::Llama {
            return alone(Rows::unpermuted(m, d));
        }
        let (fused, start, total) = match layer {
            _ if !self.config.block.fused => return alone(Rows::all(m)),
            "q_proj" => ("qkv_proj", 0, q + k + v),
            "k_proj" => ("qkv_proj", q, q + k + v),
            "v_proj" => ("qkv_proj", q + k, q + k + v),
            "gate_proj" => ("gate_up_proj", 0, 2 * inner),
            "up_proj" => ("gate_up_proj", inner, 2 * inner),
            _ => return alone(Rows::all(m)),
        };
        Place { stem: self.stem(&format!("{block}.{fused}")), rows: Rows::part(start..start + m, total) }
    }

    /// The matrix `stem`, once its shape is `[m, k]`.
    fn matrix(&self, stem: &str, (m, k): (usize, usize)) -> Result<GgufTensor<'_>, ModelError> {
        let name = format!("{stem}.weight");
        let tensor = self.file.tensor(&name)?;
        let info = self.file.info(&name).map(|info| info.shape.to_vec()).unwrap_or_default();
        if info == [m, k] {
            return Ok(tensor);
        }
        let file = self.file.path().to_owned();
        Err(FormatError::Shape { file, tensor: name, expected: vec![m, k], actual: info }.into())
    }

    /// An extra factor that bitnet.cpp's files may hold.
    fn extra_scale(&self, stem: &str) -> Result<Option<f32>, ModelError> {
        let name = format!("{stem}.scale");
        if self.file.info(&name).is_none() {
            return Ok(None);
        }
        let GgufTensor::Dense(view) = self.file.tensor(&name)? else { return Err(self.not_floats(name)) };
        Ok(view.to_f32()?.first().copied())
    }

    fn not_floats(&self, tensor: String) -> ModelError {
        let reason = format!("tensor `{tensor}` must be a vector of floats");
        FormatError::Malformed { file: self.file.path().to_owned(), format: "GGUF", reason }.into()
    }

    /// A matrix in blocks: packed where its codes are on a grid, else decoded.
    fn blocks(&self, name: &str, place: &Place, matrix: BlockMatrix<'_>) -> Result<Linear, ModelError> {
        let (k, rows) = (matrix.k(), &place.rows);
        let block = |source| ModelError::Block { layer: name.to_owned(), source };
        let chosen = rows.of_slice(matrix.bytes(), matrix.bytes().len() / matrix.m());
        let bytes = chosen.as_deref().unwrap_or(matrix.bytes());
        let m = matrix.m() * bytes.len() / matrix.bytes().len();
        let matrix = BlockMatrix::try_new(matrix.block_type(), m, k, bytes).map_err(block)?;
        let scale = self.extra_scale(&place.stem)?;
        if matrix.block_type().is_uniform() && !self.packing.dequantize {
            let quantized = scaled(matrix.to_group_quantized().map_err(block)?, scale);
            return if self.config.architecture == Architecture::BitNet {
                self.packing.ternary(name, one_group(quantized))
            } else {
                self.packing.quantized(name, &quantized)
            };
        }
        let mut weights = matrix.dequantize();
        if let Some(scale) = scale {
            weights.iter_mut().for_each(|w| *w *= scale);
        }
        Ok(Linear::Dense(DenseMatrix::new(self.packing.checked(name, weights, k)?, m, k)))
    }
}

/// Scales and zeros times `factor`.
fn scaled(mut matrix: GroupQuantized, factor: Option<f32>) -> GroupQuantized {
    if let Some(factor) = factor {
        matrix.scales.iter_mut().for_each(|scale| *scale *= factor);
        if let parsimon_core::quant::Zeros::Real(reals) = &mut matrix.zeros {
            reals.iter_mut().for_each(|real| *real *= factor);
        }
    }
    matrix
}

/// Ternary weights whose blocks share one scale, with one group a row; any others as they are.
fn one_group(matrix: GroupQuantized) -> GroupQuantized {
    match crate::linear::uniform_scale(&matrix) {
        Some(scale) => GroupQuantized {
            group: matrix.k,
            scales: vec![scale; matrix.m],
            zeros: parsimon_core::quant::Zeros::Points(vec![1; matrix.m]),
            ..matrix
        },
        None => matrix,
    }
}

impl Source for GgufSource<'_> {
    fn matrix_tensors(&self, name: &str) -> Vec<String> {
        vec![format!("{}.weight", self.place(name, 0).stem)]
    }

    fn vector_tensor(&self, name: &str) -> String {
        let (name, suffix) = name.rsplit_once('.').unwrap_or((name, "weight"));
        let stem = if suffix == "bias" { self.place(name, 0).stem } else { self.stem(name) };
        format!("{stem}.{suffix}")
    }

    fn require(&self, tensors: &[String]) -> Result<(), ModelError> {
        Ok(self.file.require_tensors(tensors.iter().map(String::as_str))?)
    }

    fn linear(&self, name: &str, (m, k): (usize, usize)) -> Result<Linear, ModelError> {
        let place = self.place(name, m);
        match self.matrix(&place.stem, (place.rows.total, k))? {
            GgufTensor::Dense(view) => match self.extra_scale(&place.stem)? {
                None => Ok(Floats::read(name, &view, &place.rows, k, &self.packing)?.into()),
                Some(scale) => {
                    let mut weights = place.rows.of(view.to_f32()?, k);
                    weights.iter_mut().for_each(|w| *w *= scale);
                    Ok(Linear::Dense(DenseMatrix::new(self.packing.checked(name, weights, k)?, m, k)))
                }
            },
            GgufTensor::Blocks(matrix) => self.blocks(name, &place, matrix),
            GgufTensor::I2s(matrix) => {
                let packed = |source: PackedError| ModelError::Packed { layer: name.to_owned(), source };
                let matrix = matrix.to_group_quantized(self.packing.i2s_block).map_err(packed)?;
                let matrix = scaled(place.rows.of_quantized(matrix), self.extra_scale(&place.stem)?);
                self.packing.ternary(name, matrix)
            }
        }
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.vector_tensor(name);
        let GgufTensor::Dense(view) = self.file.tensor(&tensor)? else { return Err(self.not_floats(tensor)) };
        let rows = match name.rsplit_once('.') {
            Some((layer, "bias")) => self.place(layer, len).rows,
            _ => Rows::all(len),
        };
        let values = rows.of(view.expect_shape(&[rows.total])?.to_f32()?, 1);
        self.packing.checked(&tensor, values, len)
    }

    fn embedding(&self, shape: (usize, usize)) -> Result<(Embedding, Option<Linear>), ModelError> {
        let block = |source| ModelError::Block { layer: "token_embd".into(), source };
        let tied = self.config.tie_word_embeddings;
        match self.matrix("token_embd", shape)? {
            GgufTensor::Dense(view) => {
                let rows = Rows::all(shape.0);
                Ok((Floats::read("token_embd", &view, &rows, shape.1, &self.packing)?.into(), None))
            }
            GgufTensor::Blocks(matrix) => {
                // The rows stay as they are; the output layer is packed beside them where its blocks have a kernel.
                let packed = tied && matrix.block_type().is_uniform() && !self.packing.dequantize;
                let output = if packed {
                    let quantized = matrix.to_group_quantized().map_err(block)?;
                    Some(self.packing.quantized("token_embd", &quantized)?)
                } else {
                    None
                };
                let matrix = self.packing.checked_rows(matrix).map_err(block)?;
                Ok((Embedding::Blocks(matrix.into()), output))
            }
            GgufTensor::I2s(matrix) => {
                let packed = |source: PackedError| ModelError::Packed { layer: "token_embd".into(), source };
                let matrix = matrix.to_group_quantized(self.packing.i2s_block).map_err(packed)?;
                Ok((dense_table(matrix.dequantize(), shape), None))
            }
        }
    }
}
