//! `dynamic` of a GPTQ configuration: which layers have other bits, and which are not packed.
//!
//! A key is a regular expression that matches from the start of a layer's name, as Python's `re.match` does; `-:` before it takes the layer out,
//! `+:` or nothing gives it the values beside. The first key that matches counts, negative ones first.

use std::borrow::Cow;

use parsimon_core::quant::gptq::GptqConfig;
use regex_lite::{Error, Regex};

/// The expression of a key and whether it takes layers out.
fn compile(key: &str) -> Result<(Regex, bool), Error> {
    let (pattern, is_negative) = match key.strip_prefix("-:") {
        Some(pattern) => (pattern, true),
        None => (key.strip_prefix("+:").unwrap_or(key), false),
    };
    Ok((Regex::new(&format!("^(?:{pattern})"))?, is_negative))
}

/// Whether all keys can be read.
pub(super) fn check(config: &GptqConfig) -> Result<(), Error> {
    config.dynamic.iter().flatten().try_for_each(|(key, _)| compile(key).map(|_| ()))
}

/// The configuration of the layer `name`; `None` where it is not packed.
pub(crate) fn gptq_of_layer<'a>(config: &'a GptqConfig, name: &str) -> Option<Cow<'a, GptqConfig>> {
    let matching = |wanted: bool| {
        config.dynamic.iter().flatten().find(|(key, _)| {
            let (pattern, is_negative) = compile(key).expect("keys are checked when the configuration is read");
            is_negative == wanted && pattern.is_match(name)
        })
    };
    if matching(true).is_some() {
        return None;
    }
    Some(matching(false).map_or(Cow::Borrowed(config), |(_, other)| Cow::Owned(config.with(other))))
}

#[cfg(test)]
mod tests;
