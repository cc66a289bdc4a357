//! Loops of one instruction, for probing what a core can do at most.

use super::Method;
use parsimon_simd::Level;

/// Independent chains: more than any latency needs.
const CHAINS: usize = 12;

/// Repeats inside a loop, so that its counter costs nothing.
const REPEATS: usize = 8;

/// Runs about `n` of the inner operation of a kernel's method at `level`, and returns how many bytes looked up (or multiplied and added) that
/// was. `None` where the level has no such instruction.
pub(crate) fn run(method: Method, level: Level, n: usize) -> Option<u64> {
    let rounds = n.div_ceil(CHAINS * REPEATS);
    let done = (rounds * CHAINS * REPEATS) as u64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `Level::best`, and so every level it includes, is there.
    unsafe {
        match method {
            _ if !Level::best().includes(level) => return None,
            Method::Lut if level.includes(Level::Avx512Vbmi) => x86::permutes(rounds),
            Method::Elut if level.includes(Level::Avx512Vbmi) => x86::two_source_permutes(rounds),
            Method::Dot if level.includes(Level::Avx512Vnni) => x86::dots(rounds),
            Method::Lut if level.includes(Level::Avx2) => {
                x86::shuffles(rounds);
                return Some(32 * done);
            }
            _ => return None,
        }
        Some(64 * done)
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: `Level::best`, and so every level it includes, is there.
    unsafe {
        match method {
            _ if !Level::best().includes(level) => return None,
            Method::Lut if level.includes(Level::Neon) => arm::lookups(rounds),
            Method::Dot if level.includes(Level::NeonDot) => arm::dots(rounds),
            _ => return None,
        }
        Some(16 * done)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = (method, level, done);
        None
    }
}

macro_rules! peak {
    ($name:ident, $features:literal, $vector:ty, $zero:expr, |$chain:ident, $x:ident| $op:expr) => {
        #[target_feature(enable = $features)]
        pub(super) fn $name(rounds: usize) {
            let $x: $vector = black_box($zero);
            let mut chains = [$x; CHAINS];
            for _ in 0..rounds {
                for _ in 0..REPEATS {
                    for $chain in &mut chains {
                        *$chain = $op;
                    }
                }
                // The operand may have changed, so no round can be left out.
                black_box(&$x);
            }
            black_box(&chains);
        }
    };
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;
    use std::hint::black_box;

    use parsimon_simd::arm::dot_lane;

    use super::{CHAINS, REPEATS};

    peak!(lookups, "neon", uint8x16_t, vdupq_n_u8(0), |chain, x| vqtbl1q_u8(x, *chain));
    peak!(dots, "neon,dotprod", int32x4_t, vdupq_n_s32(0), |chain, x| {
        dot_lane::<0>(*chain, vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(x))
    });
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::{CHAINS, REPEATS};

    peak!(permutes, "avx512f,avx512bw,avx512vbmi", __m512i, _mm512_setzero_si512(), |chain, x| {
        _mm512_permutexvar_epi8(*chain, x)
    });
    peak!(two_source_permutes, "avx512f,avx512bw,avx512vbmi", __m512i, _mm512_setzero_si512(), |chain, x| {
        _mm512_permutex2var_epi8(x, *chain, x)
    });
    peak!(dots, "avx512f,avx512bw,avx512vnni", __m512i, _mm512_setzero_si512(), |chain, x| {
        _mm512_dpbusd_epi32(*chain, x, x)
    });
    peak!(shuffles, "avx2", __m256i, _mm256_setzero_si256(), |chain, x| _mm256_shuffle_epi8(x, *chain));
}

#[cfg(test)]
mod tests;
