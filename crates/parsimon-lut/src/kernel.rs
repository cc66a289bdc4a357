//! The kernels: layouts, bodies, and which one runs where.
//!
//! A [`Kernel`] is a [`Method`] with the level of its body. [`crate::Plan`] chooses it when weights are packed; the weights keep it.
//!
//! | method | body | rows a tile | inner operation | sums | `b` | tokens at once |
//! |---|---|---|---|---|---|---|
//! | [`Method::Lut`] | `scalar` | 32 | indexed load | i32 | 1-4 | 1 |
//! | | `avx2` | 32 | `vpshufb` of one table | i16 by `vpmaddubsw`, flushed every 64 columns | 1-4 | 1, 2, 4 |
//! | | `avx512` | 64 | `vpshufb` of one table | as `avx2` | 1-4 | 1, 2, 4 |
//! | | `avx512vbmi` | 64 | `vpermb` over four tables | i32 by `vpdpbusd` | 1-4 | 1, 2, 4, 8 |
//! | | `neon` | 32 | `tbl` of one table | i16 a plane, flushed every 64 columns | 1-4 | 1, 2 |
//! | [`Method::Dot`] | `scalar` | 32 | multiply | i32 | 1, 2, 4, 8 | 1 |
//! | | `avx2` | 32 | `vpmaddubsw`; 8 bits: `vpmaddwd` | i16, widened by `vpmaddwd` before they can overflow; 8 bits: i32 | 1, 2, 4, 8 | 1, 2, 4 |
//! | | `avx512vnni` | 32 | `vpdpbusd` | i32 | 1, 2, 4, 8 | 1, 2, 4, 8 |
//! | | `neondot` | 32 | `sdot` | i32 | 1, 2, 4, 8 | 1, 2, 4 |
//! | [`Method::Elut`] | `scalar` | 256 | indexed load | i32 | ternary | 1 |
//! | | `avx512vbmi` | 256 | `vpermt2b` over 128 entries | u16, flushed with every table scale | ternary | 1, 2, 4 |
//! | tables | `avx512` and above; else portable | | `f32` sums, rounded to bytes | | | |
//!
//! Many tokens take another form where there are tiles: see `wide.rs`.
//!
//! The AArch64 bodies are tested and counted in instructions, not timed: no such machine was at hand.
//!
//! # Layouts
//!
//! Rows are padded to the tile with scale 0, columns with code 0 (their activations are 0). A tile is one contiguous stream, read once from
//! start to end; docs/design/lut-layout.md has the bytes. With `nib(row, k, p) = sum_t bit_p(q[row, k + t]) << t`:
//!
//! - *paired* (`Lut`, `scalar`, `avx2`, `avx512` and `neon`; columns to 32): for every 8 columns `k0`, for every plane `p`, 32 (`avx512`: 64) bytes: byte `r` =
//!   `nib(m0 + r, k0, p) | nib(m0 + r, k0 + 4, p) << 4`.
//! - *quad* (`Lut`, `avx512vbmi`, PAPER(tmac §3.4), own form; columns to 32): for every 32 columns `k0`, plane `p` and 16 rows `rb`, 64 bytes:
//!   byte `4 r + s` = `nib(m0 + 16 rb + r, k0 + 4 s, p) | nib(m0 + 16 rb + r, k0 + 16 + 4 s, p) << 4`. Four neighbouring bytes are one row
//!   looked up in four tables, so one dot-product lane is one row.
//! - *dot* (`Dot`; columns to 32): with `c = 8 / b` codes a byte, for every `4 c` columns `k0` and 16 rows `rb`, 64 bytes: code `i` of byte
//!   `4 r + s` = `q[m0 + 16 rb + r, k0 + 4 i + s]`.
//! - *five* (`Elut`; the columns of every weight group to 5): for every 5 columns, 256 bytes: byte `r` = `sign << 7 | |v|`, with
//!   `v = sum_{i<5} t_i 3^(4-i)` and the trits `t = q - 1`.
//!
//! # Steps
//!
//! Integer sums run over *steps* that straddle neither a scale of the activations nor a weight group. A step's integer times the activation
//! scale is added to the group's `f32` sum; at the end of a group, `y += s / 2 * sum + c * beta` with the constant `c` of the zero point.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[allow(unsafe_code)]
mod dense;
#[allow(unsafe_code)]
mod dot;
#[allow(unsafe_code)]
mod elut;
#[allow(unsafe_code)]
mod lut;
#[cfg(target_arch = "aarch64")]
mod neon;
#[allow(unsafe_code)]
pub(crate) mod peak;
#[allow(unsafe_code)]
pub(crate) mod scatter;
#[allow(unsafe_code)]
#[cfg(target_arch = "x86_64")]
pub(crate) mod table;
#[allow(unsafe_code)]
pub(crate) mod wide;

pub(crate) use dense::gemm_into;
use half::f16;
use parsimon_simd::Level;

use crate::activations::K_STEP;

/// How a product is computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// Bit-serial lookup: four bits of a plane index a table of 16 sums.
    Lut,
    /// Element-wise lookup: a byte holds five ternary weights and indexes a table of 122 sums and their negatives.
    Elut,
    /// Integer dot products of the codes with 8-bit activations.
    Dot,
}

