//! The rules of LIRE as pure functions. PAPER(spfresh §3.3).
//!
//! After head `A_o` is replaced by `A_1` and `A_2`, a vector can have a new nearest head only where one of two conditions holds. Both
//! compare distances alone, so that thousands of vectors cost a few distances each, and only the few that pass are assigned again.

/// Whether a vector of the split posting needs a check: `D(v, A_o) <= D(v, A_i)` for all `i`.
///
/// Otherwise some new head is nearer than the old one was, and the old one was the nearest of all.
pub fn needs_check_split(d_old: f32, d_new: &[f32]) -> bool {
    d_new.iter().all(|&d| d_old <= d)
}

/// Whether a vector of a nearby posting needs a check: a new head is not farther than the old one was, and its present head
/// (at `d_cur`) is not nearer than all new ones.
///
/// Otherwise the new heads are farther than `A_o`, which was not nearer than the present head; or the present head is still best.
pub fn needs_check_near(d_old: f32, d_new: &[f32], d_cur: f32) -> bool {
    d_new.iter().any(|&d| d <= d_old) && !d_new.iter().all(|&d| d_cur <= d)
}

/// Whether a vector of a posting that was merged away needs a check: the posting that took it is farther than the one it had.
pub fn needs_check_merge(d_kept: f32, d_gone: f32) -> bool {
    d_kept > d_gone
}

#[cfg(test)]
mod tests;
