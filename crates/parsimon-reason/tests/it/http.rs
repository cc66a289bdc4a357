//! The client against a real local server: every recorded exchange, with its faults, and many requests at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use parsimon_reason::llm::{Client, ClientConfig, Completion, Kind, RewardClient, RewardKind, RewardStyle, Wait};
use parsimon_reason::policy::{Finish, Request, Sampling, Usage};
use parsimon_reason::{Policy, PolicyError};
use serde_json::Value;

use crate::{items, json, number, size, text};

struct Seen {
    path: String,
    headers: Vec<(String, String)>,
    body: Value,
}

/// A server that plays a list of replies and remembers what it was sent.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length: usize = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { path, headers, body: serde_json::from_slice(&body).expect("the client sends JSON") })
}

fn reply_to(stream: &mut TcpStream, reply: &Value) {
    if let Some(delay) = reply["delay_ms"].as_u64() {
        std::thread::sleep(Duration::from_millis(delay));
    }
    let body = match (reply["raw"].as_str(), reply["raw_repeat"].as_array()) {
        (Some(raw), _) => raw.to_owned(),
        (None, Some(repeat)) => text(&repeat[0]).repeat(size(&repeat[1])),
        _ => reply["body"].to_string(),
    };
    let mut head = format!("HTTP/1.1 {} x\r\ncontent-type: application/json\r\n", size(&reply["status"]));
    if let Some(headers) = reply["headers"].as_object() {
        for (name, value) in headers {
            head += &format!("{name}: {}\r\n", text(value));
        }
    }
    // A body that is cut promises more than it sends.
    let promised = if reply["close"].as_bool() == Some(true) { body.len() + 100 } else { body.len() };
    head += &format!("content-length: {promised}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

impl Server {
    fn new(replies: Vec<Value>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for reply in replies {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
                let Some(request) = read_request(&mut reader) else { return };
                log.lock().expect("no panic").push(request);
                reply_to(&mut stream, &reply);
            }
        });
        Server { url, seen }
    }
}

