//! A small HTTP client that shows every byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::PATIENCE;

pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Response {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// A response whose body is read as it comes.
pub(super) struct Stream {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
}

pub(super) fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let fixed = format!("Host: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n");
    format!("{method} {path} HTTP/1.1\r\n{fixed}{extra}\r\n")
}

/// Sends a request and reads the head of the answer.
pub(super) fn open(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Stream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = head(method, path, headers, body.len()).into_bytes();
    bytes.extend_from_slice(body);
    // A server that refuses the head may close before it has the body.
    let _ = socket.write_all(&bytes);
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("`{line}`")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Stream { status, headers, reader }
}

pub(super) fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut stream = open(address, method, path, headers, body);
    let length = stream.headers.iter().find(|(name, _)| name == "content-length");
    let mut body = Vec::new();
    if let Some((_, length)) = length {
        body.resize(length.parse().unwrap(), 0);
        stream.reader.read_exact(&mut body).unwrap();
    } else {
        while let Some(chunk) = stream.chunk() {
            body.extend(chunk);
        }
    }
    Response { status: stream.status, headers: stream.headers, body }
}

impl Stream {
    /// The next chunk; `None` after the last.
    pub(super) fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|e| panic!("{e}: `{line}`"));
        let mut chunk = vec![0; length + 2];
        self.reader.read_exact(&mut chunk).unwrap();
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }
}

/// The events of a streamed answer, which must end with `[DONE]`.
#[track_caller]
pub(super) fn events(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let text = response.text();
    let events = text.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("no end: {text}"));
    let parse = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    events.split_terminator("\n\n").map(parse).collect()
}
