//! T-MAC's tiles: bit planes permuted for one kernel configuration.
//!
//! With tile height `bm`, `kfactor` groups of 4 inputs a step, and plane `i` of `b`:
//!
//! ```text
//! r' = (m div 8) 8 b + 8 i + m mod 8;   mo, r = divmod(r', bm);   rg, r2 = divmod(r, 32);   ng, lane = divmod(r2, 16)
//! ko, ki = divmod(k div 4, kfactor)
//! byte = ((mo (K/4/kfactor) + ko) (bm/32) + rg) 16 kfactor + 16 ki + lane,   bit = 4 ng + k mod 4
//! scale of (m, group g), f32: [(mo K/G + g) (bm/b/8) + row8] (8, or 16 with zeros) + m mod 8, zeros 8 further;
//!                             mo = m div (bm/b), row8 = (m mod bm/b) div 8
//! ```
//!
//! **The trap.** Nothing in a file says `bm` and `kfactor`, every choice gives plausible codes, and only one gives the right ones:
//! [`TmacTile`] is the caller's to know. The zeros are real, as in `w = (q - 2^(b-1)) s - z`.

use super::{PackedError, checked, elements};
use crate::quant::{GroupQuantized, Zeros};

/// The shape of the matrix and the kernel configuration that its bytes are permuted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TmacTile {
    /// Bits of a code, 1 to 4.
    pub bits: u8,
    /// Output features (rows).
    pub m: usize,
    /// Input features (columns).
    pub k: usize,
    /// Bit-plane rows of a tile: `bits` times its outputs.
    pub bm: usize,
    /// Groups of 4 inputs that lie together.
    pub kfactor: usize,
}

/// The scales that stand beside the codes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TmacScales<'a> {
    /// Inputs that share a scale.
    pub group: usize,
    /// Permuted scales, with eight zeros after every eight scales where `zeros` is set.
    pub values: &'a [f32],
    /// Whether there are zeros.
    pub zeros: bool,
}

impl TmacTile {
    /// Bytes of the codes, once the configuration fits the matrix.
    fn check(&self, tensor: &str) -> Result<usize, PackedError> {
        let &TmacTile { bits, m, k, bm, kfactor } = self;
        if !(1..=4).contains(&bits) {
            return Err(PackedError::mismatch(tensor, "the width of the codes", "1 to 4 bits", bits));
        }
        let n = elements(tensor, m, k)?;
        let b = usize::from(bits);
        let multiple = |what, value: usize, of: Option<usize>| match of {
            Some(of) if of > 0 && value.is_multiple_of(of) => Ok(()),
            _ => Err(PackedError::mismatch(tensor, what, format!("a multiple of {}", of.unwrap_or(usize::MAX)), value)),
        };
        multiple("bm", bm, Some(32))?;
        multiple("bm", bm, Some(8 * b))?;
        multiple("m", m, Some(8))?;
        multiple("m", m, Some(bm / b))?;
        multiple("k", k, kfactor.checked_mul(4))?;
        n.checked_mul(b).map(|bits| bits / 8).ok_or_else(|| PackedError::mismatch(tensor, "m", "less", m))
    }
}

/// The codes `[m, k]`, one a byte.
///
/// # Errors
///
/// [`PackedError::Mismatch`] where `bm` or `kfactor` does not divide what it should, [`PackedError::ByteLength`] unless there are
/// `m k bits / 8` bytes.
pub fn unpack_codes(tensor: &str, bytes: &[u8], tile: &TmacTile) -> Result<Vec<u8>, PackedError> {
    let expected = tile.check(tensor)?;
    if bytes.len() != expected {
        return Err(PackedError::ByteLength { tensor: tensor.to_owned(), expected, actual: bytes.len() });
    }
    let &TmacTile { bits, m, k, bm, kfactor } = tile;
    let planes = usize::from(bits);
    let mut codes = vec![0; m * k];
    for (row, codes) in codes.chunks_exact_mut(k).enumerate() {
        for plane in 0..planes {
            let permuted = row / 8 * 8 * planes + plane * 8 + row % 8;
            let (mo, r) = (permuted / bm, permuted % bm);
            let (rg, ng, lane) = (r / 32, r % 32 / 16, r % 16);
            for (quad, codes) in codes.chunks_exact_mut(4).enumerate() {
                let (ko, ki) = (quad / kfactor, quad % kfactor);
                let step = (mo * (k / 4 / kfactor) + ko) * (bm / 32) + rg;
                let nibble = bytes[step * kfactor * 16 + ki * 16 + lane] >> (4 * ng);
                for (t, code) in codes.iter_mut().enumerate() {
                    *code |= (nibble >> t & 1) << plane;
                }
            }
        }
    }
    Ok(codes)
}

/// The matrix of permuted codes and scales; without zeros the zero point is `2^(bits - 1)`.
///
/// # Errors
///
/// As [`unpack_codes`], [`PackedError::Mismatch`] unless `group` divides `k` and the scales fill the matrix, and
/// [`PackedError::Quant`] for values that are not finite.
pub fn unpack(
    tensor: &str,
    bytes: &[u8],
    scales: TmacScales<'_>,
    tile: &TmacTile,
) -> Result<GroupQuantized, PackedError> {
    let codes = unpack_codes(tensor, bytes, tile)?;
    let &TmacTile { bits, m, k, bm, .. } = tile;
    let TmacScales { group, values, zeros: with_zeros } = scales;
    if group == 0 || !k.is_multiple_of(group) {
        return Err(PackedError::mismatch(tensor, "the group", format!("a divisor of {k}"), group));
    }
    let n_groups = k / group;
    let stride = if with_zeros { 16 } else { 8 };
    let expected = m / 8 * stride * n_groups;
    if values.len() != expected {
        return Err(PackedError::mismatch(tensor, "the number of scales", expected, values.len()));
    }
    let tile_rows = bm / usize::from(bits);
    let at = |row: usize, g: usize| {
        let (mo, within) = (row / tile_rows, row % tile_rows);
        ((mo * n_groups + g) * (tile_rows / 8) + within / 8) * stride + row % 8
    };
    let places = (0..m).flat_map(|row| (0..n_groups).map(move |g| at(row, g)));
    let scales = places.clone().map(|i| values[i]).collect();
    let zeros = if with_zeros {
        Zeros::Real(places.map(|i| values[i + 8]).collect())
    } else {
        Zeros::Points(vec![1 << (bits - 1); m * n_groups])
    };
    checked(tensor, GroupQuantized { bits, m, k, group, codes, scales, zeros, g_idx: None })
}
