//! `parsimon serve` over raw sockets, with a random model of 272 tokens that is made here.

mod api;
mod chat;
mod clients;
mod http;
mod limits;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use http::Response;

/// How long anything that should happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, ended when it is dropped.
struct Server {
    child: Child,
    /// Kept open, so that the server can write to it.
    _stdout: BufReader<ChildStdout>,
    address: String,
    _model: tempfile::TempDir,
}

impl Server {
    fn start(args: &[&str]) -> Server {
        Server::start_with(args, &[])
    }

    fn start_with(args: &[&str], env: &[(&str, &str)]) -> Server {
        let model = crate::made::model();
        let path = model.path().to_owned();
        Server::start_model(model, &path, args, env)
    }

    /// Serves the model at `path`, which is in `model`.
    fn start_model(model: tempfile::TempDir, path: &Path, args: &[&str], env: &[(&str, &str)]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parsimon"));
        command.args(["serve", "--port", "0", "--json", "--model-name", "tiny", "--model"]).arg(path).args(args);
        command.env_remove("PARSIMON_API_KEY").envs(env.iter().copied()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let address = listening["address"].as_str().unwrap().to_owned();
        Server { child, _stdout: stdout, address, _model: model }
    }

    fn get(&self, path: &str) -> Response {
        http::request(&self.address, "GET", path, &[], b"")
    }

    fn post(&self, path: &str, body: &Value) -> Response {
        http::request(&self.address, "POST", path, &[], body.to_string().as_bytes())
    }

    /// The answer's JSON, which must come with status 200.
    #[track_caller]
    fn ok(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body);
        assert_eq!(response.status, 200, "{body}: {}", response.text());
        response.json()
    }

    #[track_caller]
    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Waits until a metric is what it should be.
    #[track_caller]
    fn await_metric(&self, name: &str, expected: f64) {
        let start = Instant::now();
        while self.metric(name) != expected {
            assert!(start.elapsed() < PATIENCE, "{name} is {}, not {expected}", self.metric(name));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn await_exit(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Resident memory in bytes.
    #[cfg(target_os = "linux")]
    fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A conversation of one message.
fn say(text: &str, fields: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": text}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}
