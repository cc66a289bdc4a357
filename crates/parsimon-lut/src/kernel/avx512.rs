//! `vpermb` and `vpdpbusd` on the quad layout (own design).
//!
//! A register holds the tables of four consecutive lookups; the index byte is `slot << 4 | nibble` with the slot its position mod 4. One
//! permute looks up 16 rows in four tables, and one dot product with the plane's weight widens, weighs and adds the four results of each
//! row into its 32-bit lane. Per 64 bytes (512 one-bit weights): one load, two index operations and a shift, two permutes, two dot products.

use std::arch::x86_64::*;

use parsimon_simd::Avx512Vbmi;
use parsimon_simd::x86::{load_512, load_f16x16, load_f32x16, prefetch, store_f32x16};

use super::{Constants, Geometry, Lookup, Tile};
use crate::activations::K_STEP;

const ROWS: usize = 64;

/// Registers of 16 rows in a tile.
const BLOCKS: usize = ROWS / 16;

/// Bytes of a register.
const LINE: usize = 64;

/// How far ahead of the loads the stream is prefetched, in bytes.
const PREFETCH: usize = 4096;

pub(super) fn run(geometry: &Geometry, tile: Tile<'_>, act: Lookup<'_>, out: &mut [f32]) {
    Avx512Vbmi::try_new().expect("`Kernel::select` picked this body, so the level is there");
    let pairs = geometry.step() < K_STEP;
    // SAFETY: the token proves the features of both bodies.
    unsafe {
        match (geometry.bits, pairs) {
            (1, false) => body::<1>(geometry, tile, act, out),
            (2, false) => body::<2>(geometry, tile, act, out),
            (3, false) => body::<3>(geometry, tile, act, out),
            (4, false) => body::<4>(geometry, tile, act, out),
            (1, true) => body_groups_of_16::<1>(geometry, tile, act, out),
            (2, true) => body_groups_of_16::<2>(geometry, tile, act, out),
            (3, true) => body_groups_of_16::<3>(geometry, tile, act, out),
            (4, true) => body_groups_of_16::<4>(geometry, tile, act, out),
            (bits, _) => unreachable!("packing refuses {bits} bits"),
        }
    }
}

/// Steps of 32 or 64 columns inside groups of at least 32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
fn body<const B: usize>(geometry: &Geometry, tile: Tile<'_>, act: Lookup<'_>, out: &mut [f32]) {
    let step = geometry.step();
    let k_padded = geometry.k_padded;
    let mut columns = Columns::<B>::new(&tile, &act);
    let mut total = [_mm512_setzero_ps(); BLOCKS];
    let mut k0 = 0;
    for (g, &beta) in act.betas.iter().enumerate() {
        let group_end = k_padded.min((g + 1) * geometry.group);
        let mut sums = [_mm512_setzero_ps(); BLOCKS];
        while k0 < group_end {
            let end = group_end.min(k0 + step);
            let mut acc = Accumulators::zero();
            for _ in 0..(end - k0) / K_STEP {
                columns.add_next(&mut acc);
            }
            let scale = _mm512_set1_ps(act.scales[k0 / geometry.ags]);
            for (sum, (&first, &second)) in sums.iter_mut().zip(acc.first.iter().zip(&acc.second)) {
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(first, second)), scale, *sum);
            }
            k0 = end;
        }
        finish_group(&tile, g, beta, &sums, &mut total);
    }
    store(total, out);
}

/// Groups of 16 columns: each half of a step of 32 has its own scale.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
fn body_groups_of_16<const B: usize>(geometry: &Geometry, tile: Tile<'_>, act: Lookup<'_>, out: &mut [f32]) {
    let mut columns = Columns::<B>::new(&tile, &act);
    let mut total = [_mm512_setzero_ps(); BLOCKS];
    for (chunk, betas) in act.betas.as_chunks::<2>().0.iter().enumerate() {
        let mut acc = Accumulators::zero();
        columns.add_next(&mut acc);
        let scale = _mm512_set1_ps(act.scales[chunk * K_STEP / geometry.ags]);
        for (half, integers) in [acc.first, acc.second].iter().enumerate() {
            let mut sums = [_mm512_setzero_ps(); BLOCKS];
            for (sum, &integers) in sums.iter_mut().zip(integers) {
                *sum = _mm512_mul_ps(_mm512_cvtepi32_ps(integers), scale);
            }
            finish_group(&tile, 2 * chunk + half, betas[half], &sums, &mut total);
        }
    }
    store(total, out);
}

