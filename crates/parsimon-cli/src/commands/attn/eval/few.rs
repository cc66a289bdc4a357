//! One query a sequence: decode, merging of splits, selective values.

use parsimon::attn::{
    Attention, BlockList, BlockShape, DecodeOptions, DecodeOut, DecodeParts, DecodeSequence, Grid, KvView,
    LoadedValues, PageTable, Splits, TopValues, Workspace, merge_into,
};

use super::case::Case;

pub(super) fn decode(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (heads, dims) = (case.heads()?, case.dims()?);
    let (batch, splits, block) = (case.number("batch")?, case.number("splits")?, case.number("block")?);
    let (lens, q) = (case.integers("lens")?, case.input("q")?);
    if lens.len() != batch {
        return Err(case.bad("lens", "not as many lengths as sequences"));
    }
    let (is_paged, page) = (case.has("k_pool"), case.maybe_number("page").unwrap_or(0));
    let names = if is_paged { ["k_pool", "v_pool"] } else { ["k", "v"] };
    let (k, v) = (case.numbers(names[0])?, case.numbers(names[1])?);
    let table = |name| if is_paged { case.integers(name) } else { Ok(Vec::new()) };
    let (k_table, v_table) = (table("k_table")?, table("v_table")?);
    let lists = lists(case, &lens)?;
    let mut sequences = Vec::new();
    for (i, &len) in lens.iter().enumerate() {
        let len = len as usize;
        let kv = if is_paged {
            let own = |table: &'_ [u32]| i * (table.len() / batch)..(i + 1) * (table.len() / batch);
            let keys = PageTable { data: k.data(0, k.floats.len())?, page, table: &k_table[own(&k_table)] };
            let values = PageTable { data: v.data(0, v.floats.len())?, page, table: &v_table[own(&v_table)] };
            KvView::from_pages(heads, dims, (i, len), keys, values)?
        } else {
            let rows = i * case.number("max_len")?;
            let keys = k.data(rows * heads.n_k() * dims.0, len * heads.n_k() * dims.0)?;
            KvView::from_rows(heads, dims, len, keys, v.data(rows * heads.n_v() * dims.1, len * heads.n_v() * dims.1)?)?
        };
        sequences.push(DecodeSequence { kv, blocks: lists.get(i) });
    }
    let n = batch * heads.n_q();
    let (mut o, mut lse) = (vec![0.0; n * dims.1], vec![0.0; n]);
    let (mut part_o, mut part_lse) = (vec![0.0; n * splits * dims.1], vec![0.0; n * splits]);
    let parts = Some(DecodeParts { o: &mut part_o, lse: &mut part_lse });
    let options = DecodeOptions { splits: Splits::Exactly(splits), block };
    let out = DecodeOut { o: &mut o, lse: Some(&mut lse), parts };
    Attention::prepare(&case.config(dims)?)?.decode_into(&q, &sequences, options, out, &mut Workspace::default())?;
    case.put("o", &[batch, heads.n_q(), dims.1], &o);
    case.put("lse", &[batch, heads.n_q()], &lse);
    case.put("part_o", &[batch, heads.n_q(), splits, dims.1], &part_o);
    case.put("part_lse", &[batch, heads.n_q(), splits], &part_lse);
    Ok(())
}

/// A list with one row for every sequence.
fn lists(case: &Case<'_>, lens: &[u32]) -> anyhow::Result<Vec<BlockList>> {
    let Some(heads) = case.maybe_number("list_heads") else { return Ok(Vec::new()) };
    let (row_ptr, cols) = (case.integers("row_ptr")?, case.integers("cols")?);
    let block = Grid::try_new(u32::try_from(case.number("block")?)?, 0)?;
    let mut lists = Vec::new();
    for (i, &len) in lens.iter().enumerate() {
        let shape = BlockShape { q: Grid::try_new(1, 0)?, k: block, t_q: 1, t_k: len as usize };
        let (mut own_ptr, mut own_cols) = (vec![0], Vec::new());
        for at in i * heads..(i + 1) * heads {
            let ends = row_ptr.get(at).zip(row_ptr.get(at + 1));
            let range = ends.and_then(|(&start, &end)| cols.get(start as usize..end as usize));
            own_cols.extend(range.ok_or_else(|| case.bad("row_ptr", "points outside of the columns"))?);
            own_ptr.push(u32::try_from(own_cols.len())?);
        }
        lists.push(BlockList::try_new(shape, heads, own_ptr, own_cols)?);
    }
    Ok(lists)
}

pub(super) fn merge(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (heads, splits, d_v) = (case.number("heads")?, case.number("splits")?, case.number("d_v")?);
    let (part_o, part_lse) = (case.input("part_o")?, case.input("part_lse")?);
    let (mut o, mut lse) = (vec![0.0; heads * d_v], Vec::new());
    let parts = part_o.chunks_exact(splits * d_v).zip(part_lse.chunks_exact(splits));
    for (out, (part_o, part_lse)) in o.chunks_exact_mut(d_v).zip(parts) {
        lse.push(merge_into(part_o, part_lse, out)?);
    }
    case.put("o", &[heads, d_v], &o);
    case.put("lse", &[heads], &lse);
    Ok(())
}

pub(super) fn selective(case: &mut Case<'_>) -> anyhow::Result<()> {
    let (heads, dims, t_k, k) = (case.heads()?, case.dims()?, case.number("t_k")?, case.number("top_k")?);
    let select = TopValues { k, renormalize: case.flag("renormalize"), union: case.flag("union_per_v_head") };
    let (q, keys, values) = (case.input("q")?, case.numbers("k")?, case.numbers("v")?);
    let sides = (keys.data(0, keys.floats.len())?, values.data(0, values.floats.len())?);
    let kv = KvView::from_rows(heads, dims, t_k, sides.0, sides.1)?;
    let (mut o, mut loaded) = (vec![0.0; heads.n_q() * dims.1], LoadedValues::default());
    let attention = Attention::prepare(&case.config(dims)?)?;
    attention.decode_top_values(&q, kv, select, &mut o, &mut loaded, &mut Workspace::default())?;
    case.put("o", &[heads.n_q(), dims.1], &o);
    if select.union {
        case.put_integers("union_ptr", &[loaded.ptr.len()], &loaded.ptr);
        case.put_integers("union_cols", &[loaded.keys.len()], &loaded.keys);
    } else {
        case.put_integers("idx", &[heads.n_q(), loaded.keys.len() / heads.n_q()], &loaded.keys);
    }
    Ok(())
}
