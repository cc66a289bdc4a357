//! A weight matrix packed for one kernel, and the drivers: tiles, tokens, threads.

use std::sync::Arc;

use parsimon_core::io::Pages;
use parsimon_core::quant::{GroupQuantized, Zeros};
use rayon::prelude::*;

use crate::activations::{ActQuant, fives_in_row, groups_in_row, is_supported_group};
use crate::groups::{Groups, PackedConstants};
use crate::kernel::scatter::split_columns;
use crate::kernel::{self, Constants, Geometry, TILE_M_MAX, Tile, Tokens, wide};
use crate::pack::{Codes, Layout};
use crate::storage::Stream;
use crate::{Backend, Kernel, Method, PackError, Plan, PreparedActivations, Traits, trit};

/// Below this many weights times tokens a product runs on the calling thread: waking others costs more than it gains.
const PARALLEL_MIN: usize = 1 << 18;

/// Weights `[m, k]`, packed for one kernel.
#[derive(Clone, Debug)]
pub struct LowBitMatrix {
    pub(crate) plan: Plan,
    pub(crate) layout: Layout,
    /// Bits of a code, before it was widened for the stream.
    pub(crate) bits: u8,
    pub(crate) m: usize,
    /// One stream a tile.
    pub(crate) stream: Stream,
    pub(crate) groups: Groups,
    /// Input `order[i]` stands at column `i`.
    pub(crate) order: Option<Arc<[u32]>>,
}

impl LowBitMatrix {
    /// Packs a quantized matrix, tiles in parallel. Scales are rounded to `f16`, the precision of the files they come from, relative to a power
    /// of two that keeps the largest in range.
    ///
    /// # Errors
    ///
    /// [`PackError`] when the matrix is not valid, or no kernel covers its bits, group or column order, or the backend is not
    /// available here.
    pub fn from_quantized(matrix: &GroupQuantized, backend: Backend) -> Result<Self, PackError> {
        matrix.validate()?;
        let GroupQuantized { bits, m, k, .. } = *matrix;
        // One group a row is the same for every group that is long enough; naming it `k` keeps the preparations shareable.
        let group = matrix.group.min(k);
        if !is_supported_group(group, k) {
            return Err(PackError::UnsupportedGroup { group, k });
        }
        let ternary = is_ternary(matrix);
        let plan = Plan::for_backend(Traits { bits, ternary, group }, backend)?;
        let kernel = plan.kernel;
        let unsupported = || PackError::UnsupportedBits { kernel: kernel.name(), bits, group };
        let stored_bits = kernel.stored_bits(bits, group).ok_or_else(unsupported)?;
        if kernel.method() == Method::Elut && !ternary {
            return Err(PackError::NotTernary { kernel: kernel.name() });
        }
        let order = column_order(matrix, group)?;
        let layout = Layout { kernel, bits: usize::from(stored_bits), k, group };
        let tile_m = kernel.tile_m();
        let mut stream = Pages::zeroed(m.div_ceil(tile_m) * layout.tile_bytes());
        let codes = Codes { codes: &matrix.codes, order: order.as_deref() };
        stream
            .par_chunks_exact_mut(layout.tile_bytes())
            .enumerate()
            .for_each_init(Vec::new, |scratch, (tile, stream)| layout.pack_tile(codes, tile * tile_m, scratch, stream));
        let groups = Groups::pack(matrix, kernel, groups_in_row(k, group));
        Ok(LowBitMatrix { plan, layout, bits, m, stream: Stream::Owned(stream), groups, order })
    }

    /// Output and input features.
    pub fn shape(&self) -> (usize, usize) {
        (self.m, self.layout.k)
    }

    /// Bits of a code.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Columns that share a scale; `k` where a row has one scale.
    pub fn group(&self) -> usize {
        self.layout.group
    }

    /// The kernel that the weights are packed for.
    pub fn kernel(&self) -> Kernel {
        self.plan.kernel
    }

    /// The kernel with the reason.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// The order of the columns: input `order[i]` stands at column `i`; `None` where they stand as they are.
    pub fn order(&self) -> Option<&Arc<[u32]>> {
        self.order.as_ref()
    }

    /// Bytes that one product reads: codes, scales and constants.
    pub fn bytes(&self) -> usize {
        self.stream.len() + self.groups.bytes()
    }

