use parsimon_attn::{AttnConfig, HeadMap, Mask};
use parsimon_core::SplitMix64;
use parsimon_core::io::Checkpoint;
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_lut::{Backend, DenseMatrix, LowBitMatrix};
use parsimon_simd::{Level, vectorize};

use super::*;
use crate::Activation;
use crate::Activations;
use crate::block::{AugQ, Extras, Gated, Glu, add, normed};
use crate::rope::RopeAngles;

/// How the projections are held, by their turn: `None` is dense.
pub(crate) type Forms<'a> = &'a [Option<Levels>];

fn config() -> ModelConfig {
    ModelConfig {
        hidden_size: 128,
        intermediate_size: 320,
        num_layers: 2,
        heads: HeadMap::try_new(4, 2, 4).unwrap(),
        aug_q_size: 96,
        ..ModelConfig::sigma_tiny(60)
    }
}

fn random(len: usize, scale: f64, rng: &mut SplitMix64) -> Vec<f32> {
    (0..len).map(|_| (rng.next_normal() * scale) as f32).collect()
}

fn random_linear(form: Option<Levels>, m: usize, k: usize, level: Level, rng: &mut SplitMix64) -> Linear {
    let w = random(m * k, (k as f64).powf(-0.5), rng);
    match form {
        None => Linear::Dense(DenseMatrix::new(w, m, k)),
        Some(levels) => {
            let quantized = quantize(&w, m, k, levels, 64).unwrap();
            Linear::LowBit(LowBitMatrix::from_quantized(&quantized, Backend::Exact(level)).unwrap())
        }
    }
}

fn random_block(config: &ModelConfig, forms: Forms<'_>, level: Level, rng: &mut SplitMix64) -> Block {
    let mut linears = config
        .block_projections(0)
        .into_iter()
        .zip(forms.iter().cycle())
        .map(|((name, m, k), &form)| (name, random_linear(form, m, k, level, rng)));
    let mut next = |suffix: &str| {
        let (name, linear) = linears.next().unwrap();
        assert!(name.ends_with(suffix), "{name} is not {suffix}");
        linear
    };
    let q_proj = next("q_proj");
    let aug_q = AugQ { gate_proj: next("q_gate_proj"), up_proj: next("q_up_proj"), down_proj: next("q_down_proj") };
    let (k_proj, v_proj, o_proj) = (next("k_proj"), next("v_proj"), next("o_proj"));
    let (gate_proj, up_proj, down_proj) = (next("gate_proj"), next("up_proj"), next("down_proj"));
    let norm = || (0..config.hidden_size).map(|i| 0.5 + i as f32 / 100.0).collect();
    Block {
        input_norm: norm(),
        q_proj,
        aug_q: Some(aug_q),
        k_proj,
        v_proj,
        o_proj,
        mlp_norm: norm(),
        gate_proj,
        up_proj,
        down_proj,
        extras: Extras::default(),
    }
}

pub(crate) fn random_model(forms: Forms<'_>, level: Level) -> Model {
    let config = config();
    let mut rng = SplitMix64::new(77);
    let table = random(config.vocab_size * config.hidden_size, 1.0, &mut rng);
    let d = config.head_dim;
    let attn = AttnConfig::new(config.heads, (d, d), Mask::Causal);
    Model {
        embed: Embedding::Dense(DenseMatrix::new(table, config.vocab_size, config.hidden_size)),
        blocks: (0..config.num_layers).map(|_| random_block(&config, forms, level, &mut rng)).collect(),
        norm: vec![1.0; config.hidden_size],
        lm_head: None,
        attention: vec![Attention::prepare(&attn).unwrap(); config.num_layers],
        rope: RopeFrequencies::new(&config),
        pack_cache: None,
        gating: None,
        config,
    }
}

fn product(linear: &Linear, x: &[f32], n: usize) -> Vec<f32> {
    let mut out = Vec::new();
    linear.apply_to(&mut Activations::new(x, n), &mut out).unwrap();
    out
}

fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let row = normed(x, weight, eps);
    out.chunks_exact_mut(weight.len()).enumerate().for_each(|(token, out)| row(token, out));
    out
}

fn project(model: &Model, hidden: &[f32], n: usize) -> Vec<f32> {
    let mut logits = vec![0.0; n * model.config.vocab_size];
    model.project_into(hidden, n, &mut logits, &mut ActivationBuffers::default()).unwrap();
    logits
}

/// `down (silu(gate x) * (up x))` with every step stored.
fn unfused_gated(gated: &Gated<'_>, x: &[f32], n: usize) -> Vec<f32> {
    let mut both = [Vec::new(), Vec::new()];
    gated.both(&mut Activations::new(x, n), &mut both).unwrap();
    let [gate, up] = both;
    let mut inner = vec![0.0; gate.len()];
    vectorize(Level::best(), Glu { act: Activation::Silu, gate: &gate, up: &up, out: &mut inner });
    product(gated.down, &inner, n)
}

