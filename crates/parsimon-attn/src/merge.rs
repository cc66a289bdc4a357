//! Attention over parts of the keys, put together.

use crate::AttnError;
use crate::kv::check_len;

/// Merges the normalized outputs `o [splits, d_v]` of parts of the keys with their log-sum-exps `lse [splits]` into `out [d_v]`; returns the
/// log-sum-exp of all.
///
/// ```text
/// M = max lse     w_s = exp(lse_s - M)     out = sum_s w_s o_s / sum_s w_s     lse = M + ln sum_s w_s
/// ```
///
/// Parts without keys (`lse = -inf`) weigh nothing; when all are, `out = 0` and the result is -inf.
///
/// # Errors
///
/// [`AttnError::Shape`] when `o` does not hold as many rows of `out`'s width as there are parts.
pub fn merge_into(o: &[f32], lse: &[f32], out: &mut [f32]) -> Result<f32, AttnError> {
    check_len("parts", lse.len() * out.len(), o.len())?;
    Ok(merge_rows(o.chunks_exact(out.len().max(1)).zip(lse.iter().copied()), out))
}

pub(crate) fn merge_rows<'a>(parts: impl Iterator<Item = (&'a [f32], f32)> + Clone, out: &mut [f32]) -> f32 {
    out.fill(0.0);
    // A NaN among them must not be overlooked: it makes its weight, and so the sum, NaN.
    let max = parts.clone().fold(f32::NEG_INFINITY, |max, (_, lse)| if lse > max { lse } else { max });
    let mut sum = 0.0;
    for (o, lse) in parts {
        if lse == f32::NEG_INFINITY {
            continue;
        }
        let weight = if max == f32::NEG_INFINITY { f32::NAN } else { (lse - max).exp() };
        sum += weight;
        out.iter_mut().zip(o).for_each(|(out, o)| *out += weight * o);
    }
    if sum == 0.0 {
        return f32::NEG_INFINITY;
    }
    out.iter_mut().for_each(|out| *out /= sum);
    max + sum.ln()
}