    /// The weights as the kernel sees them, `[m, k]` in the order of the inputs: codes exactly, scales as they were rounded.
    ///
    /// # Panics
    ///
    /// When `out.len() != m * k`.
    pub fn dequantize_into(&self, out: &mut [f32]) {
        let (kernel, k) = (self.plan.kernel, self.layout.k);
        assert_eq!(out.len(), self.m * k, "out must hold [m, k]");
        let (tile_m, n_groups) = (kernel.tile_m(), self.n_groups());
        // What lies between the middle of the codes and the zero point is in the constants.
        let middle = 0.5 * (self.levels() - 1) as f32;
        out.par_chunks_exact_mut(k).enumerate().for_each(|(row, out)| {
            let (tile, r) = (row / tile_m, row % tile_m);
            let stream = &self.stream[tile * self.layout.tile_bytes()..][..self.layout.tile_bytes()];
            for c in 0..k {
                let at = (tile * n_groups + c / self.layout.group) * tile_m + kernel.row_place(r);
                let (scale, constant) = self.groups.scale_and_constant(at);
                let code = f32::from(self.layout.code(stream, r, c));
                let column = self.order.as_ref().map_or(c, |order| order[c] as usize);
                out[column] = (code - middle) * scale - constant;
            }
        });
    }

    /// `out[t, r] = sum_c w[r, c] x[t, c]` for every prepared token `t`: `out` is `[n, m]`.
    ///
    /// Tiles of rows run in parallel on the current rayon pool; a tile's weights stay in cache for all tokens. The result does not
    /// depend on the number of threads.
    ///
    /// # Panics
    ///
    /// When `out.len() != x.n() * m`, or `x` was not prepared for this matrix: see [`ActConfig::for_matrix`](crate::ActConfig::for_matrix).
    pub fn matmul_into(&self, x: &PreparedActivations, out: &mut [f32]) {
        let (n, k) = (x.n(), self.layout.k);
        assert_eq!(out.len(), n * self.m, "out must be [n, m]");
        if n == 0 {
            return;
        }
        assert_eq!(x.k(), k, "the activations must have the matrix's inputs");
        assert_eq!(x.config().group, self.layout.group, "the activations must be prepared for the matrix's groups");
        assert!(x.config().order == self.order, "the activations must be prepared for the matrix's order of columns");
        let parallel = n * self.m * k >= PARALLEL_MIN && rayon::current_num_threads() > 1;
        if x.config().quant == ActQuant::Bf16 {
            self.multiply_wide(x, parallel, out);
            return self.rescale(x, out);
        }
        let geometry = self.geometry(x);
        let tokens = x.tokens();
        let tile_m = self.plan.kernel.tile_m();
        if n == 1 {
            let run = |(tile, out): (usize, &mut [f32])| self.run_tile(tile, &geometry, &tokens, out);
            if parallel {
                out.par_chunks_mut(tile_m).enumerate().for_each(run);
            } else {
                out.chunks_mut(tile_m).enumerate().for_each(run);
            }
        } else {
            let run = |scratch: &mut Vec<f32>, (tile, mut columns): (usize, kernel::scatter::Columns<'_>)| {
                scratch.resize(n * tile_m, 0.0);
                kernel::run(self.plan.kernel, &geometry, &self.tile(tile), &tokens, scratch);
                for (t, rows) in scratch.chunks_exact(tile_m).enumerate() {
                    let out = columns.row(t);
                    out.copy_from_slice(&rows[..out.len()]);
                }
            };
            let columns = split_columns(out, self.m, tile_m);
            if parallel {
                columns.into_par_iter().enumerate().for_each_init(Vec::new, run);
            } else {
                let mut scratch = Vec::new();
                columns.into_iter().enumerate().for_each(|tile| run(&mut scratch, tile));
            }
        }
        self.rescale(x, out);
    }

    /// The form for many tokens: see `kernel/wide.rs`.
    fn multiply_wide(&self, x: &PreparedActivations, parallel: bool, out: &mut [f32]) {
        let rows = wide::strip_rows(&self.layout);
        let (activations, strips) = (x.rows(), self.plan.kernel.tile_m() / rows);
        let middle = 0.5 * (self.levels() - 1) as f32;
        let run = |scratch: &mut wide::Scratch, (strip, mut columns): (usize, kernel::scatter::Columns<'_>)| {
            let tile = self.tile(strip / strips);
            let weights = wide::Weights { layout: &self.layout, tile, middle };
            let sums = wide::run(&weights, strip % strips, &activations, scratch);
            for (t, sums) in sums.chunks_exact(rows).take(x.n()).enumerate() {
                let out = columns.row(t);
                out.copy_from_slice(&sums[..out.len()]);
            }
        };
        let columns = split_columns(out, self.m, rows);
        if parallel {
            columns.into_par_iter().enumerate().for_each_init(wide::Scratch::default, run);
        } else {
            let mut scratch = wide::Scratch::default();
            columns.into_iter().enumerate().for_each(|strip| run(&mut scratch, strip));
        }
    }

