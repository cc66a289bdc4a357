//! Reading golden files.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

pub(crate) fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.extension().is_some_and(|ext| ext == "gz") {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        text
    } else {
        String::from_utf8(bytes).unwrap()
    }
}

pub(crate) fn rows(path: &Path) -> Vec<Value> {
    text(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The texts of the golden corpus by id.
pub(crate) fn corpus(golden: &Path) -> HashMap<String, String> {
    let rows = rows(&golden.join("corpus.jsonl.gz"));
    rows.iter().map(|row| (str_of(&row["id"]).to_owned(), str_of(&row["text"]).to_owned())).collect()
}

pub(crate) fn str_of(value: &Value) -> &str {
    value.as_str().unwrap()
}
