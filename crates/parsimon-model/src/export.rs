//! Models written in the other form: a folder or a GGUF file as a GGUF file by llama.cpp's conventions, and a GGUF file as a folder.
//!
//! llama.cpp's conventions: its names of tensors, query and key rows of `llama` with the two halves of a head interleaved, norms of Gemma that hold
//! `1 + w`, vectors as F32, frequencies that are scaled by wavelength as a tensor of divisors.

mod keys;
mod tensors;
mod vocabulary;

use std::path::Path;

use parsimon_core::io::gguf::{Gguf, GgufWriter, OpenOptions};
use parsimon_core::io::{Checkpoint, SafetensorsWriter, TensorSpec, write_json};
use parsimon_core::quant::BlockType;
use parsimon_core::{Control, DType, Unit};
pub(crate) use vocabulary::write_vocabulary;

use crate::float_source::{FloatSource, is_gguf};
use crate::{ModelConfig, ModelError, QuantizeReport};
use tensors::Tensor;

/// What the tensors of a GGUF file become.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct GgufOptions {
    /// The type of the projections inside the blocks; none keeps them as they are.
    pub projections: Option<BlockType>,
    /// The type of the embedding table and the output layer; none keeps them as they are.
    pub tables: Option<BlockType>,
    /// Whether matrices whose rows are not whole blocks of their type stay as they are. Without it they are an error.
    pub keep_odd_rows: bool,
}

/// Writes a folder or a GGUF file as the GGUF file `out`, one tensor in memory at a time.
///
/// The weights are floats, or blocks, which are decoded for another type; packed BitNet layers become bitnet.cpp's I2_S unless a type is
/// given. The vocabulary of byte-level `tokenizer.json` files and the chat template go with them. The report has the projections.
///
/// # Errors
///
/// [`ModelError`] naming the layer or the key: [`ModelError::AlreadyQuantized`] for GPTQ and AWQ folders, [`ModelError::Export`] for what GGUF has no
/// key or architecture for, [`ModelError::Encode`] for rows that are not whole blocks.
pub fn write_gguf(
    model: &Path,
    out: &Path,
    options: &GgufOptions,
    control: &Control<'_>,
) -> Result<QuantizeReport, ModelError> {
    let mut writer = GgufWriter::new();
    if is_gguf(model) {
        let file = Gguf::open(model, &OpenOptions::default())?;
        let config = ModelConfig::from_gguf(&file)?;
        let tensors = tensors::of_file(&file, &config, options)?;
        keys::copy(&file, &tensors, &mut writer)?;
        return write(writer, &tensors, out, control);
    }
    let config = ModelConfig::open(model)?;
    let checkpoint = Checkpoint::open(model)?;
    let keys = keys::FolderKeys::try_new(model, &config)?;
    let tensors = tensors::of_folder(&checkpoint, &config, options)?;
    keys.set(&tensors, &mut writer)?;
    vocabulary::set(model, &config, &mut writer)?;
    write(writer, &tensors, out, control)
}

fn write(
    mut writer: GgufWriter,
    tensors: &[Tensor<'_>],
    out: &Path,
    control: &Control<'_>,
) -> Result<QuantizeReport, ModelError> {
    for tensor in tensors {
        writer.tensor_of_id(&tensor.name, tensor.type_id(), &tensor.shape, tensor.bytes())?;
    }
    let mut data = writer.create(out)?;
    let mut layers = Vec::new();
    control.progress.start("write", Some(tensors.len() as u64), Unit::Items("tensors"));
    for tensor in tensors {
        control.cancel.check()?;
        let (bytes, layer) = tensor.data()?;
        data.write(&tensor.name, &bytes)?;
        layers.extend(layer);
        control.progress.advance(1);
    }
    control.progress.finish();
    data.commit()?;
    Ok(QuantizeReport::of(layers))
}

/// What the tensors of a folder become.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FolderOptions {
    /// F32, F16 or BF16 for matrices; none keeps floats as they are and decodes blocks to F32. Vectors stay.
    pub dtype: Option<DType>,
}

/// Writes a float folder or a GGUF file as the folder `out`: `model.safetensors`, the tokenizer's files, and `config.json` last, so that an unfinished folder
/// is not taken for a model.
///
/// # Errors
///
/// [`ModelError`] naming the tensor or the key: [`ModelError::Option`] for another dtype, [`ModelError::Export`] for what a folder of the family cannot say.
pub fn write_folder(
    model: &Path,
    out: &Path,
    options: &FolderOptions,
    control: &Control<'_>,
) -> Result<(), ModelError> {
    if let Some(dtype) = options.dtype
        && ![DType::F32, DType::F16, DType::BF16].contains(&dtype)
    {
        return Err(ModelError::Option {
            what: "dtype",
            given: dtype.to_string(),
            expected: "F32, F16 or BF16".to_owned(),
        });
    }
    let source = FloatSource::open(model)?;
    let mut json = source.config_json()?;
    let spec = |name: &str| -> Result<TensorSpec, ModelError> {
        let spec = source.spec(name)?;
        let dtype = options.dtype.filter(|_| spec.shape.len() > 1).unwrap_or(spec.dtype);
        Ok(TensorSpec { dtype, ..spec })
    };
    let specs: Vec<TensorSpec> = source.names().into_iter().map(spec).collect::<Result<_, _>>()?;
    let mut writer = SafetensorsWriter::create(&out.join("model.safetensors"), &specs)?;
    control.progress.start("write", Some(specs.len() as u64), Unit::Items("tensors"));
    for spec in &specs {
        control.cancel.check()?;
        writer.write(&spec.name, &source.bytes(&spec.name, spec.dtype)?)?;
        control.progress.advance(1);
    }
    control.progress.finish();
    writer.commit()?;
    source.write_companions(out)?;
    let widest =
        specs.iter().filter(|spec| spec.shape.len() > 1).map(|spec| spec.dtype).max_by_key(|dtype| dtype.size());
    let dtype_name = match widest {
        Some(DType::F16) => "float16",
        Some(DType::BF16) => "bfloat16",
        _ => "float32",
    };
    json["torch_dtype"] = dtype_name.into();
    Ok(write_json(&out.join("config.json"), &json)?)
}

/// An error of a folder or file that the form cannot hold.
fn unwritable(file: &Path, what: impl ToString, reason: impl ToString) -> ModelError {
    ModelError::Export { file: file.to_owned(), what: what.to_string(), form: "GGUF", reason: reason.to_string() }
}
