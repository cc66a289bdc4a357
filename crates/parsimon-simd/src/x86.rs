//! Loads and stores that take arrays, so that a kernel needs no raw pointer.
//!
//! Each is a safe `#[target_feature]` function: calling it from a function with the same features is safe, and the array type
//! proves that the bytes are there. Alignment is never assumed.

#![allow(clippy::missing_safety_doc, reason = "clippy takes safe functions with target features for unsafe ones")]

use std::arch::x86_64::*;

/// Loads 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn load_512(src: &[u8; 64]) -> __m512i {
    // SAFETY: `src` is 64 readable bytes; the instruction accepts any alignment.
    unsafe { _mm512_loadu_si512(src.as_ptr().cast()) }
}

/// Loads 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub fn load_256(src: &[u8; 32]) -> __m256i {
    // SAFETY: `src` is 32 readable bytes; the instruction accepts any alignment.
    unsafe { _mm256_loadu_si256(src.as_ptr().cast()) }
}

/// Loads 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub fn load_128(src: &[u8; 16]) -> __m128i {
    // SAFETY: `src` is 16 readable bytes; the instruction accepts any alignment.
    unsafe { _mm_loadu_si128(src.as_ptr().cast()) }
}

/// Loads 16 bytes into both halves of a 256-bit register.
#[inline]
#[target_feature(enable = "avx2")]
pub fn broadcast_128(src: &[u8; 16]) -> __m256i {
    // SAFETY: `src` is 16 readable bytes; the instruction accepts any alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(src.as_ptr().cast()) })
}

/// Loads 16 floats.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn load_f32x16(src: &[f32; 16]) -> __m512 {
    // SAFETY: `src` is 16 readable floats; the instruction accepts any alignment.
    unsafe { _mm512_loadu_ps(src.as_ptr()) }
}

/// Loads 8 floats.
#[inline]
#[target_feature(enable = "avx2")]
pub fn load_f32x8(src: &[f32; 8]) -> __m256 {
    // SAFETY: `src` is 8 readable floats; the instruction accepts any alignment.
    unsafe { _mm256_loadu_ps(src.as_ptr()) }
}

/// Stores 16 floats.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn store_f32x16(dst: &mut [f32; 16], value: __m512) {
    // SAFETY: `dst` is 16 writable floats; the instruction accepts any alignment.
    unsafe { _mm512_storeu_ps(dst.as_mut_ptr(), value) }
}

/// Stores 8 floats.
#[inline]
#[target_feature(enable = "avx2")]
pub fn store_f32x8(dst: &mut [f32; 8], value: __m256) {
    // SAFETY: `dst` is 8 writable floats; the instruction accepts any alignment.
    unsafe { _mm256_storeu_ps(dst.as_mut_ptr(), value) }
}

/// Stores 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub fn store_128(dst: &mut [u8; 16], value: __m128i) {
    // SAFETY: `dst` is 16 writable bytes; the instruction accepts any alignment.
    unsafe { _mm_storeu_si128(dst.as_mut_ptr().cast(), value) }
}

/// Stores 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub fn store_256(dst: &mut [u8; 32], value: __m256i) {
    // SAFETY: `dst` is 32 writable bytes; the instruction accepts any alignment.
    unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), value) }
}

/// Stores 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn store_512(dst: &mut [u8; 64], value: __m512i) {
    // SAFETY: `dst` is 64 writable bytes; the instruction accepts any alignment.
    unsafe { _mm512_storeu_si512(dst.as_mut_ptr().cast(), value) }
}

/// `_mm512_permutexvar_epi8(idx, table)` with the table as the instruction's operand in memory.
///
/// Where several tables take turns the compiler would rather load each once and spill it; this keeps the registers for sums.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi")]
pub fn permute_bytes_of(table: &[u8; 64], idx: __m512i) -> __m512i {
    let looked_up;
    // SAFETY: the instruction reads the 64 bytes of `table`, at any alignment, and writes only its output register.
    unsafe {
        std::arch::asm!("vpermb {out}, {idx}, zmmword ptr [{table}]", out = lateout(zmm_reg) looked_up, idx = in(zmm_reg) idx,
            table = in(reg) table.as_ptr(), options(pure, readonly, nostack, preserves_flags));
    }
    looked_up
}

/// Loads four bytes into every 32-bit lane, as a register and not as the operand of each of its uses, which would load it again.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn broadcast_32(src: &[u8; 4]) -> __m512i {
    let lanes;
    // SAFETY: the instruction reads the four bytes of `src`, at any alignment, and writes only its output register.
    unsafe {
        std::arch::asm!("vpbroadcastd {out}, dword ptr [{src}]", out = lateout(zmm_reg) lanes, src = in(reg) src.as_ptr(),
            options(pure, readonly, nostack, preserves_flags));
    }
    lanes
}

/// Loads 16 half-precision numbers and widens them to floats.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub fn load_f16x16(src: &[u16; 16]) -> __m512 {
    // SAFETY: `src` is 32 readable bytes; the instruction accepts any alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(src.as_ptr().cast()) })
}

/// Loads 8 half-precision numbers and widens them to floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub fn load_f16x8(src: &[u16; 8]) -> __m256 {
    // SAFETY: `src` is 16 readable bytes; the instruction accepts any alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(src.as_ptr().cast()) })
}

/// Asks for the cache line that holds `bytes[offset]`; nothing happens when the offset lies outside.
#[inline]
#[target_feature(enable = "avx2")]
pub fn prefetch(bytes: &[u8], offset: usize) {
    if let Some(line) = bytes.get(offset) {
        _mm_prefetch::<_MM_HINT_T0>((line as *const u8).cast());
    }
}

/// Copies a float to 16 lanes, as a register and not as the operand of each of its uses, which would load it again.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn broadcast_f32(src: &f32) -> __m512 {
    let lanes;
    // SAFETY: the instruction reads the four bytes of `src`, at any alignment, and writes only its output register.
    unsafe {
        std::arch::asm!("vbroadcastss {out}, dword ptr [{src}]", out = lateout(zmm_reg) lanes, src = in(reg) src,
            options(pure, readonly, nostack, preserves_flags));
    }
    lanes
}

/// Copies a pair of brain floats, the first in the low half, to 16 lanes; a register, as [`broadcast_f32`].
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub fn broadcast_pair(src: &u32) -> __m512bh {
    // SAFETY: both are 64 bytes without invalid values.
    unsafe { std::mem::transmute(_mm512_set1_epi32(src.cast_signed())) }
}

/// Loads 16 pairs of brain floats, the first of each in the low half.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub fn load_pairs(src: &[u32; 16]) -> __m512bh {
    // SAFETY: `src` is 64 readable bytes, the instruction accepts any alignment, and both types are 64 bytes without invalid values.
    unsafe { std::mem::transmute(_mm512_loadu_si512(src.as_ptr().cast())) }
}
