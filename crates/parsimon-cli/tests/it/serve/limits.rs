//! Damaged requests, full queues, slow and vanishing clients, and the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parsimon::tensor::SplitMix64;
use serde_json::{Value, json};

use super::http::{self, Stream};
use super::{PATIENCE, Server, say};

const CHAT: &str = "/v1/chat/completions";
const RUNNING: &str = "parsimon_sequences_running";

/// A stream that goes on for as long as the context lasts.
fn endless(server: &Server) -> Stream {
    let body = json!({"prompt": "a", "stream": true, "max_tokens": 30000, "ignore_eos": true}).to_string();
    let mut stream = http::open(&server.address, "POST", "/v1/completions", &[], body.as_bytes());
    assert_eq!(stream.status, 200);
    stream.chunk().unwrap();
    stream
}

#[test]
fn a_client_that_leaves_cancels_its_sequences() {
    let server = Server::start(&[]);
    let stream = endless(&server);
    server.await_metric(RUNNING, 1.0);
    drop(stream);
    server.await_metric("parsimon_sequences_total{outcome=\"cancelled\"}", 1.0);
    server.await_metric(RUNNING, 0.0);

    // The same without a stream: the answer is not begun when the client leaves.
    let body = say("x", json!({"n": 3, "max_tokens": 30000, "ignore_eos": true})).to_string();
    let mut socket = TcpStream::connect(&server.address).unwrap();
    socket.write_all((http::head("POST", CHAT, &[], body.len()) + &body).as_bytes()).unwrap();
    server.await_metric(RUNNING, 3.0);
    drop(socket);
    server.await_metric("parsimon_sequences_total{outcome=\"cancelled\"}", 4.0);
    server.await_metric(RUNNING, 0.0);
}

#[test]
fn a_full_queue_answers_429() {
    let server = Server::start(&["--max-sequences", "1", "--max-queue", "1"]);
    let running = endless(&server);
    let waiting_body = json!({"prompt": "a", "stream": true, "max_tokens": 2, "ignore_eos": true}).to_string();
    let waiting = http::open(&server.address, "POST", "/v1/completions", &[], waiting_body.as_bytes());
    assert_eq!(waiting.status, 200);
    let refused = server.post(CHAT, &say("x", json!({"max_tokens": 1})));
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    let never = server.post(CHAT, &say("x", json!({"n": 3})));
    assert_eq!(never.status, 400, "three sequences never fit: {}", never.text());
    drop(running);
    // The one that waited runs, and then there is room again.
    let mut waiting = waiting;
    while waiting.chunk().is_some() {}
    server.await_metric(RUNNING, 0.0);
    server.ok(CHAT, &say("x", json!({"max_tokens": 1})));
}

#[test]
fn a_signal_lets_requests_finish() {
    let mut server = Server::start(&[]);
    let body = json!({"prompt": "a", "stream": true, "max_tokens": 4000, "ignore_eos": true}).to_string();
    let mut stream = http::open(&server.address, "POST", "/v1/completions", &[], body.as_bytes());
    let mut text = stream.chunk().unwrap();
    server.signal("TERM");
    let start = Instant::now();
    while server.get("/health").status == 200 {
        assert!(start.elapsed() < PATIENCE);
    }
    let refused = server.post(CHAT, &say("x", json!({"max_tokens": 1})));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("service_unavailable")));
    while let Some(chunk) = stream.chunk() {
        text.extend(chunk);
    }
    assert!(text.ends_with(b"data: [DONE]\n\n"), "the stream that ran is whole");
    assert_eq!(server.await_exit().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start(&[]);
    let _stream = endless(&server);
    server.signal("INT");
    while server.get("/health").status == 200 {}
    server.signal("INT");
    assert_eq!(server.await_exit().code(), Some(130));
}

#[test]
fn a_drain_has_an_end() {
    let mut server = Server::start(&["--drain-timeout", "0"]);
    let _stream = endless(&server);
    server.signal("TERM");
    assert_eq!(server.await_exit().code(), Some(0));
}

#[test]
fn the_key_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "secret-1\n").unwrap();
    let by_file = Server::start(&["--api-key-file", file.to_str().unwrap()]);
    let by_variable = Server::start_with(&[], &[("PARSIMON_API_KEY", "secret-1")]);
    for server in [&by_file, &by_variable] {
        let status = |path: &str, headers: &[(&str, &str)]| {
            let response = http::request(&server.address, "GET", path, headers, b"");
            if response.status == 401 {
                let error = response.json()["error"].clone();
                assert_eq!(
                    (&error["code"], &error["type"]),
                    (&json!("invalid_api_key"), &json!("authentication_error"))
                );
            }
            response.status
        };
        for wrong in ["Bearer secret-2", "Bearer secret-", "Bearer secret-11", "secret-1", "Bearer", ""] {
            assert_eq!(status("/v1/models", &[("Authorization", wrong)]), 401, "`{wrong}`");
        }
        assert_eq!([status("/v1/models", &[]), status("/metrics", &[])], [401, 401]);
        assert_eq!(status("/v1/models", &[("Authorization", "Bearer secret-1")]), 200);
        assert_eq!([status("/health", &[]), status("/", &[])], [200, 200]);
    }
}

