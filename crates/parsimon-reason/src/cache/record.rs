//! The store: records by key, in a file that is only appended to.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::countdown::crc32;
use crate::error::PolicyError;
use crate::policy::{Request, Sample};

/// What happens when something is not in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheMode {
    /// It is asked for and recorded.
    Record,
    /// It is asked for where there is a model, and recorded.
    Replay,
    /// It is an error, and no model is asked.
    Strict,
}

/// A folder of recorded replies.
#[derive(Debug)]
pub struct Store {
    file: File,
    path: PathBuf,
    records: HashMap<String, Value>,
    torn: bool,
}

/// The key of one sample: the SHA-256 of what was asked, with sorted keys.
pub(super) fn sample_key(model: &str, request: &Request<'_>, index: usize) -> String {
    let sampling = &request.sampling;
    key(&json!({
        "index": index,
        "max_tokens": sampling.max_tokens,
        "model": model,
        "prompt": request.prompt,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": request.seed,
        "stops": request.stops,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }))
}

pub(super) fn value_key(model: &str, text: &str) -> String {
    key(&json!({ "model": model, "score": text }))
}

fn key(asked: &Value) -> String {
    Sha256::digest(asked.to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Store {
    /// Opens a store, or makes one.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Cache`]: the folder cannot be used, another process has it, or a line other than a torn last one is damaged.
    pub fn open(dir: &Path) -> Result<Store, PolicyError> {
        let path = dir.join("records-00000.jsonl");
        let fail = |what: String| PolicyError::Cache { file: path.clone(), what };
        std::fs::create_dir_all(dir).map_err(|error| fail(error.to_string()))?;
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(|error| fail(error.to_string()))?;
        file.try_lock().map_err(|_| fail("another process has it open".into()))?;
        let bytes = std::fs::read(&path).map_err(|error| fail(error.to_string()))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut records = HashMap::new();
        for (at, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let (key, record) = read_line(line).ok_or_else(|| fail(format!("line {} is damaged", at + 1)))?;
            records.insert(key, record);
        }
        let torn = whole < bytes.len();
        if torn {
            file.set_len(whole as u64).map_err(|error| fail(error.to_string()))?;
        }
        Ok(Store { file, path, records, torn })
    }

    /// Whether the last line was torn when the store was opened, and dropped.
    pub fn was_torn(&self) -> bool {
        self.torn
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn sample(&self, key: &str) -> Option<Sample> {
        serde_json::from_value(self.records.get(key)?.clone()).ok()
    }

    pub(super) fn score(&self, key: &str) -> Option<f32> {
        self.records.get(key)?.get("score")?.as_f64().map(|score| score as f32)
    }

    pub(super) fn put_sample(&mut self, key: &str, sample: &Sample) -> Result<(), PolicyError> {
        self.put(key, serde_json::to_value(sample).expect("a sample is plain data"))
    }

    pub(super) fn put_score(&mut self, key: &str, score: f32) -> Result<(), PolicyError> {
        self.put(key, json!({ "score": score }))
    }

    fn put(&mut self, key: &str, response: Value) -> Result<(), PolicyError> {
        if self.records.contains_key(key) {
            return Ok(());
        }
        let body = json!({ "v": 1, "key": key, "response": response }).to_string();
        let head = body.strip_suffix('}').expect("an object ends with a brace");
        let line = format!("{head},\"crc\":{}}}\n", crc32(body.as_bytes()));
        self.file.write_all(line.as_bytes()).map_err(|error| PolicyError::Cache {
            file: self.path.clone(),
            what: format!("{} bytes were not written: {error}", line.len()),
        })?;
        self.records.insert(key.to_owned(), response);
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Lines are in the system's hands already; this is against a loss of power.
        let _ = self.file.sync_all();
    }
}

fn read_line(line: &[u8]) -> Option<(String, Value)> {
    let text = std::str::from_utf8(line).ok()?;
    let (body, crc) = text.strip_suffix('}')?.rsplit_once(",\"crc\":")?;
    let body = format!("{body}}}");
    if crc.parse::<u32>().ok()? != crc32(body.as_bytes()) {
        return None;
    }
    let mut record: Value = serde_json::from_str(&body).ok()?;
    let key = record.get("key")?.as_str()?.to_owned();
    Some((key, record.get_mut("response")?.take()))
}
