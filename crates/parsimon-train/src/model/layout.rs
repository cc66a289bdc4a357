//! Which tensors a model has, in which order, and how files name their parts.

use parsimon_model::{BlockTraits, ModelConfig, RopeFrequencies};

use crate::TrainError;

/// One weight tensor: some tensors of a file, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// A name for the state of a run.
    pub(crate) name: String,
    /// Name in files (without `.weight`) and rows of each part.
    pub(crate) parts: Vec<(String, usize)>,
    /// Columns.
    pub(crate) cols: usize,
    /// What it does, for its first values.
    pub(crate) role: Role,
}

/// What a tensor does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A norm: one row; files hold it with one dimension.
    Norm,
    /// A matrix.
    Matrix,
    /// A matrix whose product is added to the residual stream.
    Residual,
}

impl Slot {
    /// Rows of all parts.
    pub(crate) fn rows(&self) -> usize {
        self.parts.iter().map(|(_, rows)| rows).sum()
    }

    /// The dimensions of a part in files.
    pub(crate) fn file_shape(&self, rows: usize) -> Vec<usize> {
        if self.role == Role::Norm { vec![self.cols] } else { vec![rows, self.cols] }
    }
}

/// Indices of the tensors of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub(crate) input_norm: usize,
    pub(crate) q: usize,
    pub(crate) augmented_q: Option<AugmentedQ>,
    pub(crate) kv: usize,
    pub(crate) o: usize,
    pub(crate) post_norm: usize,
    pub(crate) gate_up: usize,
    pub(crate) down: usize,
}

/// Indices of the tensors of the augmented Q of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AugmentedQ {
    pub(crate) gate_up: usize,
    pub(crate) down: usize,
}

/// The tensors of a model.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    slots: Vec<Slot>,
    layers: Vec<Layer>,
    final_norm: usize,
    output: usize,
}

impl Layout {
    /// The embedding table.
    pub(crate) const EMBED: usize = 0;

    pub(crate) fn try_new(config: &ModelConfig) -> Result<Self, TrainError> {
        if !config.head_dim.is_multiple_of(2) {
            let (field, value, expected) = ("head_dim", config.head_dim.to_string(), "an even number");
            return Err(TrainError::Setting { field, value, expected });
        }
        if config.quantization.is_some() {
            let (field, value, expected) = ("quantization_config", "present".into(), "a model that is not quantized");
            return Err(TrainError::Setting { field, value, expected });
        }
        let scaled = RopeFrequencies::new(config).attention_scaling() != 1.0;
        if config.block != BlockTraits::default() || scaled || RopeFrequencies::new(config).depends_on_length() {
            let (field, value) = ("model_type", config.architecture.model_type().to_owned());
            return Err(TrainError::Setting { field, value, expected: "a Llama- or Sigma-style model" });
        }
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        let mut builder = Builder::default();
        builder.push("model.embed_tokens", vec![("model.embed_tokens".into(), vocab)], hidden, Role::Matrix);
        let layers = (0..config.num_layers).map(|layer| builder.push_layer(config, layer)).collect();
        let final_norm = builder.push("model.norm", vec![("model.norm".into(), 1)], hidden, Role::Norm);
        let output = match config.tie_word_embeddings {
            true => Self::EMBED,
            false => builder.push("lm_head", vec![("lm_head".into(), vocab)], hidden, Role::Matrix),
        };
        Ok(Layout { slots: builder.slots, layers, final_norm, output })
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(crate) fn final_norm(&self) -> usize {
        self.final_norm
    }

    /// The output layer: the embedding table when tied.
    pub(crate) fn output(&self) -> usize {
        self.output
    }
}

#[derive(Default)]
struct Builder {
    slots: Vec<Slot>,
}

impl Builder {
    fn push(&mut self, name: &str, parts: Vec<(String, usize)>, cols: usize, role: Role) -> usize {
        self.slots.push(Slot { name: name.to_owned(), parts, cols, role });
        self.slots.len() - 1
    }

    fn push_layer(&mut self, config: &ModelConfig, layer: usize) -> Layer {
        let prefix = format!("model.layers.{layer}");
        let (hidden, ffn, d, aug) = (config.hidden_size, config.intermediate_size, config.head_dim, config.aug_q_size);
        let heads = config.heads;
        let q_width = heads.n_q() * d;
        let mut push = |name: &str, parts: &[(&str, usize)], cols: usize, role: Role| {
            let parts = parts.iter().map(|&(part, rows)| (format!("{prefix}.{part}"), rows)).collect();
            self.push(&format!("{prefix}.{name}"), parts, cols, role)
        };
        let input_norm = push("input_layernorm", &[("input_layernorm", 1)], hidden, Role::Norm);
        let q = push("q", &[("self_attn.q_proj", q_width)], hidden, Role::Matrix);
        let augmented_q = (aug > 0).then(|| {
            let parts = [("self_attn.q_gate_proj", aug), ("self_attn.q_up_proj", aug)];
            let gate_up = push("q_gate_up", &parts, q_width, Role::Matrix);
            let down = push("q_down", &[("self_attn.q_down_proj", q_width)], aug, Role::Matrix);
            AugmentedQ { gate_up, down }
        });
        let parts = [("self_attn.k_proj", heads.n_k() * d), ("self_attn.v_proj", heads.n_v() * d)];
        let kv = push("kv", &parts, hidden, Role::Matrix);
        let o = push("o", &[("self_attn.o_proj", hidden)], q_width, Role::Residual);
        let post_norm = push("post_attention_layernorm", &[("post_attention_layernorm", 1)], hidden, Role::Norm);
        let gate_up = push("gate_up", &[("mlp.gate_proj", ffn), ("mlp.up_proj", ffn)], hidden, Role::Matrix);
        let down = push("down", &[("mlp.down_proj", hidden)], ffn, Role::Residual);
        Layer { input_norm, q, augmented_q, kv, o, post_norm, gate_up, down }
    }
}
