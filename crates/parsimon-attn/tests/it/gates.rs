//! Gates, in `f64` and `f32`: forward, gradients, compression, selection, and from queries to outputs.

use parsimon_attn::gate::{
    DecodeGate, DecodeOptions, Forced, GateRope, GateShape, KBlockPos, KCompression, PartialBlock, Pooling,
    PrefillGate, QHeadPooling, Real, Reduction, Rule, Selection, decode_loss, prefill_loss,
};
use parsimon_attn::{
    AttnConfig, BlockList, BlockShape, Compute, DecodeOut, DecodeSequence, Grid, HeadMap, KvView, Mask, PrefillOptions,
    Workspace,
};
use serde_json::Value;

use crate::case::{Case, lse_tolerance};
use crate::{each_backend, each_case};

/// A precision and its name in the index.
trait Precision: Real {
    const NAME: &'static str;
}

impl Precision for f32 {
    const NAME: &'static str = "f32";
}

impl Precision for f64 {
    const NAME: &'static str = "f64";
}

fn input<R: Real>(case: &Case, name: &str) -> Vec<R> {
    case.input(name).into_iter().map(|x| R::of(f64::from(x))).collect()
}

fn maybe<R: Real>(case: &Case, name: &str) -> Option<Vec<R>> {
    case.has_input(name).then(|| input(case, name))
}

#[track_caller]
fn check<R: Precision>(case: &Case, name: &str, actual: &[R]) {
    let actual: Vec<f64> = actual.iter().map(|x| x.wide()).collect();
    case.check_wide(name, &actual, case.tolerance(R::NAME).unwrap());
}

fn shape(case: &Case) -> GateShape {
    let n_k = case.number("n_k");
    let heads = HeadMap::try_new(case.number("n_q"), n_k, n_k).unwrap();
    GateShape { heads, d: case.number("d"), d_gate: case.number("d_gate"), block: case.number("block") }
}

fn pooling(names: &Value) -> Pooling {
    let names: Vec<&str> = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    Pooling::from_name(&names.concat()).unwrap()
}

/// The rotation of a case, on unless it says otherwise.
fn rope(case: &Case) -> Option<GateRope> {
    let rotary_dim = case.params["rotary_dim"].as_u64().map_or(case.number("d_gate"), |dim| dim as usize);
    case.params["rope"].as_bool().unwrap_or(true).then(|| GateRope::new(case.float("rope_theta"), rotary_dim))
}

fn prefill_gate<R: Real>(case: &Case) -> PrefillGate<R> {
    let pools = match case.params["q_pool"].as_array() {
        Some(_) => (pooling(&case.params["q_pool"]), pooling(&case.params["k_pool"])),
        None => (Pooling::from_name("avg").unwrap(), Pooling::from_name("maxminavg").unwrap()),
    };
    PrefillGate::try_new(shape(case), pools, rope(case), maybe(case, "w_q"), input(case, "w_k")).unwrap()
}

fn decode_gate<R: Real>(case: &Case) -> DecodeGate<R> {
    let pooling = QHeadPooling::from_name(case.params["q_head_pooling"].as_str().unwrap_or("Qproj")).unwrap();
    let norms = maybe(case, "q_norm").zip(maybe(case, "k_norm")).map(|(q, k)| ([q, k], case.float("norm_eps")));
    let pools = (pooling, Pooling::from_name("maxminavg").unwrap());
    let weights = (maybe(case, "w_q"), input(case, "w_k"));
    DecodeGate::try_new(shape(case), pools, rope(case), weights, norms).unwrap()
}

#[test]
fn gate_prefill_goldens() {
    each_case("gate_prefill", |case| {
        check_prefill::<f64>(case);
        check_prefill::<f32>(case);
    });
}

