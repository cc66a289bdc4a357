//! Model folders: reading and writing the tensors.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use parsimon_core::io::{Checkpoint, TensorData, write_json, write_safetensors};
use parsimon_model::ModelConfig;

use super::layout::Layout;
use crate::TrainError;
use crate::ops::{Plain, slice, tensor};

pub(crate) fn read(folder: &Path, layout: &Layout) -> Result<Vec<Plain>, TrainError> {
    let checkpoint = Checkpoint::open(folder)?;
    let parts = layout.slots().iter().flat_map(|slot| &slot.parts);
    let names: Vec<String> = parts.map(|(name, _)| format!("{name}.weight")).collect();
    checkpoint.require(names.iter().map(String::as_str))?;
    let mut weights = Vec::with_capacity(layout.slots().len());
    for slot in layout.slots() {
        let mut values = Vec::new();
        for (name, rows) in &slot.parts {
            let view = checkpoint.tensor(&format!("{name}.weight"))?.expect_shape(&slot.file_shape(*rows))?;
            values.extend(view.to_f32()?);
        }
        weights.push(tensor(values, [slot.rows(), slot.cols]));
    }
    Ok(weights)
}

pub(crate) fn write(folder: &Path, config: &ModelConfig, layout: &Layout, weights: &[Plain]) -> Result<(), TrainError> {
    let mut tensors = BTreeMap::new();
    for (slot, weight) in layout.slots().iter().zip(weights) {
        let mut values = slice(weight);
        for (name, rows) in &slot.parts {
            let (part, rest) = values.split_at(rows * slot.cols);
            values = rest;
            tensors.insert(format!("{name}.weight"), TensorData::from_f32(&slot.file_shape(*rows), part));
        }
    }
    write_json(&folder.join("config.json"), &config.to_json())?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(&folder.join("model.safetensors"), &tensors, Some(metadata))?;
    Ok(())
}
