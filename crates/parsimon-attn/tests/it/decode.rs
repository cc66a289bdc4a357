//! One query a sequence: ragged batches, pages, lists, splits.

use half::bf16;
use parsimon_attn::{
    BlockList, BlockShape, Compute, DecodeOptions, DecodeOut, DecodeParts, DecodeSequence, Grid, KvData, KvView,
    PageTable, Splits, Workspace, merge_into,
};

use crate::case::{Case, lse_tolerance};
use crate::{each_backend, each_case};

#[test]
fn decode_goldens() {
    each_case("decode", |case| {
        check(case, "f32");
        check(case, "bf16");
    });
}

/// Keys or values, of pages or not, in both types.
struct Numbers(Vec<f32>, Vec<bf16>);

impl Numbers {
    fn new(case: &Case, name: &str) -> Self {
        let floats = if case.has_input(name) { case.input(name) } else { Vec::new() };
        let halves = floats.iter().map(|&x| bf16::from_f32(x)).collect();
        Numbers(floats, halves)
    }

    /// Numbers `start..start + len`.
    fn data(&self, dtype: &str, start: usize, len: usize) -> KvData<'_> {
        if dtype == "f32" { self.0[start..][..len].into() } else { self.1[start..][..len].into() }
    }
}

fn check(case: &Case, dtype: &str) {
    let (heads, batch, splits) = (case.heads(), case.number("batch"), case.number("splits"));
    let dims = (case.number("d_qk"), case.number("d_v"));
    let (lens, q) = (case.integers("lens"), case.input("q"));
    let [k, v, k_pool, v_pool] = ["k", "v", "k_pool", "v_pool"].map(|name| Numbers::new(case, name));
    let tables = ["k_table", "v_table"].map(|name| if case.has_input(name) { case.integers(name) } else { Vec::new() });
    let lists = lists(case, &lens);
    let view = |i: usize| {
        let len = lens[i] as usize;
        if k_pool.0.is_empty() {
            let side = |numbers, n: usize, d: usize| {
                Numbers::data(numbers, dtype, i * case.number("max_len") * n * d, len * n * d)
            };
            return KvView::from_rows(heads, dims, len, side(&k, heads.n_k(), dims.0), side(&v, heads.n_v(), dims.1));
        }
        let pages = |pool, table: usize| {
            let table = &tables[table][i * (tables[table].len() / batch)..];
            PageTable { data: Numbers::data(pool, dtype, 0, pool.0.len()), page: case.number("page"), table }
        };
        KvView::from_pages(heads, dims, (i, len), pages(&k_pool, 0), pages(&v_pool, 1))
    };
    let sequences: Vec<_> = (0..batch).map(|i| DecodeSequence { kv: view(i).unwrap(), blocks: lists.get(i) }).collect();
    let options = DecodeOptions { splits: Splits::Exactly(splits), block: case.number("block") };
    let (n, tolerance) = (batch * heads.n_q(), case.tolerance(dtype).unwrap());
    each_backend(&case.config(dims, Compute::F32), |attention| {
        let (mut o, mut lse) = (vec![f32::NAN; n * dims.1], vec![f32::NAN; n]);
        let (mut part_o, mut part_lse) = (vec![f32::NAN; n * splits * dims.1], vec![f32::NAN; n * splits]);
        let parts = Some(DecodeParts { o: &mut part_o, lse: &mut part_lse });
        let out = DecodeOut { o: &mut o, lse: Some(&mut lse), parts };
        attention.decode_into(&q, &sequences, options, out, &mut Workspace::default()).unwrap();
        case.check("o", &o, tolerance);
        case.check_lse("lse", &lse, lse_tolerance(dtype));
        case.check("part_o", &part_o, tolerance);
        case.check_lse("part_lse", &part_lse, lse_tolerance(dtype));
    });
}

/// A list with one row for every sequence.
fn lists(case: &Case, lens: &[u32]) -> Vec<BlockList> {
    let Some(heads) = case.params["list_heads"].as_u64() else { return Vec::new() };
    let (row_ptr, cols) = (case.integers("row_ptr"), case.integers("cols"));
    let list = |(i, &len): (usize, &u32)| {
        let k = Grid::try_new(case.number("block") as u32, 0).unwrap();
        let shape = BlockShape { q: Grid::try_new(1, 0).unwrap(), k, t_q: 1, t_k: len as usize };
        let (mut own_ptr, mut own_cols) = (vec![0], Vec::new());
        for head in 0..heads as usize {
            let at = i * heads as usize + head;
            own_cols.extend(&cols[row_ptr[at] as usize..row_ptr[at + 1] as usize]);
            own_ptr.push(own_cols.len() as u32);
        }
        BlockList::try_new(shape, heads as usize, own_ptr, own_cols).unwrap()
    };
    lens.iter().enumerate().map(list).collect()
}

#[test]
fn merge_goldens() {
    each_case("merge", |case| {
        let (o, lse) = (case.input("part_o"), case.input("part_lse"));
        let (heads, splits, d_v) = (case.number("heads"), case.number("splits"), case.number("d_v"));
        let (mut out, mut out_lse) = (vec![f32::NAN; heads * d_v], Vec::new());
        for (head, out) in out.chunks_exact_mut(d_v).enumerate() {
            let (o, lse) = (&o[head * splits * d_v..][..splits * d_v], &lse[head * splits..][..splits]);
            out_lse.push(merge_into(o, lse, out).unwrap());
        }
        case.check("o", &out, case.tolerance("f32").unwrap());
        case.check_lse("lse", &out_lse, lse_tolerance("f32"));
    });
}
