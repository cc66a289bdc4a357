//! Loads and stores that take arrays, and the byte dot product, so that an AArch64 kernel needs no raw pointer.
//!
//! The counterpart of the x86 module: safe `#[target_feature]` functions, no alignment assumed. The dot product and the conversion of halves are
//! single instructions for which the standard library has no stable function yet.

#![allow(clippy::missing_safety_doc, reason = "clippy takes safe functions with target features for unsafe ones")]

use std::arch::aarch64::*;
use std::arch::asm;

/// Loads 16 bytes.
#[inline]
#[target_feature(enable = "neon")]
pub fn load_128(src: &[u8; 16]) -> uint8x16_t {
    // SAFETY: `src` is 16 readable bytes; the instruction accepts any alignment.
    unsafe { vld1q_u8(src.as_ptr()) }
}

/// Loads four floats.
#[inline]
#[target_feature(enable = "neon")]
pub fn load_f32x4(src: &[f32; 4]) -> float32x4_t {
    // SAFETY: `src` is four readable floats; the instruction accepts any alignment.
    unsafe { vld1q_f32(src.as_ptr()) }
}

/// Stores four floats.
#[inline]
#[target_feature(enable = "neon")]
pub fn store_f32x4(dst: &mut [f32; 4], value: float32x4_t) {
    // SAFETY: `dst` is four writable floats; the instruction accepts any alignment.
    unsafe { vst1q_f32(dst.as_mut_ptr(), value) }
}

/// Loads four halves, given as their bits, and widens them.
#[inline]
#[target_feature(enable = "neon")]
pub fn load_f16x4(src: &[u16; 4]) -> float32x4_t {
    // SAFETY: `src` is eight readable bytes; the instruction accepts any alignment.
    let halves = unsafe { vld1_u16(src.as_ptr()) };
    let floats: float32x4_t;
    // SAFETY: one instruction of the baseline, which reads and writes the named registers only.
    unsafe {
        asm!("fcvtl {out:v}.4s, {halves:v}.4h", out = lateout(vreg) floats, halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags));
    }
    floats
}

/// `sums[i] + sum_{j<4} a[4 i + j] b[4 LANE + j]`: four bytes of `b` times all of `a` (`sdot` by element).
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub fn dot_lane<const LANE: i32>(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    const { assert!(LANE >= 0 && LANE < 4, "a register has four lanes") };
    // SAFETY: one instruction of the dot-product extension, which reads and writes the named registers only.
    unsafe {
        asm!("sdot {sums:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]", sums = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b,
            lane = const LANE, options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// Asks for the cache line `offset` bytes into `bytes`; outside of them it does nothing.
#[inline]
#[target_feature(enable = "neon")]
pub fn prefetch(bytes: &[u8], offset: usize) {
    if let Some(byte) = bytes.get(offset) {
        // SAFETY: a prefetch of a readable address changes nothing that a program can see.
        unsafe { asm!("prfm pldl1strm, [{0}]", in(reg) byte, options(nostack, preserves_flags, readonly)) };
    }
}
