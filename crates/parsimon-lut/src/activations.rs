//! Activations in the form that a method reads, shared by every matrix that reads them.

mod config;

use bytemuck::{Pod, Zeroable};
pub use config::{ActConfig, ActQuant};
use parsimon_simd::{Level, Vectorize, vectorize};
use rayon::prelude::*;

use crate::kernel::{Act, Tokens, wide};
use crate::table::{AGS_DEFAULT, ENTRIES, LOOKUP, quantize_table};
use crate::{ActivationError, int8, trit};

/// Columns of one step of the layouts of [`Method::Lut`](crate::Method) and `Method::Dot`: everything is padded to it.
pub(crate) const K_STEP: usize = 32;

/// The fewest inputs that one thread prepares when tokens run in parallel.
const PARALLEL_MIN: usize = 1 << 14;

/// A cache line, so that no load of a kernel straddles two.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// The sizes of one prepared token.
#[derive(Clone, Copy, Default, Debug)]
struct Sizes {
    /// Columns with padding.
    k_padded: usize,
    /// Bytes of the codes.
    codes: usize,
    scales: usize,
    groups: usize,
}

/// Activations of `n` tokens, prepared once and read by every matrix with the same inputs (query, key and value projections; gate and up).
///
/// Holds, for each token, tables or 8-bit integers ([`ActQuant`]), one `f32` scale for every `ags` inputs, and `beta_G`, minus the sum of
/// the activations of each weight group: the unquantized ones for tables, whose entries are centred, and the quantized ones for 8-bit integers.
#[derive(Clone, Debug)]
pub struct PreparedActivations {
    config: ActConfig,
    n: usize,
    k: usize,
    sizes: Sizes,
    /// Lines of codes from one token to the next: one more than needed, so that tokens do not compete for the same sets of a cache.
    stride: usize,
    codes: Vec<Line>,
    scales: Vec<f32>,
    betas: Vec<f32>,
    /// What a token's outputs are multiplied with, where integers were given; else empty.
    token_scales: Vec<f32>,
    /// One token, kept for reuse.
    scratch: Scratch,
}

impl PreparedActivations {
    /// Prepares `x [n, k]`.
    ///
    /// # Errors
    ///
    /// [`ActivationError::NonFinite`] with the place; [`ActivationError`] for a configuration that no kernel reads.
    ///
    /// # Panics
    ///
    /// When `x.len() != n * k`.
    pub fn try_new(x: &[f32], n: usize, k: usize, config: &ActConfig) -> Result<Self, ActivationError> {
        let mut prepared = Self::empty();
        prepared.prepare(x, n, k, config)?;
        Ok(prepared)
    }

    /// Prepares integer activations `x [n, k]` so that every product with integer weights is an exact integer, times the token's scale.
    ///
    /// This is the lossless mode of BitNet: the caller quantizes a token to 8 bits and gives `1 / scale`. Without `token_scales` they are 1.
    /// Sums stay exact while they are below 2^24.
    ///
    /// # Errors
    ///
    /// [`ActivationError::IntegerTooLarge`] for a magnitude whose sums do not fit a table of 8 bits: above 31 for [`ActQuant::Table`],
    /// above 25 for [`ActQuant::TernaryTable`] (all fit the other forms); and as [`try_new`](Self::try_new).
    ///
    /// # Panics
    ///
    /// When `x.len() != n * k` or there are token scales, but not `n`.
    pub fn from_integers(
        x: &[i8],
        token_scales: Option<&[f32]>,
        n: usize,
        k: usize,
        config: &ActConfig,
    ) -> Result<Self, ActivationError> {
        assert!(token_scales.is_none_or(|scales| scales.len() == n), "there must be a scale for every token");
        let max = match config.quant {
            ActQuant::Table { .. } => 31,
            ActQuant::TernaryTable { .. } => 25,
            ActQuant::Int8 { .. } | ActQuant::Bf16 => 128,
        };
        if let Some(i) = x.iter().position(|a| a.unsigned_abs() > max) {
            return Err(ActivationError::IntegerTooLarge { token: i / k, index: i % k, value: x[i], max });
        }
        if let Some((token, &value)) = token_scales.unwrap_or_default().iter().enumerate().find(|(_, s)| !s.is_finite())
        {
            return Err(ActivationError::NonFiniteScale { token, value });
        }
        let mut prepared = Self::empty();
        let fill = |token: usize, row: &mut [f32]| {
            for (a, &x) in row.iter_mut().zip(&x[token * k..][..k]) {
                *a = f32::from(x);
            }
        };
        prepared.build(n, k, config, Scaling::Exact, fill)?;
        prepared.token_scales = token_scales.map_or_else(|| vec![1.0; n], <[f32]>::to_vec);
        Ok(prepared)
    }

