//! Many clients at once, the official client, and a browser.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{self, events};
use super::{PATIENCE, Server, say};

const CHAT: &str = "/v1/chat/completions";
/// Names a Python that has the `openai` package.
const PYTHON: &str = "PARSIMON_OPENAI_PYTHON";

/// 32 clients, streaming and not, get what they would get alone.
#[test]
fn many_clients_do_not_disturb_each_other() {
    let server = Server::start(&["--max-sequences", "8"]);
    let body =
        |seed: u64| say(&format!("Hi {}", seed % 5), json!({"max_tokens": 40, "seed": seed, "ignore_eos": true}));
    let text = |answer: &Value| answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let alone: Vec<String> = (0..32).map(|seed| text(&server.ok(CHAT, &body(seed)))).collect();
    let together: Vec<String> = std::thread::scope(|scope| {
        let ask = |seed: u64| {
            let server = &server;
            scope.spawn(move || {
                let mut body = body(seed);
                if seed.is_multiple_of(2) {
                    return text(&server.ok(CHAT, &body));
                }
                body["stream"] = json!(true);
                let events = events(&server.post(CHAT, &body));
                events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
            })
        };
        let clients: Vec<_> = (0..32).map(ask).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
    server.await_metric("parsimon_sequences_total{outcome=\"length\"}", 64.0);
    server.await_metric("parsimon_sequences_running", 0.0);
}

#[test]
fn the_official_client_works() {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let has_client = Command::new(&python).args(["-c", "import openai"]).stderr(Stdio::null()).status();
    if !has_client.is_ok_and(|status| status.success()) {
        eprintln!("parsimon-cli: skipped, `{python}` has no package `openai` (set {PYTHON} to a Python that has it)");
        return;
    }
    let server = Server::start_with(&["--max-sequences", "4"], &[("PARSIMON_API_KEY", "sk-test")]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openai_client.py");
    let url = format!("http://{}/v1", server.address);
    let output = Command::new(&python).arg(script).args([&url, "sk-test"]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.ends_with("ok\n"), "{stdout}{stderr}");
}

/// A browser with its debugging port, ended when it is dropped.
struct Browser {
    child: std::process::Child,
    profile: tempfile::TempDir,
}

impl Browser {
    /// `None` where there is no Chromium.
    fn open(url: &str) -> Option<Browser> {
        let profile = tempfile::tempdir().unwrap();
        let data = format!("--user-data-dir={}", profile.path().display());
        let args = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"];
        let mut command = Command::new("chromium");
        command.args(args).args([&data, url]).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().ok()?;
        Some(Browser { child, profile })
    }

    /// The address of the debugging port, and the path of the page's socket.
    fn page(&self) -> (String, String) {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "the browser opens no page");
            std::thread::sleep(Duration::from_millis(100));
            let Ok(port) = std::fs::read_to_string(self.profile.path().join("DevToolsActivePort")) else { continue };
            let Some(port) = port.lines().next() else { continue };
            let address = format!("127.0.0.1:{port}");
            let pages = http::request(&address, "GET", "/json/list", &[], b"").json();
            let pages = pages.as_array().cloned().unwrap_or_default();
            let page = pages.iter().find(|page| page["type"] == "page" && page["url"] != "about:blank");
            if let Some(url) = page.and_then(|page| page["webSocketDebuggerUrl"].as_str()) {
                return (address, url[url.find("/devtools").unwrap()..].to_owned());
            }
        }
    }

    /// What a script in the page gives.
    fn evaluate(&self, script: &str) -> Value {
        let (address, path) = self.page();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13";
        let key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
        socket
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n{key}\r\n\r\n").as_bytes())
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let call =
            json!({"id": 1, "method": "Runtime.evaluate", "params": {"expression": script, "returnByValue": true}});
        socket.write_all(&text_frame(call.to_string().as_bytes())).unwrap();
        let answer: Value = serde_json::from_slice(&read_frame(&mut socket)).unwrap();
        answer["result"]["result"]["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A WebSocket frame of a client: text, whole, masked with zeros.
fn text_frame(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&[0x81, 0x80 | 126][..], &length.to_be_bytes(), &[0; 4], text].concat()
}

fn read_frame(socket: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    socket.read_exact(&mut head).unwrap();
    let extra = match head[1] {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mut length = [0; 8];
    socket.read_exact(&mut length[8 - extra..]).unwrap();
    let length = if extra == 0 { u64::from(head[1]) } else { u64::from_be_bytes(length) };
    let mut data = vec![0; length as usize];
    socket.read_exact(&mut data).unwrap();
    data
}

#[test]
fn the_page_talks_with_the_model() {
    let server = Server::start(&[]);
    let Some(browser) = Browser::open(&format!("http://{}/?prompt=hello", server.address)) else {
        eprintln!("parsimon-cli: skipped, there is no `chromium` to open the chat page with");
        return;
    };
    let start = Instant::now();
    while browser.evaluate("document.body.dataset.state") != "done" {
        assert!(start.elapsed() < PATIENCE, "the page got no reply");
        std::thread::sleep(Duration::from_millis(100));
    }
    let texts =
        browser.evaluate("[...document.querySelectorAll('#log > *')].map(e => e.className + ': ' + e.textContent)");
    let texts: Vec<&str> = texts.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(texts[0], "message user: hello");
    assert!(texts[1].len() > "message assistant: ".len(), "{texts:?}");
    assert!(texts[2].starts_with("speed: ") && texts[2].contains("tokens, first after"), "{texts:?}");
    assert_eq!(server.metric("parsimon_requests_total{route=\"/v1/chat/completions\",status=\"200\"}"), 1.0);
    assert_eq!(browser.evaluate("document.querySelector('#model').textContent"), "tiny");
    // A message that the form sends, and its place in the conversation.
    browser.evaluate("document.querySelector('#tokens').value = 5; document.querySelector('#text').value = 'more'; document.querySelector('#form').requestSubmit()");
    while browser.evaluate("document.body.dataset.state === 'done' && messages.length === 4") != true {
        assert!(start.elapsed() < 2 * PATIENCE, "the page got no second reply");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(browser.evaluate("messages.map(m => m.role).join()"), "user,assistant,user,assistant");
}
