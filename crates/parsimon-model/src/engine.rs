//! Many requests at once.

mod draft;
mod memory;
mod options;
mod prefix;
mod request;
mod schedule;
mod sequence;

use std::collections::VecDeque;
use std::sync::Arc;

use parsimon_attn::KvPool;

pub use memory::MemoryNeed;
pub(crate) use memory::mib;
pub use options::{EngineOptions, EngineStats, NGramOptions};
pub use request::{Event, FinishReason, Request, RequestId, SampledToken, TokenConstraint, Usage};

use crate::workspace::Workspace;
use crate::{Model, ModelError, Sampler};
use prefix::PrefixCache;
use sequence::Sequence;

/// Runs requests in steps: no threads of its own, no clock; the caller says when a step is made.
///
/// ```
/// use std::sync::Arc;
/// use parsimon_model::{Engine, EngineOptions, Event, Model, ModelConfig, Request};
///
/// # fn random_model() -> Result<Model, parsimon_model::ModelError> {
/// #     use std::collections::BTreeMap;
/// #     use parsimon_core::SplitMix64;
/// #     use parsimon_core::io::{Checkpoint, TensorData, write_safetensors};
/// #     let config = ModelConfig { num_layers: 1, aug_q_size: 0, ..ModelConfig::sigma_tiny(50) };
/// #     let (hidden, mut rng) = (config.hidden_size, SplitMix64::new(1));
/// #     let mut random = |m: usize, k: usize| {
/// #         let values: Vec<f32> = (0..m * k).map(|_| (rng.next_normal() * (k as f64).powf(-0.5)) as f32).collect();
/// #         TensorData::from_f32(&[m, k], &values)
/// #     };
/// #     let mut tensors = BTreeMap::from([("model.embed_tokens.weight".to_owned(), random(50, hidden))]);
/// #     for (name, m, k) in config.block_projections(0) {
/// #         tensors.insert(format!("{name}.weight"), random(m, k));
/// #     }
/// #     for norm in ["model.norm", "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm"] {
/// #         tensors.insert(format!("{norm}.weight"), TensorData::from_f32(&[hidden], &vec![1.0; hidden]));
/// #     }
/// #     let folder = std::env::temp_dir().join(format!("parsimon-engine-{}", std::process::id()));
/// #     write_safetensors(&folder.join("model.safetensors"), &tensors, None)?;
/// #     let model = Model::from_checkpoint(config, &Checkpoint::open(&folder)?, &Default::default());
/// #     let _ = std::fs::remove_dir_all(&folder);
/// #     model
/// # }
/// let model: Arc<Model> = Arc::new(random_model()?);
/// let mut engine = Engine::try_new(model, EngineOptions::default())?;
/// let first = engine.submit(Request { ignore_eos: true, ..Request::new(vec![1, 2, 3], 4) })?;
/// let second = engine.submit(Request { ignore_eos: true, ..Request::new(vec![7, 7], 2) })?;
/// let (mut events, mut tokens) = (Vec::new(), vec![0; 2]);
/// while !engine.is_idle() {
///     engine.step(&mut events)?;
///     for event in events.drain(..) {
///         if let Event::Token { request, .. } = event {
///             tokens[usize::from(request == second)] += 1;
///         }
///     }
/// }
/// assert_eq!((tokens, first.get()), (vec![4, 2], 0));
/// # Ok::<(), parsimon_model::ModelError>(())
/// ```
///
/// # A step
///
/// 1. Waiting requests start, first come first served, while there are fewer than [`EngineOptions::max_sequences`] and the cache has room for
///    the prompt.
/// 2. Every sequence that has its prompt behind it gets its next token. They run together, so that weights are read once for up to 16 tokens.
/// 3. Prompts run in chunks that end at multiples of [`EngineOptions::step_tokens`], the oldest first, until the step has that many tokens, and
///    at least one chunk. A prompt's last chunk gives its first token.
///
/// # Room
///
/// The cache has pages of [`KvPool::PAGE`] positions. Sequences take pages as they grow; when none is free, pages that are kept for prompts
/// that begin alike go first, those not used for longest, and then the youngest sequence gives up its own and waits: its tokens are computed
/// again later. A sequence that fills the whole cache alone ends with [`FinishReason::Context`].
///
/// # What a request's tokens depend on
///
/// On the request, the model, the level of instructions, `step_tokens` and `cache_dtype`: not on who shares a step, on preemption, or on
/// speculation, bit for bit. Products of up to 16 tokens and attention by rows have the bits of single tokens, a chunk of a prompt runs alone and
/// its ends are fixed, and what an output computed row by row is computed again row by row. With [`EngineOptions::prefix_cache`] a prompt may
/// find keys and values that were computed in other chunks, and logits differ by rounding.
///
/// # Speculation
///
/// With [`EngineOptions::speculative`] the tokens that followed the last occurrence of the last few tokens are drafted. One pass gives the logits
/// after each; tokens are chosen from them as always, and as long as a choice is the draft's, the next logits are right.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    options: EngineOptions,
    next_id: u64,
    waiting: VecDeque<Sequence>,
    /// By age.
    running: Vec<Sequence>,
    pool: KvPool,
    work: Workspace,
    /// Of the pass that runs.
    logits: Vec<f32>,
    prefix: PrefixCache,
    /// What happened between steps.
    pending: Vec<Event>,
    stats: EngineStats,
}