    /// No tokens; a buffer for [`prepare`](Self::prepare).
    pub fn empty() -> Self {
        PreparedActivations {
            config: ActConfig { quant: ActQuant::Table { ags: AGS_DEFAULT }, group: K_STEP, order: None },
            n: 0,
            k: 0,
            sizes: Sizes::default(),
            stride: 0,
            codes: Vec::new(),
            scales: Vec::new(),
            betas: Vec::new(),
            token_scales: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Prepares other activations in the same buffers; they do not grow when the shapes repeat.
    ///
    /// # Errors
    ///
    /// As [`try_new`](Self::try_new); the value then holds no tokens.
    ///
    /// # Panics
    ///
    /// When `x.len() != n * k`.
    pub fn prepare(&mut self, x: &[f32], n: usize, k: usize, config: &ActConfig) -> Result<(), ActivationError> {
        assert_eq!(x.len(), n * k, "x must be [n, k]");
        self.build(n, k, config, Scaling::Fitted, |token, row| row.copy_from_slice(&x[token * k..][..k]))
    }

    /// Prepares activations that `fill(token, row)` computes, a row of `k` at a time.
    ///
    /// This fuses the operator before a product (a normalization, an activation function) with the preparation: its `[n, k]` result is
    /// never stored, and the outcome is bit for bit that of [`prepare`](Self::prepare) on it (PAPER(luttc §3.3)).
    ///
    /// # Errors
    ///
    /// As [`try_new`](Self::try_new).
    pub fn prepare_with(
        &mut self,
        n: usize,
        k: usize,
        config: &ActConfig,
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<(), ActivationError> {
        self.build(n, k, config, Scaling::Fitted, fill)
    }

    fn build(
        &mut self,
        n: usize,
        k: usize,
        config: &ActConfig,
        scaling: Scaling,
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<(), ActivationError> {
        self.n = 0;
        self.token_scales.clear();
        config.check(k)?;
        self.config.clone_from(config);
        // One group a row is the same for every group that is long enough.
        self.config.group = config.group.min(k.max(1));
        self.k = k;
        let sizes = Sizes::new(&self.config, k);
        self.sizes = sizes;
        self.stride = sizes.codes.div_ceil(size_of::<Line>()) + usize::from(n > 1);
        let rows = if config.quant == ActQuant::Bf16 { n.next_multiple_of(wide::TOKEN_STEP) } else { n };
        self.codes.resize(rows * self.stride, Line([0; 64]));
        self.scales.resize(n * sizes.scales, 0.0);
        self.betas.resize(n * sizes.groups, 0.0);
        if k == 0 {
            self.n = n;
            return Ok(());
        }

        let config = &self.config;
        let one = |scratch: &mut Scratch, token: usize, out: TokenOut<'_>| {
            scratch.resize(&sizes);
            fill(token, &mut scratch.columns[..k]);
            scratch.build(config, &sizes, k, scaling, out).map_err(|index| ActivationError::NonFinite { token, index })
        };
        let (mut codes, mut scales, mut betas) = (&mut self.codes[..], &mut self.scales[..], &mut self.betas[..]);
        let stride = self.stride;
        let mut next = || {
            let there = "the buffers hold every token";
            let codes = codes.split_off_mut(..stride).expect(there);
            let scales = scales.split_off_mut(..sizes.scales).expect(there);
            TokenOut { codes, scales, betas: betas.split_off_mut(..sizes.groups).expect(there) }
        };
        if n == 1 {
            one(&mut self.scratch, 0, next())?;
        } else {
            let outs: Vec<TokenOut<'_>> = (0..n).map(|_| next()).collect();
            outs.into_par_iter()
                .with_min_len(PARALLEL_MIN.div_ceil(k))
                .enumerate()
                .map_init(Scratch::default, |scratch, (token, out)| one(scratch, token, out))
                .reduce(|| Ok(()), earlier)?;
        }
        self.n = n;
        Ok(())
    }

    /// Tokens.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// How they were prepared.
    pub fn config(&self) -> &ActConfig {
        &self.config
    }

    /// Bytes of the codes, scales and sums that a product reads.
    pub fn bytes(&self) -> usize {
        self.n * (self.sizes.codes + 4 * (self.sizes.scales + self.sizes.groups))
    }

    /// What a token became: tables of 4 (`[k_padded / 4][16]`, signed) or 5 (`[fives][128]`, biased by 128), 8-bit integers (signed), or
    /// bfloat16 numbers (two bytes, little-endian).
    pub fn codes(&self, token: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.codes[token * self.stride..][..self.stride])[..self.sizes.codes]
    }

    /// The scales of a token, one per `ags` inputs.
    pub fn scales(&self, token: usize) -> &[f32] {
        &self.scales[token * self.sizes.scales..][..self.sizes.scales]
    }

    /// `beta_G` of a token, one per weight group (groups of 16 are padded to pairs).
    pub fn betas(&self, token: usize) -> &[f32] {
        &self.betas[token * self.sizes.groups..][..self.sizes.groups]
    }

    /// What the outputs of a token are multiplied with; `None` where they are final.
    pub(crate) fn token_scale(&self, token: usize) -> Option<f32> {
        self.token_scales.get(token).copied()
    }

    /// As bfloat16, for [`ActQuant::Bf16`].
    pub(crate) fn rows(&self) -> wide::Rows<'_> {
        let stride = self.stride * size_of::<Line>();
        wide::Rows { bytes: bytemuck::cast_slice(&self.codes), n: self.n, stride, k_padded: self.sizes.k_padded }
    }

    /// Columns with padding; fives of [`ActQuant::TernaryTable`].
    pub(crate) fn k_padded(&self) -> usize {
        self.sizes.k_padded
    }

    pub(crate) fn tokens(&self) -> Tokens<'_> {
        let all = Act { codes: bytemuck::cast_slice(&self.codes), scales: &self.scales, betas: &self.betas };
        Tokens {
            n: self.n,
            all,
            code_stride: self.stride * size_of::<Line>(),
            codes: self.sizes.codes,
            scales: self.sizes.scales,
            groups: self.sizes.groups,
        }
    }
}

