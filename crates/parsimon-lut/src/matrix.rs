//! A weight matrix packed for one kernel, and the drivers: tiles, tokens, threads.

use half::f16;
use parsimon_core::quant::{GroupQuantized, Zeros};
use rayon::prelude::*;

use crate::activations::{K_STEP, groups_in_row, is_supported_group};
use crate::kernel::{self, Constants, Geometry, Lookup, TILE_M_MAX, Tile};
use crate::pack::Codes;
use crate::{Backend, Kernel, PackError, PreparedActivations};

/// Below this many weights times tokens a product runs on the calling thread: waking others costs more than it gains.
const PARALLEL_MIN: usize = 1 << 18;

/// Weights `[m, k]` of 1 to 4 bits, packed for one kernel.
#[derive(Clone, Debug)]
pub struct LowBitMatrix {
    kernel: Kernel,
    bits: u8,
    m: usize,
    k: usize,
    group: usize,
    /// One stream a tile.
    stream: Vec<u8>,
    /// `f16` bits, `[tile][group][row]`.
    scales: Vec<u16>,
    constants: PackedConstants,
}

/// What multiplies `beta`, `[tile][group][row]`; see [`Constants`].
#[derive(Clone, Debug)]
enum PackedConstants {
    Offsets(Vec<i8>),
    Real(Vec<f32>),
}

impl LowBitMatrix {
    /// Packs a quantized matrix. Scales are rounded to `f16`, the precision of the files they come from.
    ///
    /// # Errors
    ///
    /// [`PackError`] when the matrix is not valid, or no kernel covers its bits, group or column order, or the backend is not
    /// available here.
    pub fn from_quantized(matrix: &GroupQuantized, backend: Backend) -> Result<Self, PackError> {
        matrix.validate()?;
        let GroupQuantized { bits, m, k, .. } = *matrix;
        // One group a row is the same for every group that is long enough; naming it `k` keeps the tables shareable.
        let group = matrix.group.min(k);
        if !(1..=4).contains(&bits) {
            return Err(PackError::UnsupportedBits { bits });
        }
        if !is_supported_group(group, k) {
            return Err(PackError::UnsupportedGroup { group, k });
        }
        if matrix.g_idx.is_some() {
            return Err(PackError::ActOrder);
        }
        let kernel = Kernel::select(backend)?;
        let codes = Codes { bits: usize::from(bits), k, codes: &matrix.codes };
        let mut stream = vec![0; m.div_ceil(kernel.tile_m()) * codes.tile_bytes(kernel)];
        stream
            .par_chunks_exact_mut(codes.tile_bytes(kernel))
            .enumerate()
            .for_each(|(tile, stream)| codes.pack_tile(kernel, tile * kernel.tile_m(), stream));
        let (scales, constants) = pack_groups(matrix, group, kernel.tile_m())?;
        Ok(LowBitMatrix { kernel, bits, m, k, group, stream, scales, constants })
    }

    /// Output and input features.
    pub fn shape(&self) -> (usize, usize) {
        (self.m, self.k)
    }

    /// Bits of a code.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Columns that share a scale; `k` where a row has one scale.
    pub fn group(&self) -> usize {
        self.group
    }

    /// The kernel that the weights are packed for.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Bytes that one product reads: codes, scales and constants.
    pub fn bytes(&self) -> usize {
        let constants = match &self.constants {
            PackedConstants::Offsets(offsets) => offsets.len(),
            PackedConstants::Real(reals) => 4 * reals.len(),
        };
        self.stream.len() + 2 * self.scales.len() + constants
    }

