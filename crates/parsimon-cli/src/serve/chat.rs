//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use parsimon::model::{ChatMessage, JsonConstraint, JsonPrefix, TokenConstraint};

use super::app::{App, Served};
use super::body::{fields, json, read_json};
use super::errors::{ApiError, ErrorBody};
use super::generation::Generation;
use super::sampling::{LOGPROBS_MAX, Plan, at_most};
use super::schema::{
    Answer, ChatChoice, ChatLogprobs, ChatRequest, ChunkChoice, Content, Delta, Message, ReplyMessage, SamplingParams,
    Usage,
};
use super::sse::{self, EventWriter, Gone};

/// The most messages of a conversation.
const MESSAGES_MAX: usize = 4096;
const ASSISTANT: &str = "assistant";

struct Head {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
    n: usize,
}

/// Replies to a conversation.
#[utoipa::path(post, path = "/v1/chat/completions", request_body = ChatRequest, responses(
    (status = 200, description = "The replies, or their events", body = Answer<ChatChoice>),
    (status = "4XX", description = "The request is wrong or the queue is full", body = ErrorBody)))]
pub(crate) async fn chat(State(app): State<Arc<App>>, body: Body) -> Result<Response, ApiError> {
    let value = read_json(body, app.body_limit).await?;
    // Alone first: an error in flattened fields does not name the field.
    fields::<SamplingParams>(&value)?;
    let request: ChatRequest = fields(&value)?;
    let plan = Plan::try_new(&request.sampling, &app.served)?;
    let json_mode = json_mode(&request)?;
    if request.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
        return Err(ApiError::unsupported("tools", "tools are not supported"));
    }
    let logprobs = logprobs(&request)?;
    let prompt = app.served.prompt(messages(request.messages)?).await?;
    let mut requests = Vec::with_capacity(plan.n);
    for i in 0..plan.n {
        let mut request = plan.request(&prompt, "messages", i, &app.served)?;
        request.logprobs = logprobs;
        request.constraint = if json_mode { Some(constraint(&app.served)?) } else { None };
        requests.push(request);
    }
    let generation = Generation::start(&app, requests, 1, &plan.stops)?;
    let (id, created, model) = app.head("chatcmpl");
    let head = Head { id, created, model, include_usage: plan.include_usage, n: plan.n };
    if plan.stream {
        let (writer, response) = sse::channel();
        tokio::spawn(stream(head, generation, writer));
        return Ok(response);
    }
    Ok(json(&collect(&head, generation).await?))
}

fn json_mode(request: &ChatRequest) -> Result<bool, ApiError> {
    match request.response_format.as_ref().map(|format| format.r#type.as_str()) {
        None | Some("text") => Ok(false),
        Some("json_object") => Ok(true),
        Some(other) => {
            let message = format!("the response format `{other}` is not supported, only `text` and `json_object`");
            Err(ApiError::unsupported("response_format", message))
        }
    }
}

fn constraint(served: &Served) -> Result<Box<dyn TokenConstraint>, ApiError> {
    let Some(vocabulary) = served.json_vocabulary() else {
        let message = "the vocabulary of this model cannot write all of JSON";
        return Err(ApiError::unsupported("response_format", message));
    };
    Ok(Box::new(JsonConstraint::new(vocabulary, JsonPrefix::object())))
}

fn logprobs(request: &ChatRequest) -> Result<Option<usize>, ApiError> {
    let top = at_most("top_logprobs", request.top_logprobs.unwrap_or(0), LOGPROBS_MAX)?;
    if request.top_logprobs.is_some() && request.logprobs != Some(true) {
        return Err(ApiError::param("top_logprobs", "`top_logprobs` needs `logprobs: true`"));
    }
    Ok((request.logprobs == Some(true)).then_some(top))
}

