//! Hugging Face's names of tensors and llama.cpp's.

use crate::ModelConfig;

/// Outside of the blocks.
const TOP: [(&str, &str); 3] =
    [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

/// Below a block. Where two of a column are equal, the family decides: see [`is_of_family`].
const BLOCK: [(&str, &str); 18] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.attn_sub_norm", "attn_sub_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.ffn_sub_norm", "ffn_sub_norm"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

/// With four norms a block the one after attention is no other's input; fused projections have no parts.
fn is_of_family(config: &ModelConfig, (folder, own): (&str, &str)) -> bool {
    match (folder, own) {
        ("post_attention_layernorm", "post_attention_norm") | ("pre_feedforward_layernorm", _) => {
            config.block.post_norms
        }
        ("post_attention_layernorm", _) => !config.block.post_norms,
        ("mlp.up_proj", _) => !config.block.fused,
        ("mlp.gate_up_proj", _) => config.block.fused,
        _ => true,
    }
}

/// llama.cpp's name of a Hugging Face name, both without suffix; names that it does not know stay.
pub(crate) fn gguf_stem(config: &ModelConfig, name: &str) -> String {
    if let Some((_, own)) = TOP.iter().find(|(known, _)| *known == name) {
        return (*own).to_owned();
    }
    let block = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let Some((layer, part)) = block else { return name.to_owned() };
    let found = BLOCK.iter().find(|row| row.0 == part && is_of_family(config, **row));
    format!("blk.{layer}.{}", found.map_or(part, |row| row.1))
}

/// The Hugging Face name of llama.cpp's, both without suffix; none for a name that it does not know.
pub(crate) fn folder_stem(config: &ModelConfig, stem: &str) -> Option<String> {
    if let Some((name, _)) = TOP.iter().find(|(_, own)| *own == stem) {
        return Some((*name).to_owned());
    }
    let (layer, part) = stem.strip_prefix("blk.")?.split_once('.')?;
    let (name, _) = BLOCK.iter().find(|row| row.1 == part && is_of_family(config, **row))?;
    Some(format!("model.layers.{layer}.{name}"))
}

#[cfg(test)]
mod tests;
