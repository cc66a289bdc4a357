//! Value models behind servers: scalar heads and classifiers.

use serde_json::{Value, json};

use super::client::ClientConfig;
use super::retry::Poster;
use crate::error::PolicyError;
use crate::policy::{Prefix, Usage, ValueModel};

/// The endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RewardKind {
    /// vLLM's `/pooling`.
    VllmPooling,
    /// vLLM's and SGLang's `/classify`.
    Classify,
}

/// What the numbers of a reply mean.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RewardStyle {
    /// The last number of the last row; with a scale `s` its `tanh(x / s)`. rStar-Math's release has a scale of 5.
    ScalarLast {
        /// The scale.
        tanh_scale: Option<f64>,
    },
    /// The probability of a class.
    ProbOfClass {
        /// Its index.
        class: usize,
    },
}

/// A value model behind a server.
pub struct RewardClient {
    kind: RewardKind,
    style: RewardStyle,
    config: ClientConfig,
    poster: Poster,
    id: String,
}

impl RewardClient {
    /// A client; nothing is sent yet. The kind of the configuration is not looked at.
    pub fn new(kind: RewardKind, style: RewardStyle, config: ClientConfig) -> Self {
        RewardClient {
            id: format!("{kind:?}:{}", config.model).to_lowercase(),
            poster: Poster::new(&config),
            kind,
            style,
            config,
        }
    }

    /// Scores texts in one request.
    ///
    /// # Errors
    ///
    /// [`PolicyError`]; a score that is not finite is [`PolicyError::BadScore`].
    pub fn score_texts(&self, texts: &[&str], usage: &mut Usage) -> Result<Vec<f64>, PolicyError> {
        let path = match self.kind {
            RewardKind::VllmPooling => "/pooling",
            RewardKind::Classify => "/classify",
        };
        let body = json!({ "model": self.config.model, "input": texts });
        let reply = self.poster.post(&self.config, path, &body, true, 0, usage)?;
        let bad = |what: &str| PolicyError::BadReply { what: what.to_owned() };
        let rows = reply.get("data").and_then(Value::as_array).ok_or_else(|| bad("no `data`"))?;
        if rows.len() != texts.len() {
            return Err(PolicyError::ChoiceCount { expected: texts.len(), actual: rows.len() });
        }
        let mut scores = vec![f64::NAN; texts.len()];
        for (at, row) in rows.iter().enumerate() {
            let index = row.get("index").and_then(Value::as_u64).map_or(at, |index| index as usize);
            let slot = scores.get_mut(index).ok_or_else(|| bad("an index that was not asked for"))?;
            *slot = self.read(row).unwrap_or(f64::NAN);
        }
        match scores.iter().position(|score| !score.is_finite()) {
            Some(index) => Err(PolicyError::BadScore { index }),
            None => Ok(scores),
        }
    }

    fn read(&self, row: &Value) -> Option<f64> {
        match self.style {
            RewardStyle::ProbOfClass { class } => row.get("probs")?.as_array()?.get(class)?.as_f64(),
            RewardStyle::ScalarLast { tanh_scale } => {
                let mut value = row.get("data")?;
                while let Value::Array(items) = value {
                    value = items.last()?;
                }
                let raw = value.as_f64()?;
                Some(tanh_scale.map_or(raw, |scale| (raw / scale).tanh()))
            }
        }
    }
}

impl ValueModel for RewardClient {
    fn id(&self) -> &str {
        &self.id
    }

    fn score(&self, batch: &[Prefix<'_>]) -> Result<Vec<f32>, PolicyError> {
        let texts: Vec<&str> = batch.iter().map(|prefix| prefix.text.as_str()).collect();
        let scores = self.score_texts(&texts, &mut Usage::default())?;
        Ok(scores.into_iter().map(|score| score as f32).collect())
    }
}

impl std::fmt::Debug for RewardClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RewardClient").field("id", &self.id).finish_non_exhaustive()
    }
}
