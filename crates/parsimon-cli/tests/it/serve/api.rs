//! What clients ask for and what they get.

use serde_json::{Value, json};

use super::http::events;
use super::{Server, say};
use crate::made;

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";

#[track_caller]
fn check_error(server: &Server, path: &str, body: Value, status: u16, param: Option<&str>, part: &str) {
    let response = server.post(path, &body);
    let error = &response.json()["error"];
    assert_eq!((response.status, error["param"].as_str()), (status, param), "{body}: {error}");
    let said = format!("{} {}", error["code"], error["message"]);
    assert!(said.contains(part) && error["type"].is_string(), "{body}: {error}");
}

#[test]
fn what_is_wrong_is_named() {
    let server = Server::start(&["--context", "64", "--max-body", "100000"]);
    let with = |field: &str, value: Value| json!({"prompt": "a", field: value});
    for (field, value, part) in [
        ("temperature", json!("hot"), "f32"),
        ("temperature", json!(2.5), "0 to 2"),
        ("top_p", json!(-1), "0 to 1"),
        ("presence_penalty", json!(3), "-2 to 2"),
        ("frequency_penalty", json!(-3), "-2 to 2"),
        ("n", json!(0), "at least 1"),
        ("n", json!(129), "128"),
        ("max_tokens", json!(-1), "integer `-1`"),
        ("stop", json!(["a", "b", "c", "d", "e"]), "allowed are 4"),
        ("logit_bias", json!({"x": 1}), "token id"),
        ("logit_bias", json!({"1": 101}), "-100 to 100"),
        ("logprobs", json!(21), "at most 20"),
        ("suffix", json!("x"), "unsupported"),
        ("best_of", json!(2), "unsupported"),
        ("stream_options", json!({"include_usage": true}), "stream: true"),
    ] {
        check_error(&server, COMPLETIONS, with(field, value), 400, Some(field), part);
    }
    check_error(&server, COMPLETIONS, with("model", json!("gpt")), 404, Some("model"), "model_not_found");
    check_error(&server, COMPLETIONS, json!({}), 400, None, "prompt");
    check_error(&server, COMPLETIONS, json!([]), 400, None, "object");
    for (prompt, part) in [
        (json!([]), "empty"),
        (json!(""), "no tokens"),
        (json!([1, 400]), "token 400"),
        (json!(["a", ""]), "no tokens"),
        (json!("x".repeat(64)), "context_length_exceeded"),
        (json!(vec!["a"; 129]), "allowed are 128"),
    ] {
        check_error(&server, COMPLETIONS, json!({"prompt": prompt}), 400, Some("prompt"), part);
    }
    check_error(&server, COMPLETIONS, json!({"prompt": {"a": 1}}), 400, Some("prompt"), "");
    check_error(&server, COMPLETIONS, json!({"prompt": "x".repeat(100_001)}), 413, None, "request_too_large");

    for (fields, param, part) in [
        (json!({"messages": []}), "messages", "empty"),
        (json!({"messages": [{"role": "robot", "content": "x"}]}), "messages[0].role", "robot"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content", "no content"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            "messages[0].content",
            "image_url",
        ),
        (json!({"response_format": {"type": "json_schema"}}), "response_format", "unsupported"),
        (json!({"tools": [{}]}), "tools", "unsupported"),
        (json!({"top_logprobs": 2}), "top_logprobs", "logprobs: true"),
        (json!({"messages": [{"role": "user", "content": "x".repeat(64)}]}), "messages", "context_length_exceeded"),
    ] {
        check_error(&server, CHAT, say("x", fields), 400, Some(param), part);
    }
    check_error(&server, EMBEDDINGS, json!({"input": "a", "encoding_format": "x"}), 400, Some("encoding_format"), "x");
    check_error(&server, EMBEDDINGS, json!({"input": "a", "dimensions": 5}), 400, Some("dimensions"), "32");
    check_error(&server, EMBEDDINGS, json!({"input": []}), 400, Some("input"), "empty");
    check_error(&server, "/v1/nothing", json!({}), 404, None, "unknown_url");
    check_error(&server, "/v1/models", json!({}), 405, None, "method_not_allowed");
    assert_eq!(server.get(COMPLETIONS).status, 405);
    assert_eq!(server.get("/v1/models/other").status, 404);
}