/// Integer sums of 64 rows: of the first 16 and of the second 16 columns of every 32.
struct Accumulators {
    first: [__m512i; BLOCKS],
    second: [__m512i; BLOCKS],
}

impl Accumulators {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Self {
        Accumulators { first: [_mm512_setzero_si512(); BLOCKS], second: [_mm512_setzero_si512(); BLOCKS] }
    }
}

/// The stream and the tables, 32 columns at a time.
struct Columns<'a, const B: usize> {
    bytes: &'a [u8],
    lines: &'a [[u8; LINE]],
    tables: &'a [[u8; LINE]],
    at: usize,
}

impl<'a, const B: usize> Columns<'a, B> {
    #[inline]
    fn new(tile: &Tile<'a>, act: &Lookup<'a>) -> Self {
        let tables = bytemuck::cast_slice::<i8, u8>(act.tables);
        Columns { bytes: tile.stream, lines: tile.stream.as_chunks().0, tables: tables.as_chunks().0, at: 0 }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni,avx2")]
    fn add_next(&mut self, acc: &mut Accumulators) {
        let slots = _mm512_set1_epi32(0x3020_1000);
        let low_nibbles = _mm512_set1_epi8(0x0f);
        let (t0, t1) = (load_512(&self.tables[2 * self.at]), load_512(&self.tables[2 * self.at + 1]));
        let lines = &self.lines[self.at * B * BLOCKS..][..B * BLOCKS];
        for p in 0..B {
            let weight = _mm512_set1_epi8(1 << p);
            for rb in 0..BLOCKS {
                let line = p * BLOCKS + rb;
                let bytes = load_512(&lines[line]);
                prefetch(self.bytes, (self.at * B * BLOCKS + line) * LINE + PREFETCH);
                // (bytes & 15) | slots, in one operation each.
                let low = _mm512_ternarylogic_epi32::<0xEA>(bytes, low_nibbles, slots);
                let high = _mm512_ternarylogic_epi32::<0xEA>(_mm512_srli_epi16::<4>(bytes), low_nibbles, slots);
                acc.first[rb] = _mm512_dpbusd_epi32(acc.first[rb], weight, _mm512_permutexvar_epi8(low, t0));
                acc.second[rb] = _mm512_dpbusd_epi32(acc.second[rb], weight, _mm512_permutexvar_epi8(high, t1));
            }
        }
        self.at += 1;
    }
}

/// Adds a finished group to the output.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
fn finish_group(tile: &Tile<'_>, g: usize, beta: f32, sums: &[__m512; BLOCKS], total: &mut [__m512; BLOCKS]) {
    let rows = g * ROWS..(g + 1) * ROWS;
    let (scales, _) = tile.scales[rows.clone()].as_chunks::<16>();
    let (half, beta) = (_mm512_set1_ps(0.5), _mm512_set1_ps(beta));
    for rb in 0..BLOCKS {
        let scale = _mm512_mul_ps(half, load_f16x16(&scales[rb]));
        total[rb] = match tile.constants {
            Constants::Offsets(offsets) => {
                let bytes = u128::from_le_bytes(offsets[rows.clone()].as_chunks::<16>().0[rb].map(|o| o as u8));
                let offset = _mm512_cvtepi8_epi32(_mm_set_epi64x((bytes >> 64) as i64, bytes as i64));
                _mm512_fmadd_ps(scale, _mm512_fmadd_ps(_mm512_cvtepi32_ps(offset), beta, sums[rb]), total[rb])
            }
            Constants::Real(reals) => {
                let constant = load_f32x16(&reals[rows.clone()].as_chunks::<16>().0[rb]);
                _mm512_fmadd_ps(constant, beta, _mm512_fmadd_ps(scale, sums[rb], total[rb]))
            }
        };
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(total: [__m512; BLOCKS], out: &mut [f32]) {
    for (out, total) in out.as_chunks_mut::<16>().0.iter_mut().zip(total) {
        store_f32x16(out, total);
    }
}
