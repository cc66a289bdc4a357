use parsimon_core::SplitMix64;

use super::*;
use crate::{BlockShape, Grid, HeadMap};

fn random(len: usize, seed: u64) -> Vec<f64> {
    let mut rng = SplitMix64::new(seed);
    (0..len).map(|_| rng.next_normal()).collect()
}

fn shape() -> GateShape {
    GateShape { heads: HeadMap::try_new(4, 2, 2).unwrap(), d: 6, d_gate: 6, block: 4 }
}

fn pools() -> (Pooling, Pooling) {
    (Pooling::from_name("avg").unwrap(), Pooling::from_name("maxminavg").unwrap())
}

/// Keys that come in chunks, whatever their sizes, are gated as keys that come at once.
#[test]
fn chunks_of_keys_give_the_same_gates() {
    let gate =
        PrefillGate::try_new(shape(), pools(), Some(GateRope::new(1e4, 6)), None, random(4 * 18 * 6, 1)).unwrap();
    let k = random(37 * 2 * 6, 2);
    let (_, whole) = gate.keys(&k, 0);
    for chunk in [1, 3, 4, 10, 37] {
        let mut keys = GateKeys::default();
        k.chunks(chunk * 12).for_each(|k| keys.extend(&gate, k));
        assert_eq!((keys.len(), keys.gated()), (37, &whole[..]), "chunks of {chunk}");
    }
    let q = random(37 * 4 * 6, 3);
    let (_, all) = gate.queries(&q, 0);
    let (_, rest) = gate.queries(&q[8 * 24..], 8);
    assert_eq!(rest, all[2 * 24..]);
}

/// The cache of compressed keys is what a whole pass computes, whatever the prompt was.
#[test]
fn compressed_keys_do_not_depend_on_the_prompt() {
    let pooling = (QHeadPooling::Avg, pools().1);
    let weights = (None, random(2 * 18 * 6, 1));
    let gate = DecodeGate::try_new(shape(), pooling, Some(GateRope::new(1e4, 6)), weights, None).unwrap();
    let k = random(23 * 12, 2);
    let forward = gate.forward(&random(23 * 24, 3), &k).unwrap();
    for prompt in 0..=23 {
        let mut keys = KCompression::default();
        keys.extend(&gate, &k[..prompt * 12]);
        k[prompt * 12..].chunks_exact(12).for_each(|k| keys.push(&gate, KBlockPos::Start, k));
        assert_eq!(keys.gated()[..5 * 12], forward.k_gate[..5 * 12], "a prompt of {prompt}");
    }
    let mut keys = KCompression::default();
    keys.extend(&gate, &k);
    // A budget that holds all blocks selects all.
    let all = keys.select(&gate, &DecodeOptions::new(Rule::TokenBudget(1000)), &random(24, 4)).unwrap();
    assert!((0..2).all(|head| all.blocks.row(head, 0) == [0, 1, 2, 3, 4, 5]));
}

#[test]
fn ratios_select_as_many_blocks_as_published() {
    let published = [(128, [37, 28, 20, 13, 6]), (512, [149, 115, 83, 54, 26]), (2048, [599, 461, 334, 216, 105])];
    for (n, counts) in published {
        for (ratio, count) in [0.5, 0.4, 0.3, 0.2, 0.1].into_iter().zip(counts) {
            assert_eq!(Rule::NzRatio(ratio).count(n, 64), Some(count), "{ratio} of {n}");
        }
    }
    let grid = Grid::try_new(1, 0).unwrap();
    let shape = BlockShape { q: grid, k: grid, t_q: 512, t_k: 512 };
    let logits = random(512 * 512, 1);
    for (ratio, density) in [(0.5, 0.4969), (0.1, 0.0989)] {
        let selection = Selection { last_rows_dense: false, ..Selection::upstream(Rule::NzRatio(ratio)) };
        let selected = selection.select(&logits, shape, 1).unwrap();
        assert!((selected.density - density).abs() < 1e-4, "{}", selected.density);
    }
}

