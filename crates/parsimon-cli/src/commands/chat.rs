//! `parsimon chat`: a conversation in the terminal.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use parsimon::model::{ChatMessage, Engine, EngineOptions, Event, RenderOptions, Request, SamplingOptions, TextStream};
use parsimon::tensor::CancelFlag;
use parsimon::tensor::io::write_json;
use serde::Serialize;

use crate::commands::model::{CacheDtype, ModelArgs};
use crate::context::Context;
use crate::failure::BadInput;
use crate::serve::{Served, now_s};

/// Talk with a model; it remembers the conversation.
#[derive(Args)]
#[command(after_help = "Example: parsimon chat --model q4 --system 'Answer briefly.' --temp 0.7

A line is a message; one that ends with \\ goes on in the next line. Ctrl-C stops a reply.
  /reset       forgets the conversation
  /save FILE   writes it as JSON
  /quit        ends, as does the end of the input")]
pub(crate) struct Chat {
    #[command(flatten)]
    model: ModelArgs,
    /// A first message that says how to answer.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The most tokens of a reply.
    #[arg(short = 'n', default_value_t = 512)]
    n: usize,
    /// Temperature; 0 always takes the most likely token.
    #[arg(long, default_value_t = 0.7)]
    temp: f32,
    /// Sample from the smallest set of tokens with this probability.
    #[arg(long, default_value_t = 0.95)]
    top_p: f32,
    /// Seed of the sampling.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The most tokens of the conversation [default: the model's own, at most 8192].
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    context: usize,
    /// How keys and values are kept.
    #[arg(long, value_enum, default_value = "f32")]
    cache_dtype: CacheDtype,
}

/// The conversation, and how fast it went.
#[derive(Serialize)]
struct Transcript {
    messages: Vec<ChatMessage>,
    replies: Vec<Speed>,
}

#[derive(Clone, Copy, Serialize)]
struct Speed {
    prompt_tokens: usize,
    tokens: usize,
    first_token_ms: Option<f64>,
    /// Tokens after the first, over the time since the first.
    tokens_per_s: Option<f64>,
}

struct Session<'a> {
    cx: &'a Context,
    engine: Engine,
    served: Served,
    sampling: SamplingOptions,
    max_tokens: usize,
    system: Option<String>,
    transcript: Transcript,
}

/// What a line of the input asks for.
enum Line {
    Say(String),
    Reset,
    Save(String),
    Quit,
    Unknown(String),
}

impl Line {
    fn parse(line: String) -> Line {
        let command = line.trim();
        match command.split_once(char::is_whitespace).unwrap_or((command, "")) {
            ("/reset", "") => Line::Reset,
            ("/quit" | "/exit", "") => Line::Quit,
            ("/save", file) if !file.trim().is_empty() => Line::Save(file.trim().to_owned()),
            (word, _) if word.starts_with('/') => Line::Unknown(command.to_owned()),
            _ => Line::Say(line),
        }
    }
}

impl Chat {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let sampling = SamplingOptions {
            temperature: self.temp,
            top_p: self.top_p,
            seed: self.seed,
            ..SamplingOptions::default()
        };
        sampling.validate()?;
        let folder = self.model.chat_folder(None)?;
        let model = self.model.open()?;
        let context = self.context.clamp(1, model.config().max_position_embeddings);
        let served = Served::new(folder, model.config(), context);
        let options = EngineOptions {
            max_sequences: 1,
            cache_positions: context,
            cache_dtype: self.cache_dtype.into(),
            ..EngineOptions::default()
        };
        let engine = Engine::try_new(Arc::new(model), options)?;
        let transcript = Transcript { messages: Vec::new(), replies: Vec::new() };
        let mut session = Session { cx, engine, served, sampling, max_tokens: self.n, system: self.system, transcript };
        session.reset();
        session.run()
    }
}

