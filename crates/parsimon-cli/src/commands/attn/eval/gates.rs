//! Gates: forward, gradients, compressed keys, selection, and from queries to outputs.

use parsimon::attn::gate::{
    DecodeGate, DecodeOptions, Forced, GateRope, GateShape, KBlockPos, KCompression, PartialBlock, Pooling,
    PrefillGate, QHeadPooling, Real, Reduction, Rule, Selection, decode_loss, prefill_loss,
};
use parsimon::attn::{
    Attention, AttnConfig, BlockShape, DecodeOut, DecodeSequence, Grid, HeadMap, KvView, Mask, PrefillOptions,
    Workspace,
};
use serde_json::Value;

use super::Precision;
use super::case::Case;

/// Runs a body in `f64` or `f32`.
macro_rules! in_precision {
    ($body:ident, $case:expr) => {
        if $case.precision() == Precision::F64 { $body::<f64>($case) } else { $body::<f32>($case) }
    };
}

/// The rows `[t, heads, d]`, turned by their positions from `first` on.
pub(super) fn rotate(rows: &[f32], heads: usize, d: usize, theta: f64, first: usize) -> Vec<f32> {
    let rope = GateRope::new(theta, d);
    let mut rows = rows.to_vec();
    for (i, row) in rows.chunks_exact_mut(heads * d).enumerate() {
        for row in row.chunks_exact_mut(d) {
            for c in 0..d / 2 {
                let (cos, sin) = rope.cos_sin(first + i, c);
                let (a, b) = (f64::from(row[c]), f64::from(row[c + d / 2]));
                (row[c], row[c + d / 2]) = ((a * cos - b * sin) as f32, (b * cos + a * sin) as f32);
            }
        }
    }
    rows
}

fn shape(case: &Case<'_>) -> anyhow::Result<GateShape> {
    let n_k = case.number("n_k")?;
    let heads = HeadMap::try_new(case.number("n_q")?, n_k, n_k)?;
    Ok(GateShape { heads, d: case.number("d")?, d_gate: case.number("d_gate")?, block: case.number("block")? })
}

fn pooling(case: &Case<'_>, key: &str, default: &str) -> anyhow::Result<Pooling> {
    let names = case.param(key).as_array().map(|names| names.iter().filter_map(Value::as_str).collect::<String>());
    Pooling::from_name(names.as_deref().unwrap_or(default)).ok_or_else(|| case.bad(key, "not a pooling"))
}

/// The rotation of a case, on unless it says otherwise.
fn rope(case: &Case<'_>) -> anyhow::Result<Option<GateRope>> {
    let rotary_dim = case.maybe_number("rotary_dim").map_or_else(|| case.number("d_gate"), Ok)?;
    let is_on = case.param("rope").as_bool().unwrap_or(true);
    is_on.then(|| Ok(GateRope::new(case.float("rope_theta")?, rotary_dim))).transpose()
}

fn prefill_gate<R: Real>(case: &Case<'_>) -> anyhow::Result<PrefillGate<R>> {
    let pools = (pooling(case, "q_pool", "avg")?, pooling(case, "k_pool", "maxminavg")?);
    Ok(PrefillGate::try_new(shape(case)?, pools, rope(case)?, case.maybe_real("w_q")?, case.real("w_k")?)?)
}

fn decode_gate<R: Real>(case: &Case<'_>) -> anyhow::Result<DecodeGate<R>> {
    let head_pooling = QHeadPooling::from_name(case.param("q_head_pooling").as_str().unwrap_or("Qproj"));
    let head_pooling = head_pooling.ok_or_else(|| case.bad("q_head_pooling", "not a pooling of heads"))?;
    let norms = match case.maybe_real("q_norm")?.zip(case.maybe_real("k_norm")?) {
        Some((q, k)) => Some(([q, k], case.float("norm_eps")?)),
        None => None,
    };
    let weights = (case.maybe_real("w_q")?, case.real("w_k")?);
    Ok(DecodeGate::try_new(shape(case)?, (head_pooling, pooling(case, "", "maxminavg")?), rope(case)?, weights, norms)?)
}

pub(super) fn prefill(case: &mut Case<'_>) -> anyhow::Result<()> {
    in_precision!(prefill_in, case)
}

