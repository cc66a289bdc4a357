//! `parsimon serve`: an OpenAI-compatible server.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use parsimon::model::{Engine, EngineOptions, NGramOptions};
use serde::Serialize;

use crate::commands::model::{CacheDtype, ModelArgs};
use crate::context::Context;
use crate::failure::BadInput;
use crate::serve::{App, EngineHandle, Limits, Metrics, Served, serve};

/// Holds the API key when `--api-key-file` is not given.
const KEY_VARIABLE: &str = "PARSIMON_API_KEY";
const KEY_BYTES_MAX: u64 = 4096;
/// The context that is served unless asked for otherwise: more needs memory for keys and values.
const CONTEXT: usize = 8192;
/// How many requests are tokenized at once; more wait, so that long prompts leave processors to the model.
const TOKENIZING_THREADS: usize = 2;

/// Serve a model to OpenAI clients: completions, chats, embeddings, and a page to chat with.
#[derive(Args)]
#[command(after_help = "Examples:
  parsimon serve --model q4
  parsimon serve --model q4 --port 0 --json            prints the address as JSON
  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
       -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'

Ctrl-C or SIGTERM lets running requests finish and refuses new ones; a second one stops at once.")]
pub(crate) struct Serve {
    #[command(flatten)]
    model: ModelArgs,
    /// The address to listen on; others than this machine reach the server only with another than the default.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    host: IpAddr,
    /// The port; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The name that clients ask for; the default is the folder's.
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// A file with the key that clients must send; the variable PARSIMON_API_KEY does the same.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// The most sequences that run at once.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = positive)]
    max_sequences: usize,
    /// The most sequences that wait; more get status 429.
    #[arg(long, default_value_t = 64, value_name = "N")]
    max_queue: usize,
    /// The most tokens of a prompt and its answer together [default: the model's own, at most 8192].
    #[arg(long, value_name = "TOKENS", value_parser = positive)]
    context: Option<usize>,
    /// Positions of the cache of keys and values over all sequences [default: four full contexts].
    #[arg(long, value_name = "TOKENS", value_parser = positive)]
    cache_positions: Option<usize>,
    /// How keys and values are kept.
    #[arg(long, value_enum, default_value = "f32")]
    cache_dtype: CacheDtype,
    /// Draft tokens from the text so far and check several in one step: the same text, faster where it repeats itself.
    #[arg(long)]
    speculative: bool,
    /// The largest body of a request in bytes.
    #[arg(long, default_value_t = 4 << 20, value_name = "BYTES", value_parser = positive)]
    max_body: usize,
    /// The most connections at once.
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = positive)]
    max_connections: usize,
    /// Seconds that the head of a request may take, and that a connection may be idle.
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    header_timeout: u64,
    /// Seconds that running requests have after the signal to stop.
    #[arg(long, default_value_t = 60, value_name = "S")]
    drain_timeout: u64,
}

#[derive(Serialize)]
struct Listening {
    address: SocketAddr,
    url: String,
    model: String,
    context: usize,
    api_key: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| format!("`{text}` is no whole number of at least 1"))
}

impl Serve {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let key = api_key(self.api_key_file.as_deref())?;
        let folder = self.model.chat_folder(self.model_name.clone())?;
        // Before the model is read, which may take long: a port that is taken is told at once.
        let address = SocketAddr::new(self.host, self.port);
        let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let config = self.model.config()?;
        let context = self.context.unwrap_or(CONTEXT).min(config.context_length());
        let options = self.engine_options(context)?;
        let model = self.model.open_for(&options)?;
        let served = Arc::new(Served::new(folder, &config, context));
        let metrics = Arc::new(Metrics::default());
        let capacity = self.max_queue.saturating_add(self.max_sequences).min(tokio::sync::Semaphore::MAX_PERMITS);
        let engine = Engine::try_new(Arc::new(model), options)?;
        let engine = EngineHandle::start(engine, capacity, Arc::clone(&metrics))?;
        let app = Arc::new(App::new(served, engine, metrics, key, self.max_body));
        let limits = Limits {
            connections: self.max_connections.min(tokio::sync::Semaphore::MAX_PERMITS),
            header_timeout: Duration::from_secs(self.header_timeout),
            drain: Duration::from_secs(self.drain_timeout),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(TOKENIZING_THREADS)
            .enable_all()
            .build()?;
        self.announce(&app, listener.local_addr()?, cx)?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            serve(listener, app, limits, cx.cancel().clone()).await;
            anyhow::Ok(())
        })?;
        // What still tokenizes or writes need not be waited for.
        runtime.shutdown_background();
        Ok(())
    }

    fn engine_options(&self, context: usize) -> Result<EngineOptions, BadInput> {
        let positions = self.cache_positions.unwrap_or_else(|| context.saturating_mul(self.max_sequences.min(4)));
        if positions < context {
            let message = format!("--cache-positions {positions} is less than the context of {context} tokens");
            return Err(BadInput::new(message));
        }
        Ok(EngineOptions {
            max_sequences: self.max_sequences,
            cache_positions: positions,
            cache_dtype: self.cache_dtype.into(),
            speculative: self.speculative.then(NGramOptions::default),
            ..EngineOptions::default()
        })
    }

    fn announce(&self, app: &App, address: SocketAddr, cx: &Context) -> anyhow::Result<()> {
        let api_key = app.needs_key();
        if !self.host.is_loopback() && !api_key {
            eprintln!("warning: {address} can be reached from elsewhere, and no API key is set");
        }
        let (model, context) = (app.served.name.clone(), app.served.context);
        let listening = Listening { address, url: format!("http://{address}"), model, context, api_key };
        cx.report(&listening, |l| format!("{} at {} (context {} tokens)", l.model, l.url, l.context))
    }
}

/// The key of the file, or of the variable.
fn api_key(file: Option<&Path>) -> Result<Option<String>, BadInput> {
    let text = match file {
        None => match std::env::var(KEY_VARIABLE) {
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(e) => return Err(BadInput::new(format!("{KEY_VARIABLE}: {e}"))),
            Ok(text) => text,
        },
        Some(path) => read_key(path).map_err(|message| BadInput { file: Some(path.to_owned()), message })?,
    };
    let key = text.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "the API key is empty or has other than printable ASCII characters".to_owned();
        return Err(BadInput { file: file.map(Path::to_owned), message });
    }
    Ok(Some(key.to_owned()))
}

fn read_key(path: &Path) -> Result<String, String> {
    let cannot = |e: std::io::Error| format!("{}: cannot read the API key: {e}", path.display());
    let bytes = std::fs::metadata(path).map_err(cannot)?.len();
    if bytes > KEY_BYTES_MAX {
        return Err(format!("{}: {bytes} bytes are no API key, the limit is {KEY_BYTES_MAX}", path.display()));
    }
    std::fs::read_to_string(path).map_err(cannot)
}
