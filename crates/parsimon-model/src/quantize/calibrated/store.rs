//! Finished layers of a run that may be interrupted.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use parsimon_core::io::{Checkpoint, FormatError, TensorData, write_safetensors};
use parsimon_vq::{Hessian, LayerReport};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use crate::ModelError;

/// The folder inside the result.
const FOLDER: &str = ".parsimon-vptq";

/// Everything that a layer depends on, as hashes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    settings: String,
    weights: String,
    hessian: String,
}

impl Stamp {
    pub(super) fn new(settings: &str, weights: &[f32], hessian: &Hessian) -> Self {
        let mut hashes = [const { Xxh3::new() }; 3];
        hashes[0].update(settings.as_bytes());
        weights.iter().for_each(|w| hashes[1].update(&w.to_le_bytes()));
        hessian.data().iter().for_each(|h| hashes[2].update(&h.to_le_bytes()));
        let [settings, weights, hessian] = hashes.map(|hash| format!("{:032x}", hash.digest128()));
        Stamp { settings, weights, hessian }
    }

    fn entries(&self) -> [(&'static str, &str); 3] {
        [("settings", &self.settings), ("weights", &self.weights), ("hessian", &self.hessian)]
    }
}

/// What is kept of a layer beside its tensors.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Entry {
    pub(super) report: LayerReport,
    /// The relative proxy error of rounding to nearest at as many index bits.
    pub(super) rel_rtn: Option<f64>,
    /// The relative proxy errors without a part of the method.
    pub(super) ablation: BTreeMap<String, f64>,
    /// The layer's entry in `config.json`, where it has one.
    pub(super) config: Option<Value>,
}

pub(super) struct LayerStore {
    folder: PathBuf,
}

impl LayerStore {
    /// The store of a result; the folder comes with the first layer.
    pub(super) fn new(out: &Path) -> Self {
        LayerStore { folder: out.join(FOLDER) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.safetensors"))
    }

    /// A finished layer; `Err` where one of other settings, or one that cannot be read, stands.
    pub(super) fn get(&self, name: &str, stamp: &Stamp) -> Result<Option<Entry>, ()> {
        let path = self.path(name);
        if !path.exists() {
            return Ok(None);
        }
        let checkpoint = Checkpoint::open(&path).map_err(|_| ())?;
        let metadata = checkpoint.metadata().ok_or(())?;
        if stamp.entries().iter().any(|(key, value)| metadata.get(*key).map(String::as_str) != Some(*value)) {
            return Err(());
        }
        let entry = metadata.get("entry").ok_or(())?;
        serde_json::from_str(entry).map(Some).map_err(|_| ())
    }

    /// Keeps a layer; gives the entry as it will be read, whose numbers went through text.
    pub(super) fn put(
        &self,
        name: &str,
        stamp: &Stamp,
        tensors: &BTreeMap<String, TensorData>,
        entry: &Entry,
    ) -> Result<Entry, ModelError> {
        std::fs::create_dir_all(&self.folder).map_err(|source| FormatError::io(&self.folder, "be created", source))?;
        let mut metadata: HashMap<String, String> =
            stamp.entries().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let text = serde_json::to_string(entry).expect("plain fields serialize");
        let kept = serde_json::from_str(&text).expect("what was written can be read");
        metadata.insert("entry".into(), text);
        write_safetensors(&self.path(name), tensors, Some(metadata))?;
        Ok(kept)
    }

    pub(super) fn open_layer(&self, name: &str) -> Result<Checkpoint, ModelError> {
        Ok(Checkpoint::open(&self.path(name))?)
    }

    /// Removes the folder, once the result is whole.
    pub(super) fn remove(&self) -> Result<(), ModelError> {
        let removed = std::fs::remove_dir_all(&self.folder);
        Ok(removed.map_err(|source| FormatError::io(&self.folder, "be removed", source))?)
    }
}
