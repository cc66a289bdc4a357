//! A layer from the tensors of a folder. Shapes of the file bound every allocation; numbers of the configuration only have to agree with them.

use parsimon_core::io::Checkpoint;
use parsimon_core::{DType, TensorView};

use super::{CheckpointError, CheckpointErrorKind as Kind, LayerConfig};
use crate::linear::{OutlierPart, Parts};
use crate::{FloatType, VptqLinear, pack};

/// What tells a quantized layer.
const CENTROIDS: &str = "centroids.weight";

impl LayerConfig {
    /// The tensors of the layer, without its name. The bias is among them only where the configuration demands it.
    pub fn tensors(&self) -> Vec<&'static str> {
        let optional = [
            (true, CENTROIDS),
            (self.residual_centroids > 0, "res_centroids.weight"),
            (true, "indices"),
            (self.residual_centroids > 0 && !self.is_indice_packed, "res_indices"),
            (self.outlier_size > 0, "outlier_centroids.weight"),
            (self.outlier_size > 0, "outlier_indices"),
            (self.enable_perm, "perm"),
            (self.enable_norm, "weight_scale"),
            (self.enable_norm, "weight_bias"),
            (self.bias == Some(true), "bias"),
        ];
        optional.into_iter().filter(|(is_there, _)| *is_there).map(|(_, suffix)| suffix).collect()
    }
}

impl VptqLinear {
    /// Reads the layer `name` of a model whose layer has `shape`, `[m, k]`.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] with file, tensor and numbers: conflicts and missing tensors first, then types, shapes and values.
    pub fn read(
        checkpoint: &Checkpoint,
        name: &str,
        config: &LayerConfig,
        shape: (usize, usize),
    ) -> Result<Self, CheckpointError> {
        let reader = Reader { checkpoint, name, config };
        reader.read(shape).map_err(|kind| kind.at(checkpoint.path()))
    }
}

struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    name: &'a str,
    config: &'a LayerConfig,
}

impl<'a> Reader<'a> {
    fn read(&self, shape: (usize, usize)) -> Result<VptqLinear, Kind> {
        let config = self.config;
        self.check_presence()?;
        let float = self.check_types()?;
        self.check_shapes(shape)?;
        let (codes, residual_codes) = self.codes()?;
        let outlier = if config.outlier_size > 0 { Some(self.outlier()?) } else { None };
        let perm_wide = config.enable_perm && self.tensor("perm")?.dtype() == DType::I64;
        Ok(VptqLinear::from_parts(Parts {
            m: config.out_features,
            k: config.in_features,
            v: config.vector_len,
            groups: config.group_num,
            group_size: config.group_size,
            float,
            centroids: self.floats(CENTROIDS)?,
            residual_centroids: match config.residual_centroids {
                0 => Vec::new(),
                _ => self.floats("res_centroids.weight")?,
            },
            codes,
            residual_codes,
            outlier,
            perm: if config.enable_perm { Some(self.perm()?) } else { None },
            norm: match config.enable_norm {
                true => Some((self.floats("weight_scale")?, self.floats("weight_bias")?)),
                false => None,
            },
            bias: if self.has_bias() { Some(self.floats("bias")?) } else { None },
            packed: config.is_indice_packed,
            indices_as_float: config.indices_as_float,
            perm_wide,
        }))
    }

