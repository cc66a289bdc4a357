use std::path::{Path, PathBuf};

use parsimon_core::io::gguf::{Array, Gguf, GgufWriter, OpenOptions, Value as Entry};
use serde_json::Value;

use super::*;
use crate::Tokenizer;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizers")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(data().join(name)).unwrap()).unwrap()
}

/// The tokens of a `tokenizer.json` by id, with their kinds.
fn tokens(json: &Value) -> (Vec<String>, Vec<i32>) {
    let mut all: Vec<(u64, String, i32)> = Vec::new();
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        let byte = token.len() == 6 && token.starts_with("<0x");
        all.push((id.as_u64().unwrap(), token.clone(), if byte { 6 } else { 1 }));
    }
    for added in json["added_tokens"].as_array().unwrap() {
        let id = added["id"].as_u64().unwrap();
        let content = added["content"].as_str().unwrap().to_owned();
        all.retain(|(known, ..)| *known != id);
        let kind = if content == "<unk>" { UNKNOWN } else { CONTROL };
        all.push((id, content, kind as i32));
    }
    all.sort();
    assert!(all.iter().zip(0..).all(|((id, ..), expected)| *id == expected), "ids without gaps");
    all.into_iter().map(|(_, token, kind)| (token, kind)).unzip()
}

/// A GGUF file without tensors.
fn write(dir: &Path, keys: &[(&str, Entry<'_>)]) -> Gguf {
    let mut writer = GgufWriter::new();
    for (key, value) in keys {
        writer.set(key, value).unwrap();
    }
    let path = dir.join("vocabulary.gguf");
    writer.create(&path).unwrap().commit().unwrap();
    Gguf::open(&path, &OpenOptions::default()).unwrap()
}

#[track_caller]
fn check_encodings(tokenizer: &Tokenizer, ids: &str, decoded: &str) {
    for case in json("encodings.json").as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let expected: Vec<u32> = case[ids].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(tokenizer.encode(text, false).unwrap(), expected, "{text:?}");
        assert_eq!(tokenizer.decode(&expected, false).unwrap(), case[decoded].as_str().unwrap(), "{text:?}");
    }
}

#[test]
fn byte_level_goldens() {
    let json = json("bpe.tokenizer.json");
    let (tokens, kinds) = tokens(&json);
    let merges = json["model"]["merges"].as_array().unwrap();
    let merges: Vec<String> =
        merges.iter().map(|pair| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap())).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        dir.path(),
        &[
            ("tokenizer.ggml.model", Entry::String(b"gpt2")),
            ("tokenizer.ggml.pre", Entry::String(b"llama-bpe")),
            ("tokenizer.ggml.tokens", Entry::Array(Array::of_strings(&tokens))),
            ("tokenizer.ggml.token_type", Entry::Array(Array::of_i32s(&kinds))),
            ("tokenizer.ggml.merges", Entry::Array(Array::of_strings(&merges))),
        ],
    );
    check_encodings(&Tokenizer::from_gguf(&file).unwrap(), "bpe", "bpe_decoded");
}

/// The keys of the SentencePiece vocabulary: merged pieces score by their rank, as SentencePiece's BPE gives them.
fn sentence_piece_file(dir: &Path, more: &[(&str, Entry<'_>)]) -> Gguf {
    let json = json("spm.tokenizer.json");
    let (tokens, kinds) = tokens(&json);
    let merges = json["model"]["merges"].as_array().unwrap();
    let rank = |token: &str| {
        let is_result = |pair: &Value| format!("{}{}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()) == token;
        merges.iter().position(is_result)
    };
    let scores: Vec<f32> = tokens.iter().map(|token| rank(token).map_or(-1e6, |rank| -(rank as f32))).collect();
    let keys = [
        ("tokenizer.ggml.model", Entry::String(b"llama")),
        ("tokenizer.ggml.tokens", Entry::Array(Array::of_strings(&tokens))),
        ("tokenizer.ggml.token_type", Entry::Array(Array::of_i32s(&kinds))),
        ("tokenizer.ggml.scores", Entry::Array(Array::of_f32s(&scores))),
    ];
    write(dir, &keys.into_iter().chain(more.iter().cloned()).collect::<Vec<_>>())
}

#[test]
fn sentence_piece_goldens() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::from_gguf(&sentence_piece_file(dir.path(), &[])).unwrap();
    check_encodings(&tokenizer, "spm", "spm_decoded");
}

#[test]
fn the_tokens_around_a_text_are_added_where_the_file_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let ids = [("tokenizer.ggml.bos_token_id", Entry::U32(1)), ("tokenizer.ggml.eos_token_id", Entry::U32(2))];
    let plain = Tokenizer::from_gguf(&sentence_piece_file(dir.path(), &ids)).unwrap();
    assert_eq!(plain.encode("a", true).unwrap(), [1, 344], "llama's vocabularies begin with bos unless they say no");
    assert_eq!(plain.encode("a", false).unwrap(), [344]);
    let more = [
        ids[0].clone(),
        ids[1].clone(),
        ("tokenizer.ggml.add_bos_token", Entry::Bool(false)),
        ("tokenizer.ggml.add_eos_token", Entry::Bool(true)),
    ];
    let other = Tokenizer::from_gguf(&sentence_piece_file(dir.path(), &more)).unwrap();
    assert_eq!(other.encode("a", true).unwrap(), [344, 2]);
    let json = other.to_json().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    assert_eq!(Tokenizer::open(dir.path()).unwrap().encode("a", true).unwrap(), [344, 2]);
}

#[test]
fn bad_vocabularies_name_the_key() {
    let cases: &[(&[(&str, Entry<'_>)], &str)] = &[
        (&[], "tokenizer.ggml.tokens"),
        (
            &[
                ("tokenizer.ggml.model", Entry::String(b"t5")),
                ("tokenizer.ggml.tokens", Entry::Array(Array::of_strings(&["a"]))),
            ],
            "is t5",
        ),
        (
            &[
                ("tokenizer.ggml.model", Entry::String(b"gpt2")),
                ("tokenizer.ggml.pre", Entry::String(b"viking")),
                ("tokenizer.ggml.tokens", Entry::Array(Array::of_strings(&["a"]))),
            ],
            "is viking",
        ),
        (
            &[
                ("tokenizer.ggml.model", Entry::String(b"gpt2")),
                ("tokenizer.ggml.tokens", Entry::Array(Array::of_strings(&["a"]))),
                ("tokenizer.ggml.merges", Entry::Array(Array::of_strings(&["aa"]))),
            ],
            "`aa` is not two tokens",
        ),
        (
            &[
                ("tokenizer.ggml.model", Entry::String(b"llama")),
                ("tokenizer.ggml.tokens", Entry::Array(Array::of_strings(&["a", "b"]))),
                ("tokenizer.ggml.scores", Entry::Array(Array::of_f32s(&[0.0]))),
            ],
            "1 entries for 2 tokens",
        ),
        (
            &[
                ("tokenizer.ggml.model", Entry::String(b"llama")),
                ("tokenizer.ggml.tokens", Entry::Array(Array::of_strings(&[[0xff, 0xfe]]))),
            ],
            "UTF-8",
        ),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (keys, expected) in cases {
        let error = Tokenizer::from_gguf(&write(dir.path(), keys)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}: no {expected}");
    }
}
