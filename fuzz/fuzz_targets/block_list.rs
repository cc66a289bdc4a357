//! Any offsets and columns as a block list: refused, or attention over it is finite and 0 where nothing is listed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parsimon_attn::{Attention, AttnConfig, BlockList, BlockShape, Grid, HeadMap, KvView, Mask, PrefillOptions, Workspace};

fuzz_target!(|input: (u8, u8, u8, u8, u8, u8, Vec<u32>, Vec<u32>)| {
    let (b_q, b_k, q_phase, t_q, t_k, heads, row_ptr, cols) = input;
    let (t_q, t_k) = (usize::from(t_q), usize::from(t_k));
    let (Ok(q), Ok(k)) = (Grid::try_new(u32::from(b_q), u32::from(q_phase)), Grid::try_new(u32::from(b_k), 0)) else {
        return;
    };
    let map = HeadMap::try_new(4, 2, 1).expect("the heads divide");
    let Ok(list) = BlockList::try_new(BlockShape { q, k, t_q, t_k }, usize::from(heads % 5), row_ptr, cols) else {
        return;
    };
    let rows = |n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 29 % 13) as f32 - 6.0) / 6.0).collect() };
    let (queries, keys, values) = (rows(t_q * 4 * 8), rows(t_k * 2 * 8), rows(t_k * 8));
    let attention = Attention::prepare(&AttnConfig::new(map, (8, 8), Mask::Causal)).expect("the sizes are allowed");
    let kv = KvView::from_rows(map, (8, 8), t_k, &keys, &values).expect("as many rows as keys");
    let mut out = vec![f32::NAN; t_q * 4 * 8];
    let options = PrefillOptions { blocks: Some(&list), ..PrefillOptions::default() };
    if attention.prefill_into(&queries, kv, options, (&mut out, None), &mut Workspace::default()).is_ok() {
        assert!(out.iter().all(|o| o.is_finite()));
    }
});
