//! Selected values, compressed keys and gradients.

use half::bf16;
use parsimon_attn::gate::GateRope;
use parsimon_attn::{
    AttnConfig, BackwardArgs, Compute, Grads, KExpand, KvView, LoadedValues, Mask, PrefillOptions, RopePlace,
    TopValues, Workspace,
};

use crate::case::{Case, lse_tolerance};
use crate::{each_backend, each_case};

#[test]
fn selective_v_goldens() {
    each_case("selective_v", |case| {
        let dims = (case.number("d_qk"), case.number("d_v"));
        let flag = |key: &str| case.params[key].as_bool().unwrap();
        let select =
            TopValues { k: case.number("top_k"), renormalize: flag("renormalize"), union: flag("union_per_v_head") };
        let (q, k, v, heads) = (case.input("q"), case.input("k"), case.input("v"), case.heads());
        let round = |rows: &[f32]| -> Vec<bf16> { rows.iter().map(|&x| bf16::from_f32(x)).collect() };
        let (k_half, v_half) = (round(&k), round(&v));
        each_backend(&case.config(dims, Compute::F32), |attention| {
            let views = [
                ("f32", KvView::from_rows(heads, dims, case.number("t_k"), &k, &v).unwrap()),
                ("bf16", KvView::from_rows(heads, dims, case.number("t_k"), &k_half, &v_half).unwrap()),
            ];
            for (dtype, kv) in views {
                let (mut o, mut loaded) = (vec![f32::NAN; heads.n_q() * dims.1], LoadedValues::default());
                attention.decode_top_values(&q, kv, select, &mut o, &mut loaded, &mut Workspace::default()).unwrap();
                case.check("o", &o, case.tolerance(dtype).unwrap());
                if select.union {
                    assert_eq!(loaded.ptr, case.expected_integers("union_ptr"), "{}", case.id);
                    assert_eq!(loaded.keys, case.expected_integers("union_cols"), "{}", case.id);
                } else {
                    assert_eq!(loaded.keys, case.expected_integers("idx"), "{}", case.id);
                }
            }
        });
    });
}

fn rotate(rows: &mut [f32], heads: usize, d: usize, theta: f64) {
    let rope = GateRope::new(theta, d);
    for (i, row) in rows.chunks_exact_mut(heads * d).enumerate() {
        for row in row.chunks_exact_mut(d) {
            for c in 0..d / 2 {
                let (cos, sin) = rope.cos_sin(i, c);
                let (a, b) = (f64::from(row[c]), f64::from(row[c + d / 2]));
                (row[c], row[c + d / 2]) = ((a * cos - b * sin) as f32, (b * cos + a * sin) as f32);
            }
        }
    }
}

#[test]
fn k_expand_goldens() {
    each_case("k_expand", |case| {
        let (heads, t, d_v, theta) = (case.heads(), case.number("t"), case.number("d_v"), case.float("rope_theta"));
        let (d_q, d_k) = (case.number("d_q"), case.number("d_k"));
        let place = RopePlace::from_name(case.params["rope_place"].as_str().unwrap()).unwrap();
        let layer = KExpand::try_new(heads, (d_k, d_q), case.input("u")).unwrap();
        let (q, k_c) = (case.input("q"), case.input("k_c"));
        let absorbed = || {
            let (mut q, mut k) = (layer.absorb(&q).unwrap(), k_c.clone());
            if place == RopePlace::None {
                case.check("q_absorbed", &q, case.tolerance("f32").unwrap());
            } else {
                rotate(&mut q, heads.n_q(), d_k, theta);
                rotate(&mut k, heads.n_k(), d_k, theta);
            }
            check_expand(case, (q, k), (d_k, d_v), t);
        };
        let expanded = || {
            let (mut q, mut k) = (q.clone(), layer.expand(&k_c).unwrap());
            if place == RopePlace::Expanded {
                rotate(&mut q, heads.n_q(), d_q, theta);
                rotate(&mut k, heads.n_k(), d_q, theta);
            }
            check_expand(case, (q, k), (d_q, d_v), t);
        };
        match place {
            RopePlace::None => {
                absorbed();
                expanded();
            }
            RopePlace::Compressed => absorbed(),
            RopePlace::Expanded => expanded(),
        }
    });
}

