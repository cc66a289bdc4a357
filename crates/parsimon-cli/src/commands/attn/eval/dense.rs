//! Many queries: dense and by block lists, teacher maps, gradients, compressed keys.

use parsimon::attn::teacher::{decode_target, max_over_groups, normalize_rows};
use parsimon::attn::{
    Attention, BackwardArgs, BlockShape, Grads, KExpand, KvView, PrefillOptions, RopePlace, Teacher, Workspace,
    reference,
};

use super::Precision;
use super::case::Case;
use super::gates::rotate;

/// Dense cases and lists alike; in `f64` by the definition.
pub(super) fn attention(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (dims, heads) = (case.dims()?, case.heads()?);
    let (t_q, t_k) = (case.number("t_q")?, case.number("t_k")?);
    let (q, k, v) = (case.input("q")?, case.numbers("k")?, case.numbers("v")?);
    let (config, blocks) = (case.config(dims)?, case.blocks(t_q, t_k)?);
    let attention = Attention::prepare(&config)?;
    let batch = case.maybe_number("batch").unwrap_or(1);
    let (mut o, mut lse, mut work) = (Vec::new(), Vec::new(), Workspace::default());
    for (i, q) in q.chunks_exact(t_q * heads.n_q() * dims.0).enumerate().take(batch) {
        let side = |n: usize, d: usize| (i * t_k * n * d, t_k * n * d);
        let (k_at, v_at) = (side(heads.n_k(), dims.0), side(heads.n_v(), dims.1));
        let kv = KvView::from_rows(heads, dims, t_k, k.data(k_at.0, k_at.1)?, v.data(v_at.0, v_at.1)?)?;
        if case.precision() == Precision::F64 {
            let sees = |h: usize, i: usize, j: usize| match &blocks {
                None => true,
                Some((list, shape)) => {
                    let list_head = h * list.heads() / heads.n_q();
                    list.row(list_head, shape.q.block_of(i)).contains(&(shape.k.block_of(j) as u32))
                }
            };
            let (part_o, part_lse) = reference::attention_where(&config, q, kv, sees);
            o.extend(part_o);
            lse.extend(part_lse);
        } else {
            let (mut part_o, mut part_lse) = (vec![0.0; t_q * heads.n_q() * dims.1], vec![0.0; t_q * heads.n_q()]);
            let blocks = blocks.as_ref().map(|(list, _)| list);
            let options = PrefillOptions { blocks, ..PrefillOptions::default() };
            attention.prefill_into(q, kv, options, (&mut part_o, Some(&mut part_lse)), &mut work)?;
            o.extend(part_o.into_iter().map(f64::from));
            lse.extend(part_lse.into_iter().map(f64::from));
        }
    }
    let shape = [batch, t_q, heads.n_q(), dims.1];
    let shape = if case.maybe_number("batch").is_some() { &shape[..] } else { &shape[1..] };
    case.put("o", shape, &o);
    case.put("lse", &shape[..shape.len() - 1], &lse);
    Ok(())
}

pub(super) fn teacher(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (dims, heads, t_q, t_k) = (case.dims()?, case.heads()?, case.number("t_q")?, case.number("t_k")?);
    let (q, k, v) = (case.input("q")?, case.numbers("k")?, case.numbers("v")?);
    let kv = KvView::from_rows(heads, dims, t_k, k.data(0, k.floats.len())?, v.data(0, v.floats.len())?)?;
    let shape = BlockShape { q: case.grid("block", "q_phase")?, k: case.grid("block", "k_phase")?, t_q, t_k };
    let ((rows, cols), n_q, n_k) = (shape.blocks(), heads.n_q(), heads.n_k());
    let (mut map_2d, mut map_1d) = (vec![0.0; n_q * rows * cols], vec![0.0; n_q * t_q * cols]);
    let teacher = Teacher { shape, map_2d: Some(&mut map_2d), map_1d: Some(&mut map_1d) };
    let options = PrefillOptions { teacher: Some(teacher), ..PrefillOptions::default() };
    let (mut o, mut lse) = (vec![0.0; t_q * n_q * dims.1], vec![0.0; t_q * n_q]);
    let attention = Attention::prepare(&case.config(dims)?)?;
    attention.prefill_into(&q, kv, options, (&mut o, Some(&mut lse)), &mut Workspace::default())?;
    case.put("o", &[t_q, n_q, dims.1], &o);
    case.put("lse", &[t_q, n_q], &lse);
    case.put("map1d", &[n_q, t_q, cols], &map_1d);
    case.put("map2d", &[n_q, rows, cols], &map_2d);
    case.put("map2d_kmax", &[n_k, rows, cols], &max_over_groups(&map_2d, n_q, n_k));
    normalize_rows(&mut map_2d, cols);
    case.put("map2d_norm", &[n_q, rows, cols], &map_2d);
    let mut target = max_over_groups(&map_1d, n_q, n_k);
    decode_target(&mut target, t_q, cols, |i| shape.k.block_of(i + t_k - t_q));
    case.put("target1d", &[n_k, t_q, cols], &target);
    Ok(())
}