/// [`Block::forward`] with every step stored.
fn unfused_block(
    block: &Block,
    model: &Model,
    angles: &RopeAngles,
    (state, layer): (&mut KvState, usize),
    x: &mut [f32],
    n: usize,
) {
    let config = &model.config;
    let stored = rms_norm(x, &block.input_norm, config.rms_norm_eps);
    let [mut q, mut k, mut v] = [const { Vec::new() }; 3];
    block.qkv(&mut Activations::new(&stored, n), [&mut q, &mut k, &mut v]).unwrap();
    if let Some(aug_q) = &block.aug_q {
        q = unfused_gated(&aug_q.gated(), &q, n);
    }
    angles.rotate(&mut q, config.heads.n_q());
    angles.rotate(&mut k, config.heads.n_k());
    state.pool.write(layer, &state.sequence, &k, &v).unwrap();
    let mut heads = vec![0.0; q.len()];
    model.attention[0].forward_into(&q, state.pool.view(layer, &state.sequence, n), &mut heads, None).unwrap();
    add(x, &product(&block.o_proj, &heads, n));
    let stored = rms_norm(x, &block.mlp_norm, config.rms_norm_eps);
    add(x, &unfused_gated(&block.gated(), &stored, n));
}

fn unfused_logits(model: &Model, tokens: &[u32], state: &mut KvState) -> Vec<f32> {
    let (n, start) = (tokens.len(), state.len());
    let mut x = Vec::new();
    tokens.iter().for_each(|&token| model.embed.push_row(token as usize, &mut x));
    let mut angles = RopeAngles::default();
    model.rope.append_angles(start..start + n, start + n, &mut angles);
    state.pool.reserve(&mut state.sequence, n).unwrap();
    for (layer, block) in model.blocks.iter().enumerate() {
        unfused_block(block, model, &angles, (state, layer), &mut x, n);
    }
    state.pool.advance(&mut state.sequence, n);
    project(model, &rms_norm(&x, &model.norm, model.config.rms_norm_eps), n)
}

const TWO: Option<Levels> = Some(Levels::Bits(2));
const FOUR: Option<Levels> = Some(Levels::Bits(4));
const TERNARY: Option<Levels> = Some(Levels::Ternary);

/// The same bits, for a prompt and for single tokens after it.
#[test]
fn fused_logits_are_the_unfused_ones() {
    let forms: [Forms<'_>; 6] =
        [&[TWO], &[FOUR], &[TERNARY], &[None], &[TWO, FOUR, TERNARY], &[TWO, None, FOUR, None, None, TERNARY, TWO]];
    for level in Level::available() {
        for forms in forms {
            let model = random_model(forms, level);
            let (mut fused, mut unfused) = (model.new_state(), model.new_state());
            for tokens in [&[3, 1, 4, 1, 5, 9, 2][..], &[6], &[5], &[3, 5]] {
                let expected = unfused_logits(&model, tokens, &mut unfused);
                assert!(expected.iter().all(|logit| logit.is_finite()));
                assert_eq!(model.logits(tokens, &mut fused).unwrap(), expected, "{forms:?} on {level}");
            }
        }
    }
}

/// Query, key and value projections of one configuration prepare their activations once, gate and up as well; each other one adds one.
#[test]
fn a_block_prepares_once_for_qkv_and_once_for_gate_and_up() {
    let x = random(3 * 128, 1.0, &mut SplitMix64::new(3));
    let check = |forms: Forms<'_>, qkv: usize, gate_up: usize| {
        let model = random_model(forms, Level::best());
        let block = &model.blocks[0];
        let rows = normed(&x, &block.input_norm, model.config.rms_norm_eps);
        let mut inputs = Activations::from_rows(3, 128, &rows);
        block.qkv(&mut inputs, [&mut Vec::new(), &mut Vec::new(), &mut Vec::new()]).unwrap();
        assert_eq!(inputs.preparations(), qkv, "QKV of {forms:?}");
        let rows = normed(&x, &block.mlp_norm, model.config.rms_norm_eps);
        let mut inputs = Activations::from_rows(3, 128, &rows);
        block.gated().both(&mut inputs, &mut [Vec::new(), Vec::new()]).unwrap();
        assert_eq!(inputs.preparations(), gate_up, "gate and up of {forms:?}");
    };
    check(&[TWO], 1, 1);
    check(&[TERNARY], 1, 1);
    check(&[None], 0, 0);
    // Three bits are looked up at every level, eight never are; q, k, v take the turns 0, 4, 5, gate and up 7 and 8.
    let (table, bytes) = (Some(Levels::Bits(3)), Some(Levels::Bits(8)));
    check(&[table, table, table, table, bytes, table, table, bytes, table, table], 2, 2);
    check(&[table, None, None, None, bytes, bytes, None, None, table, None], 2, 1);
}