fn messages(messages: Vec<Message>) -> Result<Vec<ChatMessage>, ApiError> {
    at_most("messages", messages.len(), MESSAGES_MAX)?;
    if messages.is_empty() {
        return Err(ApiError::param("messages", "`messages` is empty"));
    }
    messages.into_iter().enumerate().map(|(i, message)| convert(i, message)).collect()
}

fn convert(i: usize, message: Message) -> Result<ChatMessage, ApiError> {
    let role = match message.role.as_str() {
        "developer" => "system",
        "system" | "user" | ASSISTANT => message.role.as_str(),
        other => {
            let expected = "expected system, developer, user or assistant";
            return Err(ApiError::param(&format!("messages[{i}].role"), format!("the role is `{other}`: {expected}")));
        }
    };
    let content = match message.content {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let mut text = String::new();
            for part in parts {
                let Some(more) = part.text.filter(|_| part.r#type == "text") else {
                    let message = format!("content of type `{}` is not supported, only `text`", part.r#type);
                    return Err(ApiError::unsupported(&format!("messages[{i}].content"), message));
                };
                text.push_str(&more);
            }
            text
        }
        None if role == ASSISTANT => String::new(),
        None => return Err(ApiError::param(&format!("messages[{i}].content"), "the message has no content")),
    };
    Ok(ChatMessage::new(role, content))
}

impl Head {
    fn answer<C>(&self, object: &'static str, choices: Vec<C>, usage: Option<Option<Usage>>) -> Answer<C> {
        let (id, model) = (self.id.clone(), self.model.clone());
        Answer { id, object, created: self.created, model, choices, usage }
    }
}

async fn collect(head: &Head, mut generation: Generation) -> Result<Answer<ChatChoice>, ApiError> {
    let message = || ReplyMessage { role: ASSISTANT, content: String::new(), refusal: None };
    let choice = |index| ChatChoice { index, message: message(), logprobs: None, finish_reason: None };
    let mut choices: Vec<ChatChoice> = (0..head.n).map(choice).collect();
    while let Some(piece) = generation.next().await? {
        let choice = &mut choices[piece.index];
        choice.message.content.push_str(&piece.text);
        choice.finish_reason = choice.finish_reason.or(piece.finish_reason);
        if let Some(logprob) = piece.logprob {
            choice.logprobs.get_or_insert_default().content.push(logprob);
        }
    }
    Ok(head.answer("chat.completion", choices, Some(Some(generation.usage()))))
}

async fn stream(head: Head, generation: Generation, writer: EventWriter) {
    tokio::select! {
        // Dropping the generation cancels its sequences.
        _ = writer.gone() => {}
        _ = write(&head, generation, &writer) => {}
    }
}

async fn write(head: &Head, mut generation: Generation, writer: &EventWriter) -> Result<(), Gone> {
    const OBJECT: &str = "chat.completion.chunk";
    let usage = head.include_usage.then_some(None);
    let chunk = |index, delta, logprobs, finish_reason| {
        head.answer(OBJECT, vec![ChunkChoice { index, delta, logprobs, finish_reason }], usage)
    };
    for index in 0..head.n {
        let delta = Delta { role: Some(ASSISTANT), content: Some(String::new()) };
        writer.send(&chunk(index, delta, None, None)).await?;
    }
    loop {
        let piece = match generation.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) => return writer.send(&error.body()).await,
        };
        let logprobs = piece.logprob.map(|logprob| ChatLogprobs { content: vec![logprob] });
        if !piece.text.is_empty() || logprobs.is_some() {
            let delta = Delta { role: None, content: Some(piece.text) };
            writer.send(&chunk(piece.index, delta, logprobs, None)).await?;
        }
        if piece.finish_reason.is_some() {
            writer.send(&chunk(piece.index, Delta::default(), None, piece.finish_reason)).await?;
        }
    }
    if head.include_usage {
        let last: Answer<ChunkChoice> = head.answer(OBJECT, Vec::new(), Some(Some(generation.usage())));
        writer.send(&last).await?;
    }
    writer.done().await
}
