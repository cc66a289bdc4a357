//! Gate folders: `config.json` and `attn_gate_weights.safetensors` or `.pth`, as they are published.

use std::path::{Path, PathBuf};

use parsimon_attn::HeadMap;
use parsimon_attn::gate::{
    DecodeGate, DecodeOptions, GateRope, GateShape, Pooling, PrefillGate, QHeadPooling, Rule, Selection,
};
use parsimon_core::TensorView;
use parsimon_core::io::{Checkpoint, PthFile, read_json};
use serde_json::Value;

use super::{GateError, Gating};
use crate::{ModelConfig, ModelError, RopeFrequencies};

/// The epsilon of the norms of a decode gate.
const NORM_EPS: f64 = 1e-6;

pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "attn_gate_weights.safetensors";
const WEIGHTS_PTH: &str = "attn_gate_weights.pth";

/// Keys of a gate's configuration that are read, or known to say nothing here.
const KNOWN_KEYS: [&str; 20] = [
    "sparsity_method",
    "threshold",
    "nz_ratio",
    "gate_type",
    "gate_block_size",
    "gate_hidden_size",
    "last_block_dense",
    "gate_force_double",
    "token_budget",
    "sliding_window_size",
    "use_rope",
    "use_qk_norm",
    "k_seq_pooling_type",
    "q_head_pooling_type",
    "implementation",
    "start_layer",
    "output_sparsity",
    "loss_slice_ratio",
    "gate_loss_scale",
    "fused_norm",
];

impl Gating {
    /// Reads a gate folder for a model; `rule` replaces what its configuration says.
    ///
    /// # Errors
    ///
    /// [`GateError`] with the file and the key, layer or tensor.
    pub fn open(folder: &Path, model: &ModelConfig, rule: Option<Rule>) -> Result<Self, ModelError> {
        let config = Keys::open(&folder.join(CONFIG))?;
        let weights = Weights::open(folder)?;
        let reader = Reader { model, config, weights };
        let is_decode = (reader.weights.names()).any(|name| name.ends_with("attngate_linear_k.weight"));
        let gating = if is_decode { reader.decode(rule)? } else { reader.prefill(rule)? };
        Ok(gating)
    }
}

/// `seerattn_*` keys of a configuration.
struct Keys {
    file: PathBuf,
    json: Value,
}

impl Keys {
    fn open(file: &Path) -> Result<Self, GateError> {
        let keys = Keys { file: file.to_owned(), json: read_json(file)? };
        let unknown = keys
            .json
            .as_object()
            .into_iter()
            .flatten()
            .find(|(key, _)| key.strip_prefix("seerattn_").is_some_and(|key| !KNOWN_KEYS.contains(&key)));
        match unknown {
            Some((key, value)) => Err(keys.error(key, value, "a key that is known")),
            None => Ok(keys),
        }
    }

    fn error(&self, key: &str, value: &Value, expected: &'static str) -> GateError {
        GateError::GateConfig { file: self.file.clone(), key: key.to_owned(), value: value.to_string(), expected }
    }

    fn get<T>(
        &self,
        key: &str,
        default: T,
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, GateError> {
        let key = format!("seerattn_{key}");
        match &self.json[&key] {
            Value::Null => Ok(default),
            value => read(value).ok_or_else(|| self.error(&key, value, expected)),
        }
    }

    fn size(&self, key: &str, default: usize) -> Result<usize, GateError> {
        self.get(key, default, "a positive integer", |v| {
            v.as_u64().map(|n| n as usize).filter(|&n| n > 0 && n <= 1 << 20)
        })
    }

    fn count(&self, key: &str, default: usize) -> Result<usize, GateError> {
        self.get(key, default, "an integer", |v| v.as_u64().map(|n| n as usize))
    }

    fn float(&self, key: &str, default: f64) -> Result<f64, GateError> {
        self.get(key, default, "a number", Value::as_f64)
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, GateError> {
        self.get(key, default, "true or false", Value::as_bool)
    }

    fn name(&self, key: &str, default: &str) -> Result<String, GateError> {
        self.get(key, default.to_owned(), "a text", |v| v.as_str().map(str::to_owned))
    }
}

enum Weights {
    Safetensors(Checkpoint),
    Pth(PathBuf, PthFile),
}

impl Weights {
    fn open(folder: &Path) -> Result<Self, GateError> {
        let (safetensors, pth) = (folder.join(WEIGHTS), folder.join(WEIGHTS_PTH));
        if safetensors.exists() {
            return Ok(Weights::Safetensors(Checkpoint::open(&safetensors)?));
        }
        if pth.exists() {
            let file = PthFile::open(&pth)?;
            return Ok(Weights::Pth(pth, file));
        }
        Err(GateError::NoWeights { folder: folder.to_owned() })
    }

    fn path(&self) -> &Path {
        match self {
            Weights::Safetensors(file) => file.path(),
            Weights::Pth(path, _) => path,
        }
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Weights::Safetensors(file) => Box::new(file.names()),
            Weights::Pth(_, file) => Box::new(file.names()),
        }
    }

    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        match self {
            Weights::Safetensors(file) => file.tensor(name).ok(),
            Weights::Pth(_, file) => file.tensor(name),
        }
    }
}