impl Session<'_> {
    fn reset(&mut self) {
        let system = self.system.iter().map(|text| ChatMessage::new("system", text));
        self.transcript.messages = system.collect();
    }

    fn run(mut self) -> anyhow::Result<()> {
        let interactive = std::io::stdin().is_terminal();
        if interactive {
            eprintln!("{} (/reset, /save FILE, /quit; Ctrl-C stops a reply)", self.served.name);
        }
        while let Some(line) = read_line(interactive)? {
            match Line::parse(line) {
                Line::Quit => break,
                Line::Reset => self.reset(),
                Line::Save(file) => match write_json(Path::new(&file), &self.transcript.messages) {
                    Ok(()) => eprintln!("saved {file}"),
                    Err(e) => eprintln!("{e}"),
                },
                Line::Unknown(command) => eprintln!("there is no `{command}`: /reset, /save FILE, /quit"),
                Line::Say(text) if text.trim().is_empty() => {}
                Line::Say(text) => self.say(text)?,
            }
        }
        if self.cx.is_json() { self.cx.report(&self.transcript, |_| String::new()) } else { Ok(()) }
    }

    /// One message and its reply. A conversation that the context has no room for is told, and the message taken back.
    fn say(&mut self, text: String) -> anyhow::Result<()> {
        self.transcript.messages.push(ChatMessage::new("user", text));
        let options = RenderOptions { add_generation_prompt: true, now_s: now_s() };
        let prompt = self.served.template.encode(&self.served.tokenizer, &self.transcript.messages, &options)?;
        let Some(room) = self.served.context.checked_sub(prompt.len()).filter(|&room| room > 0) else {
            let (tokens, context) = (prompt.len(), self.served.context);
            eprintln!("the conversation has {tokens} tokens, the context {context}: /reset begins a new one");
            self.transcript.messages.pop();
            return Ok(());
        };
        let request = Request {
            sampling: self.sampling.clone(),
            stop_tokens: self.served.stop_tokens.clone(),
            ..Request::new(prompt, self.max_tokens.min(room))
        };
        // The same words again get another reply.
        self.sampling.seed = self.sampling.seed.wrapping_add(1);
        let cx = self.cx;
        let (reply, speed) = cx.interruptible(|cancel| self.reply(request, cancel))?;
        let first = speed.first_token_ms.map_or_else(String::new, |ms| format!(", first after {ms:.0} ms"));
        let rate = speed.tokens_per_s.map_or_else(String::new, |rate| format!(", {rate:.1} tokens/s"));
        eprintln!("[{} + {} tokens{first}{rate}]", speed.prompt_tokens, speed.tokens);
        self.transcript.messages.push(ChatMessage::new("assistant", reply));
        self.transcript.replies.push(speed);
        Ok(())
    }

    /// Runs the request and prints its text as it comes.
    fn reply(&mut self, request: Request, cancel: &CancelFlag) -> anyhow::Result<(String, Speed)> {
        // Without a template the model may go on with the other side's part.
        let stops = if self.served.template.is_plain() { vec!["\nuser:".to_owned()] } else { Vec::new() };
        let mut stream = TextStream::new(stops);
        let prompt_tokens = request.prompt.len();
        let (start, mut times) = (Instant::now(), Vec::new());
        let id = self.engine.submit(request)?;
        let (mut text, mut events, mut running) = (String::new(), Vec::new(), true);
        while running {
            self.engine.step(&mut events)?;
            for event in events.drain(..) {
                match event {
                    Event::Token { token, .. } => {
                        times.push(start.elapsed().as_secs_f64());
                        let piece = stream.push(self.served.tokens.get(token.id));
                        self.print(&piece)?;
                        text.push_str(&piece);
                    }
                    Event::Finished { .. } => running = false,
                    Event::Failed { error, .. } => return Err(error.into()),
                }
            }
            if cancel.is_cancelled() || stream.stopped() {
                self.engine.cancel(id);
            }
        }
        let rest = stream.finish();
        self.print(&rest)?;
        self.print("\n")?;
        text.push_str(&rest);
        let tokens_per_s = match times.as_slice() {
            [first, .., last] if last > first => Some((times.len() - 1) as f64 / (last - first)),
            _ => None,
        };
        let first_token_ms = times.first().map(|first| first * 1e3);
        Ok((text, Speed { prompt_tokens, tokens: times.len(), first_token_ms, tokens_per_s }))
    }

    fn print(&self, text: &str) -> std::io::Result<()> {
        if self.cx.is_json() || text.is_empty() {
            return Ok(());
        }
        let mut out = std::io::stdout();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// The longest message.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The next message: a line, and what follows it while lines end with a backslash.
fn read_line(interactive: bool) -> anyhow::Result<Option<String>> {
    let mut message = String::new();
    loop {
        if interactive {
            eprint!("{}", if message.is_empty() { "> " } else { ". " });
        }
        let mut line = Vec::new();
        let mut limited = std::io::Read::take(std::io::stdin().lock(), LINE_BYTES_MAX as u64);
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok((!message.is_empty()).then_some(message));
        }
        let line = String::from_utf8(line).map_err(|_| BadInput::new("a line of the input is not UTF-8"))?;
        let line = line.trim_end_matches(['\n', '\r']);
        if message.len() + line.len() > LINE_BYTES_MAX {
            return Err(BadInput::new(format!("a message is longer than {LINE_BYTES_MAX} bytes")).into());
        }
        match line.strip_suffix('\\') {
            Some(begun) => {
                message.push_str(begun);
                message.push('\n');
            }
            None => {
                message.push_str(line);
                return Ok(Some(message));
            }
        }
    }
}
