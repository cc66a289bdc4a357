//! Logits and gradients against a plain `f64` evaluation of the formulas, written here once more.

use std::collections::BTreeMap;

use parsimon_attn::HeadMap;
use parsimon_core::SplitMix64;
use parsimon_core::io::Checkpoint;
use parsimon_model::{Architecture, BlockTraits, RopeScaling};

use super::*;

type Tensors = BTreeMap<String, Vec<f64>>;

struct Reference<'a> {
    config: &'a ModelConfig,
    tensors: &'a Tensors,
}

impl Reference<'_> {
    fn get(&self, name: &str) -> &[f64] {
        &self.tensors[&format!("{name}.weight")]
    }

    /// `x W^T` for rows of width `k`.
    fn linear(&self, x: &[f64], k: usize, name: &str) -> Vec<f64> {
        let weight = self.get(name);
        let row = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
        x.chunks(k).flat_map(|x| weight.chunks(k).map(|w| row(x, w)).collect::<Vec<_>>()).collect()
    }

    fn norm(&self, x: &[f64], name: &str) -> Vec<f64> {
        let w = self.get(name);
        let eps = f64::from(self.config.rms_norm_eps);
        let row = |x: &[f64]| {
            let scale = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + eps).sqrt();
            x.iter().zip(w).map(|(x, w)| x / scale * w).collect::<Vec<_>>()
        };
        x.chunks(w.len()).flat_map(row).collect()
    }

    fn gated(gate: &[f64], up: &[f64]) -> Vec<f64> {
        gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
    }

    /// One head at one position, rotated by the plain frequencies.
    fn rotated(&self, x: &[f64], position: usize) -> Vec<f64> {
        let half = x.len() / 2;
        let angle = |i: usize| position as f64 * self.config.rope_theta.powf(-(i as f64) / half as f64);
        let first = (0..half).map(|i| x[i] * angle(i).cos() - x[half + i] * angle(i).sin());
        let second = (0..half).map(|i| x[half + i] * angle(i).cos() + x[i] * angle(i).sin());
        first.chain(second).collect()
    }

    fn attention(&self, q: &[f64], k: &[f64], v: &[f64], n: usize) -> Vec<f64> {
        let (heads, d) = (self.config.heads, self.config.head_dim);
        let head = |x: &[f64], count: usize, t: usize, h: usize| x[(t * count + h) * d..][..d].to_vec();
        let mut output = Vec::new();
        for i in 0..n {
            for h in 0..heads.n_q() {
                let query = self.rotated(&head(q, heads.n_q(), i, h), i);
                let score = |j: usize| {
                    let key = self.rotated(&head(k, heads.n_k(), j, heads.k_of(h)), j);
                    query.iter().zip(&key).map(|(q, k)| q * k).sum::<f64>() / (d as f64).sqrt()
                };
                let weights: Vec<f64> = (0..=i).map(|j| score(j).exp()).collect();
                let sum: f64 = weights.iter().sum();
                let values: Vec<Vec<f64>> = (0..=i).map(|j| head(v, heads.n_v(), j, heads.v_of(h))).collect();
                let mix = |c: usize| weights.iter().zip(&values).map(|(w, v)| w / sum * v[c]).sum::<f64>();
                output.extend((0..d).map(mix));
            }
        }
        output
    }

    fn logits(&self, tokens: &[u32]) -> Vec<f64> {
        let (hidden, ffn, aug) = (self.config.hidden_size, self.config.intermediate_size, self.config.aug_q_size);
        let q_width = self.config.heads.n_q() * self.config.head_dim;
        let embed = self.get("model.embed_tokens");
        let mut x: Vec<f64> = tokens.iter().flat_map(|&t| embed[t as usize * hidden..][..hidden].to_vec()).collect();
        let add = |x: &mut Vec<f64>, y: Vec<f64>| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        for layer in 0..self.config.num_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            let normed = self.norm(&x, &name("input_layernorm"));
            let mut q = self.linear(&normed, hidden, &name("self_attn.q_proj"));
            if aug > 0 {
                let gate = self.linear(&q, q_width, &name("self_attn.q_gate_proj"));
                let up = self.linear(&q, q_width, &name("self_attn.q_up_proj"));
                q = self.linear(&Self::gated(&gate, &up), aug, &name("self_attn.q_down_proj"));
            }
            let k = self.linear(&normed, hidden, &name("self_attn.k_proj"));
            let v = self.linear(&normed, hidden, &name("self_attn.v_proj"));
            let o = self.attention(&q, &k, &v, tokens.len());
            add(&mut x, self.linear(&o, q_width, &name("self_attn.o_proj")));
            let normed = self.norm(&x, &name("post_attention_layernorm"));
            let gate = self.linear(&normed, hidden, &name("mlp.gate_proj"));
            let up = self.linear(&normed, hidden, &name("mlp.up_proj"));
            add(&mut x, self.linear(&Self::gated(&gate, &up), ffn, &name("mlp.down_proj")));
        }
        let x = self.norm(&x, "model.norm");
        self.linear(&x, hidden, if self.config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" })
    }

    fn loss(&self, batch: &Batch, context: usize) -> f64 {
        let vocab = self.config.vocab_size;
        let sequences = batch.inputs.chunks(context).zip(batch.targets.chunks(context));
        let of = |(inputs, targets): (&[u32], &[u32])| -> f64 {
            let logits = self.logits(inputs);
            let row = |(z, &target): (&[f64], &u32)| z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[target as usize];
            logits.chunks(vocab).zip(targets).map(row).sum()
        };
        sequences.map(of).sum::<f64>() / batch.inputs.len() as f64
    }
}