/// The name of a tensor of a layer.
pub(super) fn tensor_name(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.self_attn.attn_gate.{name}.weight")
}

struct Reader<'a> {
    model: &'a ModelConfig,
    config: Keys,
    weights: Weights,
}

impl Reader<'_> {
    fn shape(&self) -> Result<GateShape, GateError> {
        let heads = self.model.heads;
        let heads = HeadMap::try_new(heads.n_q(), heads.n_k(), heads.n_k())
            .expect("key heads of a model divide its query heads");
        let (d_gate, block) = (self.config.size("gate_hidden_size", 128)?, self.config.size("gate_block_size", 64)?);
        Ok(GateShape { heads, d: self.model.head_dim, d_gate, block })
    }

    fn weights(&self, layer: usize, name: &str, expected: &[usize]) -> Result<Vec<f32>, GateError> {
        let (file, tensor) = (self.weights.path().to_owned(), tensor_name(layer, name));
        let Some(view) = self.weights.tensor(&tensor) else {
            return Err(GateError::GateMissing { file, layer, tensor });
        };
        if view.shape() != expected {
            let (expected, actual) = (expected.to_vec(), view.shape().to_vec());
            return Err(GateError::GateShape { file, layer, tensor, expected, actual });
        }
        Ok(view.to_f32()?)
    }

    /// There is nothing but the named tensors of the model's layers.
    fn check_names(&self, names: &[&str]) -> Result<(), GateError> {
        let known: Vec<String> = (0..self.model.num_layers)
            .flat_map(|layer| names.iter().map(move |name| tensor_name(layer, name)))
            .collect();
        match self.weights.names().find(|name| !known.iter().any(|known| known == name)) {
            Some(tensor) => {
                Err(GateError::GateExtra { file: self.weights.path().to_owned(), tensor: tensor.to_owned() })
            }
            None => Ok(()),
        }
    }

    fn pooling(&self, key: &str, name: &str) -> Result<Pooling, GateError> {
        let error = || self.config.error(&format!("seerattn_{key}"), &name.into(), "poolings like Kmaxminavg");
        Pooling::from_name(&name.to_lowercase()[1.min(name.len())..]).ok_or_else(error)
    }

    /// The model's rotation over the width of the gate.
    fn rope(&self, d_gate: usize) -> GateRope {
        let frequencies = RopeFrequencies::new(self.model);
        if self.model.rotary_dim() == d_gate {
            GateRope::from_frequencies(frequencies.inv_freq().to_vec())
        } else {
            GateRope::new(self.model.rope_theta, d_gate)
        }
    }

    fn prefill(&self, rule: Option<Rule>) -> Result<Gating, ModelError> {
        let shape = self.shape()?;
        let GateShape { heads, d, d_gate, .. } = shape;
        let kind = self.config.name("gate_type", "Qavg_Kmaxminavg")?;
        let expected = "poolings like Qavg_Kmaxminavg";
        let (q, k) =
            kind.split_once('_').ok_or_else(|| self.config.error("seerattn_gate_type", &kind[..].into(), expected))?;
        let pools = (self.pooling("gate_type", q)?, self.pooling("gate_type", k)?);
        let is_double = pools.0.len() > 1 || d_gate != d || self.config.flag("gate_force_double", false)?;
        let names = ["mask_linear_k", "mask_linear_q"];
        self.check_names(&names[..if is_double { 2 } else { 1 }])?;
        let gates = (0..self.model.num_layers).map(|layer| {
            let k_heads = if is_double { heads.n_k() } else { heads.n_q() };
            let w_k = self.weights(layer, names[0], &[k_heads, d * pools.1.len(), d_gate])?;
            let q_shape = [heads.n_q(), d * pools.0.len(), d_gate];
            let w_q = is_double.then(|| self.weights(layer, names[1], &q_shape)).transpose()?;
            Ok(PrefillGate::try_new(shape, pools.clone(), Some(self.rope(d_gate)), w_q, w_k)?)
        });
        let gates = gates.collect::<Result<_, ModelError>>()?;
        let last_rows_dense = self.config.flag("last_block_dense", true)?;
        let selection = Selection { last_rows_dense, ..Selection::upstream(self.rule(rule)?) };
        Ok(Gating::Prefill { gates, selection })
    }

    fn decode(&self, rule: Option<Rule>) -> Result<Gating, ModelError> {
        let shape = self.shape()?;
        let GateShape { heads, d, d_gate, .. } = shape;
        let pooling = self.config.name("q_head_pooling_type", "Qproj")?;
        let error =
            || self.config.error("seerattn_q_head_pooling_type", &pooling[..].into(), "Qproj, Qavgproj, Qavg or Qorig");
        let pooling = QHeadPooling::from_name(&pooling).ok_or_else(error)?;
        let k_pool = self.pooling("k_seq_pooling_type", &self.config.name("k_seq_pooling_type", "Kmaxminavg")?)?;
        let has_norms = self.config.flag("use_qk_norm", false)?;
        let q_shape = match pooling {
            QHeadPooling::Proj => Some(vec![heads.n_k(), shape.group(), d, d_gate]),
            QHeadPooling::AvgProj => Some(vec![heads.n_k(), d, d_gate]),
            QHeadPooling::Avg | QHeadPooling::Orig => None,
        };
        let mut names = vec!["attngate_linear_k"];
        names.extend(q_shape.iter().map(|_| "attngate_linear_q"));
        names.extend(["attngate_qnorm", "attngate_knorm"].iter().filter(|_| has_norms));
        self.check_names(&names)?;
        let rope = self.config.flag("use_rope", true)?.then(|| self.rope(d_gate));
        let gates = (0..self.model.num_layers).map(|layer| {
            let w_k = self.weights(layer, "attngate_linear_k", &[heads.n_k(), d * k_pool.len(), d_gate])?;
            let w_q = q_shape.as_ref().map(|shape| self.weights(layer, "attngate_linear_q", shape)).transpose()?;
            let norm = |name| self.weights(layer, name, &[d_gate]);
            let norms = has_norms
                .then(|| Ok::<_, GateError>([norm("attngate_qnorm")?, norm("attngate_knorm")?]))
                .transpose()?;
            let norms = norms.map(|norms| (norms, NORM_EPS));
            Ok(DecodeGate::try_new(shape, (pooling, k_pool.clone()), rope.clone(), (w_q, w_k), norms)?)
        });
        let gates = gates.collect::<Result<_, ModelError>>()?;
        let sliding_window = self.config.count("sliding_window_size", 0)?;
        let options = DecodeOptions { sliding_window, ..DecodeOptions::new(self.rule(rule)?) };
        Ok(Gating::Decode { gates, options, start_layer: self.config.count("start_layer", 0)? })
    }

    fn rule(&self, rule: Option<Rule>) -> Result<Rule, GateError> {
        if let Some(rule) = rule {
            return Ok(rule);
        }
        let method = self.config.name("sparsity_method", "threshold")?;
        Ok(match &method[..] {
            "threshold" => Rule::Threshold(self.config.float("threshold", 0.0)?),
            "nz_ratio" => Rule::NzRatio(self.config.float("nz_ratio", 1.0)?),
            "token_budget" => Rule::TokenBudget(self.config.count("token_budget", 4096)?),
            other => {
                let expected = "threshold, nz_ratio or token_budget";
                return Err(self.config.error("seerattn_sparsity_method", &other.into(), expected));
            }
        })
    }
}
