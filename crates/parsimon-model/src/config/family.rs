//! The families: how each is called, what its files leave out, and what sets its blocks apart.

/// The family of a model (`model_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Architecture {
    /// Llama 2, 3, 3.1 and 3.2: pre-norm blocks, RoPE, SwiGLU, optional biases.
    Llama,
    /// Sigma: Llama blocks with DiffQKV head counts and augmented Q.
    Sigma,
    /// Qwen2 and Qwen2.5: biases on query, key and value; sliding windows from a layer on.
    Qwen2,
    /// Qwen3: norms of the query and key heads.
    Qwen3,
    /// Mistral: a sliding window in every layer.
    Mistral,
    /// Phi-3: fused projections, partial rotation, longrope.
    Phi3,
    /// Gemma: weights `1 + w` of norms, tangent GELU, scaled embeddings.
    Gemma,
    /// Gemma 2: four norms a block, capped scores and logits, windows in every other layer.
    Gemma2,
    /// BitNet b1.58: ternary projections on 8-bit activations, norms before the last projections, squared ReLU.
    BitNet,
}

/// What `config.json` of a family may leave out.
pub(super) struct Family {
    pub(super) architecture: Architecture,
    pub(super) model_type: &'static str,
    pub(super) class: &'static str,
    pub(super) act: Activation,
    pub(super) head_dim: Option<usize>,
    pub(super) rms_norm_eps: f64,
    pub(super) rope_theta: f64,
    pub(super) tied: bool,
    /// Whether `attention_bias` is a key of the family.
    pub(super) attention_bias: bool,
    /// The window where the key `sliding_window` is absent.
    pub(super) sliding_window: Option<usize>,
}

const LLAMA: Family = Family {
    architecture: Architecture::Llama,
    model_type: "llama",
    class: "LlamaForCausalLM",
    act: Activation::Silu,
    head_dim: None,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000.0,
    tied: false,
    attention_bias: true,
    sliding_window: None,
};

const FAMILIES: [Family; 9] = [
    LLAMA,
    Family {
        architecture: Architecture::Sigma,
        model_type: "sigma",
        class: "SigmaForCausalLM",
        attention_bias: false,
        ..LLAMA
    },
    Family {
        architecture: Architecture::Qwen2,
        model_type: "qwen2",
        class: "Qwen2ForCausalLM",
        attention_bias: false,
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: Architecture::Qwen3,
        model_type: "qwen3",
        class: "Qwen3ForCausalLM",
        head_dim: Some(128),
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: Architecture::Mistral,
        model_type: "mistral",
        class: "MistralForCausalLM",
        attention_bias: false,
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: Architecture::Phi3,
        model_type: "phi3",
        class: "Phi3ForCausalLM",
        rms_norm_eps: 1e-5,
        attention_bias: false,
        ..LLAMA
    },
    Family {
        architecture: Architecture::Gemma,
        model_type: "gemma",
        class: "GemmaForCausalLM",
        act: Activation::GeluTanh,
        head_dim: Some(256),
        tied: true,
        ..LLAMA
    },
    Family {
        architecture: Architecture::Gemma2,
        model_type: "gemma2",
        class: "Gemma2ForCausalLM",
        act: Activation::GeluTanh,
        head_dim: Some(256),
        tied: true,
        sliding_window: Some(4096),
        ..LLAMA
    },
    Family {
        architecture: Architecture::BitNet,
        model_type: "bitnet",
        class: "BitNetForCausalLM",
        act: Activation::Relu2,
        rms_norm_eps: 1e-5,
        rope_theta: 500_000.0,
        ..LLAMA
    },
];

impl Architecture {
    /// The `model_type` of configuration files.
    pub fn model_type(self) -> &'static str {
        self.family().model_type
    }

    /// Every `model_type` that is read.
    pub fn model_types() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().map(|family| family.model_type)
    }

    pub(super) fn family(self) -> &'static Family {
        FAMILIES.iter().find(|family| family.architecture == self).expect("every family is in the table")
    }

    pub(super) fn from_model_type(model_type: &str) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.model_type == model_type)
    }
}

/// The function between the two layers of the feed-forward network.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    #[default]
    Silu,
    /// The tangent form of GELU.
    GeluTanh,
    /// `max(x, 0)^2`.
    Relu2,
}

impl Activation {
    /// The names in files, the first of each the one that is written.
    const NAMES: [(&'static str, Activation); 6] = [
        ("silu", Activation::Silu),
        ("gelu_pytorch_tanh", Activation::GeluTanh),
        ("relu2", Activation::Relu2),
        ("swish", Activation::Silu),
        ("gelu_new", Activation::GeluTanh),
        ("gelu_fast", Activation::GeluTanh),
    ];

    pub(super) fn from_name(name: &str) -> Option<Activation> {
        Self::NAMES.iter().find(|known| known.0 == name).map(|known| known.1)
    }

    /// The name of `hidden_act`.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|known| known.1 == self).expect("every function is in the table").0
    }

    pub(super) fn names() -> String {
        Self::NAMES.map(|known| known.0).join(", ")
    }
}

/// What sets the blocks of a model apart from Llama's, as data: the forward pass knows no names of families.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockTraits {
    /// Between the layers of the feed-forward network.
    pub act: Activation,
    /// Whether query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub o_bias: bool,
    /// Whether the feed-forward projections have biases.
    pub mlp_bias: bool,
    /// Whether every query and key head is normalized before it is rotated.
    pub qk_norm: bool,
    /// Whether the outputs of attention and feed-forward network are normalized before they are added (Gemma 2's four norms).
    pub post_norms: bool,
    /// Whether the inputs of the last projections of attention and feed-forward network are normalized (BitNet).
    pub sub_norms: bool,
    /// Whether files hold `w` of norms that multiply with `1 + w`.
    pub norm_plus_one: bool,
    /// Whether files hold `qkv_proj` and `gate_up_proj`.
    pub fused: bool,
    /// What embeddings are multiplied with.
    pub embed_scale: Option<f32>,
    /// What scores are multiplied with; `1 / sqrt(head_dim)` by default.
    pub attn_scale: Option<f32>,
    /// The cap of scores.
    pub attn_soft_cap: Option<f32>,
    /// The cap of logits.
    pub logit_soft_cap: Option<f32>,
    /// The part of a head that rotates.
    pub partial_rotary_factor: f64,
    /// The sliding window of every layer, see [`ModelConfig::window`](super::ModelConfig::window); empty where no layer has one.
    pub windows: Vec<Option<usize>>,
}

impl Default for BlockTraits {
    fn default() -> Self {
        BlockTraits {
            act: Activation::Silu,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            post_norms: false,
            sub_norms: false,
            norm_plus_one: false,
            fused: false,
            embed_scale: None,
            attn_scale: None,
            attn_soft_cap: None,
            logit_soft_cap: None,
            partial_rotary_factor: 1.0,
            windows: Vec::new(),
        }
    }
}