pub(super) fn backward(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (dims, heads, t_q, t_k) = (case.dims()?, case.heads()?, case.number("t_q")?, case.number("t_k")?);
    let (q, k, v, d_o) = (case.input("q")?, case.input("k")?, case.input("v")?, case.input("d_o")?);
    let blocks = case.blocks(t_q, t_k)?;
    let blocks = blocks.as_ref().map(|(list, _)| list);
    let kv = KvView::from_rows(heads, dims, t_k, &k, &v)?;
    let attention = Attention::prepare(&case.config(dims)?)?;
    let (mut o, mut lse) = (vec![0.0; t_q * heads.n_q() * dims.1], vec![0.0; t_q * heads.n_q()]);
    let options = PrefillOptions { blocks, ..PrefillOptions::default() };
    attention.prefill_into(&q, kv, options, (&mut o, Some(&mut lse)), &mut Workspace::default())?;
    let [mut dq, mut dk, mut dv] = [&q, &k, &v].map(|rows| vec![0.0; rows.len()]);
    let args = BackwardArgs { q: &q, kv, blocks, o: &o, lse: &lse, d_o: &d_o };
    attention.backward_into(args, Grads { dq: &mut dq, dk: &mut dk, dv: &mut dv })?;
    case.put("dq", &[t_q, heads.n_q(), dims.0], &dq);
    case.put("dk", &[t_k, heads.n_k(), dims.0], &dk);
    case.put("dv", &[t_k, heads.n_v(), dims.1], &dv);
    Ok(())
}

/// Keys that are expanded before the product, or queries that are absorbed, as the place of the rotation demands.
pub(super) fn expand(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (heads, t, d_v, theta) = (case.heads()?, case.number("t")?, case.number("d_v")?, case.float("rope_theta")?);
    let (d_q, d_k) = (case.number("d_q")?, case.number("d_k")?);
    let place = RopePlace::from_name(case.text("rope_place")?);
    let place = place.ok_or_else(|| case.bad("rope_place", "expected none, compressed or expanded"))?;
    let layer = KExpand::try_new(heads, (d_k, d_q), case.input("u")?)?;
    let (q, k, v) = (case.input("q")?, case.input("k_c")?, case.input("v")?);
    let (q, k, d) = if place == RopePlace::Expanded {
        let k = layer.expand(&k)?;
        (rotate(&q, heads.n_q(), d_q, theta, 0), rotate(&k, heads.n_k(), d_q, theta, 0), d_q)
    } else {
        let q = layer.absorb(&q)?;
        if place == RopePlace::None {
            case.put("q_absorbed", &[t, heads.n_q(), d_k], &q);
            (q, k, d_k)
        } else {
            (rotate(&q, heads.n_q(), d_k, theta, 0), rotate(&k, heads.n_k(), d_k, theta, 0), d_k)
        }
    };
    let kv = KvView::from_rows(heads, (d, d_v), t, &k, &v)?;
    let (mut o, mut lse) = (vec![0.0; t * heads.n_q() * d_v], vec![0.0; t * heads.n_q()]);
    let out = (&mut o[..], Some(&mut lse[..]));
    let attention = Attention::prepare(&case.config((d, d_v))?)?;
    attention.prefill_into(&q, kv, PrefillOptions::default(), out, &mut Workspace::default())?;
    case.put("o", &[t, heads.n_q(), d_v], &o);
    case.put("lse", &[t, heads.n_q()], &lse);
    Ok(())
}