fn prefill_in<R: Real>(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (gate, shape) = (prefill_gate::<R>(case)?, shape(case)?);
    let forward = gate.forward(&case.real("q")?, &case.real("k")?, case.number("pos0")?)?;
    let (n_blk, n_q, n_k) = (case.number("t")?.div_ceil(shape.block), shape.heads.n_q(), shape.heads.n_k());
    for (name, values, heads) in [
        ("q_pool", &forward.q_pool, n_q),
        ("k_pool", &forward.k_pool, n_k),
        ("q_gate", &forward.q_gate, n_q),
        ("k_gate", &forward.k_gate, forward.k_gate.len() / (n_blk * shape.d_gate)),
    ] {
        case.put(name, &[n_blk, heads, values.len() / (n_blk * heads)], values);
    }
    case.put("logits", &[n_q, n_blk, n_blk], &forward.logits);
    case.put("scores", &[n_q, n_blk, n_blk], &forward.scores);
    if let Some(rope) = rope(case)? {
        let positions = case.param("block_positions").as_array().cloned().unwrap_or_default();
        let angles: Vec<(f64, f64)> = positions
            .iter()
            .filter_map(Value::as_u64)
            .flat_map(|position| (0..rope.rotary_dim()).map(move |i| (position as usize, i)))
            .map(|(position, i)| rope.cos_sin(position, i % (rope.rotary_dim() / 2)))
            .collect();
        let shape = [positions.len(), rope.rotary_dim()];
        case.put("cos", &shape, &angles.iter().map(|angle| angle.0).collect::<Vec<_>>());
        case.put("sin", &shape, &angles.iter().map(|angle| angle.1).collect::<Vec<_>>());
    }
    Ok(())
}

pub(super) fn gradient(case: &mut Case<'_>) -> anyhow::Result<()> {
    in_precision!(gradient_in, case)
}

fn gradient_in<R: Real>(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (gate, shape) = (prefill_gate::<R>(case)?, shape(case)?);
    let forward = gate.forward(&case.real("q")?, &case.real("k")?, 0)?;
    let rows = case.number("t")?.div_ceil(shape.block);
    let reduction = match case.text("reduction")? {
        "mean" => Reduction::Mean,
        "row" => Reduction::PerRow,
        _ => return Err(case.bad("reduction", "expected mean or row")),
    };
    let target = case.real::<R>("target")?;
    let operands = [&forward.logits[..], &forward.scores, &target];
    let dropped = (rows, rows, case.number("drop_rows")?);
    let loss = prefill_loss(operands, dropped, reduction, case.float("gate_loss_scale")?);
    let grads = gate.backward(&forward, &loss.d_logits, 0);
    case.put_wide("loss", &[1], &[loss.loss]);
    put_gradients(case, [("w_k", Some(grads.w_k)), ("w_q", grads.w_q)])
}

/// The gradients that are asked for, in the shapes of what they are of.
fn put_gradients<R: Real, const N: usize>(
    case: &mut Case<'_>,
    grads: [(&str, Option<Vec<R>>); N],
) -> anyhow::Result<()> {
    for (of, values) in grads {
        let name = format!("d{of}");
        if let (Some(values), true) = (values, case.wants(&name)) {
            case.put(&name, &case.shape_of(of)?, &values);
        }
    }
    Ok(())
}

pub(super) fn decode(case: &mut Case<'_>) -> anyhow::Result<()> {
    in_precision!(decode_in, case)
}

fn decode_in<R: Real>(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (gate, shape, t) = (decode_gate::<R>(case)?, shape(case)?, case.number("t")?);
    let (n_k, cols) = (shape.heads.n_k(), t.div_ceil(shape.block));
    let q = case.real::<R>("q")?;
    let forward = gate.forward(&q, &case.real("k")?)?;
    case.put("q_gate", &[t, forward.q_gate.len() / (t * shape.d_gate), shape.d_gate], &forward.q_gate);
    case.put("k_gate", &[cols, n_k, shape.d_gate], &forward.k_gate);
    case.put("logits", &[n_k, t, cols], &forward.logits);
    case.put("scores", &[n_k, t, cols], &forward.scores);
    let target = case.real::<R>("target")?;
    let operands = [&forward.logits[..], &forward.scores, &target];
    let loss = decode_loss(operands, (t, cols, case.number("loss_start_row")?), case.float("gate_loss_scale")?);
    case.put_wide("loss", &[1], &[loss.loss]);
    let grads = gate.backward(&q, &forward, &loss.d_logits);
    let [q_norm, k_norm] = grads.norms.map_or([None, None], |norms| norms.map(Some));
    put_gradients(case, [("w_k", Some(grads.w_k)), ("w_q", grads.w_q), ("q_norm", q_norm), ("k_norm", k_norm)])
}