/// Lower thresholds and larger counts select more, never others.
#[test]
fn selections_are_nested_and_nan_is_counted() {
    let grid = Grid::try_new(1, 0).unwrap();
    let shape = BlockShape { q: grid, k: grid, t_q: 20, t_k: 20 };
    let mut scores = random(400, 1);
    let select = |rule, scores: &[f64]| {
        Selection { last_rows_dense: false, ..Selection::upstream(rule) }.select(scores, shape, 1).unwrap()
    };
    for (few, many) in [(Rule::Threshold(0.5), Rule::Threshold(0.1)), (Rule::TokenBudget(3), Rule::TokenBudget(5))] {
        let (few, many) = (select(few, &scores).blocks, select(many, &scores).blocks);
        assert!((0..20).all(|row| few.row(0, row).iter().all(|col| many.row(0, row).contains(col))));
    }
    scores[5 * 20 + 2] = f64::NAN;
    let selected = select(Rule::Threshold(0.1), &scores);
    assert_eq!((selected.nan_rows, selected.blocks.row(0, 5)), (1, &[][..]));
    let strict = Selection { strict: true, ..Selection::upstream(Rule::Threshold(0.1)) };
    assert_eq!(strict.select(&scores, shape, 1).unwrap_err(), AttnError::NonFinite { head: 0, row: 5 });
}

/// A gate that learns a planted structure keeps the mass of attention with a quarter of the blocks.
#[test]
fn a_gate_learns_planted_blocks() {
    let (heads, n_blk, block) = (HeadMap::mha(1).unwrap(), 32, 8);
    let t = n_blk * block;
    let shape = GateShape { heads, d: 8, d_gate: 8, block };
    let mut rng = SplitMix64::new(5);
    let topics: Vec<usize> = (0..n_blk).map(|_| rng.next_u64() as usize % 4).collect();
    // Queries look for the topic that follows their block's own, with numbers that a mean hides: keys of a topic are large and of both signs.
    let mut rows = |of: &dyn Fn(usize) -> usize| -> Vec<f64> {
        (0..t)
            .flat_map(|i| {
                let topic = of(topics[i / block]);
                (0..8).map(|c| if c / 2 == topic { 1.0 } else { 0.0 } + 0.1 * rng.next_normal()).collect::<Vec<_>>()
            })
            .collect()
    };
    let (q, k) = (rows(&|topic| (topic + 1) % 4), rows(&|topic| topic));
    let mut target = vec![0.0; n_blk * n_blk];
    for (i, row) in target.chunks_exact_mut(n_blk).enumerate() {
        let wanted: Vec<usize> = (0..=i).filter(|&j| topics[j] == (topics[i] + 1) % 4).collect();
        wanted.iter().for_each(|&j| row[j] = 1.0 / wanted.len() as f64);
    }
    let start: Vec<f64> = (0..24 * 8).map(|_| 0.02 * SplitMix64::new(9).next_normal()).collect();
    let mut gate = PrefillGate::try_new(shape, pools(), None, None, start).unwrap();
    let mut trainer = GateTrainer::new(TrainOptions { lr: 2e-2, steps: 200, ..TrainOptions::default() });
    let mut losses = Vec::new();
    for _ in 0..200 {
        let forward = gate.forward(&q, &k, 0).unwrap();
        let loss = prefill_loss([&forward.logits, &forward.scores, &target], (n_blk, n_blk, 0), Reduction::PerRow, 1.0);
        losses.push(loss.loss);
        let grads = gate.backward(&forward, &loss.d_logits, 0);
        trainer.step_prefill(&mut gate, &grads);
    }
    let means: Vec<f64> = losses.chunks(10).map(|losses| losses.iter().sum::<f64>() / 10.0).collect();
    assert!(means.windows(2).all(|pair| pair[1] <= pair[0] + 1e-6), "{means:?}");
    let scores = gate.forward(&q, &k, 0).unwrap().scores;
    let grid = Grid::try_new(block as u32, 0).unwrap();
    let blocks = BlockShape { q: grid, k: grid, t_q: t, t_k: t };
    let selection = Selection { last_rows_dense: false, ..Selection::upstream(Rule::TokenBudget(n_blk / 4 * block)) };
    let list = selection.select(&scores, blocks, 1).unwrap().blocks;
    let map: Vec<f32> = target.iter().map(|&a| a as f32).collect();
    assert!(oracle_recall(&list, &map, n_blk).mass >= 0.9, "{:?}", oracle_recall(&list, &map, n_blk));
}
