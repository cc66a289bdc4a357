use parsimon_core::SplitMix64;
use parsimon_simd::Level;
use parsimon_testkit::rel_l2;
use proptest::prelude::*;

use super::*;
use crate::{Attention, AttnConfig, Compute, KvView, Mask, PrefillOptions, Workspace, reference};

fn grid(size: u32, phase: u32) -> Grid {
    Grid::try_new(size, phase).unwrap()
}

#[test]
fn positions_lie_in_the_blocks_that_hold_them() {
    for (size, phase) in [(1, 0), (4, 0), (4, 3), (64, 10)] {
        let grid = grid(size, phase);
        for t in 0..200 {
            assert!(grid.range(grid.block_of(t), 200).contains(&t));
        }
        let all: Vec<usize> = (0..grid.blocks(200)).flat_map(|block| grid.range(block, 200)).collect();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
    }
    assert_eq!(Grid::try_new(0, 0), Err(AttnError::ZeroDim { what: "block size" }));
    assert_eq!(Grid::try_new(4, 4), Err(AttnError::Limit { what: "phase", actual: 4, limit: 3 }));
}

#[test]
fn lists_that_cannot_be_are_named() {
    let shape = BlockShape { q: grid(4, 0), k: grid(4, 0), t_q: 8, t_k: 12 };
    let new = |row_ptr: &[u32], cols: &[u32]| BlockList::try_new(shape, 1, row_ptr.to_vec(), cols.to_vec());
    assert!(new(&[0, 2, 3], &[0, 2, 1]).is_ok());
    let wrong = |row, reason| AttnError::BlockList { head: 0, row, reason };
    assert_eq!(new(&[0, 1], &[0]).unwrap_err(), AttnError::Shape { what: "row_ptr", expected: 3, actual: 2 });
    assert_eq!(new(&[0, 1, 1], &[0, 1]).unwrap_err(), AttnError::Shape { what: "cols", expected: 1, actual: 2 });
    assert_eq!(new(&[0, 2, 2], &[2, 0]).unwrap_err(), wrong(0, "columns are not ascending and unique"));
    assert_eq!(new(&[0, 0, 2], &[1, 1]).unwrap_err(), wrong(1, "columns are not ascending and unique"));
    assert_eq!(new(&[0, 0, 1], &[3]).unwrap_err(), wrong(1, "a column is out of range"));
    assert_eq!(new(&[0, 3, 1], &[0]).unwrap_err(), wrong(0, "row_ptr runs backwards or beyond the columns"));
    let list = new(&[0, 1, 1], &[2]).unwrap();
    let heads = HeadMap::try_new(4, 2, 2).unwrap();
    assert_eq!(list.check(heads, 8, 8), Err(wrong(0, "a column is out of range")));
    assert!(matches!(list.check(heads, 4, 12), Err(AttnError::Shape { what: "block rows", .. })));
}

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = SplitMix64::new(seed);
    (0..len).map(|_| rng.next_normal() as f32).collect()
}

/// What a call gives at a level.
fn run(
    config: &AttnConfig,
    level: Level,
    q: &[f32],
    kv: KvView<'_>,
    options: PrefillOptions<'_>,
) -> (Vec<f32>, Vec<f32>) {
    let rows = q.len() / config.d_qk;
    let (mut o, mut lse) = (vec![f32::NAN; rows * config.d_v], vec![f32::NAN; rows]);
    let attention = Attention::prepare(config).unwrap().at_level(level).unwrap();
    attention.prefill_into(q, kv, options, (&mut o, Some(&mut lse)), &mut Workspace::default()).unwrap();
    (o, lse)
}

/// A list of all blocks has the bits of no list, with any widths and at any level.
#[test]
fn all_blocks_are_dense_attention() {
    for level in Level::available() {
        for (dims, t) in [((10, 6), 70), ((192, 128), 130), ((576, 512), 65), ((80, 80), 200)] {
            for compute in [Compute::F32, Compute::Bf16] {
                let heads = HeadMap::try_new(2, 1, 2).unwrap();
                let config = AttnConfig { compute, ..AttnConfig::new(heads, dims, Mask::Causal) };
                let (q, k, v) = (random(t * 2 * dims.0, 1), random(t * dims.0, 2), random(t * 2 * dims.1, 3));
                let kv = KvView::from_rows(heads, dims, t, &k, &v).unwrap();
                let shape = BlockShape { q: grid(64, 0), k: grid(64, 0), t_q: t, t_k: t };
                let list = BlockList::causal(shape, 2);
                let dense = run(&config, level, &q, kv, PrefillOptions::default());
                let options = PrefillOptions { blocks: Some(&list), ..PrefillOptions::default() };
                assert_eq!(run(&config, level, &q, kv, options), dense, "{level}, {dims:?}, {compute:?}");
                let (expected, _) = reference::attention(&config, &q, kv);
                let tolerance = if compute == Compute::F32 { 2e-6 } else { 1e-2 };
                let error = rel_l2(&dense.0, &expected);
                assert!(error <= tolerance, "{level}, {dims:?}, {compute:?}: {error}");
            }
        }
    }
}