fn check_prefill<R: Precision>(case: &Case) {
    let gate = prefill_gate::<R>(case);
    let forward = gate.forward(&input(case, "q"), &input(case, "k"), case.number("pos0")).unwrap();
    check(case, "q_pool", &forward.q_pool);
    check(case, "k_pool", &forward.k_pool);
    check(case, "q_gate", &forward.q_gate);
    check(case, "k_gate", &forward.k_gate);
    check(case, "logits", &forward.logits);
    check(case, "scores", &forward.scores);
    if let Some(rope) = rope(case) {
        let positions = case.params["block_positions"].as_array().unwrap();
        let table = |of: fn((f64, f64)) -> f64| -> Vec<R> {
            let row = |position: &Value| {
                let position = position.as_u64().unwrap() as usize;
                let half = rope.rotary_dim() / 2;
                let angles: Vec<R> = (0..2 * half).map(|i| R::of(of(rope.cos_sin(position, i % half)))).collect();
                angles
            };
            positions.iter().flat_map(row).collect()
        };
        check(case, "cos", &table(|(cos, _)| cos));
        check(case, "sin", &table(|(_, sin)| sin));
    }
}

#[test]
fn gate_grad_goldens() {
    each_case("gate_grad", |case| {
        check_grad::<f64>(case);
        check_grad::<f32>(case);
    });
}

fn check_grad<R: Precision>(case: &Case) {
    let gate = prefill_gate::<R>(case);
    let forward = gate.forward(&input(case, "q"), &input(case, "k"), 0).unwrap();
    let rows = case.number("t").div_ceil(case.number("block"));
    let reduction = match case.params["reduction"].as_str() {
        Some("mean") => Reduction::Mean,
        Some("row") => Reduction::PerRow,
        other => panic!("reduction {other:?}"),
    };
    let operands = [&forward.logits[..], &forward.scores, &input::<R>(case, "target")];
    let loss = prefill_loss(operands, (rows, rows, case.number("drop_rows")), reduction, case.float("gate_loss_scale"));
    check(case, "loss", &[R::of(loss.loss)]);
    let grads = gate.backward(&forward, &loss.d_logits, 0);
    check(case, "dw_k", &grads.w_k);
    if let Some(w_q) = grads.w_q {
        check(case, "dw_q", &w_q);
    }
}

#[test]
fn gate_decode_goldens() {
    each_case("gate_decode", |case| {
        check_decode::<f64>(case);
        check_decode::<f32>(case);
    });
}

fn check_decode<R: Precision>(case: &Case) {
    let gate = decode_gate::<R>(case);
    let q = input::<R>(case, "q");
    let forward = gate.forward(&q, &input(case, "k")).unwrap();
    check(case, "q_gate", &forward.q_gate);
    check(case, "k_gate", &forward.k_gate);
    check(case, "logits", &forward.logits);
    check(case, "scores", &forward.scores);
    let (t, cols) = (case.number("t"), case.number("t").div_ceil(case.number("block")));
    let operands = [&forward.logits[..], &forward.scores, &input::<R>(case, "target")];
    let loss = decode_loss(operands, (t, cols, case.number("loss_start_row")), case.float("gate_loss_scale"));
    check(case, "loss", &[R::of(loss.loss)]);
    let grads = gate.backward(&q, &forward, &loss.d_logits);
    let [dq_norm, dk_norm] = grads.norms.map_or([None, None], |norms| norms.map(Some));
    let named = [("dw_k", Some(grads.w_k)), ("dw_q", grads.w_q), ("dq_norm", dq_norm), ("dk_norm", dk_norm)];
    for (name, grads) in named {
        if case.has_expected(name) {
            check(case, name, &grads.unwrap());
        }
    }
}

