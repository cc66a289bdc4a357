//! From the largest probabilities of blocks to what gates learn.

/// Divides every row of `cols` numbers by its sum; rows of zeros stay zero.
pub fn normalize_rows(map: &mut [f32], cols: usize) {
    for row in map.chunks_exact_mut(cols.max(1)) {
        let sum: f32 = row.iter().sum();
        if sum != 0.0 {
            row.iter_mut().for_each(|a| *a /= sum);
        }
    }
}

/// The largest numbers of groups of heads: `[n_q, len]` to `[groups, len]`, `n_q / groups` heads each.
///
/// # Panics
///
/// When `groups` does not divide the heads of the map.
pub fn max_over_groups(map: &[f32], n_q: usize, groups: usize) -> Vec<f32> {
    assert!(n_q.is_multiple_of(groups) && map.len().is_multiple_of(n_q), "groups are whole heads");
    let len = map.len() / n_q;
    let mut out = Vec::with_capacity(groups * len);
    for group in map.chunks_exact((n_q / groups * len).max(1)) {
        out.extend((0..len).map(|at| group[at..].iter().step_by(len).fold(0.0f32, |max, &a| max.max(a))));
    }
    out
}

/// The target of a decode gate from a 1-D map that was pooled over groups, `[heads, t_q, cols]`: only blocks that end before the row's own block count, and
/// rows sum to 1 (PAPER(seerattention -R §3.2)).
///
/// `own_block(i)` is the block of keys that query `i` lies in.
pub fn decode_target(map: &mut [f32], t_q: usize, cols: usize, own_block: impl Fn(usize) -> usize) {
    for (at, row) in map.chunks_exact_mut(cols.max(1)).enumerate() {
        let (before, rest) = row.split_at_mut(own_block(at % t_q).min(cols));
        rest.fill(0.0);
        let sum: f32 = before.iter().sum();
        before.iter_mut().for_each(|a| *a /= sum + 1e-9);
    }
}
