//! A model's floats by Hugging Face's names, whether it is a folder or a GGUF file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use parsimon_core::DType;
use parsimon_core::io::gguf::{Gguf, GgufTensor, OpenOptions};
use parsimon_core::io::{Checkpoint, TensorSpec, copy_file, read_json};
use serde_json::Value;

use crate::bind::Rows;
use crate::naming::folder_stem;
use crate::{Architecture, ModelConfig, ModelError};

/// Files that a tokenizer and a generator need beside the weights.
const COMPANIONS: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
];

/// Tensors of a GGUF file that are part of the configuration in a folder.
const ROTATIONS: [&str; 3] = ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

/// Whether a path is a GGUF file's.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// A model whose weights are floats, or blocks that are decoded.
pub(crate) struct FloatSource {
    path: PathBuf,
    config: ModelConfig,
    stored: Stored,
}

enum Stored {
    Folder(Checkpoint),
    /// Hugging Face's names, each with the file's.
    Gguf(Gguf, BTreeMap<String, String>),
}

impl FloatSource {
    /// # Errors
    ///
    /// [`ModelError::AlreadyQuantized`] for a folder that is; [`ModelError::Export`] for tensors without a name in a folder.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        if !is_gguf(path) {
            let config = ModelConfig::open(path)?;
            if config.quantization.is_some() {
                return Err(ModelError::AlreadyQuantized);
            }
            let stored = Stored::Folder(Checkpoint::open(path)?);
            return Ok(FloatSource { path: path.to_owned(), config, stored });
        }
        let file = Gguf::open(path, &OpenOptions::default())?;
        let config = ModelConfig::from_gguf(&file)?;
        if config.architecture == Architecture::BitNet {
            return Err(unwritable(path, "a BitNet model", "its 8-bit activations need BitNet's own packed weights"));
        }
        let mut names = BTreeMap::new();
        for info in file.tensors().filter(|info| !ROTATIONS.contains(&&*info.name)) {
            let known = info.name.rsplit_once('.').filter(|(_, suffix)| ["weight", "bias"].contains(suffix));
            let name = known.and_then(|(stem, suffix)| Some(format!("{}.{suffix}", folder_stem(&config, stem)?)));
            let Some(name) = name else {
                return Err(unwritable(path, &format!("tensor `{}`", info.name), "no such tensor is known"));
            };
            names.insert(name, info.name.to_string());
        }
        Ok(FloatSource { path: path.to_owned(), config, stored: Stored::Gguf(file, names) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub(crate) fn gguf(&self) -> Option<&Gguf> {
        if let Stored::Gguf(file, _) = &self.stored { Some(file) } else { None }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        match &self.stored {
            Stored::Folder(checkpoint) => checkpoint.names().collect(),
            Stored::Gguf(_, names) => names.keys().map(String::as_str).collect(),
        }
    }

    pub(crate) fn require<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), ModelError> {
        match &self.stored {
            Stored::Folder(checkpoint) => Ok(checkpoint.require(names)?),
            Stored::Gguf(file, known) => {
                let missing: Vec<&str> = names.into_iter().filter(|name| !known.contains_key(*name)).collect();
                Ok(file.require_tensors(missing)?)
            }
        }
    }

    /// The tensor as it is kept: blocks become F32.
    pub(crate) fn spec(&self, name: &str) -> Result<TensorSpec, ModelError> {
        let (dtype, shape) = match &self.stored {
            Stored::Folder(checkpoint) => {
                let view = checkpoint.tensor(name)?;
                (view.dtype(), view.shape().to_vec())
            }
            Stored::Gguf(file, names) => {
                let own = names.get(name).map_or(name, String::as_str);
                let shape = file.info(own).map(|info| info.shape.to_vec()).unwrap_or_default();
                match file.tensor(own)? {
                    GgufTensor::Dense(view) => (view.dtype(), shape),
                    GgufTensor::Blocks(_) | GgufTensor::I2s(_) => (DType::F32, shape),
                }
            }
        };
        Ok(TensorSpec { name: name.to_owned(), dtype, shape })
    }

    /// The weights in a folder's order and meaning.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let (file, own) = match &self.stored {
            Stored::Folder(checkpoint) => return Ok(checkpoint.tensor(name)?.to_f32()?),
            Stored::Gguf(file, names) => (file, names.get(name).map_or(name, String::as_str)),
        };
        let packed = |source| ModelError::Packed { layer: own.to_owned(), source };
        let mut values = file.tensor(own)?.to_f32().map_err(packed)?;
        if let Some((rows, row_len)) = self.moved(name)? {
            values = rows.of(values, row_len);
        }
        if self.is_shifted(name) {
            values.iter_mut().for_each(|w| *w -= 1.0);
        }
        Ok(values)
    }

    /// The bytes of the weights in `dtype`.
    pub(crate) fn bytes(&self, name: &str, dtype: DType) -> Result<Cow<'_, [u8]>, ModelError> {
        let spec = self.spec(name)?;
        if spec.dtype == dtype && !self.is_shifted(name) && self.moved(name)?.is_none() {
            match &self.stored {
                Stored::Folder(checkpoint) => return Ok(checkpoint.tensor(name)?.bytes().into()),
                Stored::Gguf(file, names) => {
                    if let GgufTensor::Dense(view) = file.tensor(names.get(name).map_or(name, String::as_str))? {
                        return Ok(view.bytes().into());
                    }
                }
            }
        }
        let values = self.values(name)?;
        let k = spec.shape.last().copied().unwrap_or(1).max(1);
        let mut bytes = vec![0; values.len() * dtype.size()];
        put_floats(dtype, &values, &mut bytes).map_err(|index| {
            let (row, col) = (index / k, index % k);
            ModelError::NonFinite { layer: name.to_owned(), row, col }
        })?;
        Ok(bytes.into())
    }

    /// How rows of a file's query or key layer stand in a folder, and their length.
    fn moved(&self, name: &str) -> Result<Option<(Rows, usize)>, ModelError> {
        let rotated = ["q_proj.", "k_proj."].iter().any(|part| name.contains(part));
        if self.gguf().is_none() || self.config.architecture != Architecture::Llama || !rotated {
            return Ok(None);
        }
        let shape = self.spec(name)?.shape;
        let rows = shape.first().copied().unwrap_or_default();
        if !rows.is_multiple_of(self.config.head_dim) {
            return Err(unwritable(&self.path, name, "its rows are not whole heads"));
        }
        Ok(Some((Rows::unpermuted(rows, self.config.head_dim), shape.iter().skip(1).product())))
    }

    /// Whether a file's norm holds `1 + w` of the folder's `w`.
    fn is_shifted(&self, name: &str) -> bool {
        let family = matches!(self.config.architecture, Architecture::Gemma | Architecture::Gemma2);
        self.gguf().is_some() && family && name.ends_with("norm.weight")
    }

    /// The `config.json`.
    pub(crate) fn config_json(&self) -> Result<Value, ModelError> {
        if self.gguf().is_none() {
            // What this crate does not read of the configuration stays in it.
            return Ok(read_json(&self.path.join("config.json"))?);
        }
        let json = self.config.to_json();
        let mut again = ModelConfig::from_json(&json, &self.path)?;
        again.block.norm_plus_one = self.config.block.norm_plus_one;
        if again != self.config {
            return Err(unwritable(&self.path, "its configuration", "the keys of this family cannot say all of it"));
        }
        Ok(json)
    }

    /// Copies a folder's files for tokenizers, or writes those of a GGUF file's vocabulary.
    pub(crate) fn write_companions(&self, out: &Path) -> Result<(), ModelError> {
        match &self.stored {
            Stored::Gguf(file, _) => crate::export::write_vocabulary(file, out),
            Stored::Folder(_) => {
                for name in COMPANIONS.iter().filter(|name| self.path.join(name).exists()) {
                    copy_file(&self.path.join(name), &out.join(name))?;
                }
                Ok(())
            }
        }
    }
}

fn unwritable(file: &Path, what: &str, reason: &str) -> ModelError {
    ModelError::Export { file: file.to_owned(), what: what.to_owned(), form: "a folder", reason: reason.to_owned() }
}

/// Writes floats of 32 or 16 bits; the index of a weight that is not finite there.
///
/// # Panics
///
/// For another dtype.
pub(crate) fn put_floats(dtype: DType, values: &[f32], out: &mut [u8]) -> Result<(), usize> {
    let size = dtype.size();
    for (index, (&w, out)) in values.iter().zip(out.chunks_exact_mut(size)).enumerate() {
        let finite = match dtype {
            DType::F32 => {
                out.copy_from_slice(&w.to_le_bytes());
                w.is_finite()
            }
            DType::F16 => {
                out.copy_from_slice(&f16::from_f32(w).to_le_bytes());
                f16::from_f32(w).is_finite()
            }
            DType::BF16 => {
                out.copy_from_slice(&bf16::from_f32(w).to_le_bytes());
                bf16::from_f32(w).is_finite()
            }
            other => panic!("{other} is no float of 32 or 16 bits"),
        };
        if !finite {
            return Err(index);
        }
    }
    Ok(())
}