fn decode_options(case: &Case) -> DecodeOptions {
    let rule = match case.params["method"].as_str() {
        Some("threshold") => Rule::Threshold(case.float("value")),
        Some("token_budget") => Rule::TokenBudget(case.number("value")),
        None => Rule::TokenBudget(case.number("token_budget")),
        Some(other) => panic!("method {other}"),
    };
    DecodeOptions {
        k_block_pos: match case.params["k_block_pos"].as_str() {
            Some("upstream_decode") => KBlockPos::UpstreamDecode,
            _ => KBlockPos::Start,
        },
        partial_block: match case.params["partial_block"].as_str() {
            Some("zero_logit") => PartialBlock::ZeroLogit,
            _ => PartialBlock::Excluded,
        },
        force_last: case.params["force_last"].as_bool().unwrap(),
        force_first: case.params["force_first"].as_bool().unwrap_or(false),
        ..DecodeOptions::new(rule)
    }
}

#[test]
fn kcomp_goldens() {
    each_case("kcomp", |case| {
        check_kcomp::<f64>(case);
        check_kcomp::<f32>(case);
    });
}

fn check_kcomp<R: Precision>(case: &Case) {
    let (gate, options) = (decode_gate::<R>(case), decode_options(case));
    let GateShape { heads, d, block, .. } = gate.shape();
    let (k, q, prefill) = (input::<R>(case, "k"), input::<R>(case, "q"), case.number("prefill"));
    let (row, n_k) = (heads.n_k() * d, heads.n_k());
    let slots = (prefill + case.number("steps")).div_ceil(block);
    let mut compression = KCompression::default();
    compression.extend(&gate, &k[..prefill * row]);
    let mut scores = Vec::new();
    let (mut row_ptr, mut cols) = (vec![0], Vec::new());
    for (k, q) in k[prefill * row..].chunks_exact(row).zip(q.chunks_exact(heads.n_q() * d)) {
        compression.push(&gate, options.k_block_pos, k);
        let step = compression.select(&gate, &options, q).unwrap();
        let n_blk = step.scores.len() / n_k;
        for (head, own) in step.scores.chunks_exact(n_blk).enumerate() {
            scores.extend_from_slice(own);
            scores.extend(std::iter::repeat_n(R::ZERO, slots - n_blk));
            cols.extend_from_slice(step.blocks.row(head, 0));
            row_ptr.push(cols.len() as u32);
        }
    }
    check(case, "scores", &scores);
    check(case, "k_comp_final", compression.gated());
    assert_eq!(row_ptr, case.expected_integers("row_ptr"), "{}", case.id);
    assert_eq!(cols, case.expected_integers("cols"), "{}", case.id);
}

fn selection(case: &Case) -> Selection {
    let value = case.float("value");
    let rule = match case.params["method"].as_str() {
        Some("threshold") => Rule::Threshold(value),
        Some("nz_ratio") => Rule::NzRatio(value),
        Some("nucleus") => Rule::Nucleus(value),
        other => panic!("method {other:?}"),
    };
    let forced = &case.params["forced"];
    let count = |key: &str| forced[key].as_u64().unwrap_or(0) as usize;
    let diagonal = forced["diagonal"].as_bool().unwrap_or(false);
    let forced = Forced { diagonal, first: count("first"), local: count("local") };
    Selection { rule, forced, last_rows_dense: case.params["last_rows_dense"].as_bool().unwrap(), strict: true }
}

#[track_caller]
fn check_list(case: &Case, blocks: &BlockList, density: f64) {
    let (row_ptr, cols) = blocks.as_csr();
    assert_eq!(row_ptr, case.expected_integers("row_ptr"), "{}", case.id);
    assert_eq!(cols, case.expected_integers("cols"), "{}", case.id);
    case.check_wide("density", &[density], 1e-12);
}

#[test]
fn select_goldens() {
    each_case("select", |case| {
        let selection = selection(case);
        let values = case.input(if selection.rule.reads_logits() { "logits" } else { "scores" });
        let (n, heads) = (case.number("n"), case.number("heads"));
        let grid = Grid::try_new(1, 0).unwrap();
        let shape = BlockShape { q: grid, k: grid, t_q: n, t_k: n };
        if case.params["k"].is_u64() {
            assert_eq!(selection.rule.count(n, 1), Some(case.number("k")), "{}", case.id);
        }
        let selected = selection.select(&values, shape, heads).unwrap();
        check_list(case, &selected.blocks, selected.density);
    });
}

