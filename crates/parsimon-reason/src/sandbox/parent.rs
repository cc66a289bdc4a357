//! The parent's side: starts a helper, feeds it, keeps what it says within bounds, and ends it in time.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;

use super::stages::REFUSED;
use super::{IsolationReport, Order, SandboxConfig};
use crate::error::RunnerError;
use crate::policy::{CodeRunner, Job, RunOutcome, RunStatus};

/// What is kept of the end of a stream: the record stands there.
const TAIL: usize = 8 << 10;
const MARK: &str = "\u{1e}parsimon1 ";

/// Runs programs in isolated processes.
#[derive(Clone, Debug)]
pub struct Sandbox {
    config: SandboxConfig,
    python: PathBuf,
    prefix: PathBuf,
    report: IsolationReport,
}

/// The driver's last words.
#[derive(Deserialize)]
struct Record {
    status: String,
    #[serde(default)]
    observation: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    code: i64,
    #[serde(default)]
    denied: bool,
    #[serde(default)]
    cpu_ms: u64,
}

type Stream = Box<dyn Read + Send>;

/// What a program's streams and its time limit say.
enum Event {
    Bytes { is_out: bool, bytes: Vec<u8> },
    Closed,
    TimeIsUp,
}

/// Passes a stream on until it ends or nobody listens.
fn forward(mut stream: Stream, is_out: bool, sender: mpsc::Sender<Event>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            if sender.send(Event::Bytes { is_out, bytes: buffer[..n].to_vec() }).is_err() {
                return;
            }
        }
        let _ = sender.send(Event::Closed);
    })
}

/// The beginning and the end of a stream.
#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    total: usize,
}

impl Kept {
    fn push(&mut self, bytes: &[u8], head_max: usize) {
        self.total += bytes.len();
        let room = head_max.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend(&bytes[..room]);
        self.tail.extend(bytes);
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
    }
}

impl Sandbox {
    /// Resolves the interpreter and asks the kernel for its layers.
    ///
    /// # Errors
    ///
    /// [`RunnerError::Start`] when the interpreter or the helper does not start; [`RunnerError::SandboxUnavailable`] when the isolation that
    /// the configuration demands is not there.
    pub fn new(config: SandboxConfig) -> Result<Sandbox, RunnerError> {
        let sandbox = Sandbox::probe(config)?;
        match sandbox.report.missing() {
            Some(missing) if sandbox.config.isolation == super::Isolation::Required => {
                Err(RunnerError::SandboxUnavailable { missing })
            }
            _ => Ok(sandbox),
        }
    }

    /// What this kernel gives, whether it suffices or not.
    ///
    /// # Errors
    ///
    /// [`RunnerError::Start`].
    pub fn check(config: SandboxConfig) -> Result<IsolationReport, RunnerError> {
        Sandbox::probe(config).map(|sandbox| sandbox.report)
    }

    fn probe(config: SandboxConfig) -> Result<Sandbox, RunnerError> {
        let start = |what: String| RunnerError::Start { what };
        let asked = Command::new(&config.python)
            .args(["-I", "-c", "import os, sys; print(os.path.realpath(sys.executable)); print(sys.base_prefix)"])
            .output()
            .map_err(|error| start(format!("{}: {error}", config.python.display())))?;
        let text = String::from_utf8_lossy(&asked.stdout).into_owned();
        let mut lines = text.lines().map(PathBuf::from);
        let (Some(python), Some(prefix)) = (lines.next(), lines.next()) else {
            return Err(start(format!("{} did not say where it is", config.python.display())));
        };
        let mut sandbox = Sandbox { config, python, prefix, report: IsolationReport::default() };
        let scratch = tempfile::tempdir().map_err(|error| start(error.to_string()))?;
        let output =
            sandbox.helper(scratch.path(), true)?.wait_with_output().map_err(|error| start(error.to_string()))?;
        let report = serde_json::from_slice(&output.stdout);
        sandbox.report =
            report.map_err(|_| start(format!("the helper: {}", String::from_utf8_lossy(&output.stderr).trim())))?;
        Ok(sandbox)
    }

    /// The layers that jobs run behind.
    pub fn report(&self) -> &IsolationReport {
        &self.report
    }

    fn helper(&self, scratch: &Path, probe: bool) -> Result<Child, RunnerError> {
        let order = Order {
            stage: 1,
            probe,
            python: self.python.clone(),
            prefix: self.prefix.clone(),
            packages: self.config.packages.clone(),
            scratch: scratch.to_path_buf(),
            limits: self.config.limits,
            isolation: self.config.isolation,
            report: IsolationReport::default(),
            before: self.config.helper.1.clone(),
        };
        let text = serde_json::to_string(&order).expect("an order is plain data");
        let (helper, before) = &self.config.helper;
        Command::new(helper)
            .args(before)
            .arg(text)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_clear()
            .spawn()
            .map_err(|error| RunnerError::Start { what: format!("{}: {error}", helper.display()) })
    }