fn decode_options(case: &Case<'_>) -> anyhow::Result<DecodeOptions> {
    let rule = match case.param("method").as_str() {
        Some("threshold") => Rule::Threshold(case.float("value")?),
        Some("token_budget") => Rule::TokenBudget(case.number("value")?),
        None => Rule::TokenBudget(case.number("token_budget")?),
        Some(_) => return Err(case.bad("method", "expected threshold or token_budget")),
    };
    let is = |key: &str, value: &str| case.param(key).as_str() == Some(value);
    Ok(DecodeOptions {
        k_block_pos: if is("k_block_pos", "upstream_decode") { KBlockPos::UpstreamDecode } else { KBlockPos::Start },
        partial_block: if is("partial_block", "zero_logit") { PartialBlock::ZeroLogit } else { PartialBlock::Excluded },
        force_last: case.flag("force_last"),
        force_first: case.flag("force_first"),
        ..DecodeOptions::new(rule)
    })
}

pub(super) fn compression(case: &mut Case<'_>) -> anyhow::Result<()> {
    in_precision!(compression_in, case)
}

fn compression_in<R: Real>(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (gate, options) = (decode_gate::<R>(case)?, decode_options(case)?);
    let GateShape { heads, d, block, d_gate } = gate.shape();
    let (k, q, prefill) = (case.real::<R>("k")?, case.real::<R>("q")?, case.number("prefill")?);
    let (row, n_k, steps) = (heads.n_k() * d, heads.n_k(), case.number("steps")?);
    let slots = (prefill + steps).div_ceil(block);
    let (prompt, rest) =
        k.split_at_checked(prefill * row).ok_or_else(|| case.bad("prefill", "more than there are keys"))?;
    let mut compression = KCompression::default();
    compression.extend(&gate, prompt);
    let mut scores = Vec::new();
    let (mut row_ptr, mut cols) = (vec![0], Vec::new());
    for (k, q) in rest.chunks_exact(row).zip(q.chunks_exact(heads.n_q() * d)) {
        compression.push(&gate, options.k_block_pos, k);
        let step = compression.select(&gate, &options, q)?;
        let n_blk = step.scores.len() / n_k;
        for (head, own) in step.scores.chunks_exact(n_blk).enumerate() {
            scores.extend_from_slice(own);
            scores.extend(std::iter::repeat_n(R::ZERO, slots - n_blk));
            cols.extend_from_slice(step.blocks.row(head, 0));
            row_ptr.push(u32::try_from(cols.len())?);
        }
    }
    let gated = compression.gated().to_vec();
    case.put("scores", &[steps, n_k, slots], &scores);
    case.put("k_comp_final", &[gated.len() / (n_k * d_gate), n_k, d_gate], &gated);
    case.put_list(&row_ptr, &cols);
    Ok(())
}

fn selection(case: &Case<'_>) -> anyhow::Result<Selection> {
    let value = case.float("value")?;
    let rule = match case.text("method")? {
        "threshold" => Rule::Threshold(value),
        "nz_ratio" => Rule::NzRatio(value),
        "nucleus" => Rule::Nucleus(value),
        _ => return Err(case.bad("method", "expected threshold, nz_ratio or nucleus")),
    };
    let forced = case.param("forced");
    let count = |key: &str| forced[key].as_u64().unwrap_or(0) as usize;
    let diagonal = forced["diagonal"].as_bool().unwrap_or(false);
    let forced = Forced { diagonal, first: count("first"), local: count("local") };
    Ok(Selection { rule, forced, last_rows_dense: case.flag("last_rows_dense"), strict: true })
}

