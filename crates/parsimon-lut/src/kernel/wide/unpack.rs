//! Codes of 16 rows become panels in registers (own form).
//!
//! The quad and dot layouts hold four codes of a row in a 32-bit lane, so that four registers are 16 columns of 16 rows; a shift puts a
//! code where the mantissa of 256 has its upper bits. Ternary bytes are looked up first: two permutes give the five codes of 64 rows.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers where iterators do not")]

use std::arch::x86_64::*;
use std::ops::Range;

use parsimon_simd::x86::{load_128, load_512, load_f16x16, load_f32x16, store_512};
use parsimon_simd::{Avx512Bf16, Level};

use super::{LANES, Panel, STRIP_ROWS, Weights, panel_idx};
use crate::Method;
use crate::activations::K_STEP;
use crate::kernel::Constants;
use crate::pack::Layout;
use crate::trit;

/// Bytes of a register.
const LINE: usize = 64;

/// Columns that have one scale, whatever the group, and the codes of four registers.
const HALF: usize = K_STEP / 2;

/// A layout that is widened here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Quad,
    Dot,
    Fives,
}

impl Form {
    pub(super) fn of(layout: &Layout) -> Option<Form> {
        let quads = layout.kernel.level().includes(Level::Avx512Vbmi);
        match layout.kernel.method() {
            Method::Dot => Some(Form::Dot),
            Method::Lut if quads => Some(Form::Quad),
            Method::Elut if quads => Some(Form::Fives),
            Method::Lut | Method::Elut => None,
        }
    }
}

pub(super) fn widen(
    _: Avx512Bf16,
    form: Form,
    weights: &Weights<'_>,
    first_row: usize,
    columns: Range<usize>,
    codes: &mut Vec<[u8; STRIP_ROWS]>,
    panels: &mut [Panel],
) {
    // SAFETY: the token proves the features of each body.
    unsafe {
        match (form, weights.layout.bits) {
            (Form::Quad, 1) => quads::<1>(weights, first_row, columns, panels),
            (Form::Quad, 2) => quads::<2>(weights, first_row, columns, panels),
            (Form::Quad, 3) => quads::<3>(weights, first_row, columns, panels),
            (Form::Quad, _) => quads::<4>(weights, first_row, columns, panels),
            (Form::Dot, 1) => dots::<1>(weights, first_row, columns, panels),
            (Form::Dot, 2) => dots::<2>(weights, first_row, columns, panels),
            (Form::Dot, 4) => dots::<4>(weights, first_row, columns, panels),
            (Form::Dot, _) => dots::<8>(weights, first_row, columns, panels),
            (Form::Fives, _) => fives(weights, first_row, columns, codes, panels),
        }
    }
}

