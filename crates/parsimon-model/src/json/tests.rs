use parsimon_core::SplitMix64;

use std::sync::Arc;

use super::*;
use crate::{TokenBytes, TokenConstraint};

fn after(start: JsonPrefix, text: &[u8]) -> Option<JsonPrefix> {
    let mut json = start;
    json.push_all(text).then_some(json)
}

/// Every prefix is accepted, the whole is complete, and a parser agrees.
#[track_caller]
fn check_complete(text: &str) {
    let json = after(JsonPrefix::value(), text.as_bytes()).unwrap_or_else(|| panic!("`{text}` is refused"));
    assert!(json.is_complete(), "`{text}` is not complete: {json:?}");
    serde_json::from_str::<serde_json::Value>(text).unwrap();
}

#[track_caller]
fn check_refused(text: &[u8]) {
    assert_eq!(after(JsonPrefix::value(), text), None, "`{}`", text.escape_ascii());
}

#[test]
fn whole_values_are_complete() {
    for text in [
        "{}",
        "[]",
        " { } ",
        "[ ]",
        "true",
        "false",
        "null",
        "0",
        "-0",
        "12",
        "-1.5",
        "1e9",
        "0.1E+12",
        "1.0e-9",
        "\"\"",
        "\"a\\n\\\"\\u00e9é你😀\"",
        "\"\\ud7ff\\uE000\"",
        "{\"a\": 1, \"b\": [1, {\"c\": null}, \"x\"]}",
        "[[], {}, [true]]",
        "{\"\": {\"\": {}}}\n",
        "[1,2 , 3]",
        "99999999999999999999",
    ] {
        check_complete(text);
    }
}

#[test]
fn what_cannot_become_a_value_is_refused() {
    for text in [
        &b"}"[..],
        b"{1",
        b"{,",
        b"{\"a\",",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\":1,}",
        b"[1,]",
        b"[,",
        b"[1 2",
        b"[1}",
        b"01",
        b"-a",
        b"1.e",
        b"1e+x",
        b"1e100",
        b"100000000000000000000",
        b"+1",
        b"tru]",
        b"nul ",
        b"\"\n",
        b"\"\\x",
        b"\"\\u12g",
        b"\"\\ud8",
        b"\"\\uDf",
        b"\"\xff",
        b"\"\xc3\"",
        b"\"\xed\xa0",
        b"\"\xf5",
        b"{}{",
        b"1 1",
        b"\"\"\"",
        b"'",
        b"\x0b",
    ] {
        check_refused(text);
    }
    assert_eq!(after(JsonPrefix::object(), b" ["), None);
    assert_eq!(after(JsonPrefix::object(), b"1"), None);
}

#[test]
fn depth_and_white_space_are_bounded() {
    let deep = [b"[".repeat(64), b"]".repeat(64)].concat();
    assert!(after(JsonPrefix::value(), &deep).unwrap().is_complete());
    check_refused(&b"[".repeat(65));
    check_refused(&b"{\"a\":".repeat(65));
    assert!(after(JsonPrefix::value(), &b" ".repeat(64)).is_some());
    check_refused(&b" ".repeat(65));
}

/// Texts of random bytes that the automaton lets through parse as soon as it calls them complete.
#[test]
fn complete_texts_parse() {
    let alphabet = b"{}[]\",:0123456789eE+-.tfrualsn\\/bd \n\xc3\xa9\xed\xf0\x9f\x98\x80x";
    let mut rng = SplitMix64::new(3);
    let mut complete = 0;
    for _ in 0..3000 {
        let (mut json, mut text) = (JsonPrefix::value(), Vec::new());
        for _ in 0..200 {
            let byte = alphabet[rng.below(alphabet.len() as u64) as usize];
            let mut next = json;
            if !next.push(byte) {
                continue;
            }
            (json, _) = (next, text.push(byte));
            if json.is_complete() {
                complete += 1;
                serde_json::from_slice::<serde_json::Value>(&text)
                    .unwrap_or_else(|e| panic!("{e}: `{}`", text.escape_ascii()));
            }
        }
    }
    assert!(complete > 3000, "{complete}");
}

/// Random logits under the constraint: whatever ends parses, with tokens of one byte and of several.
#[test]
fn constrained_output_parses() {
    let single = (0..=255u8).map(|byte| vec![byte]);
    let longer = [
        "",
        "{\"",
        "\":",
        "\"}",
        "},",
        "]}",
        "true",
        "tru",
        "e9",
        " [",
        "é",
        "\u{1f600}\"",
        "\\u00",
        "\\",
        "12",
        ",\"",
    ];
    let all: Vec<Vec<u8>> = single.chain(longer.iter().map(|token| token.as_bytes().to_vec())).collect();
    let printable = all.iter().filter(|token| token.len() != 1 || token[0].is_ascii()).cloned().collect::<Vec<_>>();
    let mut rng = SplitMix64::new(9);
    for tokens in [all, printable] {
        let vocabulary = Arc::new(JsonVocabulary::new(Arc::new(TokenBytes::new(&tokens))).unwrap());
        let mut ended = 0;
        for _ in 0..300 {
            let mut constraint = JsonConstraint::new(Arc::clone(&vocabulary), JsonPrefix::object());
            let mut text = Vec::new();
            for _ in 0..400 {
                // Structure is liked, so that outputs end.
                let like = |token: &Vec<u8>| if token.iter().any(|b| b"\"}]:".contains(b)) { 4.0 } else { 0.0 };
                let mut logits: Vec<f32> = tokens.iter().map(|t| (rng.next_normal() + like(t)) as f32).collect();
                constraint.mask(&mut logits);
                let best = (0..tokens.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
                assert!(logits[best].is_finite(), "stuck after `{}`", text.escape_ascii());
                text.extend_from_slice(&tokens[best]);
                constraint.accept(best as u32);
                if constraint.is_complete() {
                    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
                    assert!(value.is_object());
                    ended += 1;
                    break;
                }
            }
        }
        assert!(ended > 250, "{ended}");
    }
    assert!(JsonVocabulary::new(Arc::new(TokenBytes::new(["{", "}", "a"]))).is_none());
}