pub(super) fn select(case: &mut Case<'_>) -> anyhow::Result<()> {
    let selection = selection(case)?;
    let values = case.input(if selection.rule.reads_logits() { "logits" } else { "scores" })?;
    let (n, grid) = (case.number("n")?, Grid::try_new(1, 0)?);
    let shape = BlockShape { q: grid, k: grid, t_q: n, t_k: n };
    let selected = selection.select(&values, shape, case.number("heads")?)?;
    let (row_ptr, cols) = selected.blocks.as_csr();
    case.put_list(row_ptr, cols);
    case.put_wide("density", &[1], &[selected.density]);
    Ok(())
}

pub(super) fn seer_prefill(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (gate, selection) = (prefill_gate::<f32>(case)?, selection(case)?);
    let GateShape { heads, d, block, .. } = gate.shape();
    let (q, k, v, t) = (case.input("q")?, case.input("k")?, case.input("v")?, case.number("t")?);
    let forward = gate.forward(&q, &k, 0)?;
    let values = if selection.rule.reads_logits() { &forward.logits } else { &forward.scores };
    let grid = Grid::try_new(u32::try_from(block)?, 0)?;
    let selected = selection.select(values, BlockShape { q: grid, k: grid, t_q: t, t_k: t }, heads.n_q())?;
    let (row_ptr, cols) = selected.blocks.as_csr();
    case.put_list(row_ptr, cols);
    case.put_wide("density", &[1], &[selected.density]);
    let theta = case.float("rope_theta")?;
    let (q, k) = (rotate(&q, heads.n_q(), d, theta, 0), rotate(&k, heads.n_k(), d, theta, 0));
    let kv = KvView::from_rows(heads, (d, d), t, &k, &v)?;
    let (mut o, mut lse) = (vec![0.0; t * heads.n_q() * d], vec![0.0; t * heads.n_q()]);
    let config = AttnConfig { compute: case.compute(), ..AttnConfig::new(heads, (d, d), Mask::Causal) };
    let options = PrefillOptions { blocks: Some(&selected.blocks), ..PrefillOptions::default() };
    let out = (&mut o[..], Some(&mut lse[..]));
    Attention::prepare(&config)?.prefill_into(&q, kv, options, out, &mut Workspace::default())?;
    case.put("o", &[t, heads.n_q(), d], &o);
    case.put("lse", &[t, heads.n_q()], &lse);
    Ok(())
}

pub(super) fn seer_decode(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (gate, options) = (decode_gate::<f32>(case)?, decode_options(case)?);
    let GateShape { heads, d, .. } = gate.shape();
    let (k, q, v, prefill) = (case.input("k")?, case.input("q")?, case.input("v")?, case.number("prefill")?);
    let (row, theta, steps) = (heads.n_k() * d, case.float("rope_theta")?, case.number("steps")?);
    if k.len() < (prefill + steps) * row || v.len() < (prefill + steps) * row {
        return Err(case.bad("steps", "more than there are keys and values"));
    }
    let turned = rotate(&k, heads.n_k(), d, theta, 0);
    let attention = Attention::prepare(&AttnConfig::new(heads, (d, d), Mask::Causal))?;
    let mut compression = KCompression::default();
    compression.extend(&gate, &k[..prefill * row]);
    let (mut o, mut work) = (Vec::new(), Workspace::default());
    let (mut row_ptr, mut cols) = (vec![0], Vec::new());
    for (step, q) in q.chunks_exact(heads.n_q() * d).enumerate().take(steps) {
        let len = prefill + step + 1;
        compression.push(&gate, options.k_block_pos, &k[(len - 1) * row..len * row]);
        let selected = compression.select(&gate, &options, q)?;
        for head in 0..selected.blocks.heads() {
            cols.extend_from_slice(selected.blocks.row(head, 0));
            row_ptr.push(u32::try_from(cols.len())?);
        }
        let kv = KvView::from_rows(heads, (d, d), len, &turned[..len * row], &v[..len * row])?;
        let mut out = vec![0.0; heads.n_q() * d];
        let write = DecodeOut { o: &mut out, lse: None, parts: None };
        let sequence = DecodeSequence { kv, blocks: Some(&selected.blocks) };
        let q = rotate(q, heads.n_q(), d, theta, len - 1);
        attention.decode_into(&q, &[sequence], parsimon::attn::DecodeOptions::default(), write, &mut work)?;
        o.extend(out);
    }
    case.put("o", &[steps, heads.n_q(), d], &o);
    case.put_list(&row_ptr, &cols);
    Ok(())
}
