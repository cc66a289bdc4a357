//! Generation: a prompt, then one token after the other.

use crate::{KvState, Model, ModelError, Sampler};

/// When generation ends, besides an end-of-text token and a full context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GenerateOptions {
    /// The most tokens to generate.
    pub max_tokens: usize,
}

/// Continues `prompt` and returns the new tokens.
///
/// Ends at `max_tokens`, after an end-of-text token of the configuration (which is returned), when the context is full, or when `on_token`
/// returns false. `on_token` is called with every new token as soon as it is chosen.
///
/// # Errors
///
/// [`ModelError::EmptyPrompt`], [`ModelError::NoToken`], and as [`Model::logits`] for the prompt.
pub fn generate(
    model: &Model,
    prompt: &[u32],
    options: &GenerateOptions,
    sampler: &mut Sampler,
    on_token: &mut dyn FnMut(u32) -> bool,
) -> Result<Vec<u32>, ModelError> {
    generate_in(model, &mut model.new_state(), prompt, options, sampler, on_token)
}

/// As [`generate`], in a state of the caller's, which tells afterwards how dense gated attention was.
///
/// # Errors
///
/// As [`generate`].
pub fn generate_in(
    model: &Model,
    state: &mut KvState,
    prompt: &[u32],
    options: &GenerateOptions,
    sampler: &mut Sampler,
    on_token: &mut dyn FnMut(u32) -> bool,
) -> Result<Vec<u32>, ModelError> {
    sampler.observe_prompt(prompt);
    let mut logits = model.last_logits(prompt, state)?;
    let mut tokens = Vec::new();
    while tokens.len() < options.max_tokens {
        let token = sampler.next_token(&mut logits, None)?;
        sampler.accept(token);
        tokens.push(token);
        let stop = !on_token(token) || model.config().eos_token_ids.contains(&token);
        if stop || tokens.len() == options.max_tokens || state.len() >= model.config().context_length() {
            break;
        }
        model.last_logits_into(&[token], state, &mut logits)?;
    }
    Ok(tokens)
}