fn config(heads: (usize, usize, usize), aug_q_size: usize, tie_word_embeddings: bool) -> ModelConfig {
    ModelConfig {
        architecture: if aug_q_size > 0 || heads.1 != heads.2 { Architecture::Sigma } else { Architecture::Llama },
        vocab_size: 37,
        hidden_size: 24,
        intermediate_size: 40,
        num_layers: 2,
        heads: HeadMap::try_new(heads.0, heads.1, heads.2).unwrap(),
        head_dim: 6,
        aug_q_size,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::Default,
        max_position_embeddings: 128,
        tie_word_embeddings,
        bos_token_id: None,
        eos_token_ids: vec![0],
        quantization: None,
        block: BlockTraits::default(),
    }
}

const CONFIGS: [((usize, usize, usize), usize, bool); 4] =
    [((6, 2, 3), 20, true), ((6, 3, 2), 20, false), ((4, 4, 4), 0, true), ((4, 1, 2), 0, false)];

/// A model whose weights are far from their first values, so that no path is negligible.
fn model(config: &ModelConfig) -> LmModel {
    let mut model = LmModel::random(config, 3).unwrap();
    let mut rng = SplitMix64::new(17);
    for idx in 0..model.len() {
        let norm = !model.decays(idx);
        for value in model.weight_mut(idx) {
            *value = if norm { 1.0 + 0.2 * rng.next_normal() as f32 } else { 0.3 * rng.next_normal() as f32 };
        }
    }
    model
}

fn tensors(model: &LmModel) -> Tensors {
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let read = |name: &str| (name.to_owned(), checkpoint.tensor(name).unwrap().to_f64().unwrap());
    checkpoint.names().map(read).collect()
}

fn tokens(n: usize, vocab: usize) -> Vec<u32> {
    let mut rng = SplitMix64::new(n as u64);
    (0..n).map(|_| rng.below(vocab as u64) as u32).collect()
}

#[track_caller]
fn check_logits(config: &ModelConfig, n: usize) {
    let model = model(config);
    let tensors = tensors(&model);
    let tokens = tokens(n, config.vocab_size);
    let expected = Reference { config, tensors: &tensors }.logits(&tokens);
    let actual = model.logits(&tokens);
    assert_eq!(actual.len(), expected.len());
    let scale = expected.iter().fold(1.0f64, |largest, z| largest.max(z.abs()));
    for (i, (&actual, expected)) in actual.iter().zip(&expected).enumerate() {
        let error = (f64::from(actual) - expected).abs();
        assert!(error <= 1e-5 * scale, "{n} tokens, logit {i} is {actual}, expected {expected}");
    }
}