    /// `out[t, r] = sum_c w[r, c] x[t, c]` for every prepared token `t`: `out` is `[n, m]`.
    ///
    /// Tiles of rows run in parallel on the current rayon pool; a tile's weights stay in cache for all tokens. The result does not
    /// depend on the number of threads.
    ///
    /// # Panics
    ///
    /// When `out.len() != x.n() * m`, or `x` was prepared for another `k` or `group`.
    pub fn matmul_into(&self, x: &PreparedActivations, out: &mut [f32]) {
        let n = x.n();
        assert_eq!(out.len(), n * self.m, "out must be [n, m]");
        if n == 0 {
            return;
        }
        assert_eq!(x.k(), self.k, "the activations must have the matrix's inputs");
        assert_eq!(x.config().group, self.group, "the activations must be prepared for the matrix's groups");
        let tile_m = self.kernel.tile_m();
        let parallel = n * self.m * self.k >= PARALLEL_MIN && rayon::current_num_threads() > 1;
        if n == 1 {
            let run = |(tile, out): (usize, &mut [f32])| self.run_tile(tile, x, 0, out);
            if parallel {
                out.par_chunks_mut(tile_m).enumerate().for_each(run);
            } else {
                out.chunks_mut(tile_m).enumerate().for_each(run);
            }
            return;
        }
        let transposed_len = n * tile_m;
        let mut transposed = vec![0.0; self.m.div_ceil(tile_m) * transposed_len];
        let run = |(tile, scratch): (usize, &mut [f32])| {
            for (token, out) in scratch.chunks_exact_mut(tile_m).enumerate() {
                self.run_tile(tile, x, token, out);
            }
        };
        if parallel {
            transposed.par_chunks_exact_mut(transposed_len).enumerate().for_each(run);
        } else {
            transposed.chunks_exact_mut(transposed_len).enumerate().for_each(run);
        }
        for (tile, scratch) in transposed.chunks_exact(transposed_len).enumerate() {
            for (token, rows) in scratch.chunks_exact(tile_m).enumerate() {
                let out = &mut out[token * self.m..][..self.m];
                let len = tile_m.min(self.m - tile * tile_m);
                out[tile * tile_m..][..len].copy_from_slice(&rows[..len]);
            }
        }
    }

    /// One tile times one token; `out` may be shorter than the tile at the last rows.
    fn run_tile(&self, tile: usize, x: &PreparedActivations, token: usize, out: &mut [f32]) {
        let tile_m = self.kernel.tile_m();
        let stream_len = self.stream.len() / self.m.div_ceil(tile_m);
        let groups_len = groups_in_row(self.k, self.group) * tile_m;
        let groups = tile * groups_len..(tile + 1) * groups_len;
        let weights = Tile {
            stream: &self.stream[tile * stream_len..][..stream_len],
            scales: &self.scales[groups.clone()],
            constants: match &self.constants {
                PackedConstants::Offsets(offsets) => Constants::Offsets(&offsets[groups]),
                PackedConstants::Real(reals) => Constants::Real(&reals[groups]),
            },
        };
        let tables = x.tables(token);
        let act = Lookup { tables, scales: x.scales(token), betas: x.betas(token) };
        let geometry = Geometry {
            bits: usize::from(self.bits),
            k_padded: tables.len() / 4,
            group: if self.group == K_STEP / 2 { self.group } else { self.group.next_multiple_of(K_STEP) },
            ags: x.config().ags,
        };
        if out.len() == tile_m {
            kernel::run(self.kernel, &geometry, weights, act, out);
        } else {
            let mut whole = [0.0; TILE_M_MAX];
            kernel::run(self.kernel, &geometry, weights, act, &mut whole[..tile_m]);
            out.copy_from_slice(&whole[..out.len()]);
        }
    }
}

/// Scales and constants as `[tile][group][row]`, padded with zeros.
fn pack_groups(matrix: &GroupQuantized, group: usize, tile_m: usize) -> Result<(Vec<u16>, PackedConstants), PackError> {
    let n_groups = matrix.n_groups();
    let padded_groups = groups_in_row(matrix.k, group);
    let len = matrix.m.next_multiple_of(tile_m) * padded_groups;
    // The place of element `i` of `[m, n_groups]`.
    let place = |i: usize| {
        let (row, g) = (i / n_groups, i % n_groups);
        (row / tile_m * padded_groups + g) * tile_m + row % tile_m
    };
    let mut scales = vec![0; len];
    for (i, &scale) in matrix.scales.iter().enumerate() {
        let stored = f16::from_f32(scale);
        if stored.is_infinite() {
            return Err(PackError::ScaleOverflow { row: i / n_groups, group: i % n_groups, scale });
        }
        scales[place(i)] = stored.to_bits();
    }
    let constants = match &matrix.zeros {
        Zeros::Points(points) => {
            let mut offsets = vec![0; len];
            for (i, &zero_point) in points.iter().enumerate() {
                // At 4 bits the zero point is at most 16, so this lies in -15..=17.
                offsets[place(i)] = (2 * i32::from(zero_point) - (1 << matrix.bits) + 1) as i8;
            }
            PackedConstants::Offsets(offsets)
        }
        Zeros::Real(reals) => {
            let mut constants = vec![0.0; len];
            for (i, (z, scale)) in reals.iter().zip(&matrix.scales).enumerate() {
                constants[place(i)] = 0.5 * scale + z;
            }
            PackedConstants::Real(constants)
        }
    };
    Ok((scales, constants))
}

#[cfg(test)]
mod tests;
