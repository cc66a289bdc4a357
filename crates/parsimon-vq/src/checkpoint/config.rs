//! The `quantization_config` of a folder: 13 keys a layer, by full name or shared by the last part of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::CheckpointErrorKind as Kind;
use crate::VptqLinear;
use crate::kmeans::K_MAX;
use crate::pack::bits_for;

/// The configuration of one layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayerConfig {
    /// Whether there is a bias of the outputs; where the file does not say, the tensor does.
    pub bias: Option<bool>,
    /// Whether columns have scales and biases.
    pub enable_norm: bool,
    /// Whether columns have an order of their own.
    pub enable_perm: bool,
    /// Column groups.
    pub group_num: usize,
    /// Columns of a group.
    pub group_size: usize,
    /// Input features.
    pub in_features: usize,
    /// Whether unpacked indices are stored under the type F16.
    pub indices_as_float: bool,
    /// Whether indices are packed into words.
    pub is_indice_packed: bool,
    /// Outlier centroids, 0 for none.
    pub outlier_centroids: usize,
    /// Main centroids.
    pub centroids: usize,
    /// Residual centroids, 0 for none.
    pub residual_centroids: usize,
    /// Output features.
    pub out_features: usize,
    /// Outlier columns.
    pub outlier_size: usize,
    /// Outputs in a vector of an outlier column, 0 for none.
    pub outlier_vector_len: usize,
    /// Outputs in a vector.
    pub vector_len: usize,
}

/// The configuration of a folder.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct QuantizationConfig {
    /// By full name.
    pub per_layer: BTreeMap<String, LayerConfig>,
    /// By the last part of the name.
    pub shared: BTreeMap<String, LayerConfig>,
    /// Keys that are not known and were not looked at.
    pub unknown_keys: Vec<String>,
}

/// Keys that are read or may be there.
const KNOWN: [&str; 18] = [
    "bias",
    "enable_norm",
    "enable_perm",
    "group_num",
    "group_size",
    "in_features",
    "indices_as_float",
    "is_indice_packed",
    "num_centroids",
    "num_res_centroids",
    "out_features",
    "outlier_size",
    "vector_lens",
    "norm_dim",
    "enable_proxy_error",
    "vector_quant_dim",
    "dtype",
    "debug",
];

impl QuantizationConfig {
    /// Reads `quantization_config` of a `config.json`, or that of its `text_config`. `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Kind::UnknownMethod`] for another method, and everything that is wrong with a layer's entry.
    pub fn from_config(config: &Value) -> Result<Option<Self>, Kind> {
        let place = config.get("quantization_config").or_else(|| config.get("text_config")?.get("quantization_config"));
        place.filter(|value| !value.is_null()).map(Self::from_json).transpose()
    }

    /// Reads a `quantization_config`.
    ///
    /// # Errors
    ///
    /// As [`Self::from_config`].
    pub fn from_json(json: &Value) -> Result<Self, Kind> {
        let method = json.get("quant_method").and_then(Value::as_str).unwrap_or_default();
        if method != "vptq" {
            return Err(Kind::UnknownMethod { found: method.to_owned(), known: "vptq" });
        }
        let mut config = QuantizationConfig::default();
        for (key, shared) in [("config_for_layers", false), ("shared_layer_config", true)] {
            let Some(layers) = json.get(key).filter(|layers| !layers.is_null()) else { continue };
            let Some(layers) = layers.as_object() else {
                return Err(invalid(key, key, layers, "an object of layers"));
            };
            for (name, entry) in layers {
                let parsed = LayerConfig::from_json(name, entry)?;
                let unknown = entry.as_object().into_iter().flat_map(Map::keys);
                let unknown = unknown.filter(|key| !KNOWN.contains(&key.as_str()));
                config.unknown_keys.extend(unknown.map(|key| format!("{name}.{key}")));
                let layers = if shared { &mut config.shared } else { &mut config.per_layer };
                layers.insert(name.clone(), parsed);
            }
        }
        Ok(config)
    }

    /// The configuration of a layer: its own, else the one shared by its last part; `None` for a dense layer.
    pub fn resolve(&self, name: &str) -> Option<&LayerConfig> {
        let last = name.rsplit('.').next().unwrap_or(name);
        self.per_layer.get(name).or_else(|| self.shared.get(last))
    }

    /// Checks that every layer that is named exists.
    ///
    /// # Errors
    ///
    /// [`Kind::UnknownLayer`].
    pub fn check_layers(&self, exists: impl Fn(&str) -> bool) -> Result<(), Kind> {
        match self.per_layer.keys().find(|name| !exists(name)) {
            Some(layer) => Err(Kind::UnknownLayer { layer: layer.clone() }),
            None => Ok(()),
        }
    }