/// How activations become integers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scaling {
    /// The largest magnitude of a group becomes 127.
    Fitted,
    /// They are small integers already.
    Exact,
}

/// Where one token goes.
struct TokenOut<'a> {
    codes: &'a mut [Line],
    scales: &'a mut [f32],
    betas: &'a mut [f32],
}

/// One token in `f32`.
#[derive(Clone, Default, Debug)]
struct Scratch {
    /// In the order of the columns, padded with zeros.
    columns: Vec<f32>,
    /// In the order of the inputs where that differs, or a padded table group.
    other: Vec<f32>,
}

impl Scratch {
    fn resize(&mut self, sizes: &Sizes) {
        self.columns.clear();
        self.columns.resize(sizes.k_padded, 0.0);
    }

    /// Prepares the token in `columns`, or returns the index of an activation that is not finite.
    fn build(
        &mut self,
        config: &ActConfig,
        sizes: &Sizes,
        k: usize,
        scaling: Scaling,
        out: TokenOut<'_>,
    ) -> Result<(), usize> {
        if !vectorize(Level::best(), AllFinite(&self.columns[..k])) {
            return Err(self.columns.iter().position(|a| !a.is_finite()).expect("one of them is not finite"));
        }
        if let Some(order) = &config.order {
            self.other.clear();
            self.other.extend_from_slice(&self.columns[..k]);
            for (column, &i) in self.columns.iter_mut().zip(order.iter()) {
                *column = self.other[i as usize];
            }
        }
        let codes: &mut [u8] = &mut bytemuck::cast_slice_mut(out.codes)[..sizes.codes];
        if let ActQuant::Int8 { block } = config.quant {
            let codes = bytemuck::cast_slice_mut(codes);
            match scaling {
                Scaling::Fitted => int8::quantize(&self.columns, block, codes, out.scales),
                Scaling::Exact => {
                    codes.iter_mut().zip(&self.columns).for_each(|(code, &a)| *code = a as i8);
                    out.scales.fill(1.0);
                }
            }
            // Subtracting what was really multiplied leaves an error of the weights alone, not of their zeros.
            int8::negated_group_sums(codes, out.scales, block, config.group, out.betas);
            return Ok(());
        }
        if config.quant == ActQuant::Bf16 {
            vectorize(Level::best(), ToBf16 { x: &self.columns, bits: bytemuck::cast_slice_mut(codes) });
            return Ok(());
        }
        out.betas.fill(0.0);
        for (beta, group) in out.betas.iter_mut().zip(self.columns[..k].chunks(config.group)) {
            *beta = -vectorize(Level::best(), Sum(group)) as f32;
        }
        match (config.quant, scaling) {
            (ActQuant::TernaryTable { ags }, _) => {
                self.ternary_tables(k, config.group, ags, scaling, codes, out.scales);
            }
            (_, Scaling::Exact) => {
                exact_tables(&self.columns, bytemuck::cast_slice_mut(codes));
                out.scales.fill(1.0);
            }
            (quant, Scaling::Fitted) => {
                let ags = quant.ags().expect("what has no scales returned above");
                quantize_table(&self.columns, ags, bytemuck::cast_slice_mut(codes), out.scales);
            }
        }
        Ok(())
    }

