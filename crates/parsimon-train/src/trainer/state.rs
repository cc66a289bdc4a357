//! The state of an unfinished run: one safetensors file, so that it is whole or absent.
//!
//! It holds `weights.<name>`, `first.<name>` and `second.<name>` of every tensor, `losses`, and in its metadata the identity of
//! the run and the time spent.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use parsimon_core::fnv1a64;
use parsimon_core::io::{Checkpoint, FormatError, TensorData, write_safetensors};
use serde_json::{Map, Value, json};

use super::{LmTrainer, Run};
use crate::TrainError;

const FILE: &str = "state.safetensors";

/// What makes two runs the same run.
#[derive(Debug)]
pub(super) struct RunId(Map<String, Value>);

impl RunId {
    pub(super) fn new(run: &Run<'_>) -> Self {
        let tokens = run.corpus.tokens();
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let mut id = Map::new();
        id.insert("corpus".into(), json!(format!("{} tokens, fnv1a64 {:016x}", tokens.len(), fnv1a64(&bytes))));
        id.insert("model".into(), run.model.to_json());
        let train = serde_json::to_value(run.train).expect("numbers alone are always valid JSON");
        id.extend(train.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        // Saving more or less often does not change the run.
        id.remove("save_every");
        RunId(id)
    }

    /// The first setting that differs from a stored identity, in words.
    fn difference(&self, stored: &str) -> Option<String> {
        let stored: Map<String, Value> = match serde_json::from_str(stored) {
            Ok(stored) => stored,
            Err(e) => return Some(format!("its settings cannot be read: {e}")),
        };
        let of = |map: &Map<String, Value>, key: &str| map.get(key).map_or("absent".into(), Value::to_string);
        let mut keys = self.0.keys().chain(stored.keys());
        let key = keys.find(|&key| of(&self.0, key) != of(&stored, key))?;
        Some(format!("`{key}` was {}, now {}", of(&stored, key), of(&self.0, key)))
    }
}

pub(super) fn save(folder: &Path, id: &RunId, trainer: &LmTrainer, elapsed: Duration) -> Result<(), TrainError> {
    let mut tensors = BTreeMap::new();
    for (i, moments) in trainer.moments.iter().enumerate() {
        let parts = [("weights", trainer.model.weight(i)), ("first", &moments.first), ("second", &moments.second)];
        for (kind, values) in parts {
            let name = format!("{kind}.{}", trainer.model.name(i));
            tensors.insert(name, TensorData::from_f32(&[values.len()], values));
        }
    }
    tensors.insert("losses".into(), TensorData::from_f32(&[trainer.losses.len()], &trainer.losses));
    let metadata = HashMap::from([
        ("run".to_owned(), Value::Object(id.0.clone()).to_string()),
        ("nanoseconds".to_owned(), elapsed.as_nanos().to_string()),
    ]);
    write_safetensors(&folder.join(FILE), &tensors, Some(metadata))?;
    Ok(())
}

/// Reads the state into the trainer and returns the time already spent; `None` where there is no state.
pub(super) fn load(folder: &Path, id: &RunId, trainer: &mut LmTrainer) -> Result<Option<Duration>, TrainError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let checkpoint = Checkpoint::open(&path)?;
    let metadata = |key: &str| checkpoint.metadata().and_then(|metadata| metadata.get(key));
    if let Some(difference) = id.difference(metadata("run").map_or("", String::as_str)) {
        return Err(TrainError::OtherRun { file: path, difference });
    }
    let vector = |name: &str, len: usize| -> Result<Vec<f32>, FormatError> {
        checkpoint.tensor(name)?.expect_shape(&[len])?.to_f32()
    };
    for i in 0..trainer.moments.len() {
        let (name, len) = (trainer.model.name(i).to_owned(), trainer.model.weight(i).len());
        trainer.moments[i].first = vector(&format!("first.{name}"), len)?;
        trainer.moments[i].second = vector(&format!("second.{name}"), len)?;
        let weights = vector(&format!("weights.{name}"), len)?;
        trainer.model.weight_mut(i).copy_from_slice(&weights);
    }
    trainer.losses = checkpoint.tensor("losses")?.to_f32()?;
    let nanoseconds = metadata("nanoseconds").and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(Some(Duration::from_nanos(nanoseconds)))
}

pub(super) fn remove(folder: &Path) -> Result<(), TrainError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(FormatError::io(folder, "remove the folder", e).into())
        }
        _ => Ok(()),
    }
}
