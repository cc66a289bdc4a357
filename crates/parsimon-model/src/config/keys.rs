//! A JSON object whose keys are read with checks, and errors that name file, key and value.

use std::path::Path;

use serde_json::{Map, Value};

use super::ConfigError;

/// A JSON object with the path that messages name.
pub(super) struct Keys<'a> {
    pub(super) path: &'a Path,
    prefix: &'a str,
    pub(super) object: &'a Map<String, Value>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(path: &'a Path, prefix: &'a str, value: &'a Value) -> Result<Self, ConfigError> {
        let object = value.as_object().ok_or_else(|| ConfigError::Value {
            file: path.to_owned(),
            key: prefix.trim_end_matches('.').to_owned(),
            value: shown(value),
            expected: "an object".into(),
        })?;
        Ok(Keys { path, prefix, object })
    }

    /// The value of a key; null counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn error(&self, key: &str, value: &Value, expected: impl Into<String>) -> ConfigError {
        let key = format!("{}{key}", self.prefix);
        ConfigError::Value { file: self.path.to_owned(), key, value: shown(value), expected: expected.into() }
    }

    pub(super) fn missing(&self, key: &str, expected: &'static str) -> ConfigError {
        ConfigError::Missing { file: self.path.to_owned(), key: format!("{}{key}", self.prefix), expected }
    }

    pub(super) fn count(&self, key: &str, limit: u64) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (1..=limit).contains(&n) => Ok(Some(n as usize)),
            _ => Err(self.error(key, value, format!("a whole number in 1..={limit}"))),
        }
    }

    pub(super) fn required_count(&self, key: &str, limit: u64) -> Result<usize, ConfigError> {
        self.count(key, limit)?.ok_or_else(|| self.missing(key, "a positive whole number"))
    }

    pub(super) fn positive(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64() {
            Some(x) if x.is_finite() && x > 0.0 => Ok(Some(x)),
            _ => Err(self.error(key, value, "a positive number")),
        }
    }

    pub(super) fn required_positive(&self, key: &str) -> Result<f64, ConfigError> {
        self.positive(key)?.ok_or_else(|| self.missing(key, "a positive number"))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(value) => Err(self.error(key, value, "true or false")),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.error(key, value, "a string")),
        }
    }

    /// A list of `len` positive numbers that must exist.
    pub(super) fn required_factors(&self, key: &str, len: usize) -> Result<Vec<f64>, ConfigError> {
        let value = self.get(key).ok_or_else(|| self.missing(key, "a list of positive numbers"))?;
        let one = |value: &Value| value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
        let factors = value.as_array().filter(|list| list.len() == len);
        let factors = factors.and_then(|list| list.iter().map(one).collect::<Option<Vec<f64>>>());
        factors.ok_or_else(|| self.error(key, value, format!("{len} positive numbers, one a rotated pair")))
    }

    /// Token ids: one number or a list.
    pub(super) fn tokens(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = match value {
            Value::Array(ids) => ids.iter().map(one).collect::<Option<Vec<u32>>>(),
            value => one(value).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.error(key, value, "a token id or a list of token ids"))
    }
}

/// A value for a message, cut to a readable length.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(77).chain("...".chars()).collect() }
}