/// Up to 16 tokens of several sequences in an exact pass have the bits that each has alone, whatever the weights.
#[test]
fn sequences_do_not_see_each_other() {
    for level in Level::available() {
        for form in [None, TWO, Some(Levels::Bits(3)), FOUR, TERNARY, Some(Levels::Bits(8))] {
            check_exact_passes(&random_model(&[form], level), &format!("{form:?} on {level}"));
        }
    }
}

#[track_caller]
fn check_exact_passes(model: &Model, what: &str) {
    let vocab_size = model.config.vocab_size;
    let lengths = [1, 5, 1, 3, 1, 1, 3, 1];
    assert_eq!(lengths.iter().sum::<usize>(), Batch::EXACT_MAX);
    let token = |i: usize| (i % vocab_size) as u32;
    let tokens: Vec<Vec<u32>> =
        lengths.iter().enumerate().map(|(i, &len)| (0..len).map(|t| token(5 * t + 3 * i)).collect()).collect();
    let before = |i: usize| (0..3 * i + 1).map(|t| token(7 * t + i)).collect::<Vec<u32>>();

    let mut alone = Vec::new();
    for (i, tokens) in tokens.iter().enumerate() {
        let mut state = model.new_state();
        model.logits(&before(i), &mut state).unwrap();
        alone.extend(tokens.iter().flat_map(|&token| model.logits(&[token], &mut state).unwrap()));
    }

    let (mut pool, mut work) = (model.new_state().pool, Workspace::default());
    let mut sequences: Vec<KvSequence> = vec![KvSequence::default(); lengths.len()];
    for (i, sequence) in sequences.iter_mut().enumerate() {
        let tokens = before(i);
        let segments = &mut [Segment { tokens: &tokens, sequence, len: 0 }];
        model.run(Batch { pool: &mut pool, segments, pass: Pass::Fast, gate: None }, &mut work).unwrap();
    }
    let mut segments: Vec<Segment<'_>> =
        tokens.iter().zip(&mut sequences).map(|(tokens, sequence)| Segment { tokens, sequence, len: 0 }).collect();
    model.run(Batch { pool: &mut pool, segments: &mut segments, pass: Pass::Exact, gate: None }, &mut work).unwrap();
    assert_eq!(project(model, &work.x, Batch::EXACT_MAX), alone, "{what}");
    for (i, sequence) in sequences.iter().enumerate() {
        assert_eq!(sequence.len(), 3 * i + 1 + lengths[i]);
    }
}

/// What stands between the blocks: the embeddings, the output of every block but the last, and the normalized output of the last.
fn hidden_states(model: &Model, tokens: &[u32]) -> Vec<Vec<f32>> {
    (0..=model.blocks.len())
        .map(|blocks| {
            let mut part = model.clone();
            part.blocks.truncate(blocks);
            part.attention.truncate(blocks);
            let mut state = part.new_state();
            if blocks == model.blocks.len() {
                return part.hidden(tokens, &mut state).unwrap().0.to_vec();
            }
            let KvState { pool, sequence, work, .. } = &mut state;
            let segments = &mut [Segment { tokens, sequence, len: tokens.len() }];
            part.stream(&mut Batch { pool, segments, pass: Pass::Fast, gate: None }, work).unwrap();
            state.work.x
        })
        .collect()
}

/// The residual stream of every family, block by block.
#[test]
fn hidden_states_are_the_reference() {
    parsimon_testkit::golden("parsimon-model", "formats/hf", |dir| {
        let names = ["llama2", "llama3", "qwen2", "qwen3", "mistral", "phi3", "gemma", "bitnet"];
        for name in names {
            let model = Model::open(&dir.join(name), &crate::LoadOptions::default()).unwrap();
            let expected = Checkpoint::open(&dir.join(name).join("expected.safetensors")).unwrap();
            let tokens: Vec<u32> =
                expected.tensor("short.ids").unwrap().to_i64().unwrap().into_iter().map(|id| id as u32).collect();
            for (i, state) in hidden_states(&model, &tokens).iter().enumerate() {
                let reference = expected.tensor(&format!("short.hidden.{i}")).unwrap().to_f64().unwrap();
                let error = parsimon_testkit::max_rel(state, &reference);
                assert!(error <= 2e-4, "{name} after {i} blocks: {error}");
            }
        }
        names.len()
    });
}
