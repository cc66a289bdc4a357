//! The command from outside: exit statuses, what stands on which stream, and damaged inputs.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it fails")]

mod attention;
mod codebooks;
mod index;
mod kill;
mod made;
mod plan;
mod serve;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn parsimon(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_parsimon")).args(args).output().unwrap()
}

/// The JSON on standard output, which must be one document and nothing else.
#[track_caller]
fn json(output: &Output) -> Value {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: `{text}`"))
}

/// A copy of a small model, to be damaged.
fn model() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parsimon-model/tests/data/sigma_tiny");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(source.join(name), dir.path().join(name)).unwrap();
    }
    dir
}

/// Rewrites the header of a safetensors file, keeping its length, so that all offsets stay.
fn edit_header(file: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(file).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    std::fs::write(file, bytes).unwrap();
}

/// Generation with the damaged model fails with status 2, the variant, and a message that holds the parts.
#[track_caller]
fn check_damage(damage: impl FnOnce(&Path), variant: &str, parts: &[&str]) {
    let dir = model();
    damage(dir.path());
    let folder = dir.path().to_str().unwrap();
    let output = parsimon(&["generate", "--model", folder, "--prompt-tokens", "1,2", "-n", "2", "--json"]);
    let error = &json(&output)["error"];
    let message = error["message"].as_str().unwrap();
    assert_eq!((output.status.code(), error["variant"].as_str()), (Some(2), Some(variant)), "{message}");
    for part in parts {
        assert!(message.contains(part), "`{message}` should name `{part}`");
    }
    assert!(error["file"].as_str().unwrap().starts_with(folder), "{error}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with(&format!("error[{variant}]: ")), "{stderr}");
}

fn weights(folder: &Path) -> PathBuf {
    folder.join("model.safetensors")
}

#[test]
fn damaged_models_exit_with_2_and_name_file_place_and_numbers() {
    let config = |text: &'static str| move |folder: &Path| std::fs::write(folder.join("config.json"), text).unwrap();
    check_damage(config("{\"model_type\": \"sigma\", "), "Malformed", &["config.json", "line 1"]);
    check_damage(
        config("{\"model_type\": \"mamba\"}"),
        "ConfigError",
        &["config.json", "model_type", "mamba", "sigma"],
    );
    check_damage(|folder| std::fs::remove_file(folder.join("config.json")).unwrap(), "Io", &["config.json", "open"]);

    let truncated = |folder: &Path| {
        let whole = std::fs::read(weights(folder)).unwrap();
        std::fs::write(weights(folder), &whole[..whole.len() - 100]).unwrap();
    };
    check_damage(truncated, "OutOfBounds", &["model.safetensors", "bytes of data"]);
    let huge = |folder: &Path| std::fs::write(weights(folder), u64::MAX.to_le_bytes()).unwrap();
    check_damage(huge, "LimitExceeded", &["18446744073709551615", "104857600"]);
    let shape = |folder: &Path| edit_header(&weights(folder), "\"shape\":[50,48]", "\"shape\":[48,50]");
    check_damage(shape, "Shape", &["[48, 50]", "[50, 48]"]);
    let name = |folder: &Path| edit_header(&weights(folder), "model.norm.weight", "model.nurm.weight");
    check_damage(name, "MissingTensors", &["1 tensor is missing", "model.norm.weight"]);
    let dtype = |folder: &Path| edit_header(&weights(folder), "\"BF16\"", "\"BF61\"");
    check_damage(dtype, "UnsupportedDType", &["BF61"]);
}

#[test]
fn results_are_one_document_and_seeds_repeat() {
    let dir = model();
    let folder = dir.path().to_str().unwrap();
    let generate = |threads: &str| {
        let words =
            ["generate", "--model", folder, "--prompt-tokens", "3,1,4", "-n", "20", "--temp", "0.9", "--seed", "7"];
        let output = parsimon(&[&words[..], &["--threads", threads, "--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json(&output)
    };
    let one = generate("1");
    assert_eq!((one["prompt_tokens"].as_u64(), one["text"].is_null()), (Some(3), true));
    assert_eq!(one["tokens"], generate("2")["tokens"]);

    let npy = dir.path().join("logits.npy");
    let logits = ["eval", "logits", "--model", folder, "--tokens", "3,1,4", "--out", npy.to_str().unwrap(), "--json"];
    assert!(parsimon(&logits).status.success());
    let array = json(&parsimon(&["inspect", npy.to_str().unwrap(), "--json"]));
    assert_eq!(array["tensors"][0]["shape"], serde_json::json!([3, 50]));
}

#[test]
fn packed_layers_are_kept_and_found_again() {
    let dir = model();
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    let [folder, quantized, cache] =
        ["", "q4", "packed"].map(|name| dir.path().join(name).to_str().unwrap().to_owned());
    let quantize = parsimon(&[
        "quantize", "--model", &folder, "--out", &quantized, "--method", "rtn", "--bits", "4", "--group", "32",
    ]);
    assert!(quantize.status.success(), "{}", String::from_utf8_lossy(&quantize.stderr));
    let generate = ["generate", "--model", &quantized, "--prompt-tokens", "3,1,4", "-n", "8", "--json"];
    let without = json(&parsimon(&generate));
    assert_eq!(without.get("pack_cache"), None);
    let with = || json(&parsimon(&[&generate[..], &["--pack-cache", &cache]].concat()));
    let (first, second) = (with(), with());
    assert!(first["tokens"] == without["tokens"] && second["tokens"] == without["tokens"]);
    let layers = first["pack_cache"]["packed"].as_u64().unwrap();
    assert!(layers > 0 && second["pack_cache"]["hits"] == layers, "{first} {second}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [&["generate"][..], &["no-such-command"], &["generate", "--model", "x", "--prompt-tokens", "1,x"]] {
        let output = parsimon(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(json(&output)["error"]["variant"], "Usage", "{args:?}");
        assert_eq!(parsimon(args).status.code(), Some(2));
    }
    let unknown = Command::new(env!("CARGO_BIN_EXE_parsimon")).arg("isa").env("PARSIMON_ISA", "avx9").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    let help = parsimon(&["quantize", "--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("Example: parsimon quantize"));
}

/// A folder to a file of blocks, which runs and is shown, and back.
#[test]
fn files_are_made_inspected_and_turned_back() {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parsimon-model/tests/data/families/llama_linear");
    let [folder, file, back] =
        [source, dir.path().join("q.gguf"), dir.path().join("back")].map(|path| path.to_str().unwrap().to_owned());
    let to_gguf = ["quantize", "--model", &folder, "--out", &file, "--to", "gguf", "--keep-odd-rows", "--json"];
    let quantized = json(&parsimon(&[&to_gguf[..], &["--type", "q8_0"]].concat()));
    assert_eq!(quantized["block_type"], "q8_0");
    let shown = json(&parsimon(&["inspect", &file, "--json"]));
    assert_eq!((shown["kind"].as_str(), shown["gguf"]["architecture"].as_str()), (Some("gguf"), Some("llama")));
    let tensor =
        |name: &str| shown["tensors"].as_array().unwrap().iter().find(|tensor| tensor["name"] == name).unwrap();
    assert_eq!(tensor("blk.0.attn_q.weight")["dtype"], "Q8_0");
    assert_eq!(tensor("blk.0.attn_q.weight")["bits_per_weight"], 8.5);
    let converted = parsimon(&["convert", "--model", &file, "--out", &back, "--json"]);
    assert_eq!(json(&converted)["form"], "folder");
    let run =
        |model: &str| json(&parsimon(&["generate", "--model", model, "--prompt-tokens", "3,1,4", "-n", "4", "--json"]));
    assert!(run(&file)["tokens"].as_array().is_some() && run(&back)["tokens"].as_array().is_some());
    let three = parsimon(&[&to_gguf[..], &["--bits", "3"]].concat());
    assert_eq!((three.status.code(), json(&three)["error"]["variant"].as_str()), (Some(2), Some("BadInput")));
}