    /// Multiplies the outputs with the unit of the scales and the scales of the tokens, where they are not 1.
    fn rescale(&self, x: &PreparedActivations, out: &mut [f32]) {
        for (t, out) in out.chunks_exact_mut(self.m).enumerate() {
            let factor = self.groups.unit() * x.token_scale(t).unwrap_or(1.0);
            if factor != 1.0 {
                out.iter_mut().for_each(|y| *y *= factor);
            }
        }
    }

    /// What the kernel must know of the matrix and the activations.
    fn geometry(&self, x: &PreparedActivations) -> Geometry {
        let Layout { bits, k, group, kernel } = self.layout;
        let k_padded = x.k_padded();
        let fits = "the activations must be prepared for the matrix's kernel";
        match (kernel.method(), x.config().quant) {
            (Method::Elut, ActQuant::TernaryTable { ags }) => {
                let fives = |columns: usize| columns.div_ceil(trit::FIVE);
                Geometry { bits, centring: 0.0, k_padded: fives_in_row(k, group), group: fives(group), ags: fives(ags) }
            }
            (Method::Lut, ActQuant::Table { ags }) | (Method::Dot, ActQuant::Int8 { block: ags }) => {
                let whole = |columns: usize| if columns >= k { k_padded } else { columns };
                // A row of at most 16 columns may be one group of 16.
                let group = if group == 16 { group } else { whole(group) };
                let centring = if kernel.method() == Method::Dot { (self.levels() - 1) as f32 } else { 0.0 };
                Geometry { bits, centring, k_padded, group, ags: whole(ags) }
            }
            (method, quant) => panic!("{fits}: {method:?} does not read {quant:?}"),
        }
    }

    fn levels(&self) -> usize {
        1 << self.bits
    }

    fn n_groups(&self) -> usize {
        groups_in_row(self.layout.k, self.layout.group)
    }

    fn tile(&self, tile: usize) -> Tile<'_> {
        let len = self.n_groups() * self.plan.kernel.tile_m();
        let range = tile * len..(tile + 1) * len;
        Tile {
            stream: &self.stream[tile * self.layout.tile_bytes()..][..self.layout.tile_bytes()],
            scales: &self.groups.scales[range.clone()],
            constants: match &self.groups.constants {
                PackedConstants::Uniform(offset) => Constants::Uniform(*offset),
                PackedConstants::Offsets(offsets) => Constants::Offsets(&offsets[range]),
                PackedConstants::Real(reals) => Constants::Real(&reals[range]),
            },
        }
    }

    /// One tile times one token; `out` may be shorter than the tile at the last rows.
    fn run_tile(&self, tile: usize, geometry: &Geometry, tokens: &Tokens<'_>, out: &mut [f32]) {
        let (kernel, tile_m) = (self.plan.kernel, self.plan.kernel.tile_m());
        if out.len() == tile_m {
            kernel::run(kernel, geometry, &self.tile(tile), tokens, out);
        } else {
            let mut whole = [0.0; TILE_M_MAX];
            kernel::run(kernel, geometry, &self.tile(tile), tokens, &mut whole[..tile_m]);
            out.copy_from_slice(&whole[..out.len()]);
        }
    }
}

/// Codes 0, 1 and 2 with zero point 1 everywhere.
fn is_ternary(matrix: &GroupQuantized) -> bool {
    let points = matches!(&matrix.zeros, Zeros::Points(points) if points.iter().all(|&zero_point| zero_point == 1));
    matrix.bits == 2 && points && matrix.codes.iter().all(|&code| code < 3)
}

/// The inputs sorted by their group, for columns in act-order.
fn column_order(matrix: &GroupQuantized, group: usize) -> Result<Option<Arc<[u32]>>, PackError> {
    let Some(g_idx) = &matrix.g_idx else { return Ok(None) };
    let mut columns = vec![0usize; matrix.n_groups()];
    g_idx.iter().for_each(|&g| columns[g as usize] += 1);
    for (index, &columns) in columns.iter().enumerate() {
        let expected = group.min(matrix.k - index * group);
        if columns != expected {
            return Err(PackError::BadPermutation { index, columns, expected });
        }
    }
    let mut order: Vec<u32> = (0..g_idx.len() as u32).collect();
    order.sort_by_key(|&i| g_idx[i as usize]);
    let in_order = order.iter().enumerate().all(|(i, &input)| i == input as usize);
    Ok(if in_order { None } else { Some(order.into()) })
}

#[cfg(test)]
mod tests;