#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Wait for Counted {
    fn wait(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

fn contains(actual: &Value, wanted: &Value) -> bool {
    match (actual, wanted) {
        (Value::Object(actual), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| actual.get(key).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(actual), Value::Array(wanted)) => {
            actual.len() == wanted.len() && actual.iter().zip(wanted).all(|(a, b)| contains(a, b))
        }
        (Value::Number(actual), Value::Number(wanted)) => {
            (actual.as_f64().expect("finite") - wanted.as_f64().expect("finite")).abs() < 1e-9
        }
        (actual, wanted) => actual == wanted,
    }
}

enum Outcome {
    Samples(Completion),
    Values(Vec<f64>),
    Error(PolicyError),
}

fn call(case: &Value, url: &str, wait: &Arc<Counted>) -> Outcome {
    let call = &case["call"];
    let backend = text(&case["backend"]);
    let mut config = ClientConfig::new(Kind::named(backend).unwrap_or(Kind::VllmCompletions), url, "m");
    config.wait = Arc::<Counted>::clone(wait);
    config.api_key = call["api_key"].as_str().map(str::to_owned);
    let int = |key: &str| call[key].as_u64();
    config.max_attempts = int("max_attempts").map_or(config.max_attempts, |n| n as u32);
    config.max_response_bytes = int("max_response_bytes").map_or(config.max_response_bytes, |n| n as usize);
    config.timeout_ms = int("timeout_ms").unwrap_or(config.timeout_ms);
    if let Some(key) = &config.api_key {
        assert!(!format!("{config:?}").contains(&format!("\"{key}\"")), "the key is not in what is logged");
    }
    if let Some(texts) = call["score"].as_array() {
        let style = match text(&call["style"]) {
            "prob_of_class" => RewardStyle::ProbOfClass { class: size(&call["class"]) },
            _ => RewardStyle::ScalarLast { tanh_scale: call["tanh_scale"].as_f64() },
        };
        let kind = if backend == "vllm-classify" { RewardKind::Classify } else { RewardKind::VllmPooling };
        let texts: Vec<&str> = texts.iter().map(text).collect();
        let mut usage = Usage::default();
        return match RewardClient::new(kind, style, config).score_texts(&texts, &mut usage) {
            Ok(values) => Outcome::Values(values),
            Err(error) => Outcome::Error(error),
        };
    }
    let sampling = Sampling {
        temperature: call["temperature"].as_f64().unwrap_or(1.0) as f32,
        top_p: call["top_p"].as_f64().unwrap_or(1.0) as f32,
        top_k: int("top_k").unwrap_or(0) as u32,
        repetition_penalty: call["repetition_penalty"].as_f64().unwrap_or(1.0) as f32,
        max_tokens: int("max_tokens").unwrap_or(64) as u32,
    };
    let stops: Vec<String> = call["stop"]
        .as_array()
        .map(|stops| stops.iter().map(|stop| text(stop).to_owned()).collect())
        .unwrap_or_default();
    let prompts: Vec<&str> = items(&call["prompts"]).iter().map(text).collect();
    let (client, n, seed) = (Client::new(config), size(&call["n"]), int("seed"));
    let result = match call["user"].as_str() {
        Some(user) => client.complete_turn(call["system"].as_str(), user, prompts[0], n, &stops, &sampling, seed),
        None => client.complete(&prompts, n, &stops, &sampling, seed),
    };
    match result {
        Ok(completion) => Outcome::Samples(completion),
        Err(error) => Outcome::Error(error),
    }
}

fn check_samples(id: &str, expect: &Value, completion: &Completion) {
    if let Some(wanted) = expect["samples"].as_array() {
        for (samples, wanted) in completion.samples.iter().zip(wanted) {
            assert_eq!(samples.len(), items(wanted).len(), "{id}");
            for (sample, wanted) in samples.iter().zip(items(wanted)) {
                let wanted = wanted.as_object().expect("an object");
                for (key, value) in wanted {
                    match key.as_str() {
                        "text" => assert_eq!(sample.text, text(value), "{id}"),
                        "stop" => assert_eq!(sample.stop.as_deref(), value.as_str(), "{id}"),
                        "stop_inferred" => assert_eq!(Some(sample.stop_inferred), value.as_bool(), "{id}"),
                        "finish" => {
                            let finish = match sample.finish {
                                Finish::Stop => "stop",
                                Finish::Eos => "eos",
                                Finish::Length => "length",
                            };
                            assert_eq!(finish, text(value), "{id}");
                        }
                        other => panic!("{id}: unknown expectation {other}"),
                    }
                }
            }
        }
    }
    if let Some(wanted) = expect["samples_unordered"].as_array() {
        let mut texts: Vec<&str> = completion.samples[0].iter().map(|sample| sample.text.as_str()).collect();
        texts.sort_unstable();
        assert_eq!(texts, wanted.iter().map(text).collect::<Vec<_>>(), "{id}");
    }
    let usage = &completion.usage;
    for (key, actual) in [("prompt", usage.prompt), ("completion", usage.completion), ("cached", usage.cached)] {
        if let Some(wanted) = expect["usage"][key].as_u64() {
            assert_eq!(actual, wanted, "{id} {key}");
        }
    }
    for (key, actual) in [("usage_unknown", usage.unknown), ("retries", usage.retries), ("prompt_tokens", usage.prompt)]
    {
        if let Some(wanted) = expect["ledger"][key].as_u64() {
            assert_eq!(actual, wanted, "{id} {key}");
        }
    }
    if let Some(wanted) = expect["warnings"].as_array() {
        assert_eq!(completion.warnings, wanted.iter().map(text).collect::<Vec<_>>(), "{id}");
    }
}

#[test]
fn recorded_exchanges() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let cases = json(dir, "http/exchanges.json");
        for case in items(&cases) {
            let id = text(&case["id"]);
            let server = Server::new(items(&case["responses"]).to_vec());
            let wait = Arc::new(Counted::default());
            let outcome = call(case, &server.url, &wait);
            let expect = &case["expect"];
            match &outcome {
                Outcome::Samples(completion) => {
                    assert!(expect["error"].is_null(), "{id}: an error was expected");
                    check_samples(id, expect, completion);
                }
                Outcome::Values(values) => {
                    for (value, wanted) in values.iter().zip(items(&expect["values"])) {
                        assert!((value - number(wanted)).abs() < 1e-12, "{id}");
                    }
                }
                Outcome::Error(error) => {
                    assert_eq!(
                        parsimon_core::variant_name(error),
                        expect["error"].as_str().unwrap_or("no error"),
                        "{id}: {error}"
                    );
                    if let Some(part) = expect["message_contains"].as_str() {
                        assert!(error.to_string().contains(part), "{id}: {error}");
                    }
                }
            }
            let seen = server.seen.lock().expect("no panic");
            if let Some(requests) = expect["requests"].as_u64() {
                assert_eq!(seen.len() as u64, requests, "{id}");
            }
            if let Some(least) = expect["slept_at_least_ms"].as_u64() {
                assert!(wait.0.load(Ordering::Relaxed) >= least, "{id}");
            }
            if expect["seeds_distinct"].as_bool() == Some(true) {
                let mut seeds: Vec<u64> =
                    seen.iter().map(|request| request.body["seed"].as_u64().expect("a seed")).collect();
                seeds.dedup();
                assert_eq!(seeds.len(), seen.len(), "{id}");
            }
            let wanted = &case["request_must_contain"];
            if let (Some(path), Some(first)) = (wanted["path"].as_str(), seen.first()) {
                assert_eq!(first.path, path, "{id}");
                assert!(wanted["json"].is_null() || contains(&first.body, &wanted["json"]), "{id}: {}", first.body);
                for key in wanted["json_absent"].as_array().into_iter().flatten() {
                    assert!(first.body.get(text(key)).is_none(), "{id}: {key} was sent");
                }
                for (name, value) in wanted["header"].as_object().into_iter().flatten() {
                    assert!(first.headers.iter().any(|(n, v)| n == name && v == text(value)), "{id}: {name}");
                }
            }
        }
        items(&cases).len()
    });
}