impl Engine {
    /// An engine without requests.
    ///
    /// # Errors
    ///
    /// As [`EngineOptions::validate`], and [`ModelError::Option`] for a model with gates.
    pub fn try_new(model: Arc<Model>, options: EngineOptions) -> Result<Self, ModelError> {
        options.validate()?;
        if model.gating().is_some() {
            let expected = "dense attention: gates run in `Model` and `generate_in` alone".to_owned();
            return Err(ModelError::Option { what: "attention", given: "gates".to_owned(), expected });
        }
        let pages = options.cache_positions.div_ceil(KvPool::PAGE);
        let pool = KvPool::new(model.config().kv_shape(options.cache_dtype), Some(pages));
        let stats = EngineStats { cache_positions: pages * KvPool::PAGE, ..EngineStats::default() };
        Ok(Engine {
            model,
            options,
            next_id: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            pool,
            work: Workspace::default(),
            logits: Vec::new(),
            prefix: PrefixCache::default(),
            pending: Vec::new(),
            stats,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The options.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Takes a request; it starts when there is room.
    ///
    /// # Errors
    ///
    /// [`ModelError::EmptyPrompt`], [`ModelError::TokenOutOfRange`], [`ModelError::ContextFull`], [`ModelError::CacheTooSmall`],
    /// [`ModelError::Sampler`].
    pub fn submit(&mut self, request: Request) -> Result<RequestId, ModelError> {
        let sampler = Sampler::with_options(&request.sampling)?;
        if request.prompt.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        self.model.check_tokens(&request.prompt, 0)?;
        let (needed, limit) = (request.prompt.len(), self.stats.cache_positions);
        if needed > limit {
            return Err(ModelError::CacheTooSmall { needed, limit });
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let is_empty = request.max_tokens == 0;
        let sequence = Sequence::new(id, request, sampler);
        if is_empty {
            let (reason, usage) = (FinishReason::Length, sequence.usage());
            self.pending.push(Event::Finished { request: id, reason, usage });
        } else {
            self.waiting.push_back(sequence);
        }
        Ok(id)
    }

    /// Ends a request: the next step tells so. Unknown and ended requests are ignored.
    pub fn cancel(&mut self, request: RequestId) {
        if let Some(at) = self.running.iter().position(|sequence| sequence.id == request) {
            let mut events = std::mem::take(&mut self.pending);
            self.finish(at, FinishReason::Cancelled, &mut events);
            self.pending = events;
        } else if let Some(at) = self.waiting.iter().position(|sequence| sequence.id == request)
            && let Some(sequence) = self.waiting.remove(at)
        {
            let (reason, usage) = (FinishReason::Cancelled, sequence.usage());
            self.pending.push(Event::Finished { request, reason, usage });
        }
    }

    /// Whether a step would do nothing.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.pending.is_empty()
    }

    /// Counts since the engine was made, and what it holds now.
    pub fn stats(&self) -> EngineStats {
        let kept_positions = self.prefix.evictable(&self.pool) * KvPool::PAGE;
        let free_positions = self.pool.free_pages() * KvPool::PAGE;
        EngineStats {
            running: self.running.len(),
            waiting: self.waiting.len(),
            used_positions: self.stats.cache_positions - free_positions - kept_positions,
            kept_positions,
            ..self.stats
        }
    }
}

#[cfg(test)]
mod tests;