#[test]
fn slow_requests_are_ended() {
    let server = Server::start(&["--header-timeout", "1", "--max-connections", "4"]);
    let mut sockets: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    for socket in &mut sockets {
        socket.write_all(b"GET /health HTT").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    // All connections are taken; they end by the time limit, and then this one is served.
    assert_eq!(server.get("/health").status, 200);
    for mut socket in sockets {
        let mut rest = Vec::new();
        // It is closed, with or without an answer that says why.
        let _ = socket.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{}", rest.escape_ascii());
    }
}

/// A body without an end is refused as soon as it is too large.
#[test]
fn endless_bodies_are_cut_off() {
    let server = Server::start(&["--max-body", "10000"]);
    let mut socket = TcpStream::connect(&server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    for _ in 0..3 {
        socket.write_all(chunk.as_bytes()).unwrap();
    }
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

const MUTANTS: u64 = 10_000;
/// Requests of the first part fill caches and pools; after them, memory stays.
const WARM: u64 = 2_000;
/// What memory may still grow by: allocators keep some.
const GROWTH_BYTES: usize = 24 << 20;
const CLIENTS: u64 = 8;

/// Sound requests, to be damaged.
fn sound() -> Vec<Vec<u8>> {
    let with_body = |path: &str, body: Value| {
        let body = body.to_string();
        (http::head("POST", path, &[("Content-Type", "application/json")], body.len()) + &body).into_bytes()
    };
    let chat = json!({"model": "tiny", "messages": [{"role": "system", "content": "é"}, {"role": "user", "content":
        [{"type": "text", "text": "Hi"}]}], "max_tokens": 1, "stream": true, "stop": ["a", "b"], "temperature": 0.5,
        "logit_bias": {"5": 1.5}, "response_format": {"type": "json_object"}, "top_p": 0.9, "seed": 7});
    let completion = json!({"prompt": [[1, 2, 3], [4]], "n": 2, "max_tokens": 1, "logprobs": 3, "echo": false});
    vec![
        with_body(CHAT, chat),
        with_body("/v1/completions", completion),
        with_body("/v1/embeddings", json!({"input": ["a", "b"], "encoding_format": "base64"})),
        http::head("GET", "/v1/models/tiny", &[], 0).into_bytes(),
        http::head("GET", "/metrics", &[("Accept", "*/*")], 0).into_bytes(),
    ]
}

/// One to four edits: bytes changed, removed, doubled, or parts of another request put in; half of the time in the body alone,
/// with a head that fits.
fn mutant(sound: &[Vec<u8>], rng: &mut SplitMix64) -> Vec<u8> {
    let pick = |rng: &mut SplitMix64| &sound[rng.below(sound.len() as u64) as usize];
    let source = pick(rng);
    let split = source.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let body_only = split < source.len() && rng.below(2) == 0;
    let mut bytes = source[if body_only { split } else { 0 }..].to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len() as u64) as usize;
        let end = bytes.len().min(at + 1 + rng.below(8) as usize);
        match rng.below(5) {
            0 => bytes[at] = rng.next_u64() as u8,
            1 => bytes[at] = b"{}[]\",:0123456789e-.\\ \r\n"[rng.below(24) as usize],
            2 => drop(bytes.drain(at..end)),
            3 => bytes.extend_from_within(at..end),
            _ => {
                let other = pick(rng);
                let from = rng.below(other.len() as u64) as usize;
                let part = other[from..other.len().min(from + 1 + rng.below(16) as usize)].to_vec();
                bytes.splice(at..at, part);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    if body_only {
        let path = String::from_utf8_lossy(source).split(' ').nth(1).unwrap().to_owned();
        bytes = [http::head("POST", &path, &[], bytes.len()).as_bytes(), &bytes].concat();
    }
    bytes
}

/// Sends the bytes and returns the status, or `None` when no answer came in time: the request may be without an end.
fn send(address: &str, bytes: &[u8]) -> Option<u16> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    let _ = socket.take(1 << 16).read_to_end(&mut answer);
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

#[test]
fn damaged_requests_do_no_harm() {
    let server = Server::start(&["--context", "128", "--header-timeout", "5"]);
    let sound = sound();
    for request in &sound {
        assert_eq!(send(&server.address, request), Some(200));
    }
    let counts: [AtomicUsize; 6] = Default::default();
    let run = |seeds: std::ops::Range<u64>| {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (server, sound, counts, seeds) = (&server, &sound, &counts, seeds.clone());
                scope.spawn(move || {
                    for seed in seeds.filter(|seed| seed % CLIENTS == client) {
                        let bytes = mutant(sound, &mut SplitMix64::new(seed));
                        let status = send(&server.address, &bytes).unwrap_or(0);
                        assert!(status < 500, "{status} for {}", bytes.escape_ascii());
                        counts[usize::from(status) / 100].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    };
    run(0..WARM);
    server.await_metric(RUNNING, 0.0);
    #[cfg(target_os = "linux")]
    let before = server.resident_bytes();
    run(WARM..MUTANTS);
    server.await_metric(RUNNING, 0.0);
    let [none, _, good, _, refused, _] = counts.map(AtomicUsize::into_inner);
    assert_eq!(none + good + refused, MUTANTS as usize);
    assert!(good > 300 && refused > 3000, "{good} were still sound, {refused} refused, {none} without an answer");
    assert_eq!(server.metric("parsimon_sequences_total{outcome=\"failed\"}"), 0.0);
    #[cfg(target_os = "linux")]
    {
        let after = server.resident_bytes();
        assert!(after <= before + GROWTH_BYTES, "memory grew from {before} to {after} bytes");
    }
    for request in &sound {
        assert_eq!(send(&server.address, request), Some(200));
    }
}