    fn watch(&self, mut child: Child, program: &str) -> Result<RunOutcome, RunnerError> {
        let limits = self.config.limits;
        let begin = self.config.clock.seconds();
        let (mut input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (sender, events) = mpsc::channel();
        let readers = [(out.map(|out| Box::new(out) as Stream), true), (err.map(|err| Box::new(err) as Stream), false)]
            .map(|(stream, is_out)| forward(stream.expect("both streams are pipes"), is_out, sender.clone()));
        let (running, ended_early) = mpsc::channel::<()>();
        let guard = std::thread::spawn(move || {
            // The other end is dropped when the program has ended.
            if ended_early.recv_timeout(Duration::from_millis(limits.wall_ms)) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = sender.send(Event::TimeIsUp);
            }
        });
        if let Some(input) = &mut input {
            // A program that ends without reading its input is not an error of ours.
            let _ = input.write_all(program.as_bytes());
        }
        drop(input);
        let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
        let (mut open, mut ended) = (2, None);
        while open > 0 && ended.is_none() {
            match events.recv() {
                Ok(Event::Bytes { is_out: true, bytes }) => stdout.push(&bytes, limits.output_bytes),
                Ok(Event::Bytes { is_out: false, bytes }) => stderr.push(&bytes, TAIL),
                Ok(Event::Closed) => open -= 1,
                Ok(Event::TimeIsUp) | Err(_) => ended = Some(RunStatus::Timeout),
            }
            if stdout.total > limits.output_bytes {
                ended = Some(RunStatus::OutputLimit);
            }
        }
        if ended.is_some() {
            // The helper's death takes process 1 of the namespace with it, and that everything else.
            let _ = child.kill();
        }
        drop((events, running));
        let code = child.wait().map_err(|error| RunnerError::Start { what: error.to_string() })?.code();
        for thread in readers.into_iter().chain([guard]) {
            let _ = thread.join();
        }
        let wall_ms = ((self.config.clock.seconds() - begin) * 1e3) as u64;
        self.outcome(ended, code, &stdout, &stderr, wall_ms)
    }

    fn outcome(
        &self,
        ended: Option<RunStatus>,
        code: Option<i32>,
        stdout: &Kept,
        stderr: &Kept,
        wall_ms: u64,
    ) -> Result<RunOutcome, RunnerError> {
        let said = String::from_utf8_lossy(&stdout.head).into_owned();
        let errors = String::from_utf8_lossy(&stderr.tail).into_owned();
        let base = |status: RunStatus, observation: String| RunOutcome {
            status,
            observation,
            stdout: said.clone(),
            denied: false,
            cpu_ms: 0,
            wall_ms,
        };
        match ended {
            Some(RunStatus::Timeout) => {
                let text = format!("TimeoutError: the program ran longer than {} ms", self.config.limits.wall_ms);
                return Ok(base(RunStatus::Timeout, text));
            }
            Some(status) => return Ok(base(status, "OutputError: the program printed too much".into())),
            None => {}
        }
        if code == Some(i32::from(REFUSED))
            && let Some((_, missing)) = errors.rsplit_once("missing: ")
        {
            return Err(RunnerError::SandboxUnavailable { missing: missing.trim().to_owned() });
        }
        let record = errors.rsplit_once(MARK).and_then(|(_, text)| serde_json::from_str::<Record>(text.trim()).ok());
        let Some(record) = record else {
            // Killed by the processor limit, by a fault, or gone without a word.
            let status = match code {
                Some(152 | 137) => RunStatus::CpuLimit,
                Some(code) if code > 128 => RunStatus::Crashed { how: format!("signal {}", code - 128) },
                Some(code) => RunStatus::Crashed { how: format!("status {code} without a record") },
                None => RunStatus::Crashed { how: "killed".into() },
            };
            return Ok(base(status, "RuntimeError: the program ended without a result".into()));
        };
        let status = match record.status.as_str() {
            "ok" => RunStatus::Ok,
            "exit" => RunStatus::Exit { code: record.code },
            "memory_limit" => RunStatus::MemoryLimit,
            _ => RunStatus::Exception { kind: record.kind, msg: record.msg },
        };
        Ok(RunOutcome { denied: record.denied, cpu_ms: record.cpu_ms, ..base(status, record.observation) })
    }
}

impl CodeRunner for Sandbox {
    fn run(&self, job: &Job<'_>) -> Result<RunOutcome, RunnerError> {
        let scratch = tempfile::tempdir().map_err(|error| RunnerError::Start { what: error.to_string() })?;
        let child = self.helper(scratch.path(), false)?;
        self.watch(child, job.program)
    }
}
