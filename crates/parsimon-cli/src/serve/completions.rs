//! `POST /v1/completions`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;

use super::app::App;
use super::body::{fields, json, read_json};
use super::errors::{ApiError, ErrorBody};
use super::generation::{Generation, Piece};
use super::sampling::{LOGPROBS_MAX, Plan, at_most};
use super::schema::{Answer, CompletionChoice, CompletionRequest, SamplingParams, Usage};
use super::sse::{self, EventWriter, Gone};

/// The most prompts of one request.
const PROMPTS_MAX: usize = 128;
const MAX_TOKENS: usize = 16;

/// What all events and the answer have in common.
struct Head {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
    /// The texts that the choices begin with.
    echo: Vec<String>,
}

/// Continues texts.
#[utoipa::path(post, path = "/v1/completions", request_body = CompletionRequest, responses(
    (status = 200, description = "The continuations, or their events", body = Answer<CompletionChoice>),
    (status = "4XX", description = "The request is wrong or the queue is full", body = ErrorBody)))]
pub(crate) async fn complete(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let value = read_json(body, app.body_limit).await?;
    // Alone first: an error in flattened fields does not name the field.
    fields::<SamplingParams>(&value)?;
    let request: CompletionRequest = fields(&value)?;
    let mut plan = Plan::try_new(&request.sampling, &app.served)?;
    check(&request, &plan)?;
    plan.max_tokens = Some(plan.max_tokens.unwrap_or(MAX_TOKENS));
    let echo = request.echo == Some(true);
    let logprobs = request.logprobs;
    let prompts = app.served.encode(request.prompt, "prompt", PROMPTS_MAX).await?;
    let mut requests = Vec::new();
    let mut begins = Vec::new();
    for prompt in &prompts {
        for _ in 0..plan.n {
            let mut request = plan.request(prompt, "prompt", requests.len(), &app.served)?;
            request.logprobs = logprobs;
            requests.push(request);
            begins.push(if echo { app.served.text(prompt) } else { String::new() });
        }
    }
    let generation = Generation::start(&app, requests, prompts.len(), &plan.stops)?;
    let (id, created, model) = app.head("cmpl");
    let head = Head { id, created, model, include_usage: plan.include_usage, echo: begins };
    if plan.stream {
        let (writer, response) = sse::channel();
        tokio::spawn(stream(head, generation, writer));
        return Ok(response);
    }
    Ok(json(&collect(&head, generation).await?))
}

fn check(request: &CompletionRequest, plan: &Plan) -> Result<(), ApiError> {
    if request.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return Err(ApiError::unsupported("suffix", "`suffix` is not supported"));
    }
    if request.best_of.is_some_and(|best_of| best_of > plan.n) {
        return Err(ApiError::unsupported("best_of", "`best_of` above `n` is not supported"));
    }
    at_most("logprobs", request.logprobs.unwrap_or(0), LOGPROBS_MAX)?;
    if request.echo == Some(true) && request.logprobs.is_some() {
        return Err(ApiError::unsupported("echo", "`echo` together with `logprobs` is not supported"));
    }
    Ok(())
}

impl Head {
    fn answer(&self, choices: Vec<CompletionChoice>, usage: Option<Option<Usage>>) -> Answer<CompletionChoice> {
        let (id, model) = (self.id.clone(), self.model.clone());
        Answer { id, object: "text_completion", created: self.created, model, choices, usage }
    }

    /// An empty choice for every text.
    fn choices(&self) -> Vec<CompletionChoice> {
        let choice = |(index, text): (usize, &String)| CompletionChoice {
            index,
            text: text.clone(),
            logprobs: None,
            finish_reason: None,
        };
        self.echo.iter().enumerate().map(choice).collect()
    }
}

impl CompletionChoice {
    fn add(&mut self, piece: Piece, offset: usize) {
        if let Some(logprob) = piece.logprob {
            let logprobs = self.logprobs.get_or_insert_default();
            logprobs.tokens.push(logprob.token.token);
            logprobs.token_logprobs.push(logprob.token.logprob);
            let top = logprob.top_logprobs.into_iter().map(|likely| (likely.token, likely.logprob));
            logprobs.top_logprobs.push(top.collect());
            logprobs.text_offset.push(offset);
        }
        self.text.push_str(&piece.text);
        self.finish_reason = self.finish_reason.or(piece.finish_reason);
    }
}

async fn collect(head: &Head, mut generation: Generation) -> Result<Answer<CompletionChoice>, ApiError> {
    let mut choices = head.choices();
    while let Some(piece) = generation.next().await? {
        let choice = &mut choices[piece.index];
        let offset = choice.text.chars().count();
        choice.add(piece, offset);
    }
    Ok(head.answer(choices, Some(Some(generation.usage()))))
}

async fn stream(head: Head, generation: Generation, writer: EventWriter) {
    tokio::select! {
        // Dropping the generation cancels its sequences.
        _ = writer.gone() => {}
        _ = write(&head, generation, &writer) => {}
    }
}

async fn write(head: &Head, mut generation: Generation, writer: &EventWriter) -> Result<(), Gone> {
    let mut offsets = vec![0; head.echo.len()];
    let usage = head.include_usage.then_some(None);
    for choice in head.choices().into_iter().filter(|choice| !choice.text.is_empty()) {
        writer.send(&head.answer(vec![choice], usage)).await?;
    }
    loop {
        let piece = match generation.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) => return writer.send(&error.body()).await,
        };
        if piece.text.is_empty() && piece.logprob.is_none() && piece.finish_reason.is_none() {
            continue;
        }
        let (index, offset) = (piece.index, offsets[piece.index]);
        offsets[index] += piece.text.chars().count();
        let mut choice = CompletionChoice { index, text: String::new(), logprobs: None, finish_reason: None };
        choice.add(piece, offset);
        writer.send(&head.answer(vec![choice], usage)).await?;
    }
    if head.include_usage {
        writer.send(&head.answer(Vec::new(), Some(Some(generation.usage())))).await?;
    }
    writer.done().await
}