#[test]
fn logits_equal_the_reference() {
    for (heads, aug, tie) in CONFIGS {
        // One token, less than a tile of the attention, and more than one tile.
        for n in [1, 13, 70] {
            check_logits(&config(heads, aug, tie), n);
        }
    }
}

/// `<gradient, direction>` of every tensor against the central difference of the reference loss.
#[track_caller]
fn check_gradients(config: &ModelConfig, context: usize, sequences: usize) {
    let model = model(config);
    let all = tokens(context * sequences + 1, config.vocab_size);
    let batch = Batch { inputs: all[..all.len() - 1].into(), targets: all[1..].into() };
    let pass = Pass::new(config, context, Threads::Pool);
    let (loss, gradients) = model.gradients(&pass, &batch, batch.inputs.len());
    let exact = tensors(&model);
    let expected = Reference { config, tensors: &exact }.loss(&batch, context);
    assert!((f64::from(loss) - expected).abs() < 1e-5, "loss {loss}, expected {expected}");
    assert_eq!(model.loss(&batch, context), loss);
    let mut rng = SplitMix64::new(99);
    for (idx, gradient) in gradients.iter().enumerate() {
        let direction: Vec<f32> = (0..slice(gradient).len()).map(|_| rng.next_normal() as f32).collect();
        let product = |(g, d): (&f32, &f32)| f64::from(*g) * f64::from(*d);
        let actual: f64 = slice(gradient).iter().zip(&direction).map(product).sum();
        let step = 1e-5;
        let moved = |step: f64| {
            let mut moved = exact.clone();
            let mut direction = direction.iter();
            for (name, _) in &model.layout.slots()[idx].parts {
                let values = moved.get_mut(&format!("{name}.weight")).unwrap();
                values.iter_mut().zip(&mut direction).for_each(|(w, &d)| *w += step * f64::from(d));
            }
            Reference { config, tensors: &moved }.loss(&batch, context)
        };
        let expected = (moved(step) - moved(-step)) / (2.0 * step);
        // Along a random direction the derivative is about as large as the gradient, and so is what single precision rounds.
        let norm = slice(gradient).iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let tolerance = 2e-4 * norm;
        assert!((actual - expected).abs() < tolerance, "{}: {actual}, expected {expected}", model.name(idx));
    }
}

#[test]
fn gradients_equal_central_differences() {
    for (heads, aug, tie) in CONFIGS {
        check_gradients(&config(heads, aug, tie), 9, 2);
    }
    // Two tiles of the attention, the second not full.
    check_gradients(&config((6, 2, 3), 20, true), 67, 1);
}

#[test]
fn first_weights_depend_on_the_seed_and_the_name_alone() {
    let tied = config((6, 2, 3), 20, true);
    let deeper = ModelConfig { num_layers: 2, intermediate_size: 24, ..tied.clone() };
    let (a, b) = (LmModel::random(&tied, 5).unwrap(), LmModel::random(&deeper, 5).unwrap());
    assert_eq!(a.weight(Layout::EMBED), b.weight(Layout::EMBED));
    assert_ne!(a.weight(Layout::EMBED), LmModel::random(&tied, 6).unwrap().weight(Layout::EMBED));
    let deviation =
        |values: &[f32]| (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
    let layer = a.layout.layers()[0];
    assert!((deviation(a.weight(layer.gate_up)) - 0.02).abs() < 0.001);
    assert!((deviation(a.weight(layer.down)) - 0.01).abs() < 0.001, "0.02 / sqrt(2 * 2 layers)");
    assert!(a.weight(layer.input_norm).iter().all(|&w| w == 1.0));
}

#[test]
fn odd_heads_are_refused() {
    let odd = ModelConfig { head_dim: 5, ..config((6, 2, 3), 20, true) };
    assert!(matches!(LmModel::random(&odd, 1), Err(TrainError::Setting { field: "head_dim", .. })));
}
