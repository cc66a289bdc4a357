//! Hugging Face folders: safetensors with float, GPTQ, AWQ, BitNet or VPTQ projections.

use parsimon_core::io::{Checkpoint, FormatError};
use parsimon_core::quant::GroupQuantized;
use parsimon_core::quant::gptq::{self, GptqConfig};
use parsimon_core::quant::packed::{awq, bitnet, efficient_qat};
use parsimon_core::{DType, TensorView};
use parsimon_lut::{Backend, DenseMatrix, LowBitMatrix};
use parsimon_vq::{LayerConfig, VptqBackend, VptqLinear, VptqMatrix};

use super::Source;
use super::floats::Floats;
use super::pack::Packing;
use super::rows::Rows;
use crate::config::{BitNetConfig, Quantization};
use crate::embedding::Embedding;
use crate::pack_cache::PackKey;
use crate::{Linear, ModelConfig, ModelError, PackCache};

pub(super) struct FolderSource<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) packing: Packing,
    pub(super) cache: Option<&'a PackCache>,
}

/// Where a layer lies: the name of the stored matrix and its rows.
struct Place {
    stem: String,
    rows: Rows,
}

/// How a stored matrix is packed.
enum Form<'a> {
    Float,
    Gptq(&'a GptqConfig),
    Awq(&'a awq::AwqConfig),
    BitNet(BitNetConfig),
    /// Float weights that BitNet makes ternary.
    Online,
    Vptq(&'a LayerConfig),
}

impl FolderSource<'_> {
    /// `m` rows of the layer `name`: of its own matrix, or of the fused one where the family's files have that.
    fn place(&self, name: &str, m: usize) -> Place {
        let alone = || Place { stem: name.to_owned(), rows: Rows::all(m) };
        let Some((block, layer)) = name.rsplit_once('.').filter(|_| self.config.block.fused) else { return alone() };
        let (d, heads, inner) = (self.config.head_dim, self.config.heads, self.config.intermediate_size);
        let [q, k, v] = [heads.n_q() * d, heads.n_k() * d, heads.n_v() * d];
        let (fused, start, total) = match layer {
            "q_proj" => ("qkv_proj", 0, q + k + v),
            "k_proj" => ("qkv_proj", q, q + k + v),
            "v_proj" => ("qkv_proj", q + k, q + k + v),
            "gate_proj" => ("gate_up_proj", 0, 2 * inner),
            "up_proj" => ("gate_up_proj", inner, 2 * inner),
            _ => return alone(),
        };
        Place { stem: format!("{block}.{fused}"), rows: Rows::part(start..start + m, total) }
    }

    fn form(&self, stem: &str) -> Form<'_> {
        let weight = format!("{stem}.weight");
        let in_block = stem.starts_with("model.layers.");
        // The output layer may be packed like a projection; where nothing of it is there, its plain name is missing.
        let is_words =
            || !self.checkpoint.contains(&weight) && (in_block || self.checkpoint.contains(&format!("{stem}.qweight")));
        match &self.config.quantization {
            Some(Quantization::Vptq(config)) => config.resolve(stem).map_or(Form::Float, Form::Vptq),
            Some(Quantization::Gptq(config)) if is_words() => Form::Gptq(config),
            Some(Quantization::Awq(config)) if is_words() => Form::Awq(config),
            Some(Quantization::BitNet(config)) if in_block => {
                let packed = self.checkpoint.tensor(&weight).is_ok_and(|tensor| tensor.dtype() == DType::U8);
                match (packed, config.online) {
                    (true, _) => Form::BitNet(*config),
                    (false, true) => Form::Online,
                    (false, false) => Form::Float,
                }
            }
            _ => Form::Float,
        }
    }

    fn packed(&self, stem: &str, form: &Form<'_>, (m, k): (usize, usize)) -> Result<GroupQuantized, ModelError> {
        let layer = || stem.to_owned();
        let packed = |source| ModelError::Packed { layer: layer(), source };
        let matrix = match form {
            Form::Gptq(config) if self.is_ten_a_word(stem, config, k) => {
                efficient_qat::unpack(self.checkpoint, stem, config.bits).map_err(packed)?
            }
            Form::Gptq(config) => gptq::unpack(self.checkpoint, stem, config)
                .map_err(|source| ModelError::Gptq { layer: layer(), source })?,
            Form::Awq(config) => awq::unpack(self.checkpoint, stem, config).map_err(packed)?,
            Form::BitNet(config) => bitnet::unpack(self.checkpoint, stem, config.rule).map_err(packed)?,
            Form::Float | Form::Online | Form::Vptq(_) => {
                let weights = self.float(stem, (m, k))?.to_f32()?;
                bitnet::ternarize(&weights, m, k).map_err(|source| ModelError::Quant { layer: layer(), source })?
            }
        };
        if (matrix.m, matrix.k) == (m, k) {
            return Ok(matrix);
        }
        let tensor = if matches!(form, Form::BitNet(_)) { "weight" } else { "qweight" };
        Err(ModelError::Format(FormatError::Shape {
            file: self.checkpoint.path().to_owned(),
            tensor: format!("{stem}.{tensor}"),
            expected: vec![m, k],
            actual: vec![matrix.m, matrix.k],
        }))
    }

    /// EfficientQAT's 3-bit words hold ten codes, and only the number of rows says so.
    fn is_ten_a_word(&self, stem: &str, config: &GptqConfig, k: usize) -> bool {
        let rows = self.checkpoint.tensor(&format!("{stem}.qweight")).map(|tensor| tensor.shape().first().copied());
        config.bits == 3 && matches!(rows, Ok(Some(rows)) if rows == k.div_ceil(10))
    }

    /// A layer of codebooks; a part of a fused one, whose vectors may straddle parts, is decoded.
    fn vptq(&self, stem: &str, config: &LayerConfig, rows: &Rows, shape: (usize, usize)) -> Result<Linear, ModelError> {
        let mut linear = VptqLinear::read(self.checkpoint, stem, config, shape)?;
        if linear.bias().is_some() && self.is_biased(stem) {
            // The block adds it.
            linear = linear.with_bias(None);
        }
        if *rows == Rows::all(shape.0) && (!self.packing.dequantize || linear.bias().is_some()) {
            let backend = match self.packing.backend {
                _ if self.packing.dequantize => VptqBackend::exact(),
                Backend::Exact(level) => VptqBackend { level, ..VptqBackend::default() },
                _ => VptqBackend::default(),
            };
            return Ok(Linear::Vptq(VptqMatrix::new(&linear, &backend)));
        }
        let weights = rows.of(linear.dequantize(), shape.1);
        Ok(Linear::Dense(DenseMatrix::new(weights, rows.len(), shape.1)))
    }

    /// Whether the blocks of this family add a bias to the layer.
    fn is_biased(&self, stem: &str) -> bool {
        let block = &self.config.block;
        match stem.rsplit('.').next().unwrap_or(stem) {
            "q_proj" | "k_proj" | "v_proj" => block.qkv_bias,
            "o_proj" => block.o_bias,
            "gate_proj" | "up_proj" | "down_proj" => block.mlp_bias,
            _ => false,
        }
    }

    fn float(&self, stem: &str, (m, k): (usize, usize)) -> Result<TensorView<'_>, ModelError> {
        Ok(self.checkpoint.tensor(&format!("{stem}.weight"))?.expect_shape(&[m, k])?)
    }

    /// A whole GPTQ matrix from the folder of packed ones; `None` where there is no folder or packing fails, which doing it again explains.
    fn cached(&self, stem: &str, config: &GptqConfig, shape: (usize, usize)) -> Option<Linear> {
        let cache = self.cache.filter(|_| !self.packing.dequantize)?;
        let tensors = gptq::SUFFIXES.map(|suffix| self.checkpoint.tensor(&format!("{stem}.{suffix}")));
        let tensors: Result<Vec<_>, _> = tensors.into_iter().collect();
        let key = PackKey::new(&tensors.ok()?, config, shape, self.packing.backend)?;
        let matrix = cache.get_or_pack(&key, || {
            let matrix = self.packed(stem, &Form::Gptq(config), shape)?;
            LowBitMatrix::from_quantized(&matrix, self.packing.backend)
                .map_err(|source| ModelError::Pack { layer: stem.to_owned(), source })
        });
        matrix.ok().map(Linear::LowBit)
    }
}

