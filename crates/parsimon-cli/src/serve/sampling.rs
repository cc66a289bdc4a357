//! From the fields of a request to requests of the engine, with every limit checked.

use std::hash::{BuildHasher, Hasher, RandomState};

use parsimon::model::{Request, SamplingOptions};

use super::app::Served;
use super::errors::ApiError;
use super::schema::{SamplingParams, Stop};

const STOPS_MAX: usize = 4;
const STOP_BYTES_MAX: usize = 1024;
const CHOICES_MAX: usize = 128;
const BIASES_MAX: usize = 1024;
/// The most likely tokens that may be asked for with each token.
pub(crate) const LOGPROBS_MAX: usize = 20;
/// The bias that forbids a token.
const FORBIDDEN: f32 = -100.0;

/// Checked sampling fields.
pub(crate) struct Plan {
    pub(crate) n: usize,
    pub(crate) stops: Vec<String>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) max_tokens: Option<usize>,
    sampling: SamplingOptions,
    ignore_eos: bool,
}

fn within(param: &str, value: Option<f32>, default: f32, low: f32, high: f32) -> Result<f32, ApiError> {
    match value {
        None => Ok(default),
        Some(value) if value >= low && value <= high => Ok(value),
        Some(value) => Err(ApiError::param(param, format!("`{param}` is {value}, allowed are {low} to {high}"))),
    }
}

/// `count` is at most `limit`.
pub(crate) fn at_most(param: &str, count: usize, limit: usize) -> Result<usize, ApiError> {
    if count <= limit {
        return Ok(count);
    }
    Err(ApiError::param(param, format!("`{param}` is {count}, allowed are at most {limit}")))
}

impl Plan {
    pub(crate) fn try_new(params: &SamplingParams, served: &Served) -> Result<Plan, ApiError> {
        served.check_name(params.model.as_deref())?;
        let n = at_most("n", params.n.unwrap_or(1), CHOICES_MAX)?;
        if n == 0 {
            return Err(ApiError::param("n", "`n` is 0, at least 1 is needed"));
        }
        let sampling = SamplingOptions {
            temperature: within("temperature", params.temperature, 1.0, 0.0, 2.0)?,
            // OpenAI allows 0, which leaves the most likely token.
            top_p: within("top_p", params.top_p, 1.0, 0.0, 1.0)?.max(f32::MIN_POSITIVE),
            top_k: params.top_k.unwrap_or(0),
            min_p: within("min_p", params.min_p, 0.0, 0.0, 1.0)?,
            presence_penalty: within("presence_penalty", params.presence_penalty, 0.0, -2.0, 2.0)?,
            frequency_penalty: within("frequency_penalty", params.frequency_penalty, 0.0, -2.0, 2.0)?,
            repetition_penalty: within("repetition_penalty", params.repetition_penalty, 1.0, 0.01, 10.0)?,
            logit_bias: biases(params)?,
            seed: params.seed.map_or_else(random_seed, i64::cast_unsigned),
        };
        let stream = params.stream.unwrap_or(false);
        let include_usage = params.stream_options.as_ref().and_then(|options| options.include_usage);
        if params.stream_options.is_some() && !stream {
            return Err(ApiError::param("stream_options", "`stream_options` is only for `stream: true`"));
        }
        Ok(Plan {
            n,
            stops: stops(params)?,
            stream,
            include_usage: include_usage.unwrap_or(false),
            max_tokens: params.max_completion_tokens.or(params.max_tokens),
            sampling,
            ignore_eos: params.ignore_eos.unwrap_or(false),
        })
    }

    /// The request of answer `i` to a prompt: seeds count up, so that answers differ. `max_tokens` is cut to what the context has room for.
    pub(crate) fn request(&self, prompt: &[u32], param: &str, i: usize, served: &Served) -> Result<Request, ApiError> {
        check_prompt(prompt, param, served)?;
        let room = served.context - prompt.len();
        let mut sampling = self.sampling.clone();
        sampling.seed = sampling.seed.wrapping_add(i as u64);
        Ok(Request {
            sampling,
            stop_tokens: if self.ignore_eos { Vec::new() } else { served.stop_tokens.clone() },
            ignore_eos: self.ignore_eos,
            ..Request::new(prompt.to_vec(), self.max_tokens.unwrap_or(room).min(room))
        })
    }
}

/// A prompt has tokens of the vocabulary, and the context has room for one more.
pub(crate) fn check_prompt(prompt: &[u32], param: &str, served: &Served) -> Result<(), ApiError> {
    if prompt.is_empty() {
        return Err(ApiError::param(param, format!("`{param}` has no tokens")));
    }
    if prompt.len() >= served.context {
        return Err(ApiError::context_length(param, prompt.len(), served.context));
    }
    match prompt.iter().find(|&&token| token as usize >= served.vocab_size) {
        Some(token) => {
            let message = format!("token {token} is outside the vocabulary of {}", served.vocab_size);
            Err(ApiError::param(param, message))
        }
        None => Ok(()),
    }
}

fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn stops(params: &SamplingParams) -> Result<Vec<String>, ApiError> {
    let stops = match &params.stop {
        None => return Ok(Vec::new()),
        Some(Stop::One(stop)) => vec![stop.clone()],
        Some(Stop::Several(stops)) => stops.clone(),
    };
    if stops.len() > STOPS_MAX {
        return Err(ApiError::param("stop", format!("{} stop texts, allowed are {STOPS_MAX}", stops.len())));
    }
    if stops.iter().any(|stop| stop.len() > STOP_BYTES_MAX) {
        return Err(ApiError::param("stop", format!("a stop text is longer than {STOP_BYTES_MAX} bytes")));
    }
    Ok(stops)
}

fn biases(params: &SamplingParams) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(biases) = &params.logit_bias else { return Ok(Vec::new()) };
    at_most("logit_bias", biases.len(), BIASES_MAX)?;
    let parse = |(token, &bias): (&String, &f32)| {
        let id = token.parse().map_err(|_| ApiError::param("logit_bias", format!("`{token}` is no token id")))?;
        let bias = within("logit_bias", Some(bias), 0.0, FORBIDDEN, 100.0)?;
        Ok((id, if bias <= FORBIDDEN { f32::NEG_INFINITY } else { bias }))
    };
    biases.iter().map(parse).collect()
}
