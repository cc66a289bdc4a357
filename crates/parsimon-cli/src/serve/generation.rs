//! Sequences that become the choices of one answer.

use std::sync::Arc;

use parsimon::model::{FinishReason, Request, SampledToken, TextStream};

use super::app::{App, Served};
use super::engine_thread::{Output, Run, refused};
use super::errors::ApiError;
use super::schema::{LikelyToken, PromptTokensDetails, TokenLogprob, Usage};

/// Stands for a probability of 0, whose logarithm JSON cannot hold.
const LOGPROB_MIN: f32 = -9999.0;

/// The choices of one answer while they grow.
pub(crate) struct Generation {
    run: Run,
    choices: Vec<Choice>,
    served: Arc<Served>,
    usage: Usage,
}

struct Choice {
    stream: TextStream,
    finished: bool,
    /// Counted as they come: a sequence that a stop text ends may be some tokens further by then.
    completion_tokens: usize,
}

/// What a choice has gained.
#[derive(Default)]
pub(crate) struct Piece {
    pub(crate) index: usize,
    pub(crate) text: String,
    pub(crate) logprob: Option<TokenLogprob>,
    /// Set in the last piece of a choice.
    pub(crate) finish_reason: Option<&'static str>,
}

impl Generation {
    /// Queues the requests, one a choice; each of the `prompts` different prompts counts once in the usage.
    pub(crate) fn start(app: &App, requests: Vec<Request>, prompts: usize, stops: &[String]) -> Result<Self, ApiError> {
        let repeats = requests.len() / prompts.max(1);
        let prompt_tokens = requests.iter().step_by(repeats.max(1)).map(|request| request.prompt.len()).sum();
        let choice =
            |_: &Request| Choice { stream: TextStream::new(stops.to_vec()), finished: false, completion_tokens: 0 };
        let choices = requests.iter().map(choice).collect();
        let usage = Usage { prompt_tokens, ..Usage::default() };
        Ok(Generation { run: app.engine.submit(requests)?, choices, served: Arc::clone(&app.served), usage })
    }

    /// The next piece; `None` when every choice is finished.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, ApiError> {
        while let Some((index, output)) = self.run.next().await? {
            let piece = match output {
                Output::Token(token) => self.token(index, &token),
                Output::Finished(reason, usage) => {
                    self.usage.prompt_tokens_details = PromptTokensDetails {
                        cached_tokens: self.usage.prompt_tokens_details.cached_tokens.max(usage.cached_tokens),
                    };
                    self.finish(index, reason)
                }
                Output::Failed(error) => return Err(refused(&error)),
            };
            if piece.is_some() {
                return Ok(piece);
            }
        }
        Ok(None)
    }

    fn token(&mut self, index: usize, token: &SampledToken) -> Option<Piece> {
        let choice = &mut self.choices[index];
        if choice.finished {
            return None;
        }
        choice.completion_tokens += 1;
        let text = choice.stream.push(self.served.tokens.get(token.id));
        choice.finished = choice.stream.stopped();
        let finish_reason = choice.finished.then_some("stop");
        if choice.finished {
            self.run.cancel(index);
        }
        let logprob = token.logprob.map(|logprob| TokenLogprob {
            token: self.likely(token.id, logprob),
            top_logprobs: token.top.iter().map(|&(id, logprob)| self.likely(id, logprob)).collect(),
        });
        Some(Piece { index, text, logprob, finish_reason })
    }

    fn finish(&mut self, index: usize, reason: FinishReason) -> Option<Piece> {
        let choice = &mut self.choices[index];
        if choice.finished {
            return None;
        }
        choice.finished = true;
        let text = choice.stream.finish();
        // The rest may complete a stop text only when a character was cut, which no stop text has.
        let finish_reason = Some(match reason {
            FinishReason::Stop | FinishReason::Cancelled => "stop",
            FinishReason::Length | FinishReason::Context => "length",
        });
        Some(Piece { index, text, logprob: None, finish_reason })
    }

    fn likely(&self, id: u32, logprob: f32) -> LikelyToken {
        let bytes = self.served.tokens.get(id).to_vec();
        let token = match std::str::from_utf8(&bytes) {
            Ok("") => self.served.tokenizer.token(id).unwrap_or_default(),
            Ok(text) => text.to_owned(),
            // A part of a character, so that tokens stay apart.
            Err(_) => bytes.iter().fold("bytes:".to_owned(), |text, byte| format!("{text}\\x{byte:02x}")),
        };
        LikelyToken { token, logprob: logprob.max(LOGPROB_MIN), bytes }
    }

    /// The tokens so far.
    pub(crate) fn usage(&self) -> Usage {
        let completion_tokens = self.choices.iter().map(|choice| choice.completion_tokens).sum();
        let total_tokens = self.usage.prompt_tokens + completion_tokens;
        Usage { completion_tokens, total_tokens, ..self.usage }
    }
}