/// A server that keeps connections open, answers after a while, and counts how many requests it holds.
#[test]
fn the_limit_on_requests_in_flight_is_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (held, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (held_there, most_there) = (Arc::clone(&held), Arc::clone(&most));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (held, most) = (Arc::clone(&held_there), Arc::clone(&most_there));
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
                while let Some(request) = read_request(&mut reader) {
                    most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(10));
                    held.fetch_sub(1, Ordering::SeqCst);
                    let body = serde_json::json!({ "choices": [{ "index": 0, "text": request.body["prompt"], "finish_reason": "stop" }] }).to_string();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut config = ClientConfig::new(Kind::VllmCompletions, url, "m");
    config.max_in_flight = 5;
    let client = Client::new(config);
    let batch: Vec<Request<'_>> = (0..40)
        .map(|i| Request {
            problem: "p",
            tag: "0",
            prompt: format!("prompt {i}"),
            n: 1,
            stops: Vec::new(),
            sampling: Sampling::default(),
            seed: i,
        })
        .collect();
    let reply = client.propose(&batch).expect("the server is well");
    let texts: Vec<&str> = reply.samples.iter().map(|samples| samples[0].text.as_str()).collect();
    assert_eq!(
        texts,
        batch.iter().map(|request| request.prompt.as_str()).collect::<Vec<_>>(),
        "in the order of the batch"
    );
    let most = most.load(Ordering::SeqCst);
    assert!((2..=5).contains(&most), "{most} requests at once");
}
