//! Routes, and what stands before them: the key, the drain, the count.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use parsimon::model::{
    ChatError, ChatMessage, ChatTemplate, JsonVocabulary, ModelConfig, RenderOptions, TextStream, TokenBytes, Tokenizer,
};

use super::engine_thread::EngineHandle;
use super::errors::ApiError;
use super::metrics::Metrics;
use super::schema::{ModelCard, Prompt};
use super::{chat, completions, embeddings, models, openapi};

/// The served model, without its weights.
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    pub(crate) tokens: Arc<TokenBytes>,
    pub(crate) stop_tokens: Vec<u32>,
    pub(crate) context: usize,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    json: OnceLock<Option<Arc<JsonVocabulary>>>,
}

/// What a model folder holds besides the weights.
pub(crate) struct Folder {
    pub(crate) name: String,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    /// Tokens that end an answer, besides those of the configuration.
    pub(crate) stop_tokens: Vec<u32>,
}

/// What every handler sees.
pub(crate) struct App {
    pub(crate) served: Arc<Served>,
    pub(crate) engine: EngineHandle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) body_limit: usize,
    key: Option<String>,
    created: u64,
    draining: AtomicBool,
    answers: AtomicU64,
    /// Makes the ids of answers differ between runs.
    run: u64,
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

impl Served {
    /// The model of `config`; `stop_tokens` end an answer besides those of the configuration.
    pub(crate) fn new(folder: Folder, config: &ModelConfig, context: usize) -> Self {
        let Folder { name, tokenizer, template, stop_tokens } = folder;
        let tokens = Arc::new(tokenizer.token_bytes());
        Served {
            name,
            tokenizer,
            template,
            tokens,
            stop_tokens,
            context: context.min(config.max_position_embeddings),
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            json: OnceLock::new(),
        }
    }

    pub(crate) fn check_name(&self, asked: Option<&str>) -> Result<(), ApiError> {
        match asked {
            Some(asked) if asked != self.name => Err(ApiError::unknown_model(asked, &self.name)),
            _ => Ok(()),
        }
    }

    /// The vocabulary for JSON, made when it is first needed.
    pub(crate) fn json_vocabulary(&self) -> Option<Arc<JsonVocabulary>> {
        let make = || JsonVocabulary::new(Arc::clone(&self.tokens)).map(Arc::new);
        self.json.get_or_init(make).clone()
    }

    /// The text of tokens.
    pub(crate) fn text(&self, tokens: &[u32]) -> String {
        let mut stream = TextStream::default();
        let mut text: String = tokens.iter().map(|&token| stream.push(self.tokens.get(token))).collect();
        text.push_str(&stream.finish());
        text
    }

    /// The tokens of up to `limit` texts. Tokenizing long texts would hold up other requests, so it has a thread of its own.
    pub(crate) async fn encode(
        self: &Arc<Self>,
        prompt: Prompt,
        param: &'static str,
        limit: usize,
    ) -> Result<Vec<Vec<u32>>, ApiError> {
        let texts = match prompt {
            Prompt::Tokens(tokens) if !tokens.is_empty() => return Ok(vec![tokens]),
            Prompt::TokenLists(lists) => return at_least_one(param, lists, limit),
            Prompt::Text(text) => vec![text],
            Prompt::Texts(texts) => texts,
            Prompt::Tokens(_) => Vec::new(),
        };
        let texts = at_least_one(param, texts, limit)?;
        let served = Arc::clone(self);
        let encode =
            move || texts.iter().map(|text| served.tokenizer.encode(text, true)).collect::<Result<Vec<_>, _>>();
        let tokens = tokio::task::spawn_blocking(encode).await.map_err(|e| ApiError::internal(e.to_string()))?;
        tokens.map_err(|e| ApiError::param(param, e.to_string()))
    }