/// A method with the level of its body, and so the layout of the weights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Kernel {
    method: Method,
    body: Level,
}

/// Rows of the largest tile.
pub(crate) const TILE_M_MAX: usize = 256;

impl Kernel {
    /// Every kernel there is, the plainest of a method first.
    pub(crate) const ALL: [Kernel; 11] = [
        Kernel { method: Method::Lut, body: Level::Scalar },
        Kernel { method: Method::Lut, body: Level::Avx2 },
        Kernel { method: Method::Lut, body: Level::Avx512 },
        Kernel { method: Method::Lut, body: Level::Avx512Vbmi },
        Kernel { method: Method::Lut, body: Level::Neon },
        Kernel { method: Method::Dot, body: Level::Scalar },
        Kernel { method: Method::Dot, body: Level::Avx2 },
        Kernel { method: Method::Dot, body: Level::Avx512Vnni },
        Kernel { method: Method::Dot, body: Level::NeonDot },
        Kernel { method: Method::Elut, body: Level::Scalar },
        Kernel { method: Method::Elut, body: Level::Avx512Vbmi },
    ];

    /// The best body of a method that a machine of `level` runs.
    pub fn new(method: Method, level: Level) -> Kernel {
        let mut bodies = Kernel::ALL.into_iter().rev();
        let fits = |kernel: &Kernel| kernel.method == method && level.includes(kernel.body);
        bodies.find(fits).expect("every method has a scalar body")
    }

    /// The kernels that this process can run.
    pub fn available() -> impl Iterator<Item = Kernel> {
        let best = Level::best();
        Kernel::ALL.into_iter().filter(move |kernel| best.includes(kernel.body))
    }

    /// The method.
    pub fn method(self) -> Method {
        self.method
    }

    /// The level that the body needs.
    pub fn level(self) -> Level {
        self.body
    }

    /// Rows of a tile.
    pub fn tile_m(self) -> usize {
        match (self.method, self.body) {
            (Method::Lut, Level::Avx512 | Level::Avx512Vbmi) => 64,
            (Method::Lut | Method::Dot, _) => 32,
            (Method::Elut, _) => TILE_M_MAX,
        }
    }

    /// The name in reports: method and level of the body.
    pub fn name(self) -> String {
        let method = match self.method {
            Method::Lut => "lut",
            Method::Elut => "elut",
            Method::Dot => "dot",
        };
        format!("{method}-{}", self.body)
    }

    /// Where the scale of row `r` stands in its tile.
    pub(crate) fn row_place(self, r: usize) -> usize {
        match (self.method, self.body) {
            #[cfg(target_arch = "x86_64")]
            (Method::Lut, Level::Avx512) => lut::avx512bw_row_place(r),
            #[cfg(target_arch = "x86_64")]
            (Method::Elut, Level::Avx512Vbmi) => elut::vbmi_row_place(r),
            _ => r,
        }
    }

    /// Bits that a code of `bits` bits takes in the stream; `None` where the kernel has no form for it.
    pub(crate) fn stored_bits(self, bits: u8, group: usize) -> Option<u8> {
        match (self.method, bits) {
            (Method::Lut, 1..=4) | (Method::Elut, 2) => Some(bits),
            // A register of one-bit codes covers 32 columns.
            (Method::Dot, 1) if group == K_STEP / 2 => None,
            (Method::Dot, 1..=8) => Some(bits.next_power_of_two()),
            _ => None,
        }
    }
}

/// What all tiles of a matrix have in common.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Geometry {
    /// Bits of a code in the stream.
    pub(crate) bits: usize,
    /// How many times `beta` every group's sum starts with: `2^b - 1` for [`Method::Dot`], whose codes are not centred; else 0.
    pub(crate) centring: f32,
    pub(crate) k_padded: usize,
    /// Columns of a weight group: 16, a multiple of 32, or at least `k_padded`; fives of one for [`Method::Elut`].
    pub(crate) group: usize,
    /// Columns of an activation scale; fives of one for [`Method::Elut`].
    pub(crate) ags: usize,
}

/// Which activation scale a step has, counted along instead of divided out.
#[derive(Clone, Copy, Debug)]
struct ScaleIdx {
    idx: usize,
    steps: usize,
    /// Steps that share a scale.
    per_scale: usize,
}

impl ScaleIdx {
    fn new(geometry: &Geometry, step: usize) -> Self {
        // One scale a row has no multiple of the step to hit.
        let per_scale = if geometry.ags >= geometry.k_padded { usize::MAX } else { geometry.ags / step };
        ScaleIdx { idx: 0, steps: 0, per_scale }
    }

    /// The index for the next step of the row.
    fn advance(&mut self) -> usize {
        if self.steps == self.per_scale {
            self.steps = 0;
            self.idx += 1;
        }
        self.steps += 1;
        self.idx
    }
}