    /// The value of `quantization_config`, layers by full name.
    pub fn to_json(&self) -> Value {
        let entries = |layers: &BTreeMap<String, LayerConfig>| -> Map<String, Value> {
            layers.iter().map(|(name, layer)| (name.clone(), layer.to_json())).collect()
        };
        let mut json = json!({"quant_method": "vptq", "config_for_layers": entries(&self.per_layer)});
        if !self.shared.is_empty() {
            json["shared_layer_config"] = Value::Object(entries(&self.shared));
        }
        json
    }
}

fn invalid(layer: &str, key: &str, value: &Value, expected: &'static str) -> Kind {
    let mut value = value.to_string();
    if value.len() > 80 {
        value = value.chars().take(77).chain("...".chars()).collect();
    }
    Kind::InvalidConfig { layer: layer.to_owned(), key: key.to_owned(), value, expected }
}

/// One layer's entry with its name, for errors.
struct Entry<'a> {
    layer: &'a str,
    values: &'a Map<String, Value>,
}

impl Entry<'_> {
    fn get(&self, key: &str) -> Result<&Value, Kind> {
        self.values.get(key).ok_or_else(|| invalid(self.layer, key, &Value::Null, "the key"))
    }

    fn count(&self, key: &str, least: usize) -> Result<usize, Kind> {
        let value = self.get(key)?;
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|count| *count >= least);
        count.ok_or_else(|| invalid(self.layer, key, value, if least == 0 { "0 or more" } else { "1 or more" }))
    }

    fn flag(&self, key: &str) -> Result<bool, Kind> {
        let value = self.get(key)?;
        value.as_bool().ok_or_else(|| invalid(self.layer, key, value, "true or false"))
    }

    /// An absent or null flag, or one.
    fn optional_flag(&self, key: &str) -> Result<Option<bool>, Kind> {
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(value) => Err(invalid(self.layer, key, value, "true, false or null")),
        }
    }

    /// `[outlier, main]`, where -1, 0 and null are off.
    fn pair(&self, key: &str) -> Result<[usize; 2], Kind> {
        let value = self.get(key)?;
        let fail = || invalid(self.layer, key, value, "a pair of numbers");
        let items = value.as_array().filter(|items| items.len() == 2).ok_or_else(fail)?;
        let mut pair = [0; 2];
        for (to, item) in pair.iter_mut().zip(items) {
            *to = match item {
                Value::Null => 0,
                item => match item.as_i64() {
                    Some(-1 | 0) => 0,
                    Some(n) if n > 0 => usize::try_from(n).map_err(|_| fail())?,
                    _ => return Err(fail()),
                },
            };
        }
        Ok(pair)
    }

    /// Keys that change the meaning of the tensors, where they do.
    fn check_supported(&self) -> Result<(), Kind> {
        let unsupported = |key: &str, value: &Value| {
            let (layer, key) = (self.layer.to_owned(), key.to_owned());
            Err(Kind::Unsupported { layer, key, value: value.to_string() })
        };
        if let Some(value) = self.values.get("norm_dim").filter(|value| !value.is_null() && value.as_i64() != Some(0)) {
            return unsupported("norm_dim", value);
        }
        match self.values.get("vector_quant_dim") {
            Some(value) if !value.is_null() && value != "out" => unsupported("vector_quant_dim", value),
            _ => Ok(()),
        }
    }
}

impl LayerConfig {
    /// Reads and checks one entry.
    ///
    /// # Errors
    ///
    /// The first that is wrong, naming layer and key.
    pub fn from_json(layer: &str, entry: &Value) -> Result<Self, Kind> {
        let Some(values) = entry.as_object() else { return Err(invalid(layer, "entry", entry, "an object")) };
        let entry = Entry { layer, values };
        let [outlier_vector_len, vector_len] = entry.pair("vector_lens")?;
        let [outlier_centroids, centroids] = entry.pair("num_centroids")?;
        let [outlier_residual, residual_centroids] = entry.pair("num_res_centroids")?;
        let config = LayerConfig {
            bias: entry.optional_flag("bias")?,
            enable_norm: entry.flag("enable_norm")?,
            enable_perm: entry.flag("enable_perm")?,
            group_num: entry.count("group_num", 1)?,
            group_size: entry.count("group_size", 1)?,
            in_features: entry.count("in_features", 1)?,
            indices_as_float: entry.optional_flag("indices_as_float")?.unwrap_or(false),
            is_indice_packed: entry.flag("is_indice_packed")?,
            outlier_centroids,
            centroids,
            residual_centroids,
            out_features: entry.count("out_features", 1)?,
            outlier_size: entry.count("outlier_size", 0)?,
            outlier_vector_len,
            vector_len,
        };
        entry.check_supported()?;
        if outlier_residual > 0 {
            let (layer, key) = (layer.to_owned(), "num_res_centroids".to_owned());
            return Err(Kind::Unsupported { layer, key, value: format!("{outlier_residual} for outliers") });
        }
        config.check(layer, &entry)?;
        Ok(config)
    }

