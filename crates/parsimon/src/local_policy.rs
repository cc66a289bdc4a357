//! A local model as a policy of the searches in [`parsimon_reason`].

use parsimon_model::{GenerateOptions, Model, Sampler, Tokenizer, generate_in};
use parsimon_reason::policy::{Finish, Reply, Request, Sample, Usage};
use parsimon_reason::{Policy, PolicyError};

/// Continues prompts with a model in this process, one sequence after the other; the same seed gives the same text.
pub struct LocalPolicy {
    model: Model,
    tokenizer: Tokenizer,
    id: String,
}

impl LocalPolicy {
    /// Wraps a model under a name for records.
    pub fn new(id: impl Into<String>, model: Model, tokenizer: Tokenizer) -> Self {
        LocalPolicy { model, tokenizer, id: id.into() }
    }

    fn sample(&self, request: &Request<'_>, prompt: &[u32], index: usize) -> Result<Sample, PolicyError> {
        let fail = |what: String| PolicyError::BadReply { what };
        let settings = &request.sampling;
        let mut sampler =
            Sampler::try_new(settings.temperature, settings.top_p, request.seed.wrapping_add(index as u64))
                .map_err(|error| fail(error.to_string()))?;
        let options = GenerateOptions { max_tokens: settings.max_tokens as usize };
        let mut state = self.model.new_state();
        let mut tokens: Vec<u32> = Vec::new();
        let mut fired: Option<(usize, String)> = None;
        let mut text = String::new();
        let generated = generate_in(&self.model, &mut state, prompt, &options, &mut sampler, &mut |token| {
            tokens.push(token);
            let Ok(decoded) = self.tokenizer.decode(&tokens, true) else { return false };
            text = decoded;
            // The stop that stands first in the text.
            fired = request.stops.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop.clone()))).min();
            fired.is_none()
        })
        .map_err(|error| fail(error.to_string()))?;
        let finish = match &fired {
            Some(_) => Finish::Stop,
            None if generated.len() >= options.max_tokens => Finish::Length,
            None => Finish::Eos,
        };
        if let Some((at, _)) = &fired {
            text.truncate(*at);
        }
        Ok(Sample {
            text,
            stop: fired.map(|(_, stop)| stop),
            stop_inferred: false,
            finish,
            tokens: tokens.len() as u64,
        })
    }
}

impl Policy for LocalPolicy {
    fn id(&self) -> &str {
        &self.id
    }

    fn propose(&self, batch: &[Request<'_>]) -> Result<Reply, PolicyError> {
        let mut reply = Reply::default();
        for request in batch {
            let prompt = self
                .tokenizer
                .encode(&request.prompt, true)
                .map_err(|error| PolicyError::BadReply { what: error.to_string() })?;
            let samples: Result<Vec<Sample>, PolicyError> =
                (0..request.n).map(|index| self.sample(request, &prompt, index)).collect();
            let samples = samples?;
            let completion = samples.iter().map(|sample| sample.tokens).sum();
            reply.usage += Usage { prompt: prompt.len() as u64, completion, ..Usage::default() };
            reply.samples.push(samples);
        }
        Ok(reply)
    }
}