    /// The columns of every weight group are padded to fives, and no scale spans two groups.
    fn ternary_tables(
        &mut self,
        k: usize,
        group: usize,
        ags: usize,
        scaling: Scaling,
        tables: &mut [u8],
        scales: &mut [f32],
    ) {
        let (mut tables, mut scales) = (tables, scales.iter_mut());
        for columns in self.columns[..k].chunks(group) {
            for columns in columns.chunks(ags) {
                let padded = &mut self.other;
                padded.clear();
                padded.extend_from_slice(columns);
                padded.resize(columns.len().next_multiple_of(trit::FIVE), 0.0);
                let (now, later) = tables.split_at_mut(padded.len() / trit::FIVE * trit::ENTRIES);
                let scale = scales.next().expect("`Sizes` counts the scales");
                match scaling {
                    Scaling::Fitted => *scale = trit::quantize_group(padded, now),
                    Scaling::Exact => {
                        for (a, table) in padded.as_chunks().0.iter().zip(now.as_chunks_mut().0) {
                            *table = trit::table_of(a.map(|a| a as i8));
                        }
                        *scale = 1.0;
                    }
                }
                tables = later;
            }
        }
    }
}

impl Sizes {
    fn new(config: &ActConfig, k: usize) -> Sizes {
        let groups = groups_in_row(k, config.group);
        let k_padded = k.next_multiple_of(K_STEP);
        match config.quant {
            ActQuant::Bf16 => Sizes { k_padded, codes: 2 * k_padded, scales: 0, groups: 0 },
            ActQuant::Table { ags } | ActQuant::Int8 { block: ags } => {
                let a_column = if matches!(config.quant, ActQuant::Table { .. }) { ENTRIES / LOOKUP } else { 1 };
                Sizes { k_padded, codes: a_column * k_padded, scales: k_padded.div_ceil(ags), groups }
            }
            ActQuant::TernaryTable { ags } => {
                let (whole, rest) = (k / config.group, k % config.group);
                let scales = whole * config.group.div_ceil(ags) + rest.div_ceil(ags);
                let fives = fives_in_row(k, config.group);
                Sizes {
                    k_padded: fives * trit::FIVE,
                    codes: fives * trit::ENTRIES,
                    scales,
                    groups: k.div_ceil(config.group),
                }
            }
        }
    }
}

