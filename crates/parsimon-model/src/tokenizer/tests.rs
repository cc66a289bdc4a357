use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::TextStream;

/// A tokenizer of whole words with the given decoder.
fn tokenizer(folder: &Path, tokens: &[&str], special: &[&str], decoder: &Value) -> Tokenizer {
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().chain(special).enumerate().map(|(id, &token)| (token.to_owned(), json!(id))).collect();
    let added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(i, token)| {
            json!({"id": tokens.len() + i, "content": token, "special": true, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false})
        })
        .collect();
    let file = json!({"version": "1.0", "added_tokens": added, "decoder": decoder,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": tokens[0]}});
    std::fs::write(folder.join("tokenizer.json"), file.to_string()).unwrap();
    Tokenizer::open(folder).unwrap()
}

#[track_caller]
fn check(decoder: Value, tokens: &[&str], expected: &[&[u8]]) {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer(dir.path(), tokens, &["<|end|>"], &decoder);
    let table = tokenizer.token_bytes();
    assert_eq!(table.len(), tokens.len() + 1);
    let bytes: Vec<&[u8]> = (0..table.len()).map(|id| table.get(id as u32)).collect();
    assert_eq!(bytes, [expected, &[b""]].concat());
    assert_eq!(tokenizer.token_id("<|end|>"), Some(tokens.len() as u32));
}

#[test]
fn tokens_have_the_bytes_of_their_spelling() {
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    check(byte_level, &["a", "Ġthe", "Ċ", "Ã©", "ÿ", "Ń"], &[b"a", b" the", b"\n", b"\xc3\xa9", b"\xff", b"\xad"]);
    let metaspace = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]});
    check(metaspace, &["a", "▁the", "<0xE4>", "<0x0A>", "<0xzz>"], &[b"a", b" the", b"\xe4", b"\n", b"<0xzz>"]);
    let word_piece = json!({"type": "WordPiece", "prefix": "##", "cleanup": false});
    check(word_piece, &["a", "the"], &[b"a", b"the"]);
}

#[test]
fn byte_fallback_streams_whole_characters() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer(dir.path(), &["▁<", "<0xE4>", "<0xBD>", "<0xA0>"], &[], &json!({"type": "ByteFallback"}));
    let table = tokenizer.token_bytes();
    let mut stream = TextStream::default();
    let pieces: Vec<String> = [0, 1, 2, 3, 1].map(|token| stream.push(table.get(token))).into();
    assert_eq!(pieces, [" <", "", "", "你", ""]);
    assert_eq!(stream.finish(), "\u{fffd}");
}

/// The stream of all tokens of a text is the text.
#[test]
fn a_trained_vocabulary_streams_its_text() {
    parsimon_testkit::golden("parsimon-model", "models", |dir| {
        let tokenizer = Tokenizer::open(&dir.join("llama-ref-16m")).unwrap();
        let table = tokenizer.token_bytes();
        let text = std::fs::read_to_string(dir.join("heldout_docs.txt")).unwrap() + "é你好😀\n";
        let mut stream = TextStream::default();
        let mut streamed: String =
            tokenizer.encode(&text, false).unwrap().iter().map(|&token| stream.push(table.get(token))).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, text.replace("<|endoftext|>", ""));
        1
    });
}

/// The stream of a text's tokens is what they decode to, emoji, combining marks and other scripts included.
#[test]
fn golden_texts_stream_back() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizers");
    let encodings: Value = serde_json::from_slice(&std::fs::read(data.join("encodings.json")).unwrap()).unwrap();
    for kind in ["bpe", "spm"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(data.join(format!("{kind}.tokenizer.json")), dir.path().join("tokenizer.json")).unwrap();
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        let table = tokenizer.token_bytes();
        for case in encodings.as_array().unwrap() {
            let mut stream = TextStream::default();
            let ids: Vec<u32> = serde_json::from_value(case[kind].clone()).unwrap();
            let mut text: String = ids.iter().map(|&id| stream.push(table.get(id))).collect();
            text.push_str(&stream.finish());
            // SentencePiece puts a space before the text, which a decoder of the whole text takes away again.
            let text = if kind == "spm" { text.strip_prefix(' ').unwrap_or(&text) } else { &text };
            assert_eq!(text, tokenizer.decode(&ids, true).unwrap(), "{kind}");
        }
    }
}
