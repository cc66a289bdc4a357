use super::*;

/// The name in a folder and in a file, of a family with plain, fused or four-norm blocks.
#[track_caller]
fn check(fused: bool, post_norms: bool, name: &str, stem: &str) {
    let mut config = ModelConfig::sigma_tiny(8);
    config.block.fused = fused;
    config.block.post_norms = post_norms;
    assert_eq!(gguf_stem(&config, name), stem);
    assert_eq!(folder_stem(&config, stem).as_deref(), Some(name));
}

#[test]
fn names_go_there_and_back() {
    for (fused, post_norms) in [(false, false), (true, false), (false, true)] {
        check(fused, post_norms, "model.embed_tokens", "token_embd");
        check(fused, post_norms, "lm_head", "output");
        check(fused, post_norms, "model.layers.11.self_attn.q_proj", "blk.11.attn_q");
        check(fused, post_norms, "model.layers.0.input_layernorm", "blk.0.attn_norm");
    }
    check(false, false, "model.layers.0.mlp.up_proj", "blk.0.ffn_up");
    check(true, false, "model.layers.0.mlp.gate_up_proj", "blk.0.ffn_up");
    check(false, false, "model.layers.0.post_attention_layernorm", "blk.0.ffn_norm");
    check(false, true, "model.layers.0.post_attention_layernorm", "blk.0.post_attention_norm");
    check(false, true, "model.layers.0.pre_feedforward_layernorm", "blk.0.ffn_norm");
    assert_eq!(folder_stem(&ModelConfig::sigma_tiny(8), "rope_freqs"), None);
}
