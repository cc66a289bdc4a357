//! Many queries: dense, by block lists, with teacher maps.

use half::bf16;
use parsimon_attn::teacher::{decode_target, max_over_groups, normalize_rows};
use parsimon_attn::{Attention, BlockShape, Compute, Grid, KvView, PrefillOptions, Teacher, Workspace};

use crate::case::{Case, lse_tolerance};
use crate::{each_backend, each_case};

/// Keys and values as a type of element keeps them.
struct Kv {
    floats: [Vec<f32>; 2],
    halves: Option<[Vec<bf16>; 2]>,
}

impl Kv {
    fn new(case: &Case, dtype: &str) -> Kv {
        let floats = [case.input("k"), case.input("v")];
        let round = |rows: &Vec<f32>| rows.iter().map(|&x| bf16::from_f32(x)).collect();
        let halves = (dtype == "bf16").then(|| floats.each_ref().map(round));
        Kv { floats, halves }
    }

    /// Part `i` of `n`.
    fn view(&self, case: &Case, dims: (usize, usize), (i, n): (usize, usize)) -> KvView<'_> {
        let len = self.floats[0].len() / n / (case.heads().n_k() * dims.0);
        match &self.halves {
            Some([k, v]) => KvView::from_rows(case.heads(), dims, len, part(k, i, n), part(v, i, n)),
            None => {
                let [k, v] = &self.floats;
                KvView::from_rows(case.heads(), dims, len, part(k, i, n), part(v, i, n))
            }
        }
        .unwrap()
    }
}

fn part<T>(values: &[T], i: usize, n: usize) -> &[T] {
    &values[i * (values.len() / n)..][..values.len() / n]
}

fn compute(dtype: &str) -> Compute {
    if dtype == "bf16" { Compute::Bf16 } else { Compute::F32 }
}

fn dims(case: &Case) -> (usize, usize) {
    (case.number("d_qk"), case.number("d_v"))
}

/// Dense cases and lists alike.
fn check(case: &Case) {
    for dtype in ["f32", "bf16"] {
        let Some(tolerance) = case.tolerance(dtype) else { continue };
        let (dims, q, kv) = (dims(case), case.input("q"), Kv::new(case, dtype));
        let batch = case.params["batch"].as_u64().unwrap_or(1) as usize;
        let blocks = case.blocks(case.number("t_q"), case.number("t_k"));
        each_backend(&case.config(dims, compute(dtype)), |attention| {
            let (mut o, mut lse) = (Vec::new(), Vec::new());
            for i in 0..batch {
                let q = part(&q, i, batch);
                let rows = q.len() / dims.0;
                let (mut part_o, mut part_lse) = (vec![f32::NAN; rows * dims.1], vec![f32::NAN; rows]);
                let options = PrefillOptions { blocks: blocks.as_ref(), ..PrefillOptions::default() };
                let view = kv.view(case, dims, (i, batch));
                let mut work = Workspace::default();
                attention.prefill_into(q, view, options, (&mut part_o, Some(&mut part_lse)), &mut work).unwrap();
                o.extend(part_o);
                lse.extend(part_lse);
            }
            case.check("o", &o, tolerance);
            case.check_lse("lse", &lse, lse_tolerance(dtype));
        });
    }
}

#[test]
fn dense_goldens() {
    each_case("dense", check);
    each_case("dense", check_by_rows);
}

#[test]
fn block_sparse_goldens() {
    each_case("block_sparse", check);
}

/// The path of few queries gives the same as tiles.
fn check_by_rows(case: &Case) {
    let (dims, q, kv) = (dims(case), case.input("q"), Kv::new(case, "f32"));
    each_backend(&case.config(dims, Compute::F32), |attention| {
        let batch = case.number("batch");
        let (mut o, mut lse) = (vec![0.0; q.len() / dims.0 * dims.1], vec![0.0; q.len() / dims.0]);
        let (o_len, lse_len) = (o.len() / batch, lse.len() / batch);
        for (i, (o, lse)) in o.chunks_exact_mut(o_len).zip(lse.chunks_exact_mut(lse_len)).enumerate() {
            attention.rows_into(part(&q, i, batch), kv.view(case, dims, (i, batch)), o, Some(lse)).unwrap();
        }
        case.check("o", &o, case.tolerance("f32").unwrap());
        case.check_lse("lse", &lse, lse_tolerance("f32"));
    });
}

#[test]
fn teacher_goldens() {
    each_case("teacher", |case| {
        for dtype in ["f32", "bf16"] {
            let kv = Kv::new(case, dtype);
            each_backend(&case.config(dims(case), compute(dtype)), |attention| {
                check_teacher(case, attention, kv.view(case, dims(case), (0, 1)), dtype);
            });
        }
    });
}

fn check_teacher(case: &Case, attention: &Attention, kv: KvView<'_>, dtype: &str) {
    let tolerance = case.tolerance(dtype).unwrap();
    let grid = |phase: &str| Grid::try_new(case.number("block") as u32, case.number(phase) as u32).unwrap();
    let (t_q, heads, q) = (case.number("t_q"), case.heads(), case.input("q"));
    let shape = BlockShape { q: grid("q_phase"), k: grid("k_phase"), t_q, t_k: kv.len() };
    let (rows, cols) = shape.blocks();
    let mut map_2d = vec![f32::NAN; heads.n_q() * rows * cols];
    let mut map_1d = vec![f32::NAN; heads.n_q() * t_q * cols];
    let teacher = Teacher { shape, map_2d: Some(&mut map_2d), map_1d: Some(&mut map_1d) };
    let options = PrefillOptions { teacher: Some(teacher), ..PrefillOptions::default() };
    let (mut o, mut lse) = (vec![0.0; t_q * heads.n_q() * dims(case).1], vec![0.0; t_q * heads.n_q()]);
    attention.prefill_into(&q, kv, options, (&mut o, Some(&mut lse)), &mut Workspace::default()).unwrap();
    case.check("o", &o, tolerance);
    case.check_lse("lse", &lse, lse_tolerance(dtype));
    case.check("map1d", &map_1d, tolerance);
    case.check("map2d", &map_2d, tolerance);
    case.check("map2d_kmax", &max_over_groups(&map_2d, heads.n_q(), heads.n_k()), tolerance);
    normalize_rows(&mut map_2d, cols);
    case.check("map2d_norm", &map_2d, tolerance);
    let mut target = max_over_groups(&map_1d, heads.n_q(), heads.n_k());
    decode_target(&mut target, t_q, cols, |i| shape.k.block_of(i + kv.len() - t_q));
    case.check("target1d", &target, tolerance);
}