/// Rotates rows `[t, heads, d]` by their own positions.
fn rotated(rows: &[f32], heads: usize, d: usize, theta: f64, first: usize) -> Vec<f32> {
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

#[test]
fn seer_prefill_goldens() {
    each_case("seer_prefill", |case| {
        let (gate, selection) = (prefill_gate::<f32>(case), selection(case));
        let GateShape { heads, d, block, .. } = gate.shape();
        let (q, k, v, t) = (case.input("q"), case.input("k"), case.input("v"), case.number("t"));
        let forward = gate.forward(&q, &k, 0).unwrap();
        let values = if selection.rule.reads_logits() { &forward.logits } else { &forward.scores };
        let grid = Grid::try_new(block as u32, 0).unwrap();
        let shape = BlockShape { q: grid, k: grid, t_q: t, t_k: t };
        let selected = selection.select(values, shape, heads.n_q()).unwrap();
        check_list(case, &selected.blocks, selected.density);
        let theta = case.float("rope_theta");
        let (q, k) = (rotated(&q, heads.n_q(), d, theta, 0), rotated(&k, heads.n_k(), d, theta, 0));
        for (dtype, compute) in [("f32", Compute::F32), ("bf16", Compute::Bf16)] {
            let config = AttnConfig { compute, ..AttnConfig::new(heads, (d, d), Mask::Causal) };
            each_backend(&config, |attention| {
                let view = KvView::from_rows(heads, (d, d), t, &k, &v).unwrap();
                let (mut o, mut lse) = (vec![0.0; t * heads.n_q() * d], vec![0.0; t * heads.n_q()]);
                let options = PrefillOptions { blocks: Some(&selected.blocks), ..PrefillOptions::default() };
                let out = (&mut o[..], Some(&mut lse[..]));
                attention.prefill_into(&q, view, options, out, &mut Workspace::default()).unwrap();
                case.check("o", &o, case.tolerance(dtype).unwrap());
                case.check_lse("lse", &lse, lse_tolerance(dtype));
            });
        }
    });
}

#[test]
fn seer_decode_goldens() {
    each_case("seer_decode", |case| {
        let (gate, options) = (decode_gate::<f32>(case), decode_options(case));
        let GateShape { heads, d, .. } = gate.shape();
        let (k, q, v, prefill) = (case.input("k"), case.input("q"), case.input("v"), case.number("prefill"));
        let (row, theta) = (heads.n_k() * d, case.float("rope_theta"));
        let turned = rotated(&k, heads.n_k(), d, theta, 0);
        each_backend(&AttnConfig::new(heads, (d, d), Mask::Causal), |attention| {
            let mut compression = KCompression::default();
            compression.extend(&gate, &k[..prefill * row]);
            let (mut o, mut cols, mut work) = (Vec::new(), Vec::new(), Workspace::default());
            for (step, q) in q.chunks_exact(heads.n_q() * d).enumerate() {
                let len = prefill + step + 1;
                compression.push(&gate, options.k_block_pos, &k[(len - 1) * row..len * row]);
                let selected = compression.select(&gate, &options, q).unwrap();
                cols.extend_from_slice(selected.blocks.as_csr().1);
                let kv = KvView::from_rows(heads, (d, d), len, &turned[..len * row], &v[..len * row]).unwrap();
                let sequence = DecodeSequence { kv, blocks: Some(&selected.blocks) };
                let mut out = vec![0.0; heads.n_q() * d];
                let q = rotated(q, heads.n_q(), d, theta, len - 1);
                let write = DecodeOut { o: &mut out, lse: None, parts: None };
                attention.decode_into(&q, &[sequence], Default::default(), write, &mut work).unwrap();
                o.extend(out);
            }
            assert_eq!(cols, case.expected_integers("cols"), "{}", case.id);
            case.check("o", &o, case.tolerance("f32").unwrap());
        });
    });
}