#[test]
fn completions_have_all_forms() {
    let server = Server::start(&[]);
    let ask = |fields: Value| {
        let mut body = json!({"model": "tiny", "max_tokens": 12, "seed": 5, "user": "someone", "unknown": [1]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        server.ok(COMPLETIONS, &body)
    };
    let answer = ask(json!({"prompt": "ab", "ignore_eos": true}));
    assert_eq!((&answer["object"], &answer["model"]), (&json!("text_completion"), &json!("tiny")));
    let usage = &answer["usage"];
    assert_eq!([&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]], [2, 12, 14]);
    let choice = &answer["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["logprobs"]), (&json!("length"), &json!(null)));
    // The same seed, the same text; tokens instead of text change nothing.
    assert_eq!(ask(json!({"prompt": [97, 98], "ignore_eos": true}))["choices"], answer["choices"]);
    assert_ne!(ask(json!({"prompt": "ab", "ignore_eos": true, "seed": 6}))["choices"], answer["choices"]);

    let several = ask(json!({"prompt": ["ab", "cd"], "n": 2, "echo": true, "ignore_eos": true}));
    let texts: Vec<&str> = several["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 4);
    assert!(
        texts[..2].iter().all(|t| t.starts_with("ab")) && texts[2..].iter().all(|t| t.starts_with("cd")),
        "{texts:?}"
    );
    assert_eq!(texts[0], format!("ab{}", choice["text"].as_str().unwrap()));
    assert_ne!(texts[0], texts[1]);
    assert_eq!([&several["usage"]["prompt_tokens"], &several["usage"]["completion_tokens"]], [4, 48]);

    // A bias of 100 makes one byte certain; a stop text is found across tokens and left out.
    let certain = json!({"prompt": "a", "logit_bias": {"120": 100}, "max_tokens": 5, "logprobs": 2});
    let answer = ask(certain.clone());
    assert_eq!(answer["choices"][0]["text"], "xxxxx");
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(
        (&logprobs["tokens"], &logprobs["text_offset"]),
        (&json!(["x", "x", "x", "x", "x"]), &json!([0, 1, 2, 3, 4]))
    );
    assert!(logprobs["token_logprobs"].as_array().unwrap().iter().all(|l| l.as_f64().unwrap() < 0.0));
    assert!(logprobs["top_logprobs"].as_array().unwrap().iter().all(|top| top.as_object().unwrap().len() == 2));
    let stopped = ask(json!({"prompt": "a", "logit_bias": {"120": 100}, "stop": "xxx", "max_tokens": 50}));
    assert_eq!((&stopped["choices"][0]["text"], &stopped["choices"][0]["finish_reason"]), (&json!(""), &json!("stop")));
    assert_eq!(stopped["usage"]["completion_tokens"], 3);
    let end = ask(json!({"prompt": "a", "logit_bias": {"256": 100}}));
    assert_eq!((&end["choices"][0]["text"], &end["choices"][0]["finish_reason"]), (&json!(""), &json!("stop")));
    let forbidden = ask(json!({"prompt": "a", "temperature": 0, "logit_bias": {"256": -100, "120": -100}}));
    assert!(!forbidden["choices"][0]["text"].as_str().unwrap().contains('x'));
    assert_eq!(ask(json!({"prompt": "ab", "echo": true, "max_tokens": 0}))["choices"][0]["text"], "ab");
}

#[test]
fn streams_are_the_answer_in_pieces() {
    let server = Server::start(&[]);
    let fields = json!({"max_tokens": 40, "seed": 1, "n": 2, "ignore_eos": true, "logprobs": true, "top_logprobs": 1});
    let whole = server.ok(CHAT, &say("Hi", fields.clone()));
    assert_eq!(whole["object"], "chat.completion");
    let mut streamed = say("Hi", fields);
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    let events = events(&server.post(CHAT, &streamed));
    let (last, events) = events.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
        let of_choice: Vec<&Value> = events.iter().map(|e| &e["choices"][0]).filter(|c| c["index"] == index).collect();
        assert_eq!(of_choice[0]["delta"], json!({"role": "assistant", "content": ""}));
        let text: String = of_choice.iter().filter_map(|c| c["delta"]["content"].as_str()).collect();
        assert_eq!(text, choice["message"]["content"].as_str().unwrap());
        let (end, before) = of_choice.split_last().unwrap();
        assert_eq!((&end["finish_reason"], &end["delta"]), (&json!("length"), &json!({})));
        assert!(before.iter().all(|c| c["finish_reason"].is_null()));
        let logprobs: Vec<&Value> =
            of_choice.iter().filter_map(|c| c["logprobs"]["content"].as_array()).flatten().collect();
        assert_eq!(logprobs, choice["logprobs"]["content"].as_array().unwrap().iter().collect::<Vec<_>>());
        assert_eq!(logprobs.len(), 40);
        assert!(logprobs.iter().all(|l| l["bytes"].as_array().unwrap().len() <= 1 && l["top_logprobs"][0].is_object()));
    }
    for event in events {
        assert_eq!((&event["object"], &event["id"]), (&json!("chat.completion.chunk"), &events[0]["id"]));
        assert!(event["usage"].is_null());
    }
    let completion = json!({"prompt": "a", "seed": 3, "stop": ["e"], "max_tokens": 300});
    let whole = server.ok(COMPLETIONS, &completion);
    let mut streamed = completion;
    streamed["stream"] = json!(true);
    let events = super::http::events(&server.post(COMPLETIONS, &streamed));
    let text: String = events.iter().map(|e| e["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, whole["choices"][0]["text"].as_str().unwrap());
    assert!(events.iter().all(|e| e.get("usage").is_none()));
}

#[test]
fn json_mode_always_parses() {
    let server = Server::start(&["--max-sequences", "16"]);
    let format = json!({"type": "json_object"});
    // Quotes, braces and colons are made likely, so that the random model comes to an end.
    let bias = json!({"34": 4, "125": 6, "58": 4, "44": -2, "91": -3, "123": -3});
    let mut ended = 0;
    for seed in 0..24 {
        let fields = json!({"response_format": format, "n": 4, "seed": seed, "max_tokens": 400, "logit_bias": bias});
        let answer = server.ok(CHAT, &say("JSON, please", fields));
        for choice in answer["choices"].as_array().unwrap() {
            if choice["finish_reason"] == "stop" {
                let text = choice["message"]["content"].as_str().unwrap();
                let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
                assert!(value.is_object());
                ended += 1;
            }
        }
    }
    assert!(ended >= 80, "{ended} of 96 answers ended");
}

/// A GGUF file with its vocabulary and its template gives what the folder gives.
#[test]
fn a_gguf_file_is_served_alike() {
    let model = made::model();
    let file = made::gguf(model.path());
    let (from_folder, from_file) = (Server::start(&[]), Server::start_model(model, &file, &["--speculative"], &[]));
    let request = say("Hé", json!({"temperature": 0, "max_tokens": 40, "logprobs": true}));
    let [a, b] = [&from_folder, &from_file].map(|server| server.ok(CHAT, &request));
    assert_eq!((&a["choices"][0]["message"], &a["usage"]), (&b["choices"][0]["message"], &b["usage"]));
    assert!(a["usage"]["completion_tokens"].as_u64().unwrap() > 5, "{a}");
}

#[test]
fn prompts_that_begin_alike_share_their_cache() {
    let server = Server::start(&[]);
    let ask = |end: &str| server.ok(CHAT, &say(&format!("{}{end}", "long ".repeat(100)), json!({"max_tokens": 2})));
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert_eq!(cached(&ask("a")), 0);
    let second = cached(&ask("b"));
    assert!(second >= 400, "{second} tokens were cached");
    server.await_metric("parsimon_cached_prompt_tokens_total", second as f64);
}

#[test]
fn embeddings_are_unit_vectors_in_both_encodings() {
    let server = Server::start(&[]);
    let float = server.ok(EMBEDDINGS, &json!({"input": ["ab", "cd", "ab"], "model": "tiny"}));
    let vectors: Vec<Vec<f32>> = float["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| serde_json::from_value(d["embedding"].clone()).unwrap())
        .collect();
    assert_eq!((vectors.len(), vectors[0].len()), (3, 32));
    assert!(vectors[0] == vectors[2] && vectors[0] != vectors[1]);
    let norm: f32 = vectors[0].iter().map(|x| x * x).sum();
    assert!((norm - 1.0).abs() < 1e-4, "{norm}");
    assert_eq!(float["usage"], json!({"prompt_tokens": 6, "total_tokens": 6}));
    let base64 = server.ok(EMBEDDINGS, &json!({"input": [97, 98], "encoding_format": "base64"}));
    let text = base64["data"][0]["embedding"].as_str().unwrap();
    assert_eq!(decode_base64(text), vectors[0].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
}

fn decode_base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for character in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | alphabet.iter().position(|&a| a == character).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn the_server_describes_itself() {
    let server = Server::start(&["--context", "100"]);
    let models = server.get("/v1/models").json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("tiny")));
    assert_eq!(models["data"][0]["context_length"], 100);
    assert_eq!(server.get("/v1/models/tiny").json(), models["data"][0]);
    assert_eq!(server.get("/health").json(), json!({"status": "ok", "model": "tiny"}));
    let api = server.get("/openapi.json").json();
    for path in [COMPLETIONS, CHAT, EMBEDDINGS, "/v1/models", "/v1/models/{id}", "/health", "/metrics"] {
        assert!(api["paths"][path].is_object(), "{path}");
    }
    let page = server.get("/");
    assert!(page.text().contains("<title>Parsimon</title>") && page.header("content-security-policy").is_some());
    // Nothing is loaded from elsewhere.
    assert!(!page.text().contains("http://") && !page.text().contains("https://") && !page.text().contains("src="));

    server.ok(CHAT, &say("x", json!({"max_tokens": 3, "ignore_eos": true})));
    server.await_metric("parsimon_sequences_total{outcome=\"length\"}", 1.0);
    for (name, value) in [
        ("parsimon_requests_total{route=\"/v1/chat/completions\",status=\"200\"}", 1.0),
        ("parsimon_generated_tokens_total", 3.0),
        ("parsimon_time_to_first_token_seconds_count", 1.0),
        ("parsimon_inter_token_seconds_bucket{le=\"+Inf\"}", 2.0),
        ("parsimon_sequences_running", 0.0),
    ] {
        assert_eq!(server.metric(name), value, "{name}");
    }
}