impl Source for FolderSource<'_> {
    fn matrix_tensors(&self, name: &str) -> Vec<String> {
        let Place { stem, .. } = self.place(name, 0);
        let suffixes: &[&str] = match self.form(&stem) {
            Form::Float | Form::Online => &["weight"],
            Form::Gptq(_) => &gptq::SUFFIXES,
            Form::Awq(_) => &["qweight", "qzeros", "scales"],
            Form::BitNet(_) => &["weight", "weight_scale"],
            // What is missing depends on the layer's configuration; reading says it.
            Form::Vptq(_) => &[],
        };
        suffixes.iter().map(|suffix| format!("{stem}.{suffix}")).collect()
    }

    fn vector_tensor(&self, name: &str) -> String {
        name.to_owned()
    }

    fn require(&self, tensors: &[String]) -> Result<(), ModelError> {
        Ok(self.checkpoint.require(tensors.iter().map(String::as_str))?)
    }

    fn linear(&self, name: &str, (m, k): (usize, usize)) -> Result<Linear, ModelError> {
        let Place { stem, rows } = self.place(name, m);
        let shape = (rows.total, k);
        let form = self.form(&stem);
        match form {
            Form::Float => Ok(Floats::read(name, &self.float(&stem, shape)?, &rows, k, &self.packing)?.into()),
            Form::Gptq(config) if rows == Rows::all(m) => match self.cached(&stem, config, shape) {
                Some(linear) => Ok(linear),
                None => self.packing.quantized(name, &self.packed(&stem, &form, shape)?),
            },
            Form::Vptq(config) => self.vptq(&stem, config, &rows, shape),
            Form::Gptq(_) | Form::Awq(_) => {
                self.packing.quantized(name, &rows.of_quantized(self.packed(&stem, &form, shape)?))
            }
            Form::BitNet(_) | Form::Online => {
                self.packing.ternary(name, rows.of_quantized(self.packed(&stem, &form, shape)?))
            }
        }
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let mut values = self.checkpoint.tensor(name)?.expect_shape(&[len])?.to_f32()?;
        let is_norm = name.ends_with("norm.weight");
        if is_norm && self.config.block.norm_plus_one {
            values.iter_mut().for_each(|w| *w += 1.0);
        }
        self.packing.checked(name, values, len)
    }

    fn embedding(&self, shape: (usize, usize)) -> Result<(Embedding, Option<Linear>), ModelError> {
        let tensor = self.float("model.embed_tokens", shape)?;
        let rows = Rows::all(shape.0);
        Ok((Floats::read("model.embed_tokens", &tensor, &rows, shape.1, &self.packing)?.into(), None))
    }
}
