//! Tests through the public interface, most of them on the golden files of `data/reasoning`.

mod countdown;
mod evaluators;
mod extract;
mod grader;
#[cfg(feature = "http")]
mod http;
mod leak;
mod math_tree;
mod replay;
mod rstar;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
mod sandbox;
mod sim;

use std::path::Path;

use serde_json::Value;

/// A JSON file of the golden folder.
fn json(dir: &Path, file: &str) -> Value {
    let text = std::fs::read_to_string(dir.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A file of JSON lines.
fn json_lines(dir: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{file}: {error}"))).collect()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("a list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number: {value}"))
}

fn size(value: &Value) -> usize {
    number(value) as usize
}