/// The nearest bfloat16, ties to even; what would become infinite is the largest finite one.
struct ToBf16<'a> {
    x: &'a [f32],
    bits: &'a mut [u16],
}

impl Vectorize for ToBf16<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        const MAX: f32 = f32::from_bits(0x7f7f_0000);
        for (out, &a) in self.bits.iter_mut().zip(self.x) {
            let bits = a.clamp(-MAX, MAX).to_bits();
            *out = ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16;
        }
    }
}

struct AllFinite<'a>(&'a [f32]);

impl Vectorize for AllFinite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> bool {
        // Without an early exit, so that it runs in vectors.
        self.0.iter().fold(true, |all, a| all & a.is_finite())
    }
}

/// The sum in `f64`, sixteen lanes apart and then from the first to the last: the same on every machine.
struct Sum<'a>(&'a [f32]);

impl Vectorize for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        let mut lanes = [0.0f64; 16];
        let (blocks, rest) = self.0.as_chunks::<16>();
        for block in blocks {
            for (lane, &a) in lanes.iter_mut().zip(block) {
                *lane += f64::from(a);
            }
        }
        lanes.iter().sum::<f64>() + rest.iter().map(|&a| f64::from(a)).sum::<f64>()
    }
}

/// Tables of integers: exact sums.
fn exact_tables(x: &[f32], tables: &mut [i8]) {
    for (quad, table) in x.as_chunks::<LOOKUP>().0.iter().zip(tables.as_chunks_mut::<ENTRIES>().0) {
        for (i, entry) in table.iter_mut().enumerate() {
            *entry = quad.iter().enumerate().map(|(t, &a)| if i >> t & 1 == 1 { a } else { -a }).sum::<f32>() as i8;
        }
    }
}

/// The failure of the earlier token, whatever order threads finish in.
fn earlier(a: Result<(), ActivationError>, b: Result<(), ActivationError>) -> Result<(), ActivationError> {
    match (&a, &b) {
        (Err(ActivationError::NonFinite { token: first, .. }), Err(ActivationError::NonFinite { token, .. })) => {
            if token < first {
                b
            } else {
                a
            }
        }
        (Err(_), _) => a,
        _ => b,
    }
}

/// The group sizes that the kernels read: their steps of 16 or 32 columns must not straddle a boundary.
pub(crate) fn is_supported_group(group: usize, k: usize) -> bool {
    group == K_STEP / 2 || (group > 0 && group.is_multiple_of(K_STEP)) || (group >= k && group > 0)
}

/// Groups of a row as the kernels count them: `ceil(k / group)`, rounded up to pairs for groups of 16.
pub(crate) fn groups_in_row(k: usize, group: usize) -> usize {
    if group == K_STEP / 2 { k.next_multiple_of(K_STEP) / group } else { k.div_ceil(group) }
}

/// Fives of a row: the columns of every group are padded to fives.
pub(crate) fn fives_in_row(k: usize, group: usize) -> usize {
    k / group * group.div_ceil(trit::FIVE) + (k % group).div_ceil(trit::FIVE)
}

#[cfg(test)]
mod tests;