/// A NaN in a key or value that a row does not see, by list, by mask or by padding, does not reach it.
#[test]
fn hidden_keys_do_not_leak() {
    let heads = HeadMap::try_new(1, 1, 1).unwrap();
    let t = 150;
    for level in Level::available() {
        for compute in [Compute::F32, Compute::Bf16] {
            let config = AttnConfig { compute, ..AttnConfig::new(heads, (16, 16), Mask::Causal) };
            let (q, mut k, mut v) = (random(t * 16, 1), random(t * 16, 2), random(t * 16, 3));
            (k[3 * 16], v[70 * 16]) = (f32::NAN, f32::INFINITY);
            let kv = KvView::from_rows(heads, (16, 16), t, &k, &v).unwrap();
            let shape = BlockShape { q: grid(8, 0), k: grid(8, 0), t_q: t, t_k: t };
            let list = BlockList::from_fn(shape, 1, |_, row, col| col <= row && col != 0);
            let real: Vec<bool> = (0..t).map(|j| j != 70).collect();
            let options = PrefillOptions { blocks: Some(&list), keys: Some(&real), teacher: None };
            let (o, _) = run(&config, level, &q, kv, options);
            assert!(o.iter().all(|o| o.is_finite()), "{level}, {compute:?}");
            let seen = run(&config, level, &q, kv, PrefillOptions::default()).0;
            for (i, row) in seen.chunks_exact(16).enumerate() {
                assert_eq!(row.iter().any(|o| !o.is_finite()), i >= 3, "{level}, {compute:?}, row {i}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Random lists, grids, phases, padding and offsets equal the definition over the elements that they mean.
    #[test]
    fn lists_mean_their_elements(
        (t_q, extra) in (1usize..150, 0usize..100),
        (b_q, b_k) in (1u32..80, 1u32..80),
        (heads_kind, seed, density) in (0usize..3, 0u64..1000, 0.0f64..1.0),
    ) {
        let heads = HeadMap::try_new(4, 2, 4).unwrap();
        let t_k = t_q + extra;
        let mut rng = SplitMix64::new(seed);
        let mut below = |n: u64| rng.next_u64() % n;
        let q_grid = grid(b_q, below(b_q.into()) as u32);
        let k_grid = grid(b_k, below(b_k.into()) as u32);
        let shape = BlockShape { q: q_grid, k: k_grid, t_q, t_k };
        let list_heads = [1, 2, 4][heads_kind];
        let list = BlockList::from_fn(shape, list_heads, |_, _, _| below(1000) < (1000.0 * density) as u64);
        let real: Vec<bool> = (0..t_k).map(|_| below(10) > 0).collect();
        let config = AttnConfig::new(heads, (8, 12), Mask::Causal);
        let (q, k, v) = (random(t_q * 4 * 8, 1), random(t_k * 2 * 8, 2), random(t_k * 4 * 12, 3));
        let kv = KvView::from_rows(heads, (8, 12), t_k, &k, &v).unwrap();
        let (expected, expected_lse) = reference::attention_where(&config, &q, kv, |h, i, j| {
            let row = list.row(h * list_heads / 4, q_grid.block_of(i));
            real[j] && row.contains(&(k_grid.block_of(j) as u32))
        });
        for level in Level::available() {
            let options = PrefillOptions { blocks: Some(&list), keys: Some(&real), teacher: None };
            let (o, lse) = run(&config, level, &q, kv, options);
            prop_assert!(rel_l2(&o, &expected) <= 2e-6);
            for (a, b) in lse.iter().zip(&expected_lse) {
                prop_assert!(f64::from(*a) == *b || (f64::from(*a) - b).abs() <= 2e-5);
            }
        }
    }
}