    fn check(&self, layer: &str, entry: &Entry<'_>) -> Result<(), Kind> {
        let bad = |key: &str, expected| Err(invalid(layer, key, entry.get(key)?, expected));
        if self.vector_len == 0 {
            return bad("vector_lens", "a vector length of 1 or more");
        }
        if self.centroids < 2 || self.residual_centroids == 1 || self.outlier_centroids == 1 {
            return bad("num_centroids", "2 centroids or more");
        }
        if self.outlier_size > 0 && self.outlier_centroids == 0 {
            return bad("outlier_size", "0 where num_centroids has no outlier codebook");
        }
        if self.outlier_size > 0 && self.outlier_vector_len < 2 {
            return bad("vector_lens", "an outlier vector length of 2 or more");
        }
        if self.is_indice_packed {
            for (key, value) in [("num_centroids", self.centroids), ("num_res_centroids", self.residual_centroids)] {
                if value > 0 && !value.is_power_of_two() {
                    return Err(Kind::NotPowerOfTwo { layer: layer.to_owned(), key, value });
                }
            }
        }
        let bits = self.index_bits();
        if bits > 32 {
            return Err(Kind::TooManyBits { layer: layer.to_owned(), bits });
        }
        if self.centroids.max(self.residual_centroids).max(self.outlier_centroids) > K_MAX {
            return bad("num_centroids", "at most 65536 centroids");
        }
        let grouped = self.group_num.checked_mul(self.group_size).and_then(|n| n.checked_add(self.outlier_size));
        if grouped != Some(self.in_features) {
            return Err(Kind::SizeMismatch {
                layer: layer.to_owned(),
                groups: self.group_num,
                group_size: self.group_size,
                outliers: self.outlier_size,
                in_features: self.in_features,
            });
        }
        if self.enable_perm && self.in_features > 1 << 16 {
            return Err(Kind::TooManyInputs { layer: layer.to_owned(), in_features: self.in_features });
        }
        Ok(())
    }

    /// Bits of a packed index.
    pub fn index_bits(&self) -> usize {
        bits_for(self.centroids) + bits_for(self.residual_centroids)
    }

    /// The configuration of a layer, as published files write it.
    pub fn of(linear: &VptqLinear) -> Self {
        let p = linear.parts();
        let outlier = p.outlier.as_ref();
        LayerConfig {
            bias: p.bias.is_some().then_some(true),
            enable_norm: p.norm.is_some(),
            enable_perm: p.perm.is_some(),
            group_num: p.groups,
            group_size: p.group_size,
            in_features: p.k,
            indices_as_float: p.indices_as_float,
            is_indice_packed: p.packed,
            outlier_centroids: outlier.map_or(0, |outlier| outlier.centroids.len() / outlier.v),
            centroids: linear.centroids(),
            residual_centroids: linear.residual_centroids(),
            out_features: p.m,
            outlier_size: linear.outliers(),
            outlier_vector_len: outlier.map_or(0, |outlier| outlier.v),
            vector_len: p.v,
        }
    }

    /// The 13 keys in the order of published files.
    pub fn to_json(&self) -> Value {
        let off = |n: usize| if n == 0 { json!(-1) } else { json!(n) };
        json!({
            "bias": self.bias,
            "enable_norm": self.enable_norm,
            "enable_perm": self.enable_perm,
            "group_num": self.group_num,
            "group_size": self.group_size,
            "in_features": self.in_features,
            "indices_as_float": self.indices_as_float,
            "is_indice_packed": self.is_indice_packed,
            "num_centroids": [off(self.outlier_centroids), off(self.centroids)],
            "num_res_centroids": [-1, off(self.residual_centroids)],
            "out_features": self.out_features,
            "outlier_size": self.outlier_size,
            "vector_lens": [off(self.outlier_vector_len), off(self.vector_len)],
        })
    }
}