impl Geometry {
    /// Columns whose integer sum is scaled at once: at most `max`, a multiple of 32 unless groups have 16 columns.
    pub(crate) fn step(&self, max: usize) -> usize {
        if self.group < K_STEP {
            return self.group;
        }
        let whole = self.k_padded.next_multiple_of(K_STEP);
        let (group, ags) = (self.group.min(whole), self.ags.min(whole));
        let common = match (group == whole, ags == whole) {
            (true, _) => ags,
            (_, true) => group,
            _ => gcd(group, ags),
        };
        // The fewest equal pieces that are short enough and multiples of 32.
        let steps = (common.div_ceil(max)..=common / K_STEP).map(|pieces| common / pieces);
        let mut fitting = steps.filter(|step| common.is_multiple_of(*step) && step.is_multiple_of(K_STEP));
        fitting.next().unwrap_or(K_STEP)
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The weights of one tile: the stream, then scales and offsets as `[group][row]`.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    pub(crate) stream: &'a [u8],
    /// `f16` bits of `s`.
    pub(crate) scales: &'a [u16],
    pub(crate) constants: Constants<'a>,
}

/// What multiplies `beta`, `[group][row]`.
#[derive(Clone, Copy)]
pub(crate) enum Constants<'a> {
    /// The same `o` for all groups, times `s / 2`; added where a group's sum starts.
    Uniform(f32),
    /// `o = 2 zp - 2^b + 1`, times `s / 2`.
    Offsets(&'a [i8]),
    /// `s / 2 + z`.
    Real(&'a [f32]),
}

impl Tile<'_> {
    /// `s / 2` and the constant of group `g`, row `r`, of a tile of `rows`, for the portable bodies.
    fn row(&self, g: usize, r: usize, rows: usize) -> (f32, f32) {
        let at = g * rows + r;
        let half_scale = 0.5 * f16::from_bits(self.scales[at]).to_f32();
        let constant = match self.constants {
            Constants::Uniform(_) => 0.0,
            Constants::Offsets(offsets) => half_scale * f32::from(offsets[at]),
            Constants::Real(reals) => reals[at],
        };
        (half_scale, constant)
    }

    /// What the doubled sum of a group starts with.
    fn start(&self, geometry: &Geometry, beta: f32) -> f32 {
        let uniform = if let Constants::Uniform(offset) = self.constants { offset } else { 0.0 };
        (geometry.centring + uniform) * beta
    }
}

/// One prepared token.
#[derive(Clone, Copy)]
pub(crate) struct Act<'a> {
    /// Tables of [`Method::Lut`] (i8) and [`Method::Elut`] (u8), 8-bit activations of [`Method::Dot`].
    pub(crate) codes: &'a [u8],
    /// One for `ags` columns.
    pub(crate) scales: &'a [f32],
    /// Minus the sum of the activations of every weight group.
    pub(crate) betas: &'a [f32],
}

/// All prepared tokens.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub(crate) n: usize,
    pub(crate) all: Act<'a>,
    /// Bytes from the codes of one token to those of the next.
    pub(crate) code_stride: usize,
    /// Bytes, scales and groups of a token.
    pub(crate) codes: usize,
    pub(crate) scales: usize,
    pub(crate) groups: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn token(&self, t: usize) -> Act<'a> {
        Act {
            codes: &self.all.codes[t * self.code_stride..][..self.codes],
            scales: &self.all.scales[t * self.scales..][..self.scales],
            betas: &self.all.betas[t * self.groups..][..self.groups],
        }
    }

    /// `T` tokens from `first`.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn block<const T: usize>(&self, first: usize) -> [Act<'a>; T] {
        std::array::from_fn(|t| self.token(first + t))
    }
}

/// The activation scales of `T` tokens at `idx`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline]
fn scales_at<const T: usize>(acts: &[Act<'_>; T], idx: usize) -> [f32; T] {
    let mut scales = [0.0; T];
    for (scale, act) in scales.iter_mut().zip(acts) {
        *scale = act.scales[idx];
    }
    scales
}

/// One tile times all tokens: `out [n][tile_m]`.
pub(crate) fn run(kernel: Kernel, geometry: &Geometry, tile: &Tile<'_>, tokens: &Tokens<'_>, out: &mut [f32]) {
    debug_assert_eq!(out.len(), tokens.n * kernel.tile_m());
    match kernel.method {
        Method::Lut => lut::run(kernel.body, geometry, tile, tokens, out),
        Method::Dot => dot::run(kernel.body, geometry, tile, tokens, out),
        Method::Elut => elut::run(kernel.body, geometry, tile, tokens, out),
    }
}

/// Runs a body that takes a constant number of tokens over all tokens: as many blocks of the first size as there are, then of the next.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! by_blocks {
    ($tokens:expr, $out:expr, $rows:expr, [$($n:literal),+], |$acts:ident: $t:ident, $block:ident| $body:expr) => {{
        let (tokens, out) = ($tokens, $out);
        let mut first = 0;
        $(while tokens.n - first >= $n {
            const $t: usize = $n;
            let $acts = tokens.block::<$n>(first);
            let $block = &mut out[first * $rows..][..$n * $rows];
            $body;
            first += $n;
        })+
        debug_assert_eq!(first, tokens.n);
    }};
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use by_blocks;