    fn full(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.name)
    }

    fn has(&self, suffix: &str) -> bool {
        self.checkpoint.contains(&self.full(suffix))
    }

    fn has_bias(&self) -> bool {
        self.config.bias.unwrap_or(true) && self.has("bias")
    }

    fn tensor(&self, suffix: &str) -> Result<TensorView<'a>, Kind> {
        Ok(self.checkpoint.tensor(&self.full(suffix))?)
    }

    /// The tensors that will be read.
    fn suffixes(&self) -> Vec<&'static str> {
        let mut suffixes = self.config.tensors();
        if self.has_bias() && !suffixes.contains(&"bias") {
            suffixes.push("bias");
        }
        suffixes
    }

    fn check_presence(&self) -> Result<(), Kind> {
        let layer = || self.name.to_owned();
        if self.has("weight") && (self.has(CENTROIDS) || self.has("indices")) {
            return Err(Kind::Conflict { layer: layer() });
        }
        if self.config.outlier_size == 0 && self.has("outlier_centroids.weight") {
            let (key, value) = ("outlier_size".to_owned(), "0".to_owned());
            let expected = "outlier columns, as there is a tensor outlier_centroids.weight";
            return Err(Kind::InvalidConfig { layer: layer(), key, value, expected });
        }
        let missing = self.config.tensors().into_iter().filter(|suffix| !self.has(suffix));
        let tensors: Vec<String> = missing.map(|suffix| self.full(suffix)).collect();
        if tensors.is_empty() { Ok(()) } else { Err(Kind::MissingTensor { tensors }) }
    }

    /// Every type; returns the type of the floats.
    fn check_types(&self) -> Result<FloatType, Kind> {
        let mismatch = |suffix: &str, expected: &str, actual| Kind::DtypeMismatch {
            tensor: self.full(suffix),
            expected: expected.to_owned(),
            actual,
        };
        let dtype = self.tensor(CENTROIDS)?.dtype();
        let float = FloatType::from_dtype(dtype).ok_or_else(|| mismatch(CENTROIDS, "F16, BF16 or F32", dtype))?;
        for suffix in self.suffixes() {
            let actual = self.tensor(suffix)?.dtype();
            let small = if self.config.indices_as_float { "F16" } else { "I16" };
            let (fits, expected) = match suffix {
                "indices" if self.config.is_indice_packed => (actual == DType::I32, "I32"),
                "indices" | "res_indices" | "outlier_indices" => {
                    (actual == DType::I16 || self.config.indices_as_float && actual == DType::F16, small)
                }
                "perm" => (matches!(actual, DType::I16 | DType::I64), "I16 or I64"),
                _ => (actual == dtype, dtype.name()),
            };
            if !fits {
                return Err(mismatch(suffix, expected, actual));
            }
        }
        Ok(float)
    }

    /// Every shape. Products saturate: no tensor is that large.
    fn check_shapes(&self, (m, k): (usize, usize)) -> Result<(), Kind> {
        let c = self.config;
        if (c.out_features, c.in_features) != (m, k) {
            let (expected, actual) = (vec![m, k], vec![c.out_features, c.in_features]);
            return Err(Kind::ShapeMismatch { tensor: self.full("weight"), expected, actual });
        }
        let blocks = m.div_ceil(c.vector_len);
        for suffix in self.suffixes() {
            let expected = match suffix {
                CENTROIDS => vec![c.group_num, c.centroids.saturating_mul(c.vector_len)],
                "res_centroids.weight" => vec![c.group_num, c.residual_centroids.saturating_mul(c.vector_len)],
                "indices" if c.is_indice_packed => {
                    let words = pack::row_words(c.group_size, c.index_bits()).unwrap_or(usize::MAX);
                    vec![c.group_num, blocks, words]
                }
                "indices" | "res_indices" => vec![c.group_num, blocks, c.group_size],
                "outlier_centroids.weight" => vec![1, c.outlier_centroids.saturating_mul(c.outlier_vector_len)],
                "outlier_indices" => vec![1, m.div_ceil(c.outlier_vector_len), c.outlier_size],
                "bias" => vec![m],
                _ => vec![k],
            };
            let actual = self.tensor(suffix)?.shape();
            if actual != expected {
                return Err(Kind::ShapeMismatch { tensor: self.full(suffix), expected, actual: actual.to_vec() });
            }
        }
        Ok(())
    }

    fn floats(&self, suffix: &str) -> Result<Vec<f32>, Kind> {
        let values = self.tensor(suffix)?.to_f32()?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(Kind::NonFinite { tensor: self.full(suffix), index }),
            None => Ok(values),
        }
    }

    /// 16-bit codes below `limit`, of rows of `columns`.
    fn small_codes(&self, suffix: &str, limit: usize, columns: usize, rows: usize) -> Result<Vec<u16>, Kind> {
        let (bytes, _) = self.tensor(suffix)?.bytes().as_chunks::<2>();
        let codes: Vec<u16> = bytes.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
        match codes.iter().position(|&code| usize::from(code) >= limit) {
            None => Ok(codes),
            Some(at) => Err(Kind::IndexOutOfRange {
                tensor: self.full(suffix),
                group: at / (rows * columns),
                row: at / columns % rows,
                column: at % columns,
                value: usize::from(codes[at]),
                limit,
            }),
        }
    }

    fn codes(&self) -> Result<(Vec<u16>, Vec<u16>), Kind> {
        let c = self.config;
        let blocks = c.out_features.div_ceil(c.vector_len);
        if c.is_indice_packed {
            let (words, _) = self.tensor("indices")?.bytes().as_chunks::<4>();
            let words: Vec<u32> = words.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
            let bits = (pack::bits_for(c.centroids), pack::bits_for(c.residual_centroids));
            return Ok(pack::unpack(&words, c.group_size, bits));
        }
        let main = self.small_codes("indices", c.centroids, c.group_size, blocks)?;
        let residual = match c.residual_centroids {
            0 => Vec::new(),
            limit => self.small_codes("res_indices", limit, c.group_size, blocks)?,
        };
        Ok((main, residual))
    }

    fn outlier(&self) -> Result<OutlierPart, Kind> {
        let c = self.config;
        let rows = c.out_features.div_ceil(c.outlier_vector_len);
        Ok(OutlierPart {
            v: c.outlier_vector_len,
            columns: c.outlier_size,
            centroids: self.floats("outlier_centroids.weight")?,
            codes: self.small_codes("outlier_indices", c.outlier_centroids, c.outlier_size, rows)?,
        })
    }

    fn perm(&self) -> Result<Vec<u32>, Kind> {
        let tensor = self.tensor("perm")?;
        let values = match tensor.dtype() {
            DType::I64 => tensor.to_i64()?,
            // 16 bits without a sign.
            _ => tensor.to_i64()?.into_iter().map(|value| value & 0xffff).collect(),
        };
        let mut seen = vec![false; values.len()];
        for (position, &value) in values.iter().enumerate() {
            let slot = usize::try_from(value).ok().and_then(|value| seen.get_mut(value));
            match slot {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(Kind::NotAPermutation { tensor: self.full("perm"), position, value }),
            }
        }
        Ok(values.into_iter().map(|value| value as u32).collect())
    }
}