fn check_expand(case: &Case, (q, k): (Vec<f32>, Vec<f32>), dims: (usize, usize), t: usize) {
    let (heads, v) = (case.heads(), case.input("v"));
    for (dtype, compute) in [("f32", Compute::F32), ("bf16", Compute::Bf16)] {
        each_backend(&case.config(dims, compute), |attention| {
            let kv = KvView::from_rows(heads, dims, t, &k, &v).unwrap();
            let (mut o, mut lse) = (vec![0.0; t * heads.n_q() * dims.1], vec![0.0; t * heads.n_q()]);
            let out = (&mut o[..], Some(&mut lse[..]));
            attention.prefill_into(&q, kv, PrefillOptions::default(), out, &mut Workspace::default()).unwrap();
            case.check("o", &o, case.tolerance(dtype).unwrap());
            case.check_lse("lse", &lse, lse_tolerance(dtype));
        });
    }
}

#[test]
fn backward_goldens() {
    each_case("backward", |case| {
        let dims = (case.number("d_qk"), case.number("d_v"));
        let (q, k, v, d_o) = (case.input("q"), case.input("k"), case.input("v"), case.input("d_o"));
        let (heads, t_q, t_k) = (case.heads(), case.number("t_q"), case.number("t_k"));
        let blocks = case.blocks(t_q, t_k);
        each_backend(&case.config(dims, Compute::F32), |attention| {
            let kv = KvView::from_rows(heads, dims, t_k, &k, &v).unwrap();
            let (mut o, mut lse) = (vec![0.0; t_q * heads.n_q() * dims.1], vec![0.0; t_q * heads.n_q()]);
            let options = PrefillOptions { blocks: blocks.as_ref(), ..PrefillOptions::default() };
            attention.prefill_into(&q, kv, options, (&mut o, Some(&mut lse)), &mut Workspace::default()).unwrap();
            let [mut dq, mut dk, mut dv] = [&q, &k, &v].map(|rows| vec![f32::NAN; rows.len()]);
            let args = BackwardArgs { q: &q, kv, blocks: blocks.as_ref(), o: &o, lse: &lse, d_o: &d_o };
            attention.backward_into(args, Grads { dq: &mut dq, dk: &mut dk, dv: &mut dv }).unwrap();
            let tolerance = case.tolerance("f32").unwrap();
            case.check("dq", &dq, tolerance);
            case.check("dk", &dk, tolerance);
            case.check("dv", &dv, tolerance);
        });
    });
}

/// What a key holds that no query sees reaches no gradient.
#[test]
fn hidden_keys_have_no_gradient() {
    let heads = parsimon_attn::HeadMap::try_new(2, 1, 1).unwrap();
    let attention = parsimon_attn::Attention::prepare(&AttnConfig::new(heads, (4, 4), Mask::sliding(1))).unwrap();
    let rows: Vec<f32> = (0..5 * 2 * 4).map(|i| (i as f32 * 0.37).sin()).collect();
    let kv_rows: Vec<f32> = (0..6 * 4).map(|i| if i < 4 { f32::NAN } else { (i as f32 * 0.11).cos() }).collect();
    let kv = KvView::from_rows(heads, (4, 4), 6, &kv_rows, &kv_rows).unwrap();
    let (mut o, mut lse) = (vec![0.0; 40], vec![0.0; 10]);
    attention.forward_into(&rows, kv, &mut o, Some(&mut lse)).unwrap();
    let (mut dq, mut dk, mut dv) = (vec![1.0; 40], vec![1.0; 24], vec![1.0; 24]);
    let args = BackwardArgs { q: &rows, kv, blocks: None, o: &o, lse: &lse, d_o: &rows };
    attention.backward_into(args, Grads { dq: &mut dq, dk: &mut dk, dv: &mut dv }).unwrap();
    assert!(dk[..4].iter().chain(&dv[..4]).all(|&x| x == 0.0));
    assert!(dq.iter().chain(&dk).chain(&dv).all(|x| x.is_finite()));
}