    /// The prompt of a conversation.
    pub(crate) async fn prompt(self: &Arc<Self>, messages: Vec<ChatMessage>) -> Result<Vec<u32>, ApiError> {
        let served = Arc::clone(self);
        let options = RenderOptions { add_generation_prompt: true, now_s: now_s() };
        let encode = move || served.template.encode(&served.tokenizer, &messages, &options);
        let prompt = tokio::task::spawn_blocking(encode).await.map_err(|e| ApiError::internal(e.to_string()))?;
        prompt.map_err(|e| match e {
            ChatError::Template { reason, .. } => {
                ApiError::param("messages", format!("the chat template fails: {reason}"))
            }
            other => ApiError::param("messages", other.to_string()),
        })
    }
}

fn at_least_one<T>(param: &str, list: Vec<T>, limit: usize) -> Result<Vec<T>, ApiError> {
    match list.len() {
        0 => Err(ApiError::param(param, format!("`{param}` is empty"))),
        n if n > limit => Err(ApiError::param(param, format!("`{param}` has {n} entries, allowed are {limit}"))),
        _ => Ok(list),
    }
}

impl App {
    pub(crate) fn new(
        served: Arc<Served>,
        engine: EngineHandle,
        metrics: Arc<Metrics>,
        key: Option<String>,
        body_limit: usize,
    ) -> Self {
        let (draining, answers) = (AtomicBool::new(false), AtomicU64::new(0));
        let run = RandomState::new().hash_one(0);
        App { served, engine, metrics, body_limit, key, created: now_s(), draining, answers, run }
    }

    /// Takes no more requests; those that run go on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn card(&self) -> ModelCard {
        let (id, context_length) = (self.served.name.clone(), self.served.context);
        ModelCard { id, object: "model", created: self.created, owned_by: "parsimon", context_length }
    }

    /// Id, time and model of a new answer.
    pub(crate) fn head(&self, prefix: &str) -> (String, u64, String) {
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        (format!("{prefix}-{:016x}{number:08x}", self.run), now_s(), self.served.name.clone())
    }

    pub(crate) fn needs_key(&self) -> bool {
        self.key.is_some()
    }

    /// Whether the request carries the key. The time that the comparison takes tells nothing about the key but its length.
    fn is_authorized(&self, request: &Request) -> bool {
        let Some(key) = &self.key else { return true };
        let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let Some(given) = given.and_then(|value| value.strip_prefix(b"Bearer ")) else { return false };
        let differences = given.iter().zip(key.as_bytes()).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
        differences == 0 && given.len() == key.len()
    }
}

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/health", get(models::health))
        .route("/metrics", get(models::metrics))
        .route("/openapi.json", get(openapi::openapi))
        .route("/", get(models::page))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .layer(from_fn_with_state(Arc::clone(&app), gate))
        .with_state(app)
}

async fn unknown(request: Request) -> ApiError {
    ApiError::unknown_url(request.uri().path())
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError::method(request.method().as_str(), request.uri().path())
}

/// The route of a path as a label: a fixed set, whatever clients ask for.
fn route(path: &str) -> &'static str {
    const ROUTES: [&str; 8] = [
        "/v1/models",
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/health",
        "/metrics",
        "/openapi.json",
        "/",
    ];
    match ROUTES.iter().find(|route| **route == path) {
        Some(route) => route,
        None if path.starts_with("/v1/models/") => "/v1/models/{id}",
        None => "other",
    }
}

/// Checks the key, refuses work while the server stops, and counts the answer.
async fn gate(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = route(request.uri().path());
    let is_open = matches!(route, "/" | "/health" | "/openapi.json");
    let response = if !is_open && !app.is_authorized(&request) {
        ApiError::unauthorized().into_response()
    } else if app.is_draining() && request.method() == Method::POST {
        ApiError::unavailable("the server is stopping").into_response()
    } else {
        next.run(request).await
    };
    app.metrics.request(route, response.status().as_u16());
    response
}
