//! Models of random weights, for measuring speed without anybody's checkpoint.

use std::path::Path;

use parsimon_attn::HeadMap;
use parsimon_core::io::{SafetensorsWriter, TensorSpec, write_json};
use parsimon_core::{Control, DType, SplitMix64, Unit};

use crate::{ModelConfig, ModelError};

/// Bits of an index into the table of normal numbers.
const INDEX_BITS: u32 = 12;

impl ModelConfig {
    /// The names that [`ModelConfig::synthetic`] knows.
    pub const SYNTHETIC: [&str; 3] = ["llama-15m", "llama-110m", "llama-1.1b"];

    /// A Llama of a common shape: 15 and 110 million parameters of the stories models, 1.1 billion of TinyLlama; `None` for another name.
    pub fn synthetic(name: &str) -> Option<Self> {
        let (hidden_size, intermediate_size, num_layers, (n_q, n_kv), context, tied) = match name {
            "llama-15m" => (288, 768, 6, (6, 6), 256, true),
            "llama-110m" => (768, 2048, 12, (12, 12), 1024, true),
            "llama-1.1b" => (2048, 5632, 22, (32, 4), 2048, false),
            _ => return None,
        };
        Some(ModelConfig {
            architecture: crate::Architecture::Llama,
            hidden_size,
            intermediate_size,
            num_layers,
            heads: HeadMap::try_new(n_q, n_kv, n_kv).expect("the counts divide"),
            head_dim: hidden_size / n_q,
            aug_q_size: 0,
            max_position_embeddings: context,
            tie_word_embeddings: tied,
            bos_token_id: Some(1),
            eos_token_ids: vec![2],
            ..ModelConfig::sigma_tiny(32_000)
        })
    }
}

/// Writes a folder of random BF16 weights for a Llama or Sigma configuration: projections with variance `1 / k`, embeddings with 1, norms of ones.
///
/// The same seed gives the same bytes. One tensor at a time is in memory; `config.json` is written last.
///
/// # Errors
///
/// [`ModelError::Format`] when a file cannot be written, [`ModelError::Cancelled`].
///
/// # Panics
///
/// When the configuration asks for more tensors than Llama's and Sigma's blocks have (biases, further norms), or for quantized ones.
pub fn write_random_folder(
    folder: &Path,
    config: &ModelConfig,
    seed: u64,
    control: &Control<'_>,
) -> Result<(), ModelError> {
    assert!(
        config.block == crate::BlockTraits::default() && config.quantization.is_none(),
        "random weights are made for plain blocks"
    );
    let tensors = tensors(config);
    let mut numbers = Numbers::new(seed);
    control.progress.start("synthesize", Some(tensors.len() as u64), Unit::Items("tensors"));
    let specs: Vec<TensorSpec> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = SafetensorsWriter::create(&folder.join("model.safetensors"), &specs)?;
    for (spec, deviation) in &tensors {
        control.cancel.check()?;
        writer.write(&spec.name, &numbers.bytes(spec.shape.iter().product(), *deviation))?;
        control.progress.advance(1);
    }
    writer.commit()?;
    write_json(&folder.join("config.json"), &config.to_json())?;
    control.progress.finish();
    Ok(())
}

/// Every tensor with its standard deviation; `None` for ones.
fn tensors(config: &ModelConfig) -> Vec<(TensorSpec, Option<f64>)> {
    let tensor = |name: String, shape: &[usize], deviation| {
        (TensorSpec { name: format!("{name}.weight"), dtype: DType::BF16, shape: shape.to_vec() }, deviation)
    };
    let (table, hidden) = ([config.vocab_size, config.hidden_size], [config.hidden_size]);
    let mut all = vec![tensor("model.embed_tokens".into(), &table, Some(1.0))];
    for layer in 0..config.num_layers {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            all.push(tensor(format!("model.layers.{layer}.{norm}"), &hidden, None));
        }
        for (name, m, k) in config.block_projections(layer) {
            all.push(tensor(name, &[m, k], Some((k as f64).powf(-0.5))));
        }
    }
    all.push(tensor("model.norm".into(), &hidden, None));
    if !config.tie_word_embeddings {
        all.push(tensor("lm_head".into(), &table, Some((config.hidden_size as f64).powf(-0.5))));
    }
    all
}

/// Normal numbers from a table: a billion of them would take a minute to compute one by one.
struct Numbers {
    rng: SplitMix64,
    table: Vec<f64>,
}

impl Numbers {
    fn new(seed: u64) -> Self {
        let mut rng = SplitMix64::new(seed);
        let table = (0..1 << INDEX_BITS).map(|_| rng.next_normal()).collect();
        Numbers { rng, table }
    }

    /// `n` numbers as BF16.
    fn bytes(&mut self, n: usize, deviation: Option<f64>) -> Vec<u8> {
        let bf16 = |x: f64| half::bf16::from_f64(x).to_le_bytes();
        let Some(deviation) = deviation else { return [bf16(1.0)].concat().repeat(n) };
        let table: Vec<[u8; 2]> = self.table.iter().map(|x| bf16(x * deviation)).collect();
        let mut bytes = Vec::with_capacity(2 * n);
        while bytes.len() < 2 * n {
            let random = self.rng.next_u64();
            for part in 0..64 / INDEX_BITS {
                let index = (random >> (part * INDEX_BITS)) as usize % table.len();
                bytes.extend(table[index]);
            }
        }
        bytes.truncate(2 * n);
        bytes
    }
}

#[cfg(test)]
mod tests;