/// Calls `half(rows, block, c, out)` for 16 rows and the 16 columns from `c`.
macro_rules! halves {
    ($weights:expr, $first_row:expr, $columns:expr, $panels:expr, |$rows:ident, $block:ident, $c:ident, $out:ident| $body:expr) => {{
        let (columns, panels): (Range<usize>, &mut [Panel]) = ($columns, $panels);
        let steps = columns.len() / K_STEP;
        for $block in 0..panels.len() / steps {
            let mut group = usize::MAX;
            let mut $rows = GroupRows::empty();
            for $c in columns.clone().step_by(HALF) {
                let now = $c.min($weights.layout.k - 1) / $weights.layout.group;
                if now != group {
                    group = now;
                    $rows = GroupRows::load($weights, group, $first_row / LANES + $block);
                }
                let at = $c - columns.start;
                let panel = &mut panels[panel_idx(steps, at / K_STEP, $block)];
                let lines: &mut [[u8; LINE]] = bytemuck::cast_slice_mut(&mut panel.0);
                let $out = &mut lines.as_chunks_mut::<{ HALF / 2 }>().0[at % K_STEP / HALF];
                $body;
            }
        }
    }};
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512bf16,avx2")]
fn quads<const B: usize>(weights: &Weights<'_>, first_row: usize, columns: Range<usize>, panels: &mut [Panel]) {
    let lines: &[[[u8; LINE]; STRIP_ROWS / LANES]] = weights.tile.stream.as_chunks().0.as_chunks().0;
    halves!(weights, first_row, columns, panels, |rows, block, c, out| {
        let mut planes = [_mm512_setzero_si512(); B];
        for p in 0..B {
            let line = load_512(&lines[c / K_STEP * B + p][block]);
            planes[p] = if c % K_STEP == 0 { line } else { _mm512_srli_epi16::<4>(line) };
        }
        // Byte `s` of register `t` is column `4 s + t`.
        let mut codes = [_mm512_setzero_si512(); 4];
        for p in (0..B).rev() {
            for t in 0..4 {
                let bit = _mm512_and_si512(shift_right(planes[p], t), _mm512_set1_epi8(1));
                codes[t] = _mm512_or_si512(_mm512_add_epi8(codes[t], codes[t]), bit);
            }
        }
        for pair in 0..HALF / 2 {
            let (s, t) = (pair / 2, pair % 2 * 2);
            rows.store(mantissa(codes[t], s), mantissa(codes[t + 1], s), &mut out[pair]);
        }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512bf16,avx2")]
fn dots<const B: usize>(weights: &Weights<'_>, first_row: usize, columns: Range<usize>, panels: &mut [Panel]) {
    let per_byte = 8 / B;
    let mask = _mm512_set1_epi8((0xffu8 >> (8 - B)) as i8);
    let lines: &[[[u8; LINE]; 2]] = weights.tile.stream.as_chunks().0.as_chunks().0;
    halves!(weights, first_row, columns, panels, |rows, block, c, out| {
        // Byte `s` of register `i` is column `4 i + s`.
        let mut codes = [_mm512_setzero_si512(); 4];
        for i in 0..4 {
            let four = c / 4 + i;
            let line = load_512(&lines[four / per_byte][block]);
            codes[i] = if B == 8 { line } else { _mm512_and_si512(shift_right(line, four % per_byte * B), mask) };
        }
        for pair in 0..HALF / 2 {
            let (i, s) = (pair / 2, pair % 2 * 2);
            rows.store(mantissa(codes[i], s), mantissa(codes[i], s + 1), &mut out[pair]);
        }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512bf16,avx2")]
fn fives(
    weights: &Weights<'_>,
    first_row: usize,
    columns: Range<usize>,
    codes: &mut Vec<[u8; STRIP_ROWS]>,
    panels: &mut [Panel],
) {
    codes.resize(columns.len(), [0; STRIP_ROWS]);
    decode_fives(weights, first_row / LINE, columns.clone(), codes);
    let start = columns.start;
    halves!(weights, first_row, columns, panels, |rows, block, c, out| {
        for pair in 0..HALF / 2 {
            let mut values = [_mm512_setzero_ps(); 2];
            for (i, value) in values.iter_mut().enumerate() {
                let bytes = load_128(&codes[c - start + 2 * pair + i].as_chunks().0[block]);
                *value = mantissa(_mm512_cvtepu8_epi32(bytes), 0);
            }
            rows.store(values[0], values[1], &mut out[pair]);
        }
    });
}

/// The codes of `columns`, 64 rows each, from bytes of five.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx2")]
fn decode_fives(weights: &Weights<'_>, line: usize, columns: Range<usize>, codes: &mut [[u8; STRIP_ROWS]]) {
    let layout = weights.layout;
    let lines: &[[[u8; LINE]; 4]] = weights.tile.stream.as_chunks().0.as_chunks().0;
    let fives_a_group = layout.group.div_ceil(trit::FIVE);
    let [first_four, last] = [&CODES.0, &CODES.1].map(|table| {
        let halves = table.as_chunks::<LINE>().0;
        [load_512(&halves[0]), load_512(&halves[1])]
    });
    let end = columns.end.min(layout.k);
    let mut c = columns.start;
    while c < end {
        let (group, within) = (c / layout.group, c % layout.group);
        let bytes = load_512(&lines[group * fives_a_group + within / trit::FIVE][line]);
        let negative = _mm512_movepi8_mask(bytes);
        let digits = |table: [__m512i; 2], all: u8| {
            let codes = _mm512_permutex2var_epi8(table[0], bytes, table[1]);
            _mm512_mask_sub_epi8(codes, negative, _mm512_set1_epi8(all as i8), codes)
        };
        // A code `t + 1` becomes `2 - code`.
        let (first_four, last) = (digits(first_four, 0b1010_1010), digits(last, 0b10));
        let group_end = end.min((group + 1) * layout.group);
        for digit in within % trit::FIVE..trit::FIVE {
            if c == group_end {
                break;
            }
            let code = if digit == 4 {
                last
            } else {
                _mm512_and_si512(shift_right(first_four, 2 * digit), _mm512_set1_epi8(3))
            };
            store_512(&mut codes[c - columns.start], code);
            c += 1;
        }
    }
}

/// For `|v|`: the codes of the first four trits, two bits each, and of the fifth.
static CODES: ([u8; trit::ENTRIES], [u8; trit::ENTRIES]) = {
    let mut tables = ([0; trit::ENTRIES], [0; trit::ENTRIES]);
    let mut v = 0;
    while v < trit::SUMS {
        let mut rest = v + 121;
        tables.1[v] = (rest % 3) as u8;
        rest /= 3;
        let mut digit = 4;
        while digit > 0 {
            digit -= 1;
            tables.0[v] |= ((rest % 3) as u8) << (2 * digit);
            rest /= 3;
        }
        v += 1;
    }
    tables
};

/// `x >> by` in lanes of 16 bits, for a constant `by`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn shift_right(x: __m512i, by: usize) -> __m512i {
    if by == 0 { x } else { _mm512_srl_epi16(x, _mm_cvtsi32_si128(by as i32)) }
}

/// `256 + q` for the byte `s` of every 32-bit lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn mantissa(codes: __m512i, s: usize) -> __m512 {
    const AND_OR: i32 = 0xea;
    let shifted = match s {
        0 => _mm512_slli_epi32::<15>(codes),
        1 => _mm512_slli_epi32::<7>(codes),
        2 => _mm512_srli_epi32::<1>(codes),
        _ => _mm512_srli_epi32::<9>(codes),
    };
    let (bits, exponent) = (_mm512_set1_epi32(0xff << 15), _mm512_set1_epi32(256f32.to_bits() as i32));
    _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<AND_OR>(shifted, bits, exponent))
}

/// What makes weights of `256 + q`, for 16 rows of a group.
#[derive(Clone, Copy)]
struct GroupRows {
    scale: __m512,
    base: __m512,
    /// Words of two registers in turns.
    interleave: __m512i,
}

impl GroupRows {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn empty() -> Self {
        let zero = _mm512_setzero_ps();
        GroupRows { scale: zero, base: zero, interleave: _mm512_setzero_si512() }
    }

    /// The rows `16 block..` of group `g`; as [`super::scale_and_base`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    fn load(weights: &Weights<'_>, g: usize, block: usize) -> Self {
        let at = g * weights.layout.kernel.tile_m() / LANES + block;
        let scale = load_f16x16(&match weights.layout.kernel.method() {
            // The even of 64 rows stand before the odd ones, and all constants are the same.
            Method::Elut => {
                let line = &weights.tile.scales.as_chunks::<STRIP_ROWS>().0[at / (STRIP_ROWS / LANES)];
                let eights = line.as_chunks::<{ LANES / 2 }>().0;
                let (even, odd) = (eights[block % 4], eights[block % 4 + 4]);
                std::array::from_fn(|i| if i % 2 == 0 { even[i / 2] } else { odd[i / 2] })
            }
            Method::Lut | Method::Dot => weights.tile.scales.as_chunks().0[at],
        });
        let middle = 256.0 + weights.middle;
        let base = match weights.tile.constants {
            Constants::Uniform(offset) => _mm512_mul_ps(_mm512_set1_ps(-(middle + 0.5 * offset)), scale),
            Constants::Offsets(offsets) => {
                let offsets = offsets.as_chunks::<LANES>().0[at].map(|offset| -(middle + 0.5 * f32::from(offset)));
                _mm512_mul_ps(load_f32x16(&offsets), scale)
            }
            Constants::Real(reals) => {
                _mm512_fnmsub_ps(_mm512_set1_ps(middle), scale, load_f32x16(&reals.as_chunks().0[at]))
            }
        };
        let mut words = [0u16; 32];
        for (i, word) in words.iter_mut().enumerate() {
            *word = (i / 2 + i % 2 * LANES) as u16;
        }
        GroupRows { scale, base, interleave: load_512(&bytemuck::cast(words)) }
    }

    /// Two columns of 16 rows, given as `256 + q`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn store(&self, even: __m512, odd: __m512, out: &mut [u8; LINE]) {
        let weights = [even, odd];
        let [even, odd] =
            [_mm512_fmadd_ps(weights[0], self.scale, self.base), _mm512_fmadd_ps(weights[1], self.scale, self.base)];
        let words: __m512i = bits_of(_mm512_cvtne2ps_pbh(odd, even));
        store_512(out, _mm512_permutexvar_epi16(self.interleave, words));
    }
}

/// The bits of 32 bfloat16 numbers.
#[inline]
#[target_feature(enable = "avx512f")]
fn bits_of(x: __m512bh) -> __m512i {
    // SAFETY: both are 64 bytes of plain bits.
    unsafe { std::mem::transmute(x) }
}
